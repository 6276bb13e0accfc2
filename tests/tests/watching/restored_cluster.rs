//! Tests with a cluster that is restored from a backup, so that its resource versions are lower than before. Also tests
//! with a replica that has not yet read the newest objects.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir::publish::Publisher;
use weir::source::kubernetes::Cluster;
use weir_cluster::server::client;
use weir_core::api::smi::traffic_target::Policy;
use weir_tests::Plane;

use crate::proxy::{Mode, Proxy};
use crate::scene::{SHOP, Scene, rules, server, split, weights};

const A_MINUTE: Duration = Duration::from_secs(60);

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_cluster_is_followed() {
    let server = server();
    server.apply(SHOP);
    server.apply(&split("web", 1));
    // The proxy will hide that a connection ended. So the watches stay open, but they receive nothing.
    let proxy = Proxy::start(&server).await;
    let hidden = proxy.kubeconfig(&server);
    let hidden = Plane::of_cluster(&hidden, &[]);
    let mut scene = Scene::of(server, &[]).await;
    let (store, backup) = ("etcd", "backup");
    let at = |scene: &Scene, name: &str| scene.server.folder().join(name);
    let stop = |scene: &mut Scene| {
        scene.server.kill_apiserver("KILL");
        scene.server.kill_etcd("KILL");
    };
    let start = |scene: &mut Scene| {
        scene.server.start_etcd();
        scene.server.start_apiserver();
    };
    stop(&mut scene);
    copy(&at(&scene, store), &at(&scene, backup));
    start(&mut scene);
    for weight in 2..12 {
        scene.follows(weight).await;
    }
    proxy.set(Mode::Hide);
    stop(&mut scene);
    std::fs::remove_dir_all(at(&scene, store)).expect("removed");
    copy(&at(&scene, backup), &at(&scene, store));
    start(&mut scene);
    scene
        .until("the backup", A_MINUTE, |config| weights(config) == [50, 1])
        .await;
    scene.plane = hidden;
    scene
        .until("the backup, seen late", A_MINUTE, |config| {
            weights(config) == [50, 1]
        })
        .await;
    scene.follows(3).await;

    // The cluster is empty and has no CRDs.
    stop(&mut scene);
    std::fs::remove_dir_all(at(&scene, store)).expect("removed");
    start(&mut scene);
    scene
        .until("an empty cluster", A_MINUTE, |config| rules(config) == 0)
        .await;
    drop(proxy);
}

/// A watch without events receives the cluster's newest resource version within a minute, and at once if a client needs
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn lagging_replica_detects_and_catches_up() {
    let server = server();
    server.apply(SHOP);
    let proxy = Proxy::start(&server).await;
    let client = client(&proxy.kubeconfig(&server)).await.expect("a client");
    let cluster = Cluster::of(client, &[], Policy::Unstated);
    let versions = cluster.versions();
    let publisher = Publisher::new(std::sync::Arc::default(), Policy::Unstated);
    let (mut current, watermark) = (publisher.subscribe(), publisher.watermark());
    tokio::spawn(cluster.feed(publisher));
    current.changed().await.expect("a publication");

    // The change is of a kind that Weir does not watch.
    let touch = |name: &str| server.kubectl(&["create", "configmap", name]);
    let catches_up = async |limit: Duration| {
        let newest = versions.newest().await.expect("an answer");
        let start = Instant::now();
        while !watermark.borrow().covers(&newest) {
            let own = watermark.borrow().clone();
            assert!(start.elapsed() < limit, "{own} does not cover {newest}");
            sleep(Duration::from_millis(20)).await;
        }
        start.elapsed()
    };
    for round in 0..3 {
        touch(&format!("round-{round}"));
        println!(
            "caught up after {:?}",
            catches_up(Duration::from_secs(3)).await
        );
    }

    proxy.set(Mode::Hold);
    let before = watermark.borrow().clone();
    touch("held");
    server.apply(&split("web", 1));
    assert_eq!(versions.newest().await, None);
    assert_eq!(*watermark.borrow(), before);
    proxy.set(Mode::Pass);
    catches_up(Duration::from_secs(5)).await;
    assert!(!before.covers(&watermark.borrow()));
}
