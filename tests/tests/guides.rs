//! Runs the manifests of three guides (Open Service Mesh, Kong, Linkerd) on a real Envoy with one worker. The Envoy has
//! the output of `weir bootstrap`, and no cluster by hand.

use std::process::Command;

use weir_tests::{Answer, Connection, Echo, Envoy, Plane, dist, root, shares};

fn manifest(path: &str) -> String {
    let path = root().join("tests/manifests").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns a header of the request that the backend received.
fn seen(answer: &Answer, header: &str) -> Option<String> {
    let body = answer.json();
    let headers = body["headers"].as_array().expect("headers");
    let found = headers.iter().find(|pair| pair[0] == header)?;
    Some(found[1].as_str().expect("a value").to_owned())
}

/// A control plane with the manifests of a guide, and an Envoy that has no cluster of its own but the control plane.
struct Guide {
    plane: Plane,
    envoy: Envoy,
    connection: Connection,
    _backends: Vec<Echo>,
}

/// A backend of a guide.
struct Backend {
    service: &'static str,
    /// The name of the Service's port.
    port: &'static str,
    identity: &'static str,
}

/// Starts an Envoy with the output of `weir bootstrap` for this scope, and a server for each backend.
async fn guide(
    scope: [&str; 2],
    listener: &str,
    backends: &[Backend],
    manifests: &[(&str, &str)],
) -> Guide {
    let namespace = scope[1].split('/').next().expect("a namespace");
    let mut echoes = Vec::new();
    let mut endpoints = String::new();
    for backend in backends {
        let echo = Echo::start(backend.identity).await;
        let (name, port) = (backend.service, echo.address.port());
        endpoints += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}-1, namespace: {namespace}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: IPv4\nports: [{{ name: {}, port: {port} }}]\n\
             endpoints: [{{ addresses: [{}] }}]\n",
            backend.port,
            echo.address.ip(),
        );
        echoes.push(echo);
    }
    let mut manifests = manifests.to_vec();
    manifests.push(("endpoints.yaml", &endpoints));
    let plane = Plane::start(&manifests);
    plane.wait_until_ready().await;
    let address = plane.listen.to_string();
    let mut weir = Command::new(dist("weir"));
    weir.arg("bootstrap")
        .args(scope)
        .args(["--control-plane", &address]);
    let output = weir.output().expect("weir bootstrap");
    assert!(output.status.success(), "{output:?}");
    let mut config = String::from_utf8(output.stdout).expect("a configuration");
    // The ports of the listener and of the admin interface.
    for port in ["15001", "8080", "15000"] {
        config = config.replace(&format!("port_value: {port} "), "port_value: 0 ");
    }
    let envoy = Envoy::start(&config, 1).await;
    envoy.wait_for_updates(1).await;
    let connection = Connection::open(envoy.listener(listener)).await;
    Guide {
        plane,
        envoy,
        connection,
        _backends: echoes,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn osm_traffic_split() {
    let objects = manifest("osm/bookstore.yaml");
    let split = manifest("osm/split.yaml");
    let backend = |service| Backend {
        service,
        port: "bookstore-port",
        identity: service,
    };
    let backends = ["bookstore", "bookstore-v1", "bookstore-v2"].map(backend);
    let mut guide = guide(
        ["--namespace", "default"],
        "outbound",
        &backends,
        &[("bookstore.yaml", &objects), ("split.yaml", &split)],
    )
    .await;
    let connection = &mut guide.connection;

    let got = connection
        .shares("bookstore.default.svc.cluster.local:14001", "/", 200)
        .await;
    assert_eq!(got, shares([("bookstore-v1", 180), ("bookstore-v2", 20)]));

    // Each of the five names is tried unchanged, in upper case and with a trailing dot. Each of these forms is tried
    // with and without a port.
    let names = [
        "bookstore",
        "bookstore.default",
        "bookstore.default.svc",
        "bookstore.default.svc.cluster",
        "bookstore.default.svc.cluster.local",
    ];
    let mut forms = 0;
    for name in names {
        for name in [name.to_owned(), name.to_uppercase(), format!("{name}.")] {
            for host in [name.clone(), format!("{name}:14001")] {
                let answer = connection.get(&host, "/books-bought?a=1").await;
                assert!(
                    answer.header("identity").starts_with("bookstore-v"),
                    "{host}: {answer:?}"
                );
                assert_eq!(seen(&answer, "host").as_deref(), Some(host.as_str()));
                assert_eq!(answer.json()["path"], "/books-bought?a=1");
                assert_eq!(seen(&answer, "x-weir-cluster"), None);
                forms += 1;
            }
        }
    }
    assert_eq!(forms, 30);

    for host in [
        "x.bookstore.default",
        "bookstore.other",
        "bookstore.default:80",
        "bookstore:14002",
        "bookstore.default.svc.example",
        // A direct call of one backend is not split.
        "bookstore-v1",
        "bookstore-v1.default.svc.cluster.local:14001",
    ] {
        let answer = connection.get(host, "/").await;
        assert_eq!(answer.status, 404, "{host}");
        assert_eq!(answer.text(), "", "{host}");
    }

    // Envoy puts the labels of this counter into its name.
    let rule = "rule=.=TrafficSplit/default/bookstore-split:14001/http;.";
    let picks = |backend: &str| {
        format!("wasmcustom.weir_requests_total.{rule};backend=.={backend}.default:14001;.;")
    };
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let v1 = guide.envoy.stat(&picks("bookstore-v1")).await;
    let v2 = guide.envoy.stat(&picks("bookstore-v2")).await;
    assert_eq!(
        v1 + v2,
        230,
        "{}",
        guide.envoy.ask("/stats?filter=weir_requests").await
    );
    assert_eq!(v2, 23);
}

#[tokio::test(flavor = "multi_thread")]
async fn kong_split_between_versions() {
    let backend = |service, identity| Backend {
        service,
        port: "http",
        identity,
    };
    let mut guide = guide(
        ["--gateway", "kong/kong"],
        "http",
        &[backend("echo-v1", "v1"), backend("echo-v2", "v2")],
        &[
            ("gateway.yaml", &manifest("kong/gateway.yaml")),
            ("echo.yaml", &manifest("kong/echo.yaml")),
            ("canary-route.yaml", &manifest("kong/canary-route.yaml")),
        ],
    )
    .await;
    let connection = &mut guide.connection;

    let got = connection.shares("203.0.113.10", "/echo", 10).await;
    assert_eq!(got, shares([("v1", 5), ("v2", 5)]));
    let got = connection
        .shares("anything.example:8080", "/echo/a", 10)
        .await;
    assert_eq!(got, shares([("v1", 5), ("v2", 5)]));
    // This Envoy merges slashes in the path, but not in the query.
    let answer = connection.get("kong", "/echo/a%20b//c?d=//e").await;
    assert_eq!(answer.json()["path"], "/echo/a%20b/c?d=//e");
    assert_eq!(seen(&answer, "x-weir-cluster"), None);
    for path in ["/echoes", "/", "/Echo"] {
        let answer = connection.get("kong", path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.text().starts_with("weir: no rule"),
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linkerd_traffic_shifting() {
    let app = manifest("linkerd/app.yaml");
    let shift = manifest("linkerd/split-90-10.yaml");
    let backend = |service| Backend {
        service,
        port: "http",
        identity: service,
    };
    let mut guide = guide(
        ["--namespace", "traffic-shift-demo"],
        "outbound",
        &["bb", "bb-v2"].map(backend),
        &[("app.yaml", &app), ("route.yaml", &shift)],
    )
    .await;
    let got = guide.connection.shares("bb:8080", "/", 100).await;
    assert_eq!(got, shares([("bb", 90), ("bb-v2", 10)]));

    guide
        .plane
        .rename_into_place("route.yaml", &manifest("linkerd/split-100.yaml"));
    guide.envoy.wait_for_updates(2).await;
    let got = guide.connection.shares("bb:8080", "/", 50).await;
    assert_eq!(got, shares([("bb-v2", 50)]));
}
