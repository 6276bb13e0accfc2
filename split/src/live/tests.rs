use super::*;
use crate::decision::Edit;
use crate::plugin::{Listeners, Site};
use crate::wire;

/// Returns a worker with the table for this configuration (JSON without `version`) and for this proxy (`site`).
fn live(config: &str, site: &Site) -> Live {
    let mut config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    config["version"] = wire::VERSION.into();
    let config = serde_json::from_value(config).expect("a configuration");
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(Table::compile(&config, site).expect("compiles"));
    live
}

fn site() -> Site {
    Site {
        namespace: "shop".into(),
        ..Site::default()
    }
}

/// Calls `decide` for the request `METHOD AUTHORITY PATH [NAME:VALUE]...`. Returns its result, and the names of the
/// headers that it read.
fn ask<T>(
    request: &str,
    decide: impl FnOnce(&[u8], &mut dyn FnMut(&str) -> Option<Vec<u8>>) -> T,
) -> (T, Vec<String>) {
    let parts: Vec<&str> = request.split(' ').collect();
    let mut reads = Vec::new();
    let mut read = |name: &str| {
        reads.push(name.to_owned());
        let value = match name {
            ":method" => Some(parts[0]),
            ":path" => Some(parts[2]),
            ":scheme" => Some("http"),
            name => parts[3..].iter().find_map(|header| {
                let (own, value) = header.split_once(':')?;
                (own == name).then_some(value)
            }),
        };
        value.map(|value| value.as_bytes().to_vec())
    };
    let answer = decide(parts[1].as_bytes(), &mut read);
    (answer, reads)
}

/// The decision in words: a cluster's Service, a status, a location, or `denied`.
fn words(decided: &Decided) -> String {
    match &decided.decision {
        Decision::Ordinary => "ordinary".into(),
        Decision::Cluster(name) => name.split('.').next().unwrap().into(),
        Decision::Answer(status) => status.to_string(),
        Decision::Redirect(status, location) => format!("{status} {location}"),
        Decision::Denied(_) => "denied".into(),
        Decision::UnknownListener(unknown) => format!("{unknown:?}"),
    }
}

fn decide(live: &mut Live, request: &str) -> String {
    ask(request, |authority, read| {
        words(&live.decide(authority, || None, read))
    })
    .0
}

fn to(service: &str) -> String {
    format!(
        r#"{{"weight":1,"to":{{"service":{{"name":"{service}","namespace":"shop","port":80}}}}}}"#
    )
}

/// A host set of the root `root` with these matches. The rule of each match has one backend with the name of the rule.
fn with_matches(matches: &[(&str, &str)]) -> String {
    let rules = matches
        .iter()
        .map(|(rule, _)| format!(r#""{rule}":{{"backends":[{}]}}"#, to(rule)));
    let matches = matches.iter().map(|(rule, conditions)| {
        format!(
            r#"{{"rule":"{rule}"{}{conditions}}}"#,
            if conditions.is_empty() { "" } else { "," }
        )
    });
    format!(
        r#"{{"hosts":[{{"hosts":{{"root":{{"service":"root","namespace":"shop","port":80,"default_port":true}}}},
            "unmatched":"not_found","matches":[{}]}}],"rules":{{{}}}}}"#,
        matches.collect::<Vec<_>>().join(","),
        rules.collect::<Vec<_>>().join(","),
    )
}

