//! Replaces the pods of a Deployment under load, from an Envoy with the output of `weir bootstrap`. The cluster has
//! Weir from `deploy/weir`, and Kubernetes writes the EndpointSlices. This test measures time, so it runs alone.

mod shop_of_pods;
mod slice_watch;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use weir_cluster::Images;
use weir_tests::Connection;
use weir_tests::fault::{Load, Sample};

#[allow(dead_code, reason = "`kubernetes_guides` uses its other functions")]
#[path = "../kubernetes_guides/installed.rs"]
mod installed;

use installed::{Installed, wait};
use shop_of_pods::{client, configuration, split, version};
use slice_watch::SliceWatch;

const SPACE: &str = "rollouts";
const HOST: &str = "shop.rollouts";
const CONNECTIONS: usize = 8;
const DURATION: Duration = Duration::from_secs(60);
/// The time from the event of an EndpointSlice until no request begins that goes to a pod that is not ready.
const LATEST: Duration = Duration::from_millis(50);

/// Measures how late the machine wakes a thread.
struct Lateness {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Lateness {
    fn start() -> Lateness {
        let is_over = Arc::<AtomicBool>::default();
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut latest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let due = Instant::now() + Duration::from_millis(1);
                std::thread::sleep(Duration::from_millis(1));
                latest = latest.max(due.elapsed());
            }
            latest
        });
        Lateness { is_over, thread }
    }

    fn stop(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("a time")
    }
}

/// The time of an event of an EndpointSlice, and the time of the first or last request of its pod.
struct Pair {
    event: Instant,
    request: Instant,
}

impl Pair {
    fn each(events: &BTreeMap<String, Instant>, requests: &BTreeMap<&str, Instant>) -> Vec<Pair> {
        let pairs = events.iter().filter_map(|(pod, event)| {
            let request = *requests.get(&**pod)?;
            Some(Pair {
                event: *event,
                request,
            })
        });
        pairs.collect()
    }

    /// Returns the longest time from an event to its request.
    fn after_event(pairs: &[Pair]) -> Duration {
        let times = pairs
            .iter()
            .map(|it| it.request.saturating_duration_since(it.event));
        times.max().unwrap_or_default()
    }

    /// Returns the longest time from a request to its event.
    fn before_event(pairs: &[Pair]) -> Duration {
        let times = pairs
            .iter()
            .map(|it| it.event.saturating_duration_since(it.request));
        times.max().unwrap_or_default()
    }
}

#[test]
fn deployment_rollouts_fail_no_request() {
    let weir = Installed::start(Images::default());
    weir.run(&["create", "namespace", SPACE]);
    for manifest in [version("v1"), version("v2"), split()] {
        weir.cluster.apply(&manifest.to_string());
    }
    weir.envoy(SPACE, &configuration());
    weir.cluster.apply(&client().to_string());
    for deployment in ["v1", "v2"] {
        weir.available(SPACE, deployment);
    }
    weir.run(&[
        "wait",
        "pod/client",
        "-n",
        SPACE,
        "--for=condition=Ready",
        "--timeout=90s",
    ]);
    let ip = weir.run(&[
        "get",
        "pod",
        "client",
        "-n",
        SPACE,
        "-o",
        "jsonpath={.status.podIP}",
    ]);
    let ip: IpAddr = ip.parse().expect("an address");
    let envoy = weir.cluster.forward(ip, 15001);
    let runtime = Runtime::new().expect("a runtime");
    wait("an answer of a pod", || {
        let answer = async { Connection::open(envoy).await.get(HOST, "/").await };
        runtime.block_on(answer).status == 200
    });

    let watch = SliceWatch::start(&weir, "v1");
    wait("the EndpointSlices", || {
        !watch.readiness.lock().expect("times").ready.is_empty()
    });
    let lateness = Lateness::start();
    let load = runtime.block_on(Load::start(envoy, HOST, CONNECTIONS));
    let start = Instant::now();
    let mut rollouts = 0;
    while start.elapsed() < DURATION || rollouts < 5 {
        weir.run(&["rollout", "restart", "deployment/v1", "-n", SPACE]);
        weir.available(SPACE, "v1");
        rollouts += 1;
    }
    // Until the last old pods have ended.
    std::thread::sleep(Duration::from_secs(6));
    let samples = runtime.block_on(load.stop());
    let noise = lateness.stop();

    let is_failed =
        |it: &&Sample| it.status != 200 || !(it.by.starts_with("v1-") || it.by.starts_with("v2-"));
    let failed: Vec<_> = samples.iter().filter(is_failed).collect();
    let readiness = watch.readiness.lock().expect("times");
    let mut first: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut last: BTreeMap<&str, Instant> = BTreeMap::new();
    for sample in &samples {
        let first = first.entry(&sample.by).or_insert(sample.sent);
        *first = sample.sent.min(*first);
        let last = last.entry(&sample.by).or_insert(sample.sent);
        *last = sample.sent.max(*last);
    }
    let mut new = Pair::each(&readiness.ready, &first);
    new.retain(|it| it.event > start);
    let ended = Pair::each(&readiness.ended, &last);
    let latest = Pair::after_event(&ended);
    println!(
        "{rollouts} rollouts, {} requests, {} failed. {} pods ended: the last request began at most {latest:?} after the \
         event of the EndpointSlice. {} new pods: the first request began at most {:?} after the event, and at most {:?} \
         before this test read the event. A sleeping thread woke up at most {noise:?} too late",
        samples.len(),
        failed.len(),
        ended.len(),
        new.len(),
        Pair::after_event(&new),
        Pair::before_event(&new),
    );
    assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(20)]);
    assert!(ended.len() >= 2 * rollouts, "{} pods ended", ended.len());
    assert!(latest <= LATEST + noise, "{latest:?}");
}
