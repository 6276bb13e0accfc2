use super::*;

/// Returns a configuration of the root `root` with one rule. `filters` are the filters of the rule, and of the backends
/// `a` (weight 1) and `b` (weight 1).
fn rule(filters: [&str; 3]) -> String {
    let [of_rule, of_a, of_b] = filters;
    let backend = |name: &str, filters: &str| {
        let to = format!(r#""to":{{"service":{{"name":"{name}","namespace":"shop","port":80}}}}"#);
        format!(r#"{{"weight":1,{to},"filters":{{{filters}}}}}"#)
    };
    let (a, b) = (backend("a", of_a), backend("b", of_b));
    let root = r#""root":{"service":"root","namespace":"shop","port":80,"default_port":true}"#;
    format!(
        r#"{{"hosts":[{{"hosts":{{{root}}},"matches":[{{"rule":"r"}}]}}],
             "rules":{{"r":{{"backends":[{a},{b}],"filters":{{{of_rule}}}}}}}}}"#
    )
}

fn mirror(name: &str, numerator: u32, denominator: u32) -> String {
    format!(
        r#"{{"to":{{"name":"{name}","namespace":"shop","port":80}},
             "fraction":{{"numerator":{numerator},"denominator":{denominator}}}}}"#
    )
}

fn mirrors(list: &[String]) -> String {
    format!(r#""mirrors":[{}]"#, list.join(","))
}

/// Sends requests. Returns the backend and the mirrors of each, such as `a to x, y`.
fn send(live: &mut Live, count: usize) -> Vec<String> {
    let words = |decided: Decided| {
        let name = |cluster: &&str| cluster.split('.').next().unwrap().to_owned();
        let mirrors: Vec<String> = decided.mirrors.iter().map(name).collect();
        format!("{} to {}", words(&decided), mirrors.join(", "))
    };
    let one = |_| {
        ask("GET root /", |authority, read| {
            words(live.decide(authority, || None, read))
        })
        .0
    };
    (0..count).map(one).collect()
}

fn count(sent: &[String], words: &str) -> usize {
    sent.iter().filter(|it| it.contains(words)).count()
}

#[test]
fn mirror_gets_exact_share() {
    for (numerator, denominator, expected) in
        [(20, 100, 100), (0, 7, 0), (1, 1, 500), (25, 50, 250)]
    {
        let filters = mirrors(&[mirror("x", numerator, denominator)]);
        let mut live = live(&rule([&filters, "", ""]), &site());
        let sent = send(&mut live, 500);
        assert_eq!(count(&sent, "x"), expected, "{numerator}/{denominator}");
    }
}

#[test]
fn every_prefix_has_its_share() {
    let filters = mirrors(&[mirror("x", 20, 100)]);
    let mut live = live(&rule([&filters, "", ""]), &site());
    let sent = send(&mut live, 1000);
    for length in 1..=sent.len() {
        let copied = count(&sent[..length], "x") * 5;
        assert!(copied.abs_diff(length) < 5, "{copied} of {length}");
    }
}

#[test]
fn absent_fraction_copies_every_request() {
    let filters = r#""mirrors":[{"to":{"name":"x","namespace":"shop","port":80}}]"#;
    let mut live = live(&rule([filters, "", ""]), &site());
    assert_eq!(count(&send(&mut live, 10), "to x"), 10);
}

#[test]
fn backend_mirrors_only_its_requests() {
    let filters = mirrors(&[mirror("x", 1, 5)]);
    let mut live = live(&rule(["", &filters, ""]), &site());
    let sent = send(&mut live, 500);
    assert_eq!(count(&sent, "a to x"), 50);
    assert_eq!(count(&sent, "b to x"), 0);
}

#[test]
fn rule_and_backend_mirror_together() {
    let (of_rule, of_b) = (mirrors(&[mirror("x", 1, 1)]), mirrors(&[mirror("y", 1, 1)]));
    let mut live = live(&rule([&of_rule, "", &of_b]), &site());
    let sent = send(&mut live, 10);
    assert_eq!(count(&sent, "a to x"), 5);
    assert_eq!(count(&sent, "b to x, y"), 5);
}

/// Two mirrors with the same share must not always copy the same requests.
#[test]
fn mirrors_are_drawn_independently() {
    let filters = mirrors(&[mirror("x", 1, 2), mirror("y", 1, 2)]);
    let mut live = live(&rule([&filters, "", ""]), &site());
    let sent = send(&mut live, 400);
    assert_eq!((count(&sent, "x"), count(&sent, "y")), (200, 200));
    assert!((50..150).contains(&count(&sent, "x, y")), "{sent:?}");
}

/// The picks of the backends are the same with and without a mirror, and after a change of the mirror.
#[test]
fn mirrors_never_disturb_picks() {
    let plain = rule(["", "", ""]);
    let with = |numerator| rule([&mirrors(&[mirror("x", numerator, 10)]), "", ""]);
    let mut alone = live(&plain, &site());
    let mut mirrored = live(&with(3), &site());
    for config in [with(3), with(4), plain] {
        let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["version"] = wire::VERSION.into();
        let config = serde_json::from_value(config).unwrap();
        mirrored.install(Table::compile(&config, &site()).unwrap());
        for (one, other) in send(&mut alone, 7).iter().zip(send(&mut mirrored, 7)) {
            assert_eq!(
                one.split_once(" to ").unwrap().0,
                other.split_once(" to ").unwrap().0
            );
        }
    }
}

#[test]
fn unchanged_mirror_continues_its_draws() {
    let filters = mirrors(&[mirror("x", 1, 10)]);
    let edited = format!(r#"{filters},"request_headers":{{"remove":["x-a"]}}"#);
    let mut alone = live(&rule([&filters, "", ""]), &site());
    let mut changed = live(&rule([&filters, "", ""]), &site());
    for config in [&edited, &filters, &edited] {
        let mut config: serde_json::Value = serde_json::from_str(&rule([config, "", ""])).unwrap();
        config["version"] = wire::VERSION.into();
        let config = serde_json::from_value(config).unwrap();
        changed.install(Table::compile(&config, &site()).unwrap());
        assert_eq!(send(&mut alone, 13), send(&mut changed, 13));
    }
}

/// Envoy copies requests only at the route with `cluster_header`, so a copied request needs the routing header.
#[test]
fn mirrored_request_names_its_cluster() {
    let filters = mirrors(&[mirror("x", 1, 2)]);
    let config = rule([&filters, "", ""]).replace(r#""name":"a""#, r#""name":"root""#);
    let site = Site {
        ordinary_route_serves_root: true,
        ..site()
    };
    let mut live = live(&config, &site);
    let sent = send(&mut live, 40);
    assert!(count(&sent, "root to x") > 0);
    assert!(count(&sent, "ordinary to ") > 0);
    assert_eq!(count(&sent, "ordinary to x"), 0);
}

#[test]
fn wrong_mirrors_are_refused() {
    let x = || mirror("x", 1, 1);
    let three = mirrors(&[x(), x(), x()]);
    let two = mirrors(&[x(), x()]);
    let one = mirrors(&[x()]);
    for (filters, place) in [
        (
            [&*mirrors(&[mirror("x", 2, 1)]), "", ""],
            "filters.mirrors[0].fraction: 2/1",
        ),
        (
            [&*mirrors(&[mirror("x", 0, 0)]), "", ""],
            "filters.mirrors[0].fraction: 0/0",
        ),
        (
            [&*mirrors(&[mirror("X y", 1, 1)]), "", ""],
            "filters.mirrors[0].to: not the name",
        ),
        ([&*three, "", ""], "backends[0].filters.mirrors: 3 mirrors"),
        ([&*two, "", &*one], "backends[1].filters.mirrors: 3 mirrors"),
        (
            [
                r#""request_headers":{"set":[{"name":"x-weir-mirror","value":"a"}]}"#,
                "",
                "",
            ],
            "filters.request_headers.set[0].name: x-weir-mirror names the cluster",
        ),
        (
            [
                "",
                r#""request_headers":{"add":[{"name":"X-Weir-Mirror-2","value":"a"}]}"#,
                "",
            ],
            "backends[0].filters.request_headers.add[0].name: x-weir-mirror-2",
        ),
    ] {
        let mut config: serde_json::Value = serde_json::from_str(&rule(filters)).unwrap();
        config["version"] = wire::VERSION.into();
        let config = serde_json::from_value(config).unwrap();
        let refusal = Table::compile(&config, &site()).unwrap_err().to_string();
        let expected = format!(r#"rules["r"].{place}"#);
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
}