/// Each row has a condition, a request that fits the condition, and requests that do not fit it.
#[test]
fn every_condition_has_to_hold() {
    let table = [
        (
            r#""path":{"exact":"/a"}"#,
            "GET root /a?x",
            vec!["GET root /a/", "GET root /A"],
        ),
        (
            r#""path":{"prefix":"/a"}"#,
            "GET root /a/b",
            vec!["GET root /ab"],
        ),
        (
            r#""path":{"regex":"/[0-9]+"}"#,
            "GET root /12?a",
            vec!["GET root /12/", "GET root /a"],
        ),
        (
            r#""method":"POST""#,
            "POST root /",
            vec!["GET root /", "post root /"],
        ),
        (
            r#""headers":[{"name":"X-User","value":{"exact":"ann"}}]"#,
            "GET root / x-user:ann",
            vec![
                "GET root /",
                "GET root / x-user:Ann",
                "GET root / x-user:ann,bob",
            ],
        ),
        (
            r#""headers":[{"name":"a","value":{"regex":".*"}},{"name":"b","value":{"regex":"1|2"}}]"#,
            "GET root / a: b:2",
            vec!["GET root / a:x", "GET root / b:1", "GET root / a:x b:12"],
        ),
        (
            r#""headers":[{"name":":authority","value":{"regex":"(?i)ROOT(:80)?"}}]"#,
            "GET Root:80 /",
            vec!["GET root.shop /"],
        ),
        (
            r#""headers":[{"name":"host","value":{"exact":"root"}}]"#,
            "GET root /",
            vec!["GET root:80 /"],
        ),
        (
            r#""query":[{"name":"a b","value":{"exact":"1+1"}}]"#,
            "GET root /?a+b=1%2b1&a+b=2",
            vec![
                "GET root /?a+b=2&a+b=1%2b1",
                "GET root /?ab=1%2b1",
                "GET root /",
                "GET root /?a+b=1+1",
            ],
        ),
        (
            r#""query":[{"name":"v","value":{"regex":"[12]"}},{"name":"w","value":{"exact":""}}]"#,
            "GET root /?w&v=2",
            vec!["GET root /?v=2", "GET root /?w&v=3", "GET root /?w&V=2"],
        ),
        (
            r#""hostnames":["x.y","*.SHOP","root.shop.svc.cluster"]"#,
            "GET Root.shop.:80 /",
            vec!["GET root.shop.svc /", "GET root /"],
        ),
        (
            r#""path":{"prefix":"/a"},"method":"GET","headers":[{"name":"h","value":{"exact":"1"}}],
               "query":[{"name":"q","value":{"exact":"1"}}],"hostnames":["root"]"#,
            "GET root /a?q=1 h:1",
            vec![
                "GET root /b?q=1 h:1",
                "PUT root /a?q=1 h:1",
                "GET root /a?q=1 h:2",
                "GET root /a?q=2 h:1",
                "GET root.shop /a?q=1 h:1",
            ],
        ),
    ];
    for (condition, fitting, others) in table {
        let mut live = live(&with_matches(&[("one", condition)]), &site());
        assert_eq!(decide(&mut live, fitting), "one", "{condition}: {fitting}");
        for other in others {
            assert_eq!(decide(&mut live, other), "404", "{condition}: {other}");
        }
    }
}

