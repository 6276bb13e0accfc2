//! What is served from the first request on, and what never takes it away again.

use std::time::{Duration, Instant};

use weir_tests::fault::{Liar, Manner, Web, document, manifest};
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

/// Which backend answers; the body where none does.
async fn ask(connection: &mut Connection) -> String {
    let answer = connection.get("web", "/").await;
    match answer.header("identity") {
        "" => answer.text(),
        backend => backend.to_owned(),
    }
}

/// The first answer of every worker, `count` of them.
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
async fn the_initial_configuration_is_all_there_is() {
    let web = Web::start().await;
    // Nobody listens at the address of the control plane, and the filter does not know it.
    let nobody = "127.0.0.1:1".parse().expect("an address");
    let bootstrap = web
        .bootstrap(nobody)
        .listener("outbound", &with_initial(None, [100, 0]), None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    assert_eq!(first_of_each(&envoy, 2).await, ["v1", "v1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(envoy.stat("wasmcustom.weir_configured").await, 1);
    assert_eq!(envoy.stat("wasmcustom.weir_poll_failures_total").await, 0);
    assert_eq!(envoy.stat("cluster.weir.upstream_cx_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_initial_configuration_serves_until_a_newer_one_comes() {
    let liar = Liar::start(Manner::Hang).await;
    let web = Web::start().await;
    let plugin = with_initial(Some("weir"), [100, 0]);
    let bootstrap = web
        .bootstrap(liar.address)
        .listener("outbound", &plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v1"; 4]);
    // It has no revision: whatever the control plane has is newer.
    let poll = liar.wait_for_poll(0, "at all", |_| true).await;
    assert_eq!(poll.header("if-none-match"), None);
    assert_eq!(poll.header("weir-applied"), None);

    // A document that cannot be put in force leaves it.
    liar.switch(Manner::Serve {
        revision: "bad".into(),
        body: "{}".into(),
    });
    liar.wait_for_poll(1, "with a complaint", |poll| {
        poll.header("weir-refused").is_some()
    })
    .await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v1"; 4]);

    liar.switch(Manner::Serve {
        revision: "r1".into(),
        body: document([0, 100]).to_string(),
    });
    envoy.wait_for_updates(1).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v2"; 4]);

    // And it does not come back with a control plane that goes.
    drop(liar);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(first_of_each(&envoy, 4).await, ["v2"; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn until_configured_503_is_over_when_the_control_plane_is_there() {
    let liar = Liar::start(Manner::Hang).await;
    let web = Web::start().await;
    let plugin =
        r#"{ "control_plane": "weir", "namespace": "default", "until_configured": "503" }"#;
    let bootstrap = web
        .bootstrap(liar.address)
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
    assert_eq!(envoy.stat("wasmcustom.weir_configured").await, 0);
    liar.switch(Manner::Serve {
        revision: "r1".into(),
        body: document([100, 0]).to_string(),
    });
    envoy.wait_for_updates(1).await;
    for connection in &mut connections {
        assert_eq!(ask(connection).await, "v1");
        // Configured, and no rule for the host.
        assert_eq!(connection.get("elsewhere", "/").await.text(), "ordinary");
    }
    assert_eq!(envoy.stat("wasmcustom.weir_configured").await, 1);
}

/// An initial configuration is enough to be configured.
#[tokio::test(flavor = "multi_thread")]
async fn until_configured_503_is_nothing_beside_an_initial_configuration() {
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

/// Asks for a while, longer than the control plane takes to believe that a file is gone.
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
async fn a_folder_that_goes_away_takes_nothing_with_it() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let (envoy, _web) = served(&plane).await;

    let path = plane.path("web.yaml");
    std::fs::remove_file(&path).expect("removed");
    unchanged(&envoy, "emptied").await;
    assert!(
        plane.log().contains("holds no objects any more"),
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

    // As a mount point is without its volume.
    std::fs::rename(plane.folder(), &away).expect("renamed");
    std::fs::create_dir(plane.folder()).expect("a folder");
    unchanged(&envoy, "unmounted").await;
    std::fs::remove_dir(plane.folder()).expect("still empty");
    std::fs::rename(&away, plane.folder()).expect("renamed");

    // What comes back is followed.
    plane.rename_into_place("web.yaml", &manifest([0, 100]));
    envoy.wait_for_updates(2).await;
    assert_eq!(first_of_each(&envoy, 2).await, ["v2"; 2]);
}

/// A control plane that starts beside a broken file publishes no part: proxies keep what its predecessor
/// served, and one that is new passes requests on.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_a_broken_file_publishes_no_part() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let liar = Liar::start(Manner::Honest(plane.listen)).await;
    let web = Web::start().await;
    let config = web
        .bootstrap(liar.address)
        .listener("outbound", PLUGIN, None)
        .build();
    let old = Envoy::start(&config, 2).await;
    old.wait_for_updates(1).await;

    drop(plane);
    let next = Plane::start(&[
        ("web.yaml", &manifest([0, 100])),
        ("broken.yaml", "kind: [\n"),
    ]);
    let before = liar.polls().len();
    liar.switch(Manner::Honest(next.listen));
    let new = Envoy::start(&config, 2).await;
    unchanged(&old, "beside a broken file").await;
    assert_eq!(first_of_each(&new, 2).await, ["ordinary"; 2]);
    // Polls are held until there is something whole.
    let since: Vec<_> = liar.polls().split_off(before);
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
