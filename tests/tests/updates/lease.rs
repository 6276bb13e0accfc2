//! A change of weights shortly before or after an update is in force as fast as any other change.

use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample, manifest};

use crate::scene::{Scene, State, alone};

const CONNECTIONS: usize = 4;

/// Changes the weights, and returns the time from the change to the last request to the old backend.
async fn change(scene: &Scene, load: &Load, to_second: bool) -> Duration {
    let (weights, now) = if to_second {
        ([0, 100], "v2")
    } else {
        ([100, 0], "v1")
    };
    load.take();
    scene
        .plane
        .rename_into_place("web.yaml", &manifest(weights));
    let renamed = Instant::now();
    let mut since: Vec<Sample> = Vec::new();
    let follows = |since: &[Sample], connection| {
        let newest = since.iter().rev().find(|it| it.connection == connection);
        newest.is_some_and(|newest| newest.by == now)
    };
    while !(0..CONNECTIONS).all(|connection| follows(&since, connection)) {
        assert!(
            renamed.elapsed() < Duration::from_secs(5),
            "{now}: {}",
            scene.envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
        since.extend(
            load.take()
                .into_iter()
                .filter(|sample| sample.sent > renamed),
        );
    }
    let old = since.iter().filter(|sample| sample.by != now);
    let last = old.map(|sample| sample.sent.duration_since(renamed)).max();
    last.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_near_update_is_fast() {
    let _turn = alone().await;
    const LIMIT: Duration = Duration::from_millis(150);
    let mut scene = Scene::start([100, 0], 2, 1).await;
    let load = Load::start(scene.addresses[0], "web", CONNECTIONS).await;
    let mut to_second = false;
    let mut slowest = Duration::ZERO;
    let mut late = Vec::new();
    // A replaced listener ends after its drain time.
    let pauses = [0, 5, 20, 50, 100, 200, 400, 700, 990, 1_000, 1_010, 1_300];
    for round in 0..2 {
        for (index, pause) in pauses.into_iter().enumerate() {
            let state = scene.state();
            let update = State {
                discovered: state.discovered + 1,
                direct: state.direct + (round + index as u64) % 2,
                ..state
            };
            scene.update(update);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            to_second = !to_second;
            let time = change(&scene, &load, to_second).await;
            slowest = slowest.max(time);
            if time > LIMIT {
                late.push(format!("{time:?} after {update:?} and {pause} ms"));
            }
        }
    }
    for sample in load.stop().await {
        assert_eq!(sample.status, 200, "{sample:?}");
    }
    println!("24 changes near an update, slowest {slowest:?}");
    assert!(late.is_empty(), "{late:#?}");
}

/// When Envoy ends, each VM leaves the fleet and notifies the other VMs. The threads of these VMs may have ended
/// already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_ends_without_crash() {
    let _turn = alone().await;
    for round in 0..3 {
        let mut scene = Scene::start([1, 1], 4, 1).await;
        let state = scene.state();
        scene.update(State {
            direct: 1,
            discovered: 1,
            ..state
        });
        tokio::time::sleep(Duration::from_millis(200 * round)).await;
        scene.envoy.process.terminate();
        let success = scene.envoy.process.wait_for_success();
        assert!(success, "round {round}: {}", scene.envoy.log());
    }
}
