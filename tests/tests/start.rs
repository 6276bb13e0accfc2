//! Tests which configuration a proxy uses after its own start and after a start of the control plane. Faults of the
//! control plane must not remove a proxy's configuration.

use std::time::{Duration, Instant};

use weir_tests::fault::{Behaviour, FakePlane, Web, document, manifest};
use weir_tests::{Bootstrap, Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;
const UPDATES: &str = "wasmcustom.weir_config_updates_total";

fn with_initial(control_plane: Option<&str>, weights: [u64; 2]) -> String {
    let mut plugin = serde_json::json!({ "namespace": "default", "initial": document(weights) });
    if let Some(cluster) = control_plane {
        plugin["control_plane"] = cluster.into();
    }
    plugin.to_string()
}

/// Returns the name of the backend that answers. If no backend answers, returns the body of the answer.
async fn ask(connection: &mut Connection) -> String {
    let answer = connection.get("web", "/").await;
    match answer.header("identity") {
        "" => answer.text(),
        backend => backend.to_owned(),
    }
}

/// Returns the first answer on each of `count` connections, one connection for each worker.
async fn first_of_each(envoy: &Envoy, count: usize) -> Vec<String> {
    let mut answers = Vec::new();
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        answers.push(ask(&mut connection).await);
        connections.push(connection);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_configuration_serves_without_control_plane() {
    let web = Web::start().await;
    // No process listens at the control plane's address, and the filter does not use it.
    let closed = "127.0.0.1:1".parse().expect("an address");
    let bootstrap = web
        .bootstrap(closed)
        .listener("outbound", &with_initial(None, [100, 0]), None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    assert_eq!(first_of_each(&envoy, 2).await, ["v1", "v1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        envoy
            .stat("wasmcustom.weir_configured.scope=.=namespace=default;.;")
            .await,
        1
    );
    assert_eq!(envoy.stat("wasmcustom.weir_poll_failures_total").await, 0);
    assert_eq!(envoy.stat("cluster.weir.upstream_cx_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_configuration_serves_until_replaced() {
    let fake = FakePlane::start(Behaviour::Hang).await;
    let web = Web::start().await;
    let plugin = with_initial(Some("weir"), [100, 0]);
    let bootstrap = web
        .bootstrap(fake.address)
        .listener("outbound", &plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v1"; 4]);
    // The initial configuration has no revision, so the poll names no revision.
    let poll = fake.wait_for_poll(0, "at all", |_| true).await;
    assert_eq!(poll.header("if-none-match"), None);
    assert_eq!(poll.header("weir-applied"), None);

    // A configuration that the filter refuses does not replace the initial configuration.
    fake.switch(Behaviour::Serve {
        revision: "bad".into(),
        body: "{}".into(),
    });
    fake.wait_for_poll(1, "with `weir-refused`", |poll| {
        poll.header("weir-refused").is_some()
    })
    .await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v1"; 4]);

    fake.switch(Behaviour::Serve {
        revision: "r1".into(),
        body: document([0, 100]).to_string(),
    });
    envoy.wait_for_updates(1).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v2"; 4]);

    // The initial configuration does not return when the control plane ends.
    drop(fake);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v2"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_configured_503_ends_with_configuration() {
    let fake = FakePlane::start(Behaviour::Hang).await;
    let web = Web::start().await;
    let plugin =
        r#"{ "control_plane": "weir", "namespace": "default", "until_configured": "503" }"#;
    let bootstrap = web
        .bootstrap(fake.address)
        .listener("outbound", plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        for host in ["web", "elsewhere"] {
            let answer = connection.get(host, "/").await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.text().starts_with("weir: "), "{answer:?}");
        }
        connections.push(connection);
    }
    assert_eq!(
        envoy
            .stat("wasmcustom.weir_configured.scope=.=namespace=default;.;")
            .await,
        0
    );
    fake.switch(Behaviour::Serve {
        revision: "r1".into(),
        body: document([100, 0]).to_string(),
    });
    envoy.wait_for_updates(1).await;
    for connection in &mut connections {
        assert_eq!(ask(connection).await, "v1");
        // The filter has a configuration without a rule for this host.
        assert_eq!(connection.get("elsewhere", "/").await.text(), "ordinary");
    }
    assert_eq!(
        envoy
            .stat("wasmcustom.weir_configured.scope=.=namespace=default;.;")
            .await,
        1
    );
}

/// A filter with an initial configuration is configured from the start.
#[tokio::test(flavor = "multi_thread")]
async fn initial_configuration_overrides_until_configured() {
    let web = Web::start().await;
    let mut plugin: serde_json::Value =
        serde_json::from_str(&with_initial(None, [100, 0])).expect("JSON");
    plugin["until_configured"] = "503".into();
    let bootstrap = Bootstrap::default()
        .cluster("web-v1.default.svc.cluster.local:80", web.v1.address)
        .listener("outbound", &plugin.to_string(), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    assert_eq!(first_of_each(&envoy, 1).await, ["v1"]);
}

async fn served(plane: &Plane) -> (Envoy, Web) {
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(plane.listen)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    (envoy, web)
}

/// Checks for three seconds that the configuration does not change. Within this time the control plane accepts that a
/// file is gone.
async fn unchanged(envoy: &Envoy, what: &str) {
    let start = Instant::now();
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(ask(&mut connection).await, "v1", "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(envoy.stat(UPDATES).await, 1, "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_folder_keeps_the_configuration() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let (envoy, _web) = served(&plane).await;

    let path = plane.path("web.yaml");
    std::fs::remove_file(&path).expect("removed");
    unchanged(&envoy, "emptied").await;
    assert!(
        plane.log().contains("has no objects any more"),
        "{}",
        plane.log()
    );

    plane.rename_into_place("web.yaml", &manifest([100, 0]));
    let away = plane.folder().with_extension("away");
    std::fs::rename(plane.folder(), &away).expect("renamed");
    unchanged(&envoy, "gone").await;
    std::fs::rename(&away, plane.folder()).expect("renamed");
    let log = plane.log();
    assert!(
        log.contains("cannot be read") && log.contains("stay in force"),
        "{log}"
    );

    // A mount point without its volume is empty.
    std::fs::rename(plane.folder(), &away).expect("renamed");
    std::fs::create_dir(plane.folder()).expect("a folder");
    unchanged(&envoy, "unmounted").await;
    std::fs::remove_dir(plane.folder()).expect("still empty");
    std::fs::rename(&away, plane.folder()).expect("renamed");

    // The proxy follows later changes.
    plane.rename_into_place("web.yaml", &manifest([0, 100]));
    envoy.wait_for_updates(2).await;
    assert_eq!(first_of_each(&envoy, 2).await, ["v2"; 2]);
}

/// A control plane that starts with a broken file publishes nothing. Proxies keep their configuration, and a new proxy
/// uses the ordinary route.
#[tokio::test(flavor = "multi_thread")]
async fn broken_file_at_start_publishes_nothing() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let fake = FakePlane::start(Behaviour::Forward(plane.listen)).await;
    let web = Web::start().await;
    let config = web
        .bootstrap(fake.address)
        .listener("outbound", PLUGIN, None)
        .build();
    let old = Envoy::start(&config, 2).await;
    old.wait_for_updates(1).await;

    drop(plane);
    let next = Plane::start(&[
        ("web.yaml", &manifest([0, 100])),
        ("broken.yaml", "kind: [\n"),
    ]);
    let before = fake.polls().len();
    fake.switch(Behaviour::Forward(next.listen));
    let new = Envoy::start(&config, 2).await;
    unchanged(&old, "with a broken file").await;
    assert_eq!(first_of_each(&new, 2).await, ["ordinary"; 2]);
    // The control plane holds polls until it can read all files.
    let since: Vec<_> = fake.polls().split_off(before);
    assert!(
        since.len() >= 2 && since.iter().all(|poll| poll.status != Some(200)),
        "{since:#?}"
    );

    next.rename_into_place("broken.yaml", "# mended\n");
    for (envoy, updates) in [(&old, 2), (&new, 1)] {
        envoy.wait_for_updates(updates).await;
        assert_eq!(first_of_each(envoy, 2).await, ["v2"; 2]);
    }
}
