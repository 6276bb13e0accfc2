//! Weights change under load on a real Envoy. No request must fail, and every worker must apply the new weights.

use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample, Web, manifest};
use weir_tests::{Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;

async fn proxy(plane: &Plane, workers: usize) -> (Envoy, Web) {
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(plane.listen)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), workers).await;
    envoy.wait_for_updates(1).await;
    (envoy, web)
}

/// Checks that backends of the split answered all requests, and returns the number of requests.
fn served(samples: &[Sample]) -> usize {
    let split = |sample: &&Sample| sample.status != 200 || !["v1", "v2"].contains(&&*sample.by);
    let failed = samples.iter().find(split);
    assert!(failed.is_none(), "{failed:?}");
    samples.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_changes_under_load() {
    /// The number of changes in quick succession.
    const BURST: u64 = 1_000;
    /// The number of single changes after the burst. The test measures the delay of each single change.
    const CHANGES: usize = 100;
    const CONNECTIONS: usize = 8;
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let (envoy, _web) = proxy(&plane, 4).await;
    let load = Load::start(envoy.listener("outbound"), "web", CONNECTIONS).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for worker in 0..4 {
        let connections = format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_active");
        assert_eq!(
            envoy.stat(&connections).await,
            2,
            "connections of worker {worker}"
        );
    }

    for change in 0..BURST {
        plane.rename_into_place("web.yaml", &manifest([change % 97, 100]));
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
    let updates = envoy.stat("wasmcustom.weir_config_updates_total").await;
    let mut requests = served(&load.take());

    let mut followed = Vec::new();
    for change in 0..CHANGES {
        let (weights, now) = if change % 2 == 0 {
            ([0, 100], "v2")
        } else {
            ([100, 0], "v1")
        };
        requests += served(&load.take());
        plane.rename_into_place("web.yaml", &manifest(weights));
        let renamed = Instant::now();
        let mut since: Vec<Sample> = Vec::new();
        // Every request in `since` was sent after the change. On each connection the newest answer must come from the
        // new backend.
        let all_follow = |since: &[Sample]| {
            (0..CONNECTIONS).all(|connection| {
                let newest = since.iter().rev().find(|it| it.connection == connection);
                newest.is_some_and(|newest| newest.by == now)
            })
        };
        while !all_follow(&since) {
            assert!(
                renamed.elapsed() < Duration::from_secs(5),
                "not all connections follow change {change}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
            let samples = load.take();
            requests += served(&samples);
            since.extend(samples.into_iter().filter(|sample| sample.sent > renamed));
        }
        let follow = Instant::now();
        // Long enough to see a worker that returns to the old weights.
        tokio::time::sleep(Duration::from_millis(40)).await;
        let later = load.take();
        let back = later
            .iter()
            .find(|sample| sample.sent > follow && sample.by != now);
        assert!(
            back.is_none(),
            "a worker returned to the old weights after change {change}: {back:?}"
        );
        requests += served(&later);
        since.extend(later);
        let old = since.iter().filter(|sample| sample.by != now);
        let last = old.map(|sample| sample.sent.duration_since(renamed)).max();
        followed.push(last.unwrap_or_default());
    }
    requests += served(&load.stop().await);
    followed.sort();
    let (p50, p99) = (followed[CHANGES / 2], followed[CHANGES * 99 / 100]);
    println!(
        "{requests} requests, 0 failed; {BURST} changes in quick succession, of which Envoy applied {updates}; \
         {CHANGES} single changes, time from the rename to the last request to the old backend: \
         p50 {p50:?}, p99 {p99:?}"
    );
    assert!(
        updates > BURST / 10,
        "Envoy applied only {updates} of {BURST} changes"
    );
    assert!(p99 <= Duration::from_millis(100), "p99 {p99:?}");
    assert_eq!(envoy.stat("wasm.weir.vm_reload").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_envoy_holds_one_poll() {
    let plane = Plane::start(&[("web.yaml", &manifest([1, 1]))]);
    let (envoy, _web) = proxy(&plane, 4).await;
    for _ in 0..40 {
        assert_eq!(plane.metric("weir_polls_held").await, 1.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The control plane answered the first poll at once, and holds the second poll.
    assert_eq!(envoy.stat("cluster.weir.upstream_rq_total").await, 2);
}

/// Law 9 of ARCHITECTURE.md: a change of another split does not disturb a running sequence of picks.
#[tokio::test(flavor = "multi_thread")]
async fn other_changes_keep_a_sequence_exact() {
    let other = |weight: u64| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: other }}\nspec: {{ ports: [{{ port: 80 }}] }}\n\
             ---\napiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{ name: other }}\n\
             spec: {{ service: other, backends: [{{ service: web-v1, weight: {weight} }}, {{ service: web-v2, weight: 1 }}] }}\n"
        )
    };
    let plane = Plane::start(&[("web.yaml", &manifest([90, 10])), ("other.yaml", &other(1))]);
    let (envoy, _web) = proxy(&plane, 1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for round in 0..20 {
        let mut second = 0;
        for pick in 0..10 {
            if pick == 5 {
                plane.rename_into_place("other.yaml", &other(round + 2));
                envoy.wait_for_updates(round + 2).await;
            }
            let answer = connection.get("web", "/").await;
            second += usize::from(answer.header("identity") == "v2");
        }
        assert_eq!(second, 1, "round {round}");
    }
}