/// The first match that fits decides, and later matches read no headers.
#[test]
fn only_needed_headers_are_read() {
    let user = r#""headers":[{"name":"x-user","value":{"exact":"ann"}},{"name":"x-b","value":{"exact":"1"}}]"#;
    let query = r#""query":[{"name":"a","value":{"exact":"1"}}]"#;
    let refined = with_matches(&[
        ("user", user),
        ("query", query),
        ("again", user),
        ("any", ""),
    ]);
    let plain = with_matches(&[("any", ""), ("never", user)]);
    let paths = with_matches(&[
        ("a", r#""path":{"exact":"/a"}"#),
        ("any", r#""path":{"prefix":"/"}"#),
    ]);
    for (config, request, expected, expected_reads) in [
        (
            &refined,
            "GET root / x-user:ann x-b:1",
            "user",
            vec!["x-user", "x-b"],
        ),
        (
            &refined,
            "GET root /?a=1 x-user:ann",
            "query",
            vec!["x-user", "x-b", ":path"],
        ),
        (&refined, "GET root /", "any", vec!["x-user", ":path"]),
        (&plain, "GET root /", "any", vec![]),
        (&paths, "GET root /b", "any", vec![":path"]),
        (&paths, "GET elsewhere /b", "ordinary", vec![]),
    ] {
        let mut live = live(config, &site());
        let (decided, reads) = ask(request, |authority, read| {
            let decided = live.decide(authority, || None, read);
            assert!(decided.request.is_empty() && decided.response.is_none());
            words(&decided)
        });
        assert_eq!(
            (decided.as_str(), reads),
            (
                expected,
                expected_reads.iter().map(|it| (*it).to_owned()).collect()
            )
        );
    }
}

#[test]
fn picked_backend_applies_its_filters() {
    let named = |name: &str| {
        let to = to(name);
        let filter =
            format!(r#"{{"request_headers":{{"set":[{{"name":"x-backend","value":"{name}"}}]}}}}"#);
        to.replacen("{", &format!(r#"{{"filters":{filter},"#), 1)
    };
    let config = with_matches(&[("one", "")]).replace(
        &format!(r#"[{}]"#, to("one")),
        &format!(
            r#"[{},{},{{"weight":1,"to":{{"status":500}}}}],
               "filters":{{"response_headers":{{"remove":["server"]}}}},"timeouts":{{"request":7}}"#,
            named("one"),
            named("two")
        ),
    );
    let mut live = live(&config, &site());
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..30 {
        let decided = live.decide(b"root", || None, |_| None);
        let name = words(&decided);
        if name == "500" {
            assert!(decided.request.is_empty() && decided.response.is_none());
        } else {
            let set = |name: &str, value: &str| Edit::Set(name.into(), value.as_bytes().into());
            let expected = [
                set("x-backend", &name),
                set("x-envoy-upstream-rq-timeout-ms", "7"),
            ];
            // The edits begin with removals of headers of the client.
            let edits = decided.request.iter();
            let edits = edits.skip_while(|edit| matches!(edit, Edit::Remove(_)));
            assert_eq!(edits.cloned().collect::<Vec<_>>(), expected);
            assert_eq!(
                decided.response.as_deref(),
                Some(&[Edit::Remove("server".into())][..])
            );
        }
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}

/// After an edit of the Host or path the proxy could choose another ordinary route.
#[test]
fn edited_request_names_its_cluster() {
    let sidecar = Site {
        ordinary_route_serves_root: true,
        ..site()
    };
    let plain = with_matches(&[("root", "")]);
    assert_eq!(
        decide(&mut live(&plain, &sidecar), "GET root /"),
        "ordinary"
    );
    let rewrite = r#""filters":{"rewrite":{"hostname":"other"}},"backends""#;
    let edited = plain.replace(r#""backends""#, rewrite);
    assert_eq!(decide(&mut live(&edited, &sidecar), "GET root /"), "root");
}

#[test]
fn rules_and_backends_redirect() {
    let redirect = r#""filters":{"redirect":{"status":301,"hostname":"new"}}"#;
    let rule = with_matches(&[("one", "")]).replace(
        &format!(r#"[{}]"#, to("one")),
        &format!(
            "[],{}",
            redirect.replace("},", "},\"response_headers\":{\"remove\":[\"x\"]},")
        ),
    );
    let mut all = live(&rule, &site());
    assert_eq!(
        decide(&mut all, "GET root:8080 /a"),
        "ordinary",
        "not this port"
    );
    assert_eq!(decide(&mut all, "GET root /a?b"), "301 http://new/a?b");
    all.take_picks(|rule, backend, count| panic!("{rule} {backend} {count}"));

    let share = to("one").replacen("{", &format!("{{{redirect},"), 1);
    let share = with_matches(&[("one", "")]).replace(&to("one"), &format!("{share},{}", to("two")));
    let mut live = live(&share, &site());
    let mut answers: Vec<_> = (0..4).map(|_| decide(&mut live, "GET root /")).collect();
    answers.sort();
    assert_eq!(
        answers,
        ["301 http://new/", "301 http://new/", "two", "two"]
    );
    let mut picks = Vec::new();
    live.take_picks(|_, backend, count| picks.push((backend.to_owned(), count)));
    assert_eq!(
        picks,
        [("one.shop:80".into(), 2), ("two.shop:80".into(), 2)]
    );
}

/// A redirect on a Gateway names the port of the listener. If listeners have different ports, the
/// listener of the request must be known.
#[test]
fn redirect_names_port_of_listener() {
    let config = |ports: &str| {
        let ports_of: serde_json::Value = serde_json::from_str(ports).unwrap();
        let listeners = ports_of.as_object().unwrap().iter();
        let listeners = listeners.map(|(name, port)| format!(r#""{name}":{{"port":{port}}}"#));
        let listeners = listeners.collect::<Vec<_>>().join(",");
        format!(
            r#"{{"listeners":{{{listeners}}},"hosts":[{{"hosts":{{"gateway":{{"ports":{ports}}}}},
                "matches":[{{"rule":"r","listeners":["a","b"]}}]}}],
                "rules":{{"r":{{"backends":[],"filters":{{"redirect":{{"status":302,"hostname":"n"}}}}}}}}}}"#
        )
    };
    for (ports, listener, expected) in [
        (
            r#"{"a":8080,"b":8081,"c":1}"#,
            Some("b"),
            "302 http://n:8081/",
        ),
        (r#"{"a":8080,"b":8080}"#, None, "302 http://n:8080/"),
        (r#"{"a":8080,"b":8081}"#, None, r#"Several(["a", "b"])"#),
        (r#"{"c":8080}"#, Some("c"), "ordinary"),
    ] {
        let site = Site {
            listeners: listener.map_or(Listeners::Any, |name| Listeners::One(name.into())),
            ..Site::default()
        };
        assert_eq!(
            decide(&mut live(&config(ports), &site), "GET x:99 /"),
            expected,
            "{ports} {listener:?}"
        );
    }
}

/// Law 9: a change of filters does not restart the sequence of picks.
#[test]
fn changed_filter_keeps_the_sequence() {
    let plain =
        with_matches(&[("one", "")]).replace(&to("one"), &format!("{},{}", to("one"), to("two")));
    let edited = plain.replace(
        r#"{"weight""#,
        r#"{"filters":{"request_headers":{"remove":["x"]}},"weight""#,
    );
    let redirecting = with_matches(&[("another", ""), ("one", "")])
        .replace(&to("one"), &format!("{},{}", to("one"), to("two")))
        .replace(
            &format!("[{}]", to("another")),
            r#"[],"filters":{"redirect":{"status":301}}"#,
        )
        .replace(
            r#""rule":"another""#,
            r#""rule":"another","path":{"exact":"/x"}"#,
        );
    let mut alone = live(&plain, &site());
    let mut disturbed = live(&plain, &site());
    for config in [&edited, &plain, &redirecting, &edited] {
        let mut config: serde_json::Value = serde_json::from_str(config).unwrap();
        config["version"] = wire::VERSION.into();
        let config = serde_json::from_value(config).unwrap();
        disturbed.install(Table::compile(&config, &site()).unwrap());
        for _ in 0..7 {
            assert_eq!(
                decide(&mut disturbed, "GET root /"),
                decide(&mut alone, "GET root /")
            );
        }
    }
}

#[test]
fn unconfigured_worker_has_a_default() {
    for (until, expected) in [
        (UntilConfigured::Pass, "ordinary"),
        (UntilConfigured::Unavailable, "503"),
        (UntilConfigured::Denied, "denied"),
    ] {
        let mut live = Live::new(1, until);
        assert_eq!(words(&live.decide(b"root", || None, |_| None)), expected);
        assert_eq!(words(&live.connect(None)), expected);
        let peer = || panic!("the peer is not needed");
        assert_eq!(words(&live.admit(peer, b"root", |_| None)), expected);
        assert_eq!(words(&live.admit_connection(Some("a/b"), 80)), expected);
    }
}

/// The value is too long for the expression of the first match, so the second match must not get the request.
#[test]
fn expensive_value_gets_431() {
    let mut live = live(
        r#"{
            "listeners": { "http": { "port": 80 } },
            "hosts": [{
                "hosts": { "gateway": { "ports": { "http": 80 } } },
                "matches": [
                    { "path": { "regex": "/(?:[ab]*a[ab]{400}c)*x" }, "rule": "heavy" },
                    { "rule": "rest" }
                ]
            }],
            "rules": {
                "heavy": { "backends": [{ "weight": 1, "to": { "status": 500 } }] },
                "rest": { "backends": [{ "weight": 1, "to": { "status": 501 } }] }
            }
        }"#,
        &site(),
    );
    let mut noise = 1u32;
    let mut letter = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if noise >> 31 == 0 { 'a' } else { 'b' }
    };
    let long: String = (0..60 << 10).map(|_| letter()).collect();
    assert_eq!(decide(&mut live, "GET a /ab"), "501");
    assert_eq!(decide(&mut live, &format!("GET a /{long}")), "431");
    assert_eq!(decide(&mut live, "GET a /x"), "500");
}

/// Many large expressions need many new states for a short value, because all state caches are empty.
#[test]
fn too_many_new_states_give_431() {
    let matches = (0..320).map(|n| {
        let regex = format!("/(?:[ab]?[ab]?){{100}}x{n}");
        serde_json::json!({ "path": { "regex": regex }, "rule": "heavy" })
    });
    let rest = serde_json::json!({ "rule": "rest" });
    let matches: Vec<_> = matches.chain([rest]).collect();
    let answer = |status: u16| serde_json::json!({ "backends": [{ "weight": 1, "to": { "status": status } }] });
    let document = serde_json::json!({
        "listeners": { "http": { "port": 80 } },
        "hosts": [{ "hosts": { "gateway": { "ports": { "http": 80 } } }, "matches": matches }],
        "rules": { "heavy": answer(500), "rest": answer(501) },
    });
    let mut live = live(&document.to_string(), &site());
    let short = "aab".repeat(15);
    assert_eq!(decide(&mut live, &format!("GET a /{short}")), "431");
    assert_eq!(decide(&mut live, "GET a /ab"), "501");
}

mod connections;
mod listeners;
mod mirrors;
mod permission;

/// Two plugin configurations of one worker and scope have one sequence for a rule, and its counts outlive both.
#[test]
fn tables_of_a_worker_share_rules() {
    let config = |weights: [u64; 2]| {
        let [a, b] =
            weights.map(|weight| to("x").replace("\"weight\":1", &format!("\"weight\":{weight}")));
        let config = with_matches(&[("rule", "")]);
        config.replace(&to("rule"), &format!("{a},{}", b.replace("\"x\"", "\"y\"")))
    };
    let table = |weights| {
        let mut config: serde_json::Value = serde_json::from_str(&config(weights)).expect("JSON");
        config["version"] = wire::VERSION.into();
        let config = serde_json::from_value(config).expect("a configuration");
        Table::compile(&config, &site()).expect("compiles")
    };
    let states = Rc::new(RefCell::new(RuleStates::new(7)));
    let start = || {
        let mut live = Live::with_states(states.clone(), UntilConfigured::Pass);
        live.install(table([70, 30]));
        live
    };
    let ask = |live: &mut Live, count: usize| {
        (0..count)
            .filter(|_| decide(live, "GET root /") == "y")
            .count()
    };
    let counts = || {
        let mut counts = Vec::new();
        let mut states = states.borrow_mut();
        states.take_picks(|rule, backend, count| counts.push(format!("{rule} {backend} {count}")));
        counts.sort();
        counts
    };
    let mut first = start();
    let picked = ask(&mut first, 5);
    let mut second = start();
    drop(first);
    assert_eq!(picked + ask(&mut second, 5), 3);
    second.install(table([0, 1]));
    assert_eq!(ask(&mut second, 4), 4);
    drop(second);
    assert_eq!(
        counts(),
        ["rule x.shop:80 7", "rule y.shop:80 3", "rule y.shop:80 4"]
    );
    assert!(counts().is_empty());
    // Without a table the states end, so a rule that comes back starts a new sequence.
    assert_eq!(
        format!("{:?}", states.borrow())
            .matches("RuleState {")
            .count(),
        0
    );
}

/// The table of one root has only the rules of this root, so a mistake in another rule has no effect.
#[test]
fn table_of_a_root_is_small() {
    let root = |name: &str| {
        format!(
            r#"{{"to":{{"root":{{"service":"{name}","namespace":"shop","port":80}}}},"rule":"{name}"}}"#
        )
    };
    let config = format!(
        r#"{{"connections":[{},{},{}],"rules":{{"a":{{"backends":[{}]}},"b":{{"backends":[]}}}}}}"#,
        root("a"),
        root("b"),
        root("missing"),
        to("x")
    );
    let mut site = site();
    site.root = Some(wire::Service {
        name: "a".into(),
        namespace: "shop".into(),
        port: 80,
    });
    let mut live = live(&config, &site);
    assert_eq!(live.table().rules(), 1);
    assert_eq!(words(&live.connect(None)), "x");
}
