//! The control plane is away while pods come and go.

use std::time::{Duration, Instant};

use weir_tests::fault::Load;
use weir_tests::{Connection, Envoy};

use crate::pods::{Pod, Scene, State, bootstrap, envoy, service};

/// Seconds without a control plane. `WEIR_AWAY=600` makes a long run.
fn away() -> Duration {
    let seconds = std::env::var("WEIR_AWAY").ok();
    let seconds = seconds.map(|it| it.parse().expect("WEIR_AWAY is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(8))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_goes_on_without_control_plane() {
    let mut scene = Scene::start(&["v1", "v2"]);
    let running = envoy(scene.plane.listen, 2).await;
    let load = Load::start(running.listener("outbound"), "web", 4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.plane.kill();

    // A pod of v1 is replaced while no control plane reads the manifests. The old pod stays, because Envoy cannot know
    // the new one.
    let new = Pod::start("v1");
    scene
        .plane
        .rename_into_place("v1.yaml", &service("v1", [(&new, State::Ready)]));
    let started = Instant::now();
    let config = bootstrap(scene.plane.listen);
    let fresh = Envoy::start(&config, 2).await;
    let start = started.elapsed();
    let answer = Connection::open(fresh.listener("outbound"))
        .await
        .get("web", "/")
        .await;
    assert_eq!(answer.text(), "ordinary", "{answer:?}");
    assert!(
        start < Duration::from_secs(4),
        "a new Envoy starts after {start:?}"
    );
    tokio::time::sleep(away()).await;
    let before = load.take();
    assert!(before.iter().all(|it| it.status == 200), "{before:?}");

    scene.plane.restart_with(&[]);
    let back = Instant::now();
    let mut client = Connection::open(fresh.listener("outbound")).await;
    while new.last().is_none() || client.get("web", "/").await.header("identity").is_empty() {
        assert!(
            back.elapsed() < Duration::from_secs(10),
            "the new pod gets no request\n{}",
            running.log()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let right = back.elapsed();
    drop(scene.pods.remove("v1"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = load.stop().await;
    assert!(after.iter().all(|it| it.status == 200), "{after:?}");
    println!(
        "{} requests, 0 failed; a new Envoy started in {start:?} without a control plane; everything was right {right:?} \
         after the control plane was back",
        before.len() + after.len()
    );
    assert!(right < Duration::from_secs(4), "{right:?}");
}
