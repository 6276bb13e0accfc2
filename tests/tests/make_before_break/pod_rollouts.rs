//! The pods of a backend are replaced one by one under load.

use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample};

use crate::pods::{Pod, Scene, State, envoy, service};

const ROLLOUTS: usize = 100;
const PODS: usize = 2;

/// Returns the answers that did not come from a pod of v1 or v2.
fn failed(samples: &[Sample]) -> Vec<&Sample> {
    let is_failed = |it: &&Sample| it.status != 200 || !["v1", "v2"].contains(&&*it.by);
    samples.iter().filter(is_failed).collect()
}

/// Returns the value below which 99 of 100 values are.
fn p99(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_rollouts_fail_no_request() {
    let scene = Scene::start(&["v1", "v2"]);
    let plane = &scene.plane;
    let write = |pods: &[(&Pod, State)]| {
        plane.rename_into_place("v1.yaml", &service("v1", pods.iter().copied()));
    };
    let envoy = envoy(plane.listen, 4).await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;
    let mut pods: Vec<Pod> = (0..PODS).map(|_| Pod::start("v1")).collect();
    write(&[(&pods[0], State::Ready), (&pods[1], State::Ready)]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let mut requests = 0;
    for _ in 0..ROLLOUTS * PODS {
        let new = Pod::start("v1");
        let told = Instant::now();
        write(&[
            (&pods[0], State::Ready),
            (&pods[1], State::Ready),
            (&new, State::Ready),
        ]);
        while new.last().is_none() {
            assert!(
                told.elapsed() < Duration::from_secs(5),
                "a new pod gets no request\n{}",
                envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        added.push(told.elapsed());
        let old = pods.remove(0);
        let told = Instant::now();
        write(&[
            (&old, State::Terminating),
            (&pods[0], State::Ready),
            (&new, State::Ready),
        ]);
        // The grace period.
        tokio::time::sleep(Duration::from_millis(150)).await;
        let late = old.last().map(|last| last.saturating_duration_since(told));
        removed.push(late.unwrap_or_default());
        write(&[(&pods[0], State::Ready), (&new, State::Ready)]);
        drop(old);
        pods.push(new);
        let samples = load.take();
        let failed = failed(&samples);
        assert!(failed.is_empty(), "{failed:?}\n{}", envoy.log());
        requests += samples.len();
    }
    let rest = load.stop().await;
    assert!(failed(&rest).is_empty(), "{rest:?}");
    let (added, removed) = (p99(added), p99(removed));
    println!(
        "{} requests, 0 failed; {ROLLOUTS} rollouts of {PODS} pods; from the edit of a manifest to the first request of \
         a new pod: p99 {added:?}; to the last request of an old pod: p99 {removed:?}",
        requests + rest.len()
    );
    // The time includes the read of the folder. A busy machine may be slow.
    assert!(removed < Duration::from_millis(150), "{removed:?}");
    envoy.assert_no_traps().await;
}
