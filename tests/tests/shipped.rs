//! Tests that the configurations in `envoy-config/` work as the pages in `docs/` describe.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_tests::fault::{Behaviour, FakePlane};
use weir_tests::{
    Connection, Echo, Envoy, Plane, assert_stats_are_read_only, root, shares, shipped,
    shipped_with_admin,
};

const HOST: &str = "bookstore.bookstore:14001";

fn bookstore(split: &str) -> Vec<(String, String)> {
    let demo = root().join("demo");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(demo.join("manifests")).expect("demo/manifests") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        files.push((name, std::fs::read_to_string(&path).expect("a manifest")));
    }
    let split = demo.join("splits").join(split);
    files.push((
        "split.yaml".into(),
        std::fs::read_to_string(split).expect("a split"),
    ));
    files
}

struct Sidecar {
    plane: Plane,
    envoy: Envoy,
    connection: Connection,
    _backends: [Echo; 3],
}

/// Runs `envoy-config/sidecar.yaml` with backends and a control plane of this test.
async fn sidecar(split: &str) -> Sidecar {
    let files = bookstore(split);
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let plane = Plane::start(&files);
    let (envoy, backends) = envoy(plane.listen).await;
    envoy.wait_for_updates(1).await;
    let connection = Connection::open(envoy.listener("outbound")).await;
    Sidecar {
        plane,
        envoy,
        connection,
        _backends: backends,
    }
}

async fn envoy(plane: SocketAddr) -> (Envoy, [Echo; 3]) {
    let backends = [
        Echo::start("bookstore").await,
        Echo::start("bookstore-v1").await,
        Echo::start("bookstore-v2").await,
    ];
    let config = shipped(
        "sidecar.yaml",
        &[
            ("weir", plane),
            (
                "bookstore.bookstore.svc.cluster.local:14001",
                backends[0].address,
            ),
            (
                "bookstore-v1.bookstore.svc.cluster.local:14001",
                backends[1].address,
            ),
            (
                "bookstore-v2.bookstore.svc.cluster.local:14001",
                backends[2].address,
            ),
        ],
    );
    (Envoy::start(&config, 1).await, backends)
}

/// A route that answers every request with 500, because its only backend does not exist.
const BROKEN: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: broken, namespace: bookstore }
spec:
  parentRefs: [{ group: '', kind: Service, name: bookstore }]
  rules: [{ backendRefs: [{ name: nowhere, port: 14001 }] }]
";

#[tokio::test(flavor = "multi_thread")]
async fn kill_switch_works_both_ways() {
    let mut sidecar = sidecar("v1-50-v2-50.yaml").await;
    let connection = &mut sidecar.connection;
    let halves = shares([("bookstore-v1", 10), ("bookstore-v2", 10)]);
    assert_eq!(connection.shares(HOST, "/", 20).await, halves);
    let mut admin = Connection::open(sidecar.envoy.admin).await;
    for (percent, expected) in [("0", shares([("bookstore", 20)])), ("100", halves)] {
        let switch = format!("/runtime_modify?weir.enabled={percent}");
        assert_eq!(admin.post("admin", &switch).await.status, 200);
        let got = connection.shares(HOST, "/", 20).await;
        assert_eq!(got, expected, "{percent} %");
    }

    // At 0 % requests bypass the filter, so they do not get its error answers. A client's routing header never has an
    // effect.
    sidecar.plane.rename_into_place("broken.yaml", BROKEN);
    sidecar.envoy.wait_for_updates(2).await;
    let claim = [(
        "x-weir-cluster",
        "bookstore-v2.bookstore.svc.cluster.local:14001",
    )];
    for (percent, status, by) in [("100", 500, ""), ("0", 200, "bookstore"), ("100", 500, "")] {
        let switch = format!("/runtime_modify?weir.enabled={percent}");
        assert_eq!(admin.post("admin", &switch).await.status, 200);
        let answer = connection.get_with(HOST, "/", &claim).await;
        assert_eq!(answer.status.as_u16(), status, "{percent} %: {answer:?}");
        assert_eq!(answer.header("identity"), by, "{percent} %");
        assert!(!answer.text().contains("x-weir-cluster"), "{answer:?}");
    }
}

