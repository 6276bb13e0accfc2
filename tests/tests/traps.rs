//! A VM traps while the control plane is down. Only requests in flight on this VM's worker fail. The worker restarts
//! with its configuration.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_tests::fault::{Behaviour, FakePlane, Load, Web, manifest, trapping_module};
use weir_tests::{Answer, Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;
const OLD_ENOUGH: Duration = Duration::from_millis(1700);

struct Scene {
    envoy: Envoy,
    _web: Web,
}

/// Starts an Envoy with two workers. After the Envoy has a configuration, ends the control plane.
async fn orphan(weights: [u64; 2]) -> Scene {
    let plane = Plane::start(&[("web.yaml", &manifest(weights))]);
    let fake = FakePlane::start(Behaviour::Forward(plane.listen)).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .module(trapping_module())
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    drop((fake, plane));
    // Envoy restarts a trapped VM at once if this VM is older than the backoff of 1 to 1.5 seconds.
    tokio::time::sleep(OLD_ENOUGH).await;
    Scene { envoy, _web: web }
}

async fn trap(connection: &mut Connection) -> Answer {
    connection
        .get_with("web", "/", &[("x-weir-trap", "request")])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_fails_only_in_flight_requests() {
    let scene = orphan([1, 1]).await;
    let address = scene.envoy.listener("outbound");
    let load = Load::start(address, "web", 8).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for round in 0..3 {
        load.take();
        let mut connection = Connection::open(address).await;
        let trapped = Instant::now();
        assert_eq!(trap(&mut connection).await.status, 503);
        // The next request on the same connection goes to the same worker.
        let again = connection.get("web", "/").await;
        assert_eq!(again.status, 200, "{again:?}");
        assert!(again.header("identity").starts_with('v'), "{again:?}");
        println!("round {round}: back after {:?}", trapped.elapsed());
        tokio::time::sleep(Duration::from_secs(2)).await;

        let samples = load.take();
        let (served, failed): (Vec<_>, Vec<_>) =
            samples.iter().partition(|sample| sample.status == 200);
        // The two workers share eight connections, so four of them are on this worker. Each connection has one request
        // at a time.
        let connections: BTreeSet<_> = failed.iter().map(|sample| sample.connection).collect();
        assert!(failed.len() <= 4, "{failed:#?}");
        assert_eq!(
            connections.len(),
            failed.len(),
            "one connection failed twice: {failed:#?}"
        );
        let late = trapped + Duration::from_millis(200);
        assert!(
            failed.iter().all(|sample| sample.sent < late),
            "{failed:#?}"
        );
        assert!(served.len() > 500, "{}", served.len());
        // No request took the ordinary route, because the new VM had its table before its first request.
        for backend in ["v1", "v2"] {
            let share = served.iter().filter(|sample| sample.by == backend).count();
            let half = served.len() / 2;
            // Each of the two workers has one sequence of picks before the trap and one after the trap. Each sequence
            // is off by less than one pick.
            assert!(
                share.abs_diff(half) <= 6,
                "{backend}: {share} of {}",
                served.len()
            );
        }
    }
    let reloads = scene.envoy.stat("wasm.weir.vm_reload_success").await;
    assert_eq!(reloads, 3, "{}", scene.envoy.log());
    assert_eq!(scene.envoy.stat("wasm.weir.vm_reload_failure").await, 0);
    load.stop().await;
}

/// The picks of a restarted VM follow the weights exactly.
#[tokio::test(flavor = "multi_thread")]
async fn split_is_exact_after_a_trap() {
    let scene = orphan([90, 10]).await;
    let mut connection = Connection::open(scene.envoy.listener("outbound")).await;
    for _ in 0..2 {
        trap(&mut connection).await;
        let mut second = 0;
        for _ in 0..50 {
            let answer = connection.get("web", "/").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            second += usize::from(answer.header("identity") == "v2");
        }
        assert_eq!(second, 5);
        tokio::time::sleep(OLD_ENOUGH).await;
    }
}

/// After a second trap within the backoff, Envoy waits, and answers 503 until it restarts the VM.
#[tokio::test(flavor = "multi_thread")]
async fn second_trap_recovers_within_two_seconds() {
    let scene = orphan([100, 0]).await;
    let mut connection = Connection::open(scene.envoy.listener("outbound")).await;
    trap(&mut connection).await;
    let answer = connection.get("web", "/").await;
    assert_eq!(answer.header("identity"), "v1", "{answer:?}");
    trap(&mut connection).await;
    let trapped = Instant::now();
    loop {
        let answer = connection.get("web", "/").await;
        match answer.status.as_u16() {
            503 => assert!(trapped.elapsed() < Duration::from_secs(2), "{answer:?}"),
            _ => {
                assert_eq!(answer.header("identity"), "v1", "{answer:?}");
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("back after {:?}", trapped.elapsed());
}
