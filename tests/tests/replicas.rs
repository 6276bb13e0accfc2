//! Tests several replicas of the control plane with one cluster. Proxies move between replicas without failures, and
//! never return to older configurations.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::json;
use tokio::sync::oneshot;
use weir_cluster::ApiServer;
use weir_cluster::server::{ADMIN, client, write_kubeconfig};
use weir_tests::fault::{Load, Web, manifest};
use weir_tests::{Connection, Envoy, Plane, Relay};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;
const CLIENTS: usize = 8;
const FAILURES: &str = "wasmcustom.weir_poll_failures_total";

/// An API server with the split of `web`.
fn server() -> ApiServer {
    let server = ApiServer::start();
    let crds = weir_tests::root().join("deploy/crds");
    tokio::task::block_in_place(|| {
        server.crds(&[&crds]);
        server.apply(&manifest([50, 50]));
    });
    server
}

async fn replica(kubeconfig: &Path) -> Plane {
    let plane = Plane::of_cluster(kubeconfig, &[]);
    plane.wait_until_ready().await;
    plane
}

async fn proxy(plane: SocketAddr) -> (Envoy, Web) {
    let web = Web::start().await;
    let bootstrap = web.bootstrap(plane).listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    (envoy, web)
}

/// True if a Service would route to this replica.
async fn is_ready(plane: &Plane) -> bool {
    let mut admin = Connection::open(plane.admin).await;
    admin.get("admin", "/readyz").await.status == 200
}

async fn splits(kubeconfig: &Path) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("split.smi-spec.io", "v1alpha4", "TrafficSplit");
    let client = client(kubeconfig).await.expect("a client");
    Api::default_namespaced_with(client, &ApiResource::from_gvk(&kind))
}

/// Gives the split of `web` these weights.
async fn put(splits: &Api<DynamicObject>, [v1, v2]: [u64; 2]) {
    let backends = json!([
        { "service": "web-v1", "weight": v1 },
        { "service": "web-v2", "weight": v2 },
    ]);
    let patch = Patch::Merge(json!({ "spec": { "backends": backends } }));
    let put = splits.patch("web", &PatchParams::default(), &patch).await;
    put.expect("the API server accepts the patch");
}

/// Changes the split every second until `stopped`, and counts the finished changes.
async fn change_each_second(
    splits: Api<DynamicObject>,
    changes: Arc<AtomicU64>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut each = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            _ = each.tick() => {}
        }
        put(&splits, [changes.load(Relaxed) + 1, 100]).await;
        changes.fetch_add(1, Relaxed);
    }
}

