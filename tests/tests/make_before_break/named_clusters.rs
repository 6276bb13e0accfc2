//! What thousands of Services cost a proxy whose scope names twenty of them, in comparison with twenty clusters by hand.

use std::fmt::Write;
use std::time::{Duration, Instant};

use weir_tests::{Bootstrap, Connection, Envoy, Plane};

use crate::pods::{Pod, bootstrap};

/// The splits, each with two backends. No other Service is named.
const SPLITS: usize = 10;
const BY_HAND: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;

/// Returns this number of Services, the first of which are named by splits. With `pods` each Service has an
/// EndpointSlice with this pod.
fn manifests(services: usize, pod: Option<&Pod>) -> String {
    let mut text = String::new();
    for number in 0..services {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: s{number} }}\n\
             spec: {{ selector: {{ app: s{number} }}, ports: [{{ name: http, port: 80 }}] }}\n"
        );
        if let Some(pod) = pod {
            let _ = write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{ name: s{number}, labels: {{ kubernetes.io/service-name: s{number} }} }}\n\
                 addressType: IPv4\nports: [{{ name: http, port: {}, protocol: TCP }}]\n\
                 endpoints: [{{ addresses: [127.0.0.1] }}]\n",
                pod.address.port()
            );
        }
    }
    for split in 0..SPLITS {
        let [root, first, second] = [split, 2 * split, 2 * split + 1];
        let _ = write!(
            text,
            "---\napiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{ name: split{split} }}\n\
             spec: {{ service: s{root}, backends: [{{ service: s{first}, weight: 1 }}, {{ service: s{second}, weight: 1 }}] }}\n"
        );
    }
    text
}

struct Cost {
    start: Duration,
    /// KiB.
    envoy: u64,
    /// KiB.
    plane: u64,
}

/// Starts Envoy, and measures when the first split request succeeds.
async fn cost(plane: &Plane, config: &str) -> (Cost, Envoy) {
    let start = Instant::now();
    let envoy = Envoy::start(config, 4).await;
    loop {
        let mut client = Connection::open(envoy.listener("outbound")).await;
        let answer = client.get("s9", "/").await;
        if answer.header("identity") == "pod" {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{answer:?}\n{}",
            envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cost = Cost {
        start: start.elapsed(),
        envoy: envoy.memory(),
        plane: plane.memory(),
    };
    (cost, envoy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_pays_for_named_services() {
    let pod = Pod::start("pod");
    for services in [1_000, 5_000] {
        let plane = Plane::start(&[("all.yaml", &manifests(services, None))]);
        let mut by_hand = Bootstrap::default()
            .cluster("weir", plane.listen)
            .listener("outbound", BY_HAND, None);
        for number in 0..2 * SPLITS {
            let name = format!("s{number}.default.svc.cluster.local:80");
            by_hand = by_hand.cluster(&name, pod.address);
        }
        let (by_hand, _envoy) = cost(&plane, &by_hand.build()).await;
        let plane = Plane::start(&[("all.yaml", &manifests(services, Some(&pod)))]);
        let (streamed, envoy) = cost(&plane, &bootstrap(plane.listen)).await;
        let clusters = envoy.stat("cluster_manager.active_clusters").await;
        println!(
            "{services} Services, 20 named: Envoy {} MiB by hand, {} MiB with {clusters} clusters by stream; start {:?} \
             and {:?}; control plane {} MiB without and {} MiB with endpoints",
            by_hand.envoy >> 10,
            streamed.envoy >> 10,
            by_hand.start,
            streamed.start,
            by_hand.plane >> 10,
            streamed.plane >> 10,
        );
        // The control plane has a cluster, too.
        assert_eq!(clusters, 2 * SPLITS as u64 + 1);
        assert!(streamed.envoy < by_hand.envoy + (12 << 10));
        assert!(streamed.start < by_hand.start + Duration::from_secs(2));
        // The manifests with EndpointSlices are twice as long, and the memory of their parser stays with the process.
        assert!(streamed.plane * 10 < by_hand.plane * 15);
    }
}
