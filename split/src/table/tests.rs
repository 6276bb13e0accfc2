use super::*;

fn compile(config: &str) -> Result<Table, Refusal> {
    let mut config: serde_json::Value = serde_json::from_str(config).expect("JSON");
    if config.get("version").is_none() {
        config["version"] = wire::VERSION.into();
    }
    let config = serde_json::from_value(config).expect("a configuration");
    Table::compile(&config, &Site::default())
}

/// If the filter accepted a document without an access policy, the workload would be open to every client.
#[test]
fn service_account_needs_access_policy() {
    let compile = |document: &str, account: Option<&str>| {
        let config = serde_json::from_str(document).unwrap();
        let site = Site {
            service_account: account.map(Into::into),
            ..Site::default()
        };
        Table::compile(&config, &site).map(|_| ())
    };
    let buyer = Some("shop/buyer");
    for document in [
        r#"{"version":1,"access":"everyone"}"#,
        r#"{"version":1,"access":{"grants":{}}}"#,
    ] {
        assert_eq!(compile(document, buyer), Ok(()), "{document}");
        assert_eq!(compile(document, None), Ok(()), "{document}");
    }
    let silent = r#"{"version":1}"#;
    assert_eq!(compile(silent, None), Ok(()));
    let refusal = compile(silent, buyer).unwrap_err().to_string();
    let reason = "access: the configuration has no access policy";
    assert!(refusal.starts_with(reason), "{refusal}");
    for unknown in [r#""no-one""#, r#"{}"#, r#"{"grants":{},"more":1}"#, "true"] {
        let document = format!(r#"{{"version":1,"access":{unknown}}}"#);
        assert!(
            serde_json::from_str::<wire::Config>(&document).is_err(),
            "{unknown}"
        );
    }
}

#[test]
fn a_refusal_names_the_place() {
    let host = |matches: &str| {
        format!(
            r#"{{"hosts":[{{"hosts":{{"literal":{{"name":"a","port":80}}}},"matches":[{matches}]}}],
                "rules":{{"r":{{"backends":[{{"weight":1,"to":{{"status":500}}}}]}}}}}}"#
        )
    };
    let rule = |rule: &str| format!(r#"{{"rules":{{"r":{{{rule}}}}}}}"#);
    let connection = |to: &str, rule: &str| {
        format!(
            r#"{{"connections":[{{"to":{to},"rule":"r"}}],"rules":{{"r":{{"backends":[{{"weight":1,"to":{{"status":500}}}}]{rule}}}}}}}"#
        )
    };
    let listeners = r#"{"listeners":{"a":1}}"#;
    for (config, expected) in [
        (r#"{"version":2}"#.to_owned(), "version: "),
        (host(r#"{"rule":"x"}"#), "hosts[0].matches[0].rule: "),
        (host(r#"{"rule":"r","path":{"regex":"("}}"#), "hosts[0].matches[0].path.regex: "),
        (host(r#"{"rule":"r"},{"rule":"r","method":"A B"}"#), "hosts[0].matches[1].method: "),
        (
            host(r#"{"rule":"r","headers":[{"name":"a","value":{"regex":"a{9999}"}}]}"#),
            "hosts[0].matches[0].headers[0].value.regex: ",
        ),
        (
            host(r#"{"rule":"r","headers":[{"name":":path","value":{"exact":"/"}}]}"#),
            "hosts[0].matches[0].headers[0].name: ",
        ),
        (
            host(r#"{"rule":"r","query":[{"name":"a","value":{"regex":"*"}}]}"#),
            "hosts[0].matches[0].query[0].value.regex: ",
        ),
        (host(r#"{"rule":"r","hostnames":["a","*b"]}"#), "hosts[0].matches[0].hostnames[1]: "),
        (
            r#"{"hosts":[{"hosts":{"gateway":{"hostname":"*"}},"matches":[]}]}"#.into(),
            "hosts[0].hosts.gateway.hostname: ",
        ),
        (rule(r#""backends":[]"#), r#"rules["r"].backends: "#),
        (r#"{"rules":{"a b":{"backends":[]}}}"#.into(), r#"rules["a b"].identity: "#),
        (
            rule(r#""backends":[{"weight":0,"to":{"status":500}}]"#),
            r#"rules["r"].backends: no backend has a weight"#,
        ),
        (
            rule(r#""backends":[{"weight":9223372036854775808,"to":{"status":500}}]"#),
            r#"rules["r"].backends[0].weight: "#,
        ),
        (rule(r#""backends":[{"weight":1,"to":{"status":200}}]"#), r#"rules["r"].backends[0].to: "#),
        (
            rule(r#""backends":[{"weight":1,"to":{"service":{"name":"A/b","namespace":"c","port":1}}}]"#),
            r#"rules["r"].backends[0].to: "#,
        ),
        (
            rule(r#""backends":[{"weight":1,"to":{"status":500},"filters":{"redirect":{"status":99}}}]"#),
            r#"rules["r"].backends[0].filters.redirect.status: "#,
        ),
        (
            rule(r#""backends":[],"filters":{"request_headers":{"remove":[""]}}"#),
            r#"rules["r"].filters.request_headers.remove[0].name: "#,
        ),
        (rule(r#""backends":[],"retry":{"attempts":0}"#), r#"rules["r"].retry.attempts: "#),
        (
            r#"{"access":{"grants":{"a":[]}}}"#.into(),
            r#"access.grants["a"]: "#,
        ),
        (
            r#"{"access":{"grants":{"a/b":[{"by":"","sources":["c/D"]}]}}}"#.into(),
            r#"access.grants["a/b"][0].sources[0]: "#,
        ),
        (
            r#"{"access":{"grants":{"a/b":[{"by":"","sources":[],"requests":[{"path":{"regex":"("}}]}]}}}"#.into(),
            r#"access.grants["a/b"][0].requests[0].path.regex: "#,
        ),
        (
            r#"{"access":{"grants":{}},"rules":{"r":{"backends":[{"weight":1,"accounts":["x"],
                "to":{"service":{"name":"a","namespace":"c","port":1}}}]}}}"#
                .into(),
            r#"rules["r"].backends[0].accounts[0]: "#,
        ),
        (
            r#"{"connections":[{"to":{"listeners":{}},"rule":"r"}]}"#.into(),
            "connections[0].rule: no rule",
        ),
        (connection(listeners, r#","timeouts":{"request":1}"#), "connections[0].rule: "),
        (
            connection(listeners, r#","filters":{"redirect":{"status":301}}"#),
            "connections[0].rule: ",
        ),
        (
            connection(r#"{"root":{"service":"a","namespace":"b","port":1,"cluster_ips":["None"]}}"#, ""),
            "connections[0].to.root.cluster_ips[0]: ",
        ),
    ] {
        match compile(&config) {
            Ok(_) => panic!("{config} compiles"),
            Err(refusal) => assert!(refusal.to_string().starts_with(expected), "{refusal}"),
        }
    }
}

/// The control plane compiles tables in several threads.
#[test]
fn table_can_move_between_threads() {
    fn check<T: Send + Sync>(_: &T) {}
    check(&compile("{}").unwrap());
}

#[test]
fn exact_port_wins_over_every_port() {
    let set = |port: u16, flags: &str, unmatched: &str| {
        format!(
            r#"{{"hosts":{{"literal":{{"name":"a.example","port":{port}{flags}}}}},"matches":[],"unmatched":"{unmatched}"}}"#
        )
    };
    let sets = [
        set(80, r#","default_port":true,"every_port":true"#, "not_found"),
        set(81, "", "pass"),
    ];
    let config = format!(r#"{{"hosts":[{}],"rules":{{}}}}"#, sets.join(","));
    let table = compile(&config).unwrap();
    for (authority, is_of_every_port) in [
        ("a.example", true),
        ("a.example:80", true),
        ("a.example:21010", true),
        ("a.example:81", false),
    ] {
        let host = table.host(authority.as_bytes(), || None).unwrap().unwrap();
        let expected = match is_of_every_port {
            true => Unmatched::NotFound,
            false => Unmatched::Pass,
        };
        assert_eq!(host.unmatched, expected, "{authority}");
    }
}
