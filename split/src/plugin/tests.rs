use super::*;

fn error_of(json: &str) -> String {
    match Plugin::parse(json.as_bytes()) {
        Ok(plugin) => panic!("{plugin:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn defaults_are_the_documented_ones() {
    let plugin = Plugin::parse(br#"{"control_plane":"weir"}"#).unwrap();
    assert_eq!(plugin.header, "x-weir-cluster");
    assert_eq!(plugin.scope, "");
    assert_eq!(plugin.site, Site::default());
}

#[test]
fn an_unknown_key_is_named() {
    assert!(error_of(r#"{"control_plane":"weir","namespase":"a"}"#).contains("namespase"));
    assert!(error_of(r#"{}"#).contains("control_plane"));
    assert!(error_of(r#"{"controlplane":"weir"}"#).contains("controlplane: there is no such key"));
    assert!(error_of("").contains("plugin configuration"));
}

/// Envoy gives a Struct as its bytes: a map entry with the key `control_plane` and the string `weir`.
#[test]
fn protobuf_struct_has_its_message() {
    let mut bytes = b"\x0a\x17\x0a\x0dcontrol_plane\x12\x06\x1a\x04weir".to_vec();
    let long = "x".repeat(200);
    let entry = format!("\x0a\x07initial\x12{long}");
    let mut long = vec![0x0a, 0xd2, 0x01];
    long.extend_from_slice(entry.as_bytes());
    for bytes in [&bytes, &long] {
        let error = Plugin::parse(bytes).expect_err("a Struct").to_string();
        assert!(error.contains("google.protobuf.StringValue"), "{error}");
        assert!(error.contains("is a google.protobuf.Struct"), "{error}");
    }
    bytes.truncate(4);
    for other in [bytes.as_slice(), b"\n\n\n{", b"\n{ bad"] {
        let error = Plugin::parse(other).expect_err("no JSON").to_string();
        assert!(error.contains("not valid JSON"), "{error}");
    }
}

#[test]
fn mistakes_have_plain_messages() {
    for (message, json) in [
        ("the configuration is empty", " "),
        (
            "not valid JSON at line 1, column 19",
            r#"{"control_plane": wi}"#,
        ),
        ("not a JSON object", r#""weir""#),
        (
            "control_plane: the value is not a string",
            r#"{"control_plane": 1}"#,
        ),
        (
            "log_rule: the value is neither true nor false",
            r#"{"control_plane": "weir", "log_rule": "yes"}"#,
        ),
        (
            "namespace: the configuration has this key twice",
            r#"{"control_plane": "weir", "namespace": "a", "namespace": "b"}"#,
        ),
        (
            "clusters: the value is not a map of strings",
            r#"{"control_plane": "weir", "clusters": ["a"]}"#,
        ),
    ] {
        let line = error_of(json);
        assert!(
            line.contains(message) && line.contains(PLUGIN_EFFECT),
            "{line}"
        );
    }
}

#[test]
fn bad_values_name_their_key() {
    for (key, json) in [
        ("control_plane", r#"{"control_plane":""}"#),
        (
            "control_plane",
            r#"{"control_plane":"","initial":{"version":1}}"#,
        ),
        (
            "until_configured",
            r#"{"control_plane":"weir","until_configured":"deny"}"#,
        ),
        ("initial", r#"{"initial":{}}"#),
        (
            "gateway",
            r#"{"control_plane":"weir","namespace":"a","gateway":"a/b"}"#,
        ),
        ("gateway", r#"{"control_plane":"weir","gateway":"b"}"#),
        ("namespace", r#"{"control_plane":"weir","namespace":"a&b"}"#),
        ("namespace", r#"{"control_plane":"weir","namespace":"a.b"}"#),
        (
            r#"or "*" for"#,
            r#"{"control_plane":"weir","namespace":"**"}"#,
        ),
        (
            "service_account: a ServiceAccount belongs to one namespace",
            r#"{"control_plane":"weir","namespace":"*","service_account":"web"}"#,
        ),
        ("listener", r#"{"control_plane":"weir","listener":"http"}"#),
        (
            "listeners",
            r#"{"control_plane":"weir","listeners":{"80":["http"]}}"#,
        ),
        (
            "listener, listeners",
            r#"{"control_plane":"weir","gateway":"a/b","listener":"http","listeners":{"80":["http"]}}"#,
        ),
        (
            "write listener",
            r#"{"control_plane":"weir","gateway":"a/b","protocol":"tcp","listeners":{"80":["http"]}}"#,
        ),
        (
            "listeners: the value is not a map with at least one port",
            r#"{"control_plane":"weir","gateway":"a/b","listeners":{}}"#,
        ),
        (
            r#"listeners: "http" is not a port"#,
            r#"{"control_plane":"weir","gateway":"a/b","listeners":{"http":["8080"]}}"#,
        ),
        (
            r#"listeners: "0" is not a port"#,
            r#"{"control_plane":"weir","gateway":"a/b","listeners":{"0":["http"]}}"#,
        ),
        (
            r#"listeners: "+80" is not a port"#,
            r#"{"control_plane":"weir","gateway":"a/b","listeners":{"+80":["http"]}}"#,
        ),
        (
            r#"listeners: port "80" has no list of names"#,
            r#"{"control_plane":"weir","gateway":"a/b","listeners":{"80":[]}}"#,
        ),
        ("header", r#"{"control_plane":"weir","header":":path"}"#),
        (
            r#"clusters_from: "ads" is not a possible value"#,
            r#"{"control_plane":"weir","clusters_from":"ads"}"#,
        ),
        (
            "clusters_from: only a control plane can send clusters",
            r#"{"initial":{"version":1},"clusters_from":"weir"}"#,
        ),
        (
            "clusters_from, cluster, clusters: the control plane gives each cluster its name",
            r#"{"control_plane":"weir","clusters_from":"weir","cluster":"{service}"}"#,
        ),
        (
            "clusters_from, cluster, clusters: the control plane gives each cluster its name",
            r#"{"control_plane":"weir","clusters_from":"weir","clusters":{"a.b:80":"c"}}"#,
        ),
        ("cluster", r#"{"control_plane":"weir","cluster":"{svc}"}"#),
        ("cluster", r#"{"control_plane":"weir","cluster":"a b"}"#),
        (
            "direction",
            r#"{"control_plane":"weir","namespace":"a","direction":"inbound"}"#,
        ),
        (
            "service_account",
            r#"{"control_plane":"weir","service_account":"a"}"#,
        ),
        (
            "add the key trust_domain",
            r#"{"control_plane":"weir","namespace":"a","service_account":"a","direction":"inbound"}"#,
        ),
        (
            "access_max_age: only a proxy with a service account",
            r#"{"control_plane":"weir","namespace":"a","access_max_age":3600}"#,
        ),
        (
            "access_max_age: only a proxy with a service account",
            r#"{"initial":{"version":1},"namespace":"a","service_account":"a","access_max_age":3600}"#,
        ),
        (
            "access_max_age: 59 is not a number of seconds",
            r#"{"control_plane":"weir","namespace":"a","service_account":"a","access_max_age":59}"#,
        ),
        (
            r#"access_max_age: "1h" is not a number of seconds"#,
            r#"{"control_plane":"weir","namespace":"a","service_account":"a","access_max_age":"1h"}"#,
        ),
        (
            r#"trust_domain: "Prod" is not a SPIFFE trust domain"#,
            r#"{"control_plane":"weir","trust_domain":"Prod"}"#,
        ),
        (
            r#"trust_domain: "" is not a SPIFFE trust domain"#,
            r#"{"control_plane":"weir","trust_domain":""}"#,
        ),
        (
            "root",
            r#"{"control_plane":"weir","protocol":"tcp","root":"mysql:3306"}"#,
        ),
        ("root", r#"{"control_plane":"weir","root":"mysql.db:3306"}"#),
        (
            r#"clusters: "a" does not name a backend"#,
            r#"{"control_plane":"weir","clusters":{"a":"b"}}"#,
        ),
    ] {
        assert!(error_of(json).contains(key), "{json}: {}", error_of(json));
    }
}

#[test]
fn listeners_are_parsed() {
    let listeners = |keys: &str| {
        let json = format!(r#"{{"control_plane":"weir","gateway":"a/b"{keys}}}"#);
        Plugin::parse(json.as_bytes()).unwrap().site.listeners
    };
    assert_eq!(listeners(""), Listeners::Any);
    assert_eq!(
        listeners(r#","listener":"http""#),
        Listeners::One("http".into())
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        listeners(r#","listeners":{"8443":["https","https"],"8080":["b","a"]}"#),
        Listeners::BySocket([(8080, names(&["a", "b"])), (8443, names(&["https"]))].into())
    );
}

#[test]
fn service_account_denies_until_configured() {
    let plugin = |keys: &str| {
        let json = format!(r#"{{"control_plane":"weir","namespace":"shop",{keys}}}"#);
        Plugin::parse(json.as_bytes()).unwrap()
    };
    let account = plugin(r#""service_account":"buyer","until_configured":"pass""#);
    assert_eq!(account.until_configured, UntilConfigured::Denied);
    assert_eq!(account.site.service_account.as_deref(), Some("shop/buyer"));
    let inbound =
        plugin(r#""service_account":"buyer","direction":"inbound","trust_domain":"prod.example""#);
    assert_eq!(inbound.until_configured, UntilConfigured::Denied);
    assert_eq!(inbound.site.trust_domain, "prod.example");
    let none = plugin(r#""until_configured":"503""#);
    assert_eq!(none.until_configured, UntilConfigured::Unavailable);
}

#[test]
fn clusters_have_template_and_exceptions() {
    let plugin = Plugin::parse(
        br#"{"control_plane":"weir","cluster":"outbound|{port}||{service}.{namespace}.svc.cluster.local",
            "clusters":{"v1.prod:80":"prod_use1"}}"#,
    )
    .unwrap();
    let backend = |name: &str| wire::Service {
        name: name.into(),
        namespace: "prod".into(),
        port: 80,
    };
    let naming = plugin.site.naming;
    assert_eq!(naming.cluster(&backend("v1")), "prod_use1");
    assert_eq!(
        naming.cluster(&backend("v2")),
        "outbound|80||v2.prod.svc.cluster.local"
    );
}

#[test]
fn every_namespace_resolves_no_short_names() {
    let plugin = Plugin::parse(br#"{"control_plane":"weir","namespace":"*"}"#).unwrap();
    assert_eq!(plugin.scope, "namespace=*");
    assert_eq!(plugin.site, Site::default());
}
