//! Tests what the operator of an Envoy with the filter sees: access log, metrics and log lines.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::fault::{Behaviour, FakePlane, Web, document};
use weir_tests::tls::Authority;
use weir_tests::{Bootstrap, Connection, Envoy, Plane};

const LINE: &str = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% cluster=%UPSTREAM_CLUSTER% \
                    rule=%FILTER_STATE(wasm.weir_rule:PLAIN)% backend=%FILTER_STATE(wasm.weir_backend:PLAIN)%\n";

/// Returns the configuration of an Envoy that writes an access log to `log`.
fn with_access_log(bootstrap: Bootstrap, log: &std::path::Path) -> Value {
    let mut config: Value = serde_json::from_str(&bootstrap.build()).expect("JSON");
    let listener = &mut config["static_resources"]["listeners"][0];
    manager(listener)["access_log"] = json!([{ "name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": log,
        "log_format": { "text_format_source": { "inline_string": LINE } },
    } }]);
    config
}

fn manager(listener: &mut Value) -> &mut Value {
    &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
}

fn plugin(keys: Value) -> String {
    let mut plugin = json!({ "namespace": "default", "log_rule": true });
    for (key, value) in keys.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    plugin.to_string()
}

fn closed() -> std::net::SocketAddr {
    "127.0.0.1:1".parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn access_log_names_rule_and_backend() {
    let folder = TempDir::new().expect("a folder");
    let log = folder.path().join("access");
    let mut config = document([1, 0]);
    let host = |name: &str, rule: &str, unmatched: &str| {
        let literal = json!({ "name": name, "port": 80, "default_port": true });
        json!({ "hosts": { "literal": literal }, "unmatched": unmatched,
            "matches": [{ "rule": rule, "path": { "prefix": "/" }, "method": "GET" }] })
    };
    let hosts = config["hosts"].as_array_mut().expect("hosts");
    hosts.push(host("missing", "missing", "not_found"));
    hosts.push(host("broken", "broken", "pass"));
    hosts.push(host("moved", "moved", "pass"));
    let missing = json!({ "service": { "name": "none", "namespace": "default", "port": 80 } });
    config["rules"]["missing"] = json!({ "backends": [{ "weight": 1, "to": missing }] });
    config["rules"]["broken"] = json!({ "backends": [{ "weight": 1, "to": { "status": 500 } }] });
    config["rules"]["moved"] =
        json!({ "backends": [], "filters": { "redirect": { "status": 302, "hostname": "new" } } });
    let web = Web::start().await;
    let plugin = plugin(json!({ "initial": config }));
    let bootstrap = web.bootstrap(closed()).listener("outbound", &plugin, None);
    let envoy = Envoy::start(&with_access_log(bootstrap, &log).to_string(), 1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for (method, host, status) in [
        ("GET", "web", 200),
        ("GET", "missing", 503),
        ("POST", "missing", 404),
        ("GET", "broken", 500),
        ("GET", "moved", 302),
        ("GET", "elsewhere", 200),
    ] {
        let answer = connection.ask(method, host, "/", &[]).await;
        assert_eq!(answer.status, status, "{host}: {answer:?}");
    }
    let lines = lines_of(&log, 6).await;
    assert_eq!(
        lines,
        [
            "200 via_upstream cluster=web-v1.default.svc.cluster.local:80 rule=web backend=web-v1.default:80",
            "503 cluster_not_found cluster=- rule=missing backend=none.default:80",
            "404 weir_no_match cluster=- rule=- backend=-",
            "500 weir_broken_backend cluster=- rule=broken backend=500",
            "302 weir_redirect cluster=- rule=moved backend=-",
            "200 direct_response cluster=- rule=- backend=-",
        ]
    );
    envoy.assert_no_traps().await;
}

/// Waits until a log has this number of lines, and returns the lines.
async fn lines_of(log: &std::path::Path, count: usize) -> Vec<String> {
    for _ in 0..200 {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(str::to_owned).collect();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} has no {count} lines", log.display());
}

/// An internal redirect sends the edited request through the filter again.
#[tokio::test(flavor = "multi_thread")]
async fn header_is_added_once_after_redirect() {
    use axum::http::{HeaderMap, StatusCode, header::LOCATION};
    use axum::response::IntoResponse;
    use axum::routing::get;

    let app = axum::Router::new()
        .route(
            "/",
            get(async || (StatusCode::FOUND, [(LOCATION, "http://web/end")])),
        )
        .route(
            "/end",
            get(async |headers: HeaderMap| {
                let lines = headers.get_all("x-added").iter();
                let lines: Vec<_> = lines.filter_map(|it| it.to_str().ok()).collect();
                lines.join("|").into_response()
            }),
        );
    let backend = weir_tests::Echo::serve(app).await;
    let mut config = document([1, 0]);
    config["rules"]["web"]["filters"] =
        json!({ "request_headers": { "add": [{ "name": "x-added", "value": "weir" }] } });
    let plugin = plugin(json!({ "initial": config }));
    let bootstrap = Bootstrap::default()
        .cluster("web-v1.default.svc.cluster.local:80", backend.address)
        .listener("outbound", &plugin, None);
    let mut config: Value = serde_json::from_str(&bootstrap.build()).expect("JSON");
    let listener = &mut config["static_resources"]["listeners"][0];
    let routes = &mut manager(listener)["route_config"]["virtual_hosts"][0]["routes"];
    routes[0]["route"]["internal_redirect_policy"] = json!({ "max_internal_redirects": 1 });
    let envoy = Envoy::start(&config.to_string(), 1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for (headers, expected) in [(&[][..], "weir"), (&[("x-added", "own")][..], "own|weir")] {
        let answer = connection.get_with("web", "/", headers).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, expected)
        );
    }
    // Without a redirect, the filter adds the value even if the client has sent the same value.
    let answer = connection
        .get_with("web", "/end", &[("x-added", "weir")])
        .await;
    assert_eq!(answer.text(), "weir|weir");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_one_value_per_scope() {
    let plane = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body: document([1, 1]).to_string(),
    })
    .await;
    let web = Web::start().await;
    let plugin = |keys| plugin(keys);
    let bootstrap = web
        .bootstrap(plane.address)
        .listener("one", &plugin(json!({ "control_plane": "weir" })), None)
        .listener(
            "two",
            &plugin(json!({ "control_plane": "nowhere", "namespace": "other" })),
            None,
        );
    let mut config: Value = serde_json::from_str(&bootstrap.build()).expect("JSON");
    // As in Istio, only some metrics are kept.
    config["stats_config"] = json!({
        "stats_matcher": { "inclusion_list": { "patterns": [{ "prefix": "wasmcustom.weir_" }] } },
        "stats_tags": [{ "tag_name": "scope", "regex": r"(\.scope=\.=(.*?);\.;)" }],
    });
    let envoy = Envoy::start(&config.to_string(), 1).await;
    envoy.wait_for_updates(1).await;
    let stats = envoy
        .ask("/stats/prometheus?filter=weir_(rules|conf)")
        .await;
    for line in [
        r#"weir_configured{scope="namespace=default"} 1"#,
        r#"weir_configured{scope="namespace=other"} 0"#,
        r#"weir_rules{scope="namespace=default"} 1"#,
        r#"weir_rules{scope="namespace=other"} 0"#,
    ] {
        assert!(stats.lines().any(|own| own == line), "{line}:\n{stats}");
    }
}

