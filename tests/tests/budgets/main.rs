//! One namespace is as full as its limits allow, and a hundred other namespaces are small. Changes in the small
//! namespaces must take effect within the usual time. The control plane must stay within the memory limit of its
//! Deployment. Envoy must use no more memory than docs/operations.md states.

use std::time::{Duration, Instant};

use weir_cluster::server::ADMIN;
use weir_tests::{Bootstrap, Connection, Echo, Envoy, Plane};

#[allow(dead_code, reason = "the tests in `watching` use its other functions")]
#[path = "../watching/scene.rs"]
mod scene;

mod etcd;
mod kinds;
mod objects;

use kinds::{fills, ten_thousand};
use objects::{neighbours, yaml};
use scene::{AT_ONCE, Scene, server, weights_of};

/// Memory in KiB that the full namespace may add to an Envoy with two workers.
const OF_ENVOY: u64 = 25 << 10;
/// Time until the first publication of a new replica. The API server needs most of this time, because it has just
/// started and has no caches yet.
const START: Duration = Duration::from_secs(240);

async fn weights(plane: &Plane, namespace: &str) -> Vec<u64> {
    let mut connection = Connection::open(plane.listen).await;
    let answer = connection
        .get("weir", &format!("/v1/config?namespace={namespace}"))
        .await;
    weights_of(
        &answer.json(),
        &format!("TrafficSplit/{namespace}/web:80/http"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn full_namespace_stays_within_envoy_memory() {
    for (name, objects) in fills() {
        println!("{name}:");
        full_of(&yaml(&objects)).await;
    }
}

async fn full_of(objects: &str) {
    let plane = Plane::start_in_shipped_memory(&[("neighbours.yaml", &yaml(&neighbours(1)))]);
    plane.wait_until_ready().await;
    let backend = Echo::start("v1").await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "team-7" }"#;
    let bootstrap = Bootstrap::default()
        .cluster("weir", plane.listen)
        .cluster("ordinary", backend.address)
        .listener("sidecar", plugin, Some("ordinary"));
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = envoy.process.memory();

    plane.rename_into_place("full.yaml", objects);
    let start = Instant::now();
    while plane.metric(r#"weir_problems{severity="error"}"#).await < 2.0 {
        assert!(start.elapsed() < AT_ONCE * 4, "{}", plane.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for weight in 2..5 {
        let start = Instant::now();
        plane.rename_into_place("neighbours.yaml", &yaml(&neighbours(weight)));
        while weights(&plane, "team-7").await != [90, weight] {
            assert!(start.elapsed() < AT_ONCE, "{}", plane.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("a neighbour's weight: {:?}", start.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = envoy.process.memory();
    let path = "/v1/config?namespace=team-7";
    let config = Connection::open(plane.listen).await.get("weir", path).await;
    let bytes = config.text().len();
    let rules = config.json();
    let rules = rules["rules"].as_object().expect("rules");
    let rules = rules.keys().filter(|it| it.contains("/evil/")).count();
    println!(
        "Envoy {before} KiB, {} KiB more with the full namespace; configuration {bytes} bytes, {rules} rules of the full namespace",
        after.saturating_sub(before)
    );
    plane.assert_within_shipped_memory();
    assert!(rules > 100, "{rules}");
    assert!(after < before + OF_ENVOY, "{before} KiB, {after} KiB");
    envoy.assert_no_traps().await;
}

/// Arguments for each run. The control plane watches Pods, their controllers, TrafficTargets and SMI TCPRoutes only
/// with `--policy smi`.
const POLICIES: [&[&str]; 2] = [&[], &["--policy", "smi"]];

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_objects_fit_shipped_memory() {
    let server = server();
    server.route_crds();
    for namespace in ["team-7", "evil"] {
        server.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}"
        ));
    }
    etcd::keep(&server, neighbours(1).into_iter().chain(ten_thousand()));
    let kubeconfig = server.kubeconfig(ADMIN);
    let mut server = Some(server);
    for (round, policy) in (0..).zip(POLICIES) {
        let start = Instant::now();
        let plane = Plane::of_cluster_in_shipped_memory(&kubeconfig, policy);
        let scene = Scene {
            server: server.take().expect("the API server"),
            plane,
        };
        scene.until("the first publication", START, |_| true).await;
        println!("{policy:?}: a new replica: {:?}", start.elapsed());
        for weight in (2..5).map(|it| 10 * round + it) {
            let patch = format!(
                r#"[{{"op":"replace","path":"/spec/backends/1/weight","value":{weight}}}]"#
            );
            let args = ["patch", "trafficsplit", "web", "-n", "team-7"];
            let args = args.iter().copied().chain(["--type=json", "-p", &patch]);
            let args: Vec<&str> = args.collect();
            scene.server.kubectl_client().run(&args);
            scene
                .until("a neighbour's weight", AT_ONCE, |config| {
                    weights_of(config, "TrafficSplit/team-7/web:80/http") == [90, weight]
                })
                .await;
        }
        println!("the control plane uses {} KiB", scene.plane.memory());
        scene.plane.assert_within_shipped_memory();
        server = Some(scene.server);
    }
}
