//! A fourth version of a Service is created, gets a weight, loses it, and is deleted, again and again under load.

use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample};

use crate::pods::{Pod, Scene, State, envoy, service, split};

const ROUNDS: usize = 20;
const OLD: [(&str, u64); 3] = [("v1", 1), ("v2", 1), ("v3", 1)];
const NEW: [(&str, u64); 4] = [("v1", 1), ("v2", 1), ("v3", 1), ("v4", 3)];
/// The time within which every worker must follow a change of weights.
const FOLLOWED: Duration = Duration::from_secs(1);

/// Returns the answers that v4 gave too early or too late, and the answers that came from no version.
fn wrong(samples: &[Sample], since: Instant, until: Option<Instant>) -> Vec<&Sample> {
    let is_wrong = |sample: &&Sample| match &*sample.by {
        "v1" | "v2" | "v3" if sample.status == 200 => false,
        "v4" if sample.status == 200 => {
            sample.sent + FOLLOWED < since || until.is_some_and(|until| sample.sent > until)
        }
        _ => true,
    };
    samples.iter().filter(is_wrong).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fourth_version_comes_and_goes() {
    let scene = Scene::start(&["v1", "v2", "v3"]);
    let envoy = envoy(scene.plane.listen, 4).await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;
    let mut requests = 0;
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        let pod = Pod::start("v4");
        let plane = &scene.plane;
        plane.rename_into_place("v4.yaml", &service("v4", [(&pod, State::Ready)]));
        let weighted = Instant::now();
        plane.rename_into_place("split.yaml", &split(&NEW));
        let mut samples = Vec::new();
        while pod.last().is_none() {
            assert!(
                weighted.elapsed() < Duration::from_secs(5),
                "v4 gets no request in round {round}: {:?}\n{}",
                samples.last(),
                envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        delays.push(weighted.elapsed());
        tokio::time::sleep(Duration::from_millis(300)).await;
        samples.extend(load.take());
        plane.rename_into_place("split.yaml", &split(&OLD));
        // Every second time the Service is deleted together with its weight.
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let deleted = Instant::now();
        std::fs::remove_file(plane.path("v4.yaml")).expect("the manifest");
        tokio::time::sleep(FOLLOWED).await;
        // The grace period of the pod is over.
        drop(pod);
        tokio::time::sleep(Duration::from_millis(300)).await;
        samples.extend(load.take());
        let wrong = wrong(&samples, weighted, Some(deleted + FOLLOWED));
        assert!(
            wrong.is_empty(),
            "round {round}: {} of {} answers are wrong, {:?} after the weight and {:?} after the end: {:?}\n{}",
            wrong.len(),
            samples.len(),
            wrong[0].sent.checked_duration_since(weighted),
            wrong[0].sent.checked_duration_since(deleted),
            wrong[0],
            envoy.log()
        );
        requests += samples.len();
    }
    requests += load.stop().await.len();
    delays.sort();
    println!(
        "{requests} requests, 0 failed and 0 at a wrong version; {ROUNDS} rounds; from the weight to the first request \
         of a new cluster: p50 {:?}, max {:?}",
        delays[ROUNDS / 2],
        delays[ROUNDS - 1]
    );
    envoy.assert_no_traps().await;
}
