//! Requests of a Gateway: the listener of a request, and when it must be known.

use std::cell::Cell;

use super::*;
use crate::decision::UnknownListener;

/// A host set with these listeners. Each match is `RULE[/PATH] LISTENER...`, and its rule has one backend of the same
/// name.
fn set(hostname: &str, ports: &str, matches: &[&str]) -> serde_json::Value {
    let matches = matches.iter().map(|line| {
        let mut words = line.split(' ');
        let (rule, path) = words.next().unwrap().split_once('/').unzip();
        let rule = rule.or(line.split(' ').next());
        let listeners: Vec<_> = words.collect();
        let mut wire = serde_json::json!({ "rule": rule, "listeners": listeners });
        if let Some(path) = path {
            wire["path"] = serde_json::json!({ "prefix": format!("/{path}") });
        }
        wire
    });
    let ports: serde_json::Value = serde_json::from_str(ports).unwrap();
    let mut gateway = serde_json::json!({ "ports": ports });
    if !hostname.is_empty() {
        gateway["hostname"] = hostname.into();
    }
    serde_json::json!({
        "hosts": { "gateway": gateway },
        "unmatched": "not_found",
        "matches": matches.collect::<Vec<_>>(),
    })
}

fn document(listeners: &str, hosts: Vec<serde_json::Value>) -> wire::Config {
    let listeners: serde_json::Value = serde_json::from_str(listeners).unwrap();
    let rule = |name: &str| format!(r#"{{"backends":[{}]}}"#, to(name));
    let redirect = r#"{"backends":[],"filters":{"redirect":{"status":302,"hostname":"n"}}}"#;
    let rules = format!(
        r#"{{"a":{},"b":{},"to-listener":{redirect}}}"#,
        rule("a"),
        rule("b")
    );
    let rules: serde_json::Value = serde_json::from_str(&rules).unwrap();
    let mut config = serde_json::json!({ "version": 1, "hosts": hosts, "rules": rules });
    if listeners != serde_json::json!({}) {
        config["listeners"] = listeners;
    }
    serde_json::from_value(config).unwrap()
}

fn at(listeners: Listeners, config: &wire::Config) -> Live {
    let site = Site {
        listeners,
        ..Site::default()
    };
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(Table::compile(config, &site).unwrap());
    live
}

fn one(name: &str) -> Listeners {
    Listeners::One(name.into())
}

/// Parses `8080:a,b 8443:c`.
fn sockets(text: &str) -> Listeners {
    let socket = |socket: &str| {
        let (port, names) = socket.split_once(':').unwrap();
        let names = names.split(',').map(str::to_owned).collect();
        (port.parse().unwrap(), names)
    };
    Listeners::BySocket(text.split(' ').map(socket).collect())
}

/// The decision, and whether the port was read.
fn ask_at(live: &mut Live, host: &str, port: Option<u16>) -> (String, bool) {
    let is_asked = Cell::new(false);
    let socket = || {
        is_asked.set(true);
        port
    };
    let read = |name: &str| (name == ":path").then(|| b"/".to_vec());
    let decided = match live.decide(host.as_bytes(), socket, read).decision {
        Decision::UnknownListener(UnknownListener::Several(names)) => names.join(" or "),
        Decision::UnknownListener(UnknownListener::Socket(port)) => format!("no {port:?}"),
        decision => words(&decision.into()),
    };
    (decided, is_asked.get())
}

const TWO: &str = r#"{"http":{"port":80},"https":{"port":443}}"#;

fn two_ports() -> wire::Config {
    let both = r#"{"http":80,"https":443}"#;
    let sets = vec![
        set("same.x", both, &["a http https"]),
        set("differs.x", both, &["a http", "b https"]),
        set("after-all.x", both, &["a http https", "b http"]),
        set("more.x", both, &["a/a http https", "b http"]),
        set("secure.x", r#"{"https":443}"#, &["b https"]),
    ];
    document(TWO, sets)
}

#[test]
fn port_is_read_if_listeners_differ() {
    let mut by_socket = at(sockets("8080:http 8443:https"), &two_ports());
    for (host, port, expected) in [
        ("same.x", 8080, ("a", false)),
        ("same.x", 1, ("a", false)),
        ("differs.x", 8080, ("a", true)),
        ("differs.x", 8443, ("b", true)),
        // 443 is the port of a listener, but not of a socket.
        ("differs.x", 443, ("no Some(443)", true)),
        // The first match fits every request, so the second match gets no request.
        ("after-all.x", 1, ("a", false)),
        ("more.x", 8080, ("b", true)),
        ("more.x", 8443, ("404", true)),
        ("secure.x", 8080, ("ordinary", true)),
        ("secure.x", 8443, ("b", true)),
        ("other.x", 1, ("ordinary", false)),
    ] {
        let (decided, is_asked) = ask_at(&mut by_socket, host, Some(port));
        assert_eq!((decided.as_str(), is_asked), expected, "{host} at {port}");
    }
    let unknown = ask_at(&mut by_socket, "differs.x", None);
    assert_eq!(unknown, ("no None".into(), true));
}

/// Requests of a listener without a named socket arrive at an unnamed socket.
#[test]
fn unnamed_socket_serves_no_named_listener() {
    for (named, at_its_socket) in [("8080:http", "a"), ("8080:https", "b")] {
        let mut live = at(sockets(named), &two_ports());
        for (host, port, expected) in [
            ("differs.x", 8080, at_its_socket),
            ("differs.x", 8443, "no Some(8443)"),
            ("same.x", 8443, "a"),
            ("other.x", 8443, "ordinary"),
        ] {
            let got = ask_at(&mut live, host, Some(port)).0;
            assert_eq!(got, expected, "{host} at {port}, {named}");
        }
    }
}

#[test]
fn differing_hosts_need_the_listener() {
    let config = two_ports();
    let mut any = at(Listeners::Any, &config);
    let mut merged = at(sockets("8080:http,https"), &config);
    for (host, expected) in [
        ("same.x", "a"),
        ("differs.x", "http or https"),
        ("after-all.x", "a"),
        ("more.x", "http or https"),
        // The other port has the same host, but no match for it.
        ("secure.x", "http or https"),
        ("other.x", "ordinary"),
    ] {
        assert_eq!(ask_at(&mut any, host, Some(8080)), (expected.into(), false));
        assert_eq!(
            ask_at(&mut merged, host, Some(8080)),
            (expected.into(), false)
        );
    }
    for (name, differs) in [("http", "a"), ("https", "b")] {
        let mut live = at(one(name), &config);
        assert_eq!(
            ask_at(&mut live, "differs.x", None),
            (differs.into(), false)
        );
    }
    let mut mistyped = at(one("htp"), &config);
    assert_eq!(ask_at(&mut mistyped, "same.x", None).0, "ordinary");

    let site = Site::default();
    let table = Table::compile(&config, &site).unwrap();
    let undecided = table.undecided_hosts();
    let hosts: Vec<&String> = undecided.keys().collect();
    assert_eq!(hosts, ["differs.x", "more.x", "secure.x"]);
    assert_eq!(undecided["differs.x"], ["http", "https"]);
}

/// A host belongs to the most specific listener of a port, and not to the other listeners of this port.
#[test]
fn host_of_another_listener_gets_404() {
    let listeners = r#"{
        "all": {"port":80}, "x": {"port":80,"hostname":"*.x"}, "a": {"port":80,"hostname":"a.x"},
        "y": {"port":81,"hostname":"*.y"}
    }"#;
    let sets = vec![
        set("", r#"{"all":80}"#, &["a all"]),
        set("*.x", r#"{"x":80}"#, &["b x"]),
        set("a.x", r#"{"a":80}"#, &[]),
    ];
    let config = document(listeners, sets);
    for (listeners, expected) in [
        (Listeners::Any, ["a", "b", "404", "all or y"]),
        (one("all"), ["a", "404", "404", "a"]),
        (one("x"), ["404", "b", "404", "404"]),
        (one("a"), ["404", "404", "404", "404"]),
        (one("y"), ["ordinary", "ordinary", "ordinary", "ordinary"]),
        (sockets("8080:all,x"), ["a", "b", "404", "a"]),
    ] {
        let mut live = at(listeners.clone(), &config);
        let hosts = ["other", "b.x", "a.x", "a.y"];
        let got = hosts.map(|host| ask_at(&mut live, host, None).0);
        assert_eq!(got, expected, "{listeners:?}");
    }
}

#[test]
fn redirect_needs_the_port() {
    let sets = || {
        let both = r#"{"http":80,"https":8443}"#;
        let listeners = r#"{"http":{"port":80},"https":{"port":8443}}"#;
        document(
            listeners,
            vec![set("r.x", both, &["to-listener http https"])],
        )
    };
    let mut any = at(Listeners::Any, &sets());
    assert_eq!(ask_at(&mut any, "r.x", None).0, "http or https");
    let mut by_socket = at(sockets("1:http 2:https"), &sets());
    assert_eq!(ask_at(&mut by_socket, "r.x", Some(1)).0, "302 http://n/");
    assert_eq!(
        ask_at(&mut by_socket, "r.x", Some(2)).0,
        "302 http://n:8443/"
    );
}

#[test]
fn inconsistent_listeners_are_refused() {
    for (listeners, ports, expected) in [
        (TWO, r#"{"htp":80}"#, "hosts[0].hosts.gateway.ports: "),
        (TWO, r#"{"http":81}"#, "hosts[0].hosts.gateway.ports: "),
        (TWO, "{}", "hosts[0].hosts.gateway.ports: "),
        ("{}", r#"{"http":80}"#, "hosts[0].hosts.gateway.ports: "),
        (
            r#"{"http":{"port":80,"hostname":"*"}}"#,
            r#"{"http":80}"#,
            r#"listeners["http"].hostname: "#,
        ),
    ] {
        let config = document(listeners, vec![set("a.x", ports, &["a http"])]);
        let refusal = Table::compile(&config, &Site::default()).unwrap_err();
        assert!(refusal.to_string().starts_with(expected), "{refusal}");
    }
}

/// The control plane sends the same document to several proxies, and each of them must be able to compile it.
#[test]
fn unused_matches_are_checked() {
    let mut config = two_ports();
    config.hosts[1].matches[1].path = Some(wire::PathMatch::Regex("(".into()));
    let site = Site {
        listeners: one("http"),
        ..Site::default()
    };
    for site in [site, Site::default()] {
        let refusal = Table::compile(&config, &site).unwrap_err().to_string();
        assert!(
            refusal.starts_with("hosts[1].matches[1].path.regex: "),
            "{refusal}"
        );
    }
}