/// A client's routing header never selects the backend and never reaches a backend.
#[tokio::test(flavor = "multi_thread")]
async fn client_routing_header_is_ignored() {
    let mut sidecar = sidecar("v1-100.yaml").await;
    let name = "bookstore-v2.bookstore.svc.cluster.local:14001";
    for headers in [
        &[("x-weir-cluster", name)][..],
        &[("X-Weir-Cluster", name), ("x-weir-cluster", name)][..],
    ] {
        let answer = sidecar.connection.get_with(HOST, "/", headers).await;
        assert_eq!(answer.header("identity"), "bookstore-v1");
        assert!(!answer.text().contains("x-weir-cluster"), "{answer:?}");
        let answer = sidecar.connection.get_with("other", "/", headers).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }
}

/// At 50 % Envoy skips the filter for half of the hosts, and chooses the route of each request at random. Envoy removes
/// the client's routing header before both decisions. (`tests/tests/guest.rs` has the same test for `existing.yaml`.)
#[tokio::test(flavor = "multi_thread")]
async fn partial_switch_ignores_client_header() {
    let fake = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body: json!({ "version": 1 }).to_string(),
    })
    .await;
    let wished = Echo::start("wished").await;
    for (file, listener, wish) in [
        (
            "sidecar.yaml",
            "outbound",
            "bookstore-v2.bookstore.svc.cluster.local:14001",
        ),
        ("gateway.yaml", "http", "echo-v2.kong.svc.cluster.local:80"),
        (
            "grpc.yaml",
            "outbound",
            "inventory-v2.bookstore.svc.cluster.local:50051",
        ),
    ] {
        let config = shipped(file, &[("weir", fake.address), (wish, wished.address)]);
        // Plain HTTP/1 requests are enough for this test.
        let config = config.replace("codec_type: HTTP2", "codec_type: AUTO");
        let envoy = Envoy::start(&config, 1).await;
        envoy.wait_for_updates(1).await;
        let mut admin = Connection::open(envoy.admin).await;
        let halfway = admin.post("admin", "/runtime_modify?weir.enabled=50").await;
        assert_eq!(halfway.status, 200);
        let mut connection = Connection::open(envoy.listener(listener)).await;
        for index in 0..100 {
            let host = format!("unknown-{index}");
            let claim = [("x-weir-cluster", wish)];
            let answer = connection.get_with(&host, "/", &claim).await;
            assert_eq!(answer.status, 404, "{file} {host}: {answer:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn last_configuration_serves_without_control_plane() {
    let mut sidecar = sidecar("v1-50-v2-50.yaml").await;
    sidecar.plane.kill();
    for _ in 0..20 {
        let got = sidecar.connection.shares(HOST, "/", 10).await;
        assert_eq!(got, shares([("bookstore-v1", 5), ("bookstore-v2", 5)]));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(
        sidecar
            .envoy
            .stat("wasmcustom.weir_poll_failures_total")
            .await
            > 0
    );
    assert!(sidecar.envoy.log().contains("no configuration from"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfigured_requests_take_ordinary_route() {
    let stopped = Echo::start("stopped").await;
    let address = stopped.address;
    drop(stopped);
    let (envoy, _backends) = envoy(address).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    assert_eq!(
        connection.shares(HOST, "/", 10).await,
        shares([("bookstore", 10)])
    );
    // The ordinary route of `gateway.yaml` has no cluster.
    let edge = Envoy::start(&shipped("gateway.yaml", &[("weir", address)]), 1).await;
    let mut connection = Connection::open(edge.listener("http")).await;
    assert_eq!(connection.get("kong", "/echo").await.status, 503);
    // Envoy itself answers this probe of a load balancer. The filter does not run for it.
    assert_eq!(connection.get("kong", "/healthz").await.status, 200);
}

/// An edge does not trust its clients: it corrects headers in which a client claims an address, a scheme or a path. The
/// backend gets the path that the routes matched.
#[tokio::test(flavor = "multi_thread")]
async fn edge_ignores_claims_of_clients() {
    let seen = |answer: &weir_tests::Answer, name: &str| -> Vec<String> {
        let body = answer.json();
        let headers = body["headers"].as_array().expect("headers").iter();
        let values = headers.filter(|header| header[0] == name);
        values
            .map(|header| header[1].as_str().expect("a value").to_owned())
            .collect()
    };
    let route = json!({
        "version": 1,
        "listeners": { "proxy": { "port": 80 } },
        "hosts": [{
            "hosts": { "gateway": { "ports": { "proxy": 80 } } },
            "matches": [{ "path": { "prefix": "/echo" }, "rule": "echo" }],
        }],
        "rules": { "echo": { "backends": [{
            "weight": 1, "to": { "service": { "name": "echo-v1", "namespace": "kong", "port": 80 } },
        }] } },
    });
    let echo = Echo::start("echo").await;
    for (file, document, listener, host, ports) in [
        (
            "gateway.yaml",
            route,
            "http",
            "kong",
            &["port_value: 1027"][..],
        ),
        (
            "existing.yaml",
            json!({ "version": 1 }),
            "edge",
            "bookstore.example.com",
            &["port_value: 14011", "port_value: 14012"],
        ),
    ] {
        let fake = FakePlane::start(Behaviour::Serve {
            revision: "r1".into(),
            body: document.to_string(),
        })
        .await;
        let mut config = shipped(file, &[("weir", fake.address)]);
        for port in ports {
            config = config.replace(port, &format!("port_value: {}", echo.address.port()));
        }
        let envoy = Envoy::start(&config, 1).await;
        envoy.wait_for_updates(1).await;
        let mut connection = Connection::open(envoy.listener(listener)).await;
        let claims = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-envoy-original-path", "/admin"),
            ("x-envoy-external-address", "203.0.113.9"),
        ];
        let answer = connection.get_with(host, "/echo", &claims).await;
        assert_eq!(answer.header("identity"), "echo", "{file} {answer:?}");
        // Envoy appends the client's address. For a client on loopback this is the machine's address.
        let forwarded = seen(&answer, "x-forwarded-for").join(" ");
        let (claimed, client) = forwarded.split_once(',').expect("two addresses");
        assert_eq!(claimed, "203.0.113.9", "{file}");
        assert_ne!(client, claimed, "{file}");
        assert_eq!(seen(&answer, "x-forwarded-proto"), ["http"], "{file}");
        assert_eq!(seen(&answer, "x-envoy-original-path"), [""; 0], "{file}");
        let external = seen(&answer, "x-envoy-external-address");
        assert!(
            !external.contains(&claimed.to_owned()),
            "{file} {external:?}"
        );
        for spelling in [
            "/echo/../echo/a",
            "/echo/%2e%2e/echo/a",
            "/echo//a",
            "/echo\\a",
        ] {
            let answer = connection.get(host, spelling).await;
            assert_eq!(answer.json()["path"], "/echo/a", "{file} {spelling}");
        }
        let answer = connection.get(host, "/echo/..%2fadmin").await;
        assert_eq!(answer.status, 307, "{file} {answer:?}");
        assert_eq!(answer.header("location"), "/admin", "{file} {answer:?}");
        let answer = connection
            .get_with(host, "/echo", &[("x_role", "admin")])
            .await;
        assert_eq!(answer.status, 400, "{file} {answer:?}");
    }
}

/// A Service may select other pods while a connection is open, and a connection stays at its pod.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_has_metrics_and_new_connections() {
    let route = json!({
        "version": 1,
        "listeners": { "proxy": { "port": 80 } },
        "hosts": [{
            "hosts": { "gateway": { "ports": { "proxy": 80 } } },
            "matches": [{ "path": { "prefix": "/" }, "rule": "echo" }],
        }],
        "rules": { "echo": { "backends": [{
            "weight": 1, "to": { "service": { "name": "echo-v1", "namespace": "kong", "port": 80 } },
        }] } },
    });
    let fake = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body: route.to_string(),
    })
    .await;
    let echo = Echo::start("echo").await;
    let name = "echo-v1.kong.svc.cluster.local:80";
    let clusters = [("weir", fake.address), (name, echo.address)];
    let envoy = Envoy::start(&shipped_with_admin("gateway.yaml", &clusters), 1).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("http")).await;
    for _ in 0..25 {
        assert_eq!(connection.get("kong", "/").await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_stats_are_read_only(&envoy).await;
    let mut prometheus = Connection::open(envoy.listener("stats")).await;
    let metrics = prometheus.get("pod", "/stats/prometheus").await.text();
    let value = |metric: &str| {
        let line = metrics.lines().find(|line| {
            line.starts_with(metric)
                && line.contains(&format!("cluster=\"{}\"", name.replace(':', "_")))
        });
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        value.unwrap_or_else(|| panic!("no {metric} of {name} in\n{metrics}"))
    };
    assert_eq!(value("envoy_cluster_upstream_rq_total{"), 25);
    assert!(value("envoy_cluster_upstream_cx_max_duration_reached{") >= 1);
}

/// If a backend has no cluster, Envoy answers 503, but only to requests for this backend.
#[tokio::test(flavor = "multi_thread")]
async fn missing_cluster_fails_its_own_share() {
    let files = bookstore("v1-50-v2-50.yaml");
    let files: Vec<_> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let plane = Plane::start(&files);
    let v1 = Echo::start("bookstore-v1").await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "bookbuyer" }"#;
    let bootstrap = weir_tests::Bootstrap::default()
        .listener("outbound", plugin, None)
        .cluster("weir", plane.listen)
        .cluster("bookstore-v1.bookstore.svc.cluster.local:14001", v1.address);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    let mut statuses = BTreeMap::new();
    for _ in 0..20 {
        let answer = connection.get(HOST, "/").await;
        *statuses.entry(answer.status.as_u16()).or_insert(0) += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(200, 10), (503, 10)]));
}