#[test]
fn odd_plugin_configurations_have_a_remedy() {
    let bootstrap = Bootstrap::default().listener("outbound", "", None);
    let config: Value = serde_json::from_str(&bootstrap.build()).expect("JSON");
    let with = |configuration: Value| {
        let mut config = config.clone();
        let listener = &mut config["static_resources"]["listeners"][0];
        let filter = &mut manager(listener)["http_filters"][0]["typed_config"]["config"];
        match configuration {
            Value::Null => drop(
                filter
                    .as_object_mut()
                    .expect("a map")
                    .remove("configuration"),
            ),
            configuration => filter["configuration"] = configuration,
        }
        Envoy::refused(&config.to_string())
    };
    let none = with(Value::Null);
    assert!(
        none.contains(r#"write at least { "control_plane": "CLUSTER" }"#),
        "{none}"
    );
    let structure = with(json!({
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": { "control_plane": "weir", "namespace": "default" },
    }));
    assert!(
        structure.contains("as a google.protobuf.StringValue"),
        "{structure}"
    );
    assert!(
        structure.contains("is a google.protobuf.Struct"),
        "{structure}"
    );
}

/// Each line of the log says what to check. The pauses between failed polls grow.
#[tokio::test(flavor = "multi_thread")]
async fn failed_connections_have_a_remedy() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificate = authority.sign(&["weir"]);
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (chain, key) = (
        path("chain", &certificate.pem),
        path("key", &certificate.key),
    );
    let ca = path("ca", &certificate.authority);
    let with_tls = Plane::start_with(
        &["--tls-cert", &chain, "--tls-key", &key, "--client-ca", &ca],
        &[],
    );
    let plain = Plane::start(&[]);
    let plugin = plugin(json!({ "control_plane": "weir" }));
    let tls = |address, authority: &Authority| {
        Bootstrap::default().tls_cluster("weir", address, authority, None)
    };
    for (what, bootstrap) in [
        ("another CA", tls(with_tls.listen, &other)),
        ("no client certificate", tls(with_tls.listen, &authority)),
        (
            "plain text to TLS",
            Bootstrap::default().cluster("weir", with_tls.listen),
        ),
        ("TLS to plain text", tls(plain.listen, &authority)),
        (
            "closed port",
            Bootstrap::default().cluster("weir", closed()),
        ),
    ] {
        let bootstrap = bootstrap.listener("outbound", &plugin, None);
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let log = envoy.log();
        let line = log
            .lines()
            .find(|line| line.contains("no configuration from"));
        let line = line.unwrap_or_else(|| panic!("{what}:\n{log}"));
        println!("{what}: {line}");
        let failures = envoy.stat("wasmcustom.weir_poll_failures_total").await;
        assert!(
            line.contains("no answer came from the control plane"),
            "{what}: {line}"
        );
        assert!(
            line.contains("cluster.weir.ssl. in Envoy's /stats counts"),
            "{what}: {line}"
        );
        assert!((2..=6).contains(&failures), "{what}: {failures} failures");
    }
}
