//! Runs the manifests of three guides (Open Service Mesh, Kong, Linkerd) on a real Envoy with one worker.

use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy, Plane, root, shares};

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

struct Guide {
    plane: Plane,
    envoy: Envoy,
    connection: Connection,
    _backends: Vec<Echo>,
}

/// Starts an Envoy for clients in `namespace`, with a cluster and a server for each `SERVICE:PORT` of `backends`.
async fn sidecar(namespace: &str, backends: &[&str], manifests: &[(&str, &str)]) -> Guide {
    let plane = Plane::start(manifests);
    let plugin = serde_json::json!({ "control_plane": "weir", "namespace": namespace });
    let mut bootstrap = Bootstrap::default()
        .listener("outbound", &plugin.to_string(), None)
        .cluster("weir", plane.listen);
    let mut echoes = Vec::new();
    for backend in backends {
        let (service, port) = backend.split_once(':').expect("SERVICE:PORT");
        let echo = Echo::start(service).await;
        let cluster = format!("{service}.{namespace}.svc.cluster.local:{port}");
        bootstrap = bootstrap.cluster(&cluster, echo.address);
        echoes.push(echo);
    }
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    envoy.wait_for_updates(1).await;
    let connection = Connection::open(envoy.listener("outbound")).await;
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
    let mut guide = sidecar(
        "default",
        &[
            "bookstore:14001",
            "bookstore-v1:14001",
            "bookstore-v2:14001",
        ],
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
        assert_eq!(answer.text(), "ordinary", "{host}");
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
    let plane = Plane::start(&[
        ("gateway.yaml", &manifest("kong/gateway.yaml")),
        ("echo.yaml", &manifest("kong/echo.yaml")),
        ("canary-route.yaml", &manifest("kong/canary-route.yaml")),
    ]);
    let (v1, v2) = (Echo::start("v1").await, Echo::start("v2").await);
    // `envoy-config/gateway.yaml` with the ports of this test.
    let shipped = weir_tests::shipped(
        "gateway.yaml",
        &[
            ("weir", plane.listen),
            ("echo-v1.kong.svc.cluster.local:80", v1.address),
            ("echo-v2.kong.svc.cluster.local:80", v2.address),
        ],
    );
    let envoy = Envoy::start(&shipped, 1).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("http")).await;

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
    let mut guide = sidecar(
        "traffic-shift-demo",
        &["bb:8080", "bb-v2:8080"],
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