/// True for the parts that docs/operations.md lists in the section "Uninstall".
fn is_part_of_weir(item: &Value) -> bool {
    let is = |key: &str, values: &[&str]| item[key].as_str().is_some_and(|it| values.contains(&it));
    is("name", &["weir", "weir-upstream"])
        || is("cluster_header", &["x-weir-mirror", "x-weir-mirror-2"])
        || item["route"]["cluster_header"] == "x-weir-cluster"
        || item == "x-weir-cluster"
        || !item["static_layer"]["weir.enabled"].is_null()
}

fn without_weir(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let kept = items.into_iter().filter(|item| !is_part_of_weir(item));
            kept.map(without_weir).collect()
        }
        Value::Object(fields) => {
            let fields = fields.into_iter();
            // Without the filter, its fields in the access log are empty.
            let fields = fields.filter(|(name, _)| name != "access_log" && name != "weir");
            let fields = fields.map(|(name, value)| (name, without_weir(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}

/// Without the listed parts, no shipped configuration names a filter, header, key or cluster of Weir.
#[test]
fn uninstall_list_has_all_parts() {
    let files = [
        "envoy-config/existing.yaml",
        "envoy-config/gateway.yaml",
        "envoy-config/grpc.yaml",
        "envoy-config/kubernetes-sidecar.yaml",
        "envoy-config/sidecar.yaml",
        "demo/edge/envoy.yaml",
    ];
    for file in files {
        let text = std::fs::read_to_string(root().join(file)).expect("a configuration");
        let config: Value = serde_saphyr::from_str(&text).expect("YAML");
        let rest = without_weir(config).to_string();
        let end = |at: usize| rest.len().min(at.saturating_add(60));
        let left: Vec<&str> = rest
            .match_indices("weir")
            .map(|(at, _)| &rest[at..end(at)])
            .collect();
        assert_eq!(left, [""; 0], "{file}");
    }
}
