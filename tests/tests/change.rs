//! Weights that change under load, on a real Envoy: nobody notices, and everybody follows.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_tests::{Bootstrap, Connection, Echo, Envoy, Plane};

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ ports: [{{ port: 80 }}] }}\n---\n"
    )
}

fn split(root: &str, weights: [u64; 2]) -> String {
    let mut text = String::new();
    for name in [root.to_owned(), format!("{root}-v1"), format!("{root}-v2")] {
        text += &service(&name);
    }
    let [v1, v2] = weights;
    text + &format!(
        "apiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: {{ name: {root} }}\nspec:\n  service: {root}\n  backends:\n  - {{ service: {root}-v1, weight: {v1} }}\n  - {{ service: {root}-v2, weight: {v2} }}\n"
    )
}

async fn proxy(plane: &Plane, roots: &[&str], workers: usize) -> (Envoy, Vec<Echo>) {
    let plugin = r#"{ "control_plane": "weir", "namespace": "default" }"#;
    let mut bootstrap = Bootstrap::default()
        .listener("outbound", plugin, None)
        .cluster("weir", plane.listen);
    let mut backends = Vec::new();
    for root in roots {
        for version in ["v1", "v2"] {
            let echo = Echo::start(version).await;
            let cluster = format!("{root}-{version}.default.svc.cluster.local:80");
            bootstrap = bootstrap.cluster(&cluster, echo.address);
            backends.push(echo);
        }
    }
    let envoy = Envoy::start(&bootstrap.build(), workers).await;
    envoy.wait_for_updates(1).await;
    (envoy, backends)
}

/// When a request was sent, and which backend answered it.
type Sample = (Instant, String);

/// What a client has seen, readable while it goes on.
type Samples = Arc<Mutex<Vec<Sample>>>;

/// One client on one connection, a request a millisecond at the most, until its task is aborted.
async fn load(address: SocketAddr, samples: Samples) {
    let mut connection = Connection::open(address).await;
    loop {
        let sent = Instant::now();
        let answer = connection.get("web", "/").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sample = (sent, answer.header("identity").to_owned());
        samples.lock().expect("samples").push(sample);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_changes_under_load() {
    /// As fast as files can be renamed, and then one by one with the time that each takes.
    const BURST: u64 = 1_000;
    const CHANGES: usize = 100;
    let plane = Plane::start(&[("web.yaml", &split("web", [100, 0]))]);
    let (envoy, _backends) = proxy(&plane, &["web"], 4).await;
    let address = envoy.listener("outbound");
    let seen: Vec<Samples> = (0..8).map(|_| Samples::default()).collect();
    let clients = seen
        .iter()
        .map(|samples| tokio::spawn(load(address, samples.clone())));
    let clients: Vec<_> = clients.collect();
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
        plane.rename_into_place("web.yaml", &split("web", [change % 97, 100]));
        tokio::time::sleep(Duration::from_millis(8)).await;
    }
    let updates = envoy.stat("wasmcustom.weir_config_updates_total").await;

    let mut followed = Vec::new();
    for change in 0..CHANGES {
        let (weights, now) = if change % 2 == 0 {
            ([0, 100], "v2")
        } else {
            ([100, 0], "v1")
        };
        plane.rename_into_place("web.yaml", &split("web", weights));
        let renamed = Instant::now();
        // All have followed when each client's newest answer, to a request sent since, is the new one.
        let all_follow = || {
            seen.iter().all(|samples| {
                let samples = samples.lock().expect("samples");
                samples
                    .last()
                    .is_some_and(|(sent, by)| *sent > renamed && by == now)
            })
        };
        while !all_follow() {
            assert!(
                renamed.elapsed() < Duration::from_secs(5),
                "not all follow change {change}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Long enough to see one that would go back.
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert!(all_follow(), "a worker went back on change {change}");
        let mut last = Duration::ZERO;
        for samples in &seen {
            let samples = samples.lock().expect("samples");
            let since = samples.iter().rev().take_while(|(sent, _)| *sent > renamed);
            let old = since
                .filter(|(_, by)| by != now)
                .map(|(sent, _)| *sent - renamed);
            last = last.max(old.max().unwrap_or_default());
        }
        followed.push(last);
    }
    for client in clients {
        assert!(
            !client.is_finished(),
            "a request failed: {:?}",
            client.await
        );
        client.abort();
    }
    followed.sort();
    let requests: usize = seen
        .iter()
        .map(|it| it.lock().expect("samples").len())
        .sum();
    let (p50, p99) = (followed[CHANGES / 2], followed[CHANGES * 99 / 100]);
    println!(
        "{requests} requests, 0 failed; {BURST} changes in a burst, of which {updates} were put in force; \
         {CHANGES} changes, from the rename to the last request that the old backend got: p50 {p50:?}, \
         p99 {p99:?}"
    );
    assert!(
        updates > BURST / 10,
        "only {updates} of {BURST} changes were put in force"
    );
    assert!(p99 <= Duration::from_millis(100), "p99 {p99:?}");
    assert_eq!(envoy.stat("wasm.weir.vm_reload").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_envoy_holds_one_poll() {
    let plane = Plane::start(&[("web.yaml", &split("web", [1, 1]))]);
    let (envoy, _backends) = proxy(&plane, &["web"], 4).await;
    for _ in 0..40 {
        assert_eq!(plane.metric("weir_polls_held").await, 1.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The first, which was answered at once, and the held one.
    assert_eq!(envoy.stat("cluster.weir.upstream_rq_total").await, 2);
}

/// Law 9: a change elsewhere in the middle of a sequence leaves it exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_elsewhere_leaves_a_sequence_going_on() {
    let plane = Plane::start(&[
        ("web.yaml", &split("web", [90, 10])),
        ("other.yaml", &split("other", [1, 1])),
    ]);
    let (envoy, _backends) = proxy(&plane, &["web", "other"], 1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for round in 0..20 {
        let mut second = 0;
        for pick in 0..10 {
            if pick == 5 {
                plane.rename_into_place("other.yaml", &split("other", [round + 2, 1]));
                envoy.wait_for_updates(round + 2).await;
            }
            let answer = connection.get("web", "/").await;
            second += usize::from(answer.header("identity") == "v2");
        }
        assert_eq!(second, 1, "round {round}");
    }
}