/// Waits until each client has got 20 answers in a row from v1, and returns the time.
async fn all_follow(load: &Load) -> Instant {
    let mut in_a_row = [0; CLIENTS];
    for _ in 0..500 {
        for sample in load.take() {
            let row = &mut in_a_row[sample.connection];
            *row = if sample.by == "v1" { *row + 1 } else { 0 };
        }
        if in_a_row.iter().all(|row| *row >= 20) {
            return Instant::now();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not all clients get v1: {in_a_row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_restart_is_not_noticed() {
    let server = server();
    let admin = server.kubeconfig(ADMIN);
    let mut replicas = vec![replica(&admin).await, replica(&admin).await];
    let addresses = |replicas: &[Plane]| replicas.iter().map(|it| it.listen).collect::<Vec<_>>();
    let service = Relay::start(&addresses(&replicas)).await;
    // At first each replica has one proxy.
    let (first, _web) = proxy(service.address).await;
    let (second, _other_web) = proxy(service.address).await;
    let loads = [
        Load::start(first.listener("outbound"), "web", 4).await,
        Load::start(second.listener("outbound"), "web", 4).await,
    ];

    let splits = splits(&admin).await;
    let changes = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = oneshot::channel();
    let changing = change_each_second(splits.clone(), changes.clone(), stopped);
    let changing = tokio::spawn(changing);
    for _ in 0..2 {
        // A new replica starts and receives traffic. After that an old replica stops.
        replicas.push(replica(&admin).await);
        service.lead_to(&addresses(&replicas));
        let old = replicas.remove(0);
        let before = changes.load(Relaxed);
        old.terminate();
        let terminated = Instant::now();
        let mut is_led_to = true;
        while !old.has_ended() {
            // When a replica becomes not ready, a Service removes its endpoint within a second.
            if is_led_to && terminated.elapsed() > Duration::from_millis(800) {
                assert!(
                    !is_ready(&old).await,
                    "the terminated replica is still ready"
                );
                service.lead_to(&addresses(&replicas));
                is_led_to = false;
            }
            assert!(
                terminated.elapsed() < Duration::from_secs(10),
                "{}",
                old.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let changed = changes.load(Relaxed) - before;
        let took = terminated.elapsed();
        println!("the replica ended after {took:?}, {changed} changes");
        assert!(changed >= 3, "{changed} changes while the replica ended");
        assert!(
            terminated.elapsed() > Duration::from_secs(3),
            "the replica stopped before the endpoints changed"
        );
    }
    stop.send(()).expect("the changes go on");
    changing.await.expect("all changes were accepted");
    put(&splits, [0, 100]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let follow = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (load, envoy) in loads.into_iter().zip([&first, &second]) {
        let samples = load.stop().await;
        let failed = samples
            .iter()
            .find(|it| it.status != 200 || it.by == "ordinary");
        assert!(failed.is_none(), "{failed:?}");
        let late = samples.iter().find(|it| it.sent > follow && it.by != "v2");
        assert!(
            late.is_none(),
            "v2 did not answer after the last change: {late:?}\n{}",
            envoy.log()
        );
        println!("{} requests, 0 failed; {changes:?} changes", samples.len());
        assert_eq!(
            envoy.stat(FAILURES).await,
            0,
            "polls failed:\n{}",
            envoy.log()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lagging_replica_never_reverts_proxies() {
    let server = server();
    let address: SocketAddr = server
        .url()
        .trim_start_matches("https://")
        .parse()
        .expect("an address");
    let line = Relay::start(&[address]).await;
    let folder = tempfile::TempDir::new().expect("a folder");
    std::fs::copy(server.ca(), folder.path().join("ca.crt")).expect("ca.crt");
    let slow = write_kubeconfig(folder.path(), &format!("https://{}", line.address), ADMIN);
    let ahead = replica(&server.kubeconfig(ADMIN)).await;
    let behind = replica(&slow).await;
    let service = Relay::start(&[ahead.listen, behind.listen]).await;
    let (envoy, _web) = proxy(service.address).await;
    let load = Load::start(envoy.listener("outbound"), "web", CLIENTS).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = load.take();
    assert!(before.iter().any(|it| it.by == "v2") && before.iter().all(|it| it.status == 200));

    let updates = envoy.stat("wasmcustom.weir_config_updates_total").await;
    line.stall(true);
    tokio::task::block_in_place(|| server.apply(&manifest([50, 0])));
    service.lead_to(&[ahead.listen]);
    service.cut();
    envoy.wait_for_updates(updates + 1).await;
    let followed = all_follow(&load).await;

    // The proxy's polls alternate between both replicas.
    service.lead_to(&[ahead.listen, behind.listen]);
    let to_behind = service.taken(behind.listen);
    let visits = || service.taken(behind.listen) - to_behind;
    // Each cut is a failed poll for the filter, and the pause after a failure grows up to two seconds.
    let is_over = || followed.elapsed() > Duration::from_secs(10) && visits() >= 3;
    while !is_over() && followed.elapsed() < Duration::from_secs(60) {
        service.cut();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let mut stranger = Connection::open(behind.listen).await;
        let old = stranger.get("weir", "/v1/config?namespace=default").await;
        let weights = &old.text().matches("\"weight\":50").count();
        assert_eq!(*weights, 2, "the replica does not lag: {}", old.text());
    }
    let visits = visits();
    assert!(visits >= 3, "{visits} polls at the lagging replica");
    let updates = envoy.stat("wasmcustom.weir_config_updates_total").await;

    // While only the lagging replica serves polls, the proxy keeps its configuration. It follows the next change.
    service.lead_to(&[behind.listen]);
    service.cut();
    let samples = load.take();
    assert!(samples.len() > 1000, "{}", samples.len());
    let back = samples
        .iter()
        .find(|it| it.sent > followed && it.by != "v1");
    assert!(
        back.is_none(),
        "{back:?} after {followed:?}\n{}",
        envoy.log()
    );
    line.stall(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let back = load.take().into_iter().find(|it| it.by != "v1");
    assert!(back.is_none(), "{back:?}");
    tokio::task::block_in_place(|| server.apply(&manifest([0, 50])));
    envoy.wait_for_updates(updates + 1).await;
    load.take();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let samples = load.stop().await;
    let wrong = samples.iter().find(|it| it.by != "v2");
    assert!(
        wrong.is_none() && !samples.is_empty(),
        "{wrong:?}\n{}",
        envoy.log()
    );
    println!("{visits} polls at the lagging replica");
}

/// Copies the folder of etcd's data.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(copied.expect("cp").success(), "{}", from.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_follow_a_restored_cluster() {
    let mut server = server();
    let plane = replica(&server.kubeconfig(ADMIN)).await;
    let (envoy, _web) = proxy(plane.listen).await;
    let [data, backup] = ["etcd", "backup"].map(|name| server.folder().join(name));
    let apply = |server: &ApiServer, weights| {
        tokio::task::block_in_place(|| server.apply(&manifest(weights)));
    };
    let restart = |server: &mut ApiServer, from: &Path, to: &Path| {
        tokio::task::block_in_place(|| {
            server.kill_apiserver("KILL");
            server.kill_etcd("TERM");
            copy(from, to);
            server.start_etcd();
            server.start_apiserver();
        });
    };
    apply(&server, [0, 100]);
    restart(&mut server, &data, &backup);
    for weight in 1..10 {
        apply(&server, [100, weight]);
    }
    apply(&server, [100, 0]);
    let load = Load::start(envoy.listener("outbound"), "web", CLIENTS).await;
    all_follow(&load).await;
    restart(&mut server, &backup, &data);
    let restored = Instant::now();
    load.take();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let samples = load.take();
        assert!(samples.iter().all(|it| it.status == 200));
        if samples.iter().all(|it| it.by == "v2") {
            break;
        }
        assert!(
            restored.elapsed() < Duration::from_secs(60),
            "{}\n{}",
            plane.log(),
            envoy.log()
        );
    }
    println!("followed after {:?}", restored.elapsed());
    // The proxy follows later changes as usual.
    apply(&server, [100, 0]);
    all_follow(&load).await;
}
