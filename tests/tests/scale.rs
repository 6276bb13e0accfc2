//! Measures the memory and the delay of a control plane with five thousand splits. This test has its own binary and
//! runs alone, because other tests would change the measured times.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_cluster::images::unpack;
use weir_cluster::server::ADMIN;
use weir_tests::{Plane, dist};

#[allow(dead_code, reason = "the tests in `watching` use its other functions")]
#[path = "watching/scene.rs"]
mod scene;

use scene::{AT_ONCE, Scene, rules, server};

const SPLITS: usize = 5_000;
const SERVICES: usize = 15_000;
/// The default limit of a namespace is too small for this test.
const ARGUMENTS: [&str; 2] = ["--namespace-limit", "8Mi"];
/// The memory limit in KiB. The measured value is an eighth lower. It contains 13 MiB of the program's file, which doubled
/// when the program learned Envoy's protocol for clusters.
const MEMORY: u64 = 96 << 10;

/// Returns the key in etcd and the object of a Service, as the API server stores them.
fn service(number: usize) -> (String, Value) {
    let name = format!("service-{number}");
    let address = format!("10.96.{}.{}", number / 250, number % 250);
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default", "uid": uid(number), "creationTimestamp": "2026-01-31T12:00:00Z",
            "labels": { "app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(400) },
        },
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "selector": { "app.kubernetes.io/name": name, "version": "v1" }, "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "ports": [
                { "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" },
                { "name": "metrics", "port": 9090, "targetPort": 9090, "protocol": "TCP" },
            ],
        },
        "status": { "loadBalancer": {} },
    });
    (format!("/registry/services/specs/default/{name}"), object)
}

fn split(number: usize) -> (String, Value) {
    let name = format!("split-{number}");
    let service = |plus: usize| format!("service-{}", 3 * number + plus);
    let conditions = ["Accepted", "ResolvedRefs", "weir.dev/Live"].map(|kind| {
        json!({
            "type": kind, "status": "True", "reason": kind, "observedGeneration": 1,
            "lastTransitionTime": "2026-01-31T12:00:00Z", "message": "as it should be, on 3 of 3 proxies",
        })
    });
    let object = json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {
            "name": name, "namespace": "default", "uid": uid(SERVICES + number), "generation": 1,
            "creationTimestamp": "2026-01-31T12:00:00Z",
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "x".repeat(400) },
        },
        "spec": {
            "service": service(0),
            "backends": [{ "service": service(1), "weight": 90 }, { "service": service(2), "weight": 10 }],
        },
        "status": { "conditions": conditions },
    });
    let key = format!("/registry/split.smi-spec.io/trafficsplits/default/{name}");
    (key, object)
}

fn uid(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_splits_need_little_memory() {
    let server = server();
    server.keep(&(0..SERVICES).map(service).collect::<Vec<_>>());
    server.keep(&[split(0)]);
    // Run the program of the image, because a build with another allocator needs another amount of memory.
    let store = TempDir::new().expect("a folder");
    let (image, _) = unpack(&dist("weir-image.tar"), store.path()).expect("the image");
    let program = image.join("weir");
    let kubeconfig = server.kubeconfig(ADMIN);
    let plane = Plane::by_program(&program, &kubeconfig, &ARGUMENTS);
    let mut scene = Scene { server, plane };
    scene.until("the services", AT_ONCE, |_| true).await;
    scene
        .server
        .keep(&(0..SPLITS).map(split).collect::<Vec<_>>());
    let put = Instant::now();
    // This request ends only after the API server has read all splits from etcd.
    let path = "/apis/split.smi-spec.io/v1alpha4/trafficsplits?limit=1";
    scene.server.kubectl(&["get", "--raw", path]);
    println!("the API server: {:?}", put.elapsed());
    let start = Instant::now();
    // Read metrics instead of the large configuration, because parsing it would disturb the measurement.
    let splits = r#"weir_objects{kind="TrafficSplit"}"#;
    while scene.metric(splits).await < SPLITS as f64 {
        assert!(start.elapsed() < AT_ONCE, "{}", scene.plane.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each split has two ports, so it has two rules. The metric counts a split before its rules are served.
    let all = 2 * SPLITS;
    let left = AT_ONCE.saturating_sub(start.elapsed());
    scene
        .until("every split", left, |config| rules(config) == all)
        .await;
    println!("every split: {:?}", start.elapsed());
    let path = "/spec/backends/1/weight";
    for weight in 20..40 {
        let patch = format!(r#"[{{"op":"replace","path":"{path}","value":{weight}}}]"#);
        let args = [
            "patch",
            "trafficsplit",
            "split-17",
            "--type=json",
            "-p",
            &patch,
        ];
        scene.server.kubectl(&args);
    }
    scene
        .until("the last weight", AT_ONCE, |config| {
            config["rules"]["TrafficSplit/default/split-17:80/http"]["backends"][1]["weight"] == 39
        })
        .await;
    let grown = scene.plane.memory();
    // Start a new replica, which has to read all objects at once.
    let start = Instant::now();
    scene.plane = Plane::by_program(&program, &kubeconfig, &ARGUMENTS);
    scene
        .until("a new replica", AT_ONCE, |config| rules(config) == all)
        .await;
    println!("a new replica: {:?}", start.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let fresh = scene.plane.memory();
    println!("{grown} KiB after all changes, {fresh} KiB in a new replica");
    assert!(grown < MEMORY && fresh < MEMORY, "{grown} KiB, {fresh} KiB");
}
