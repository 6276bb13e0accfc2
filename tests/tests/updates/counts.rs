//! Every pick is counted, even if a root context, a listener or a VM ends.

use std::time::{Duration, Instant};

use weir_tests::Connection;

use crate::scene::{Clients, Scene, State, alone};

const RELOADS: &str = "extension_config_discovery.http_filter.weir.config_reload";

/// A small generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Waits until all picks are counted. Panics if this takes longer than the drain of a listener and some ticks.
async fn assert_all_counted(scene: &Scene, context: &str) {
    let received = scene.received();
    let start = Instant::now();
    loop {
        let counted = scene.counted().await;
        if counted == received {
            return;
        }
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{context}: counted {counted:?}, received {received:?}\n{}",
            scene.envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_lose_no_count() {
    let _turn = alone().await;
    const SEQUENCES: usize = 50;
    const UPDATES: usize = 40;
    let seed = std::env::var("WEIR_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a time after 1970").as_secs()
    });
    println!("WEIR_SEED={seed}");
    let mut random = Random(seed);
    let mut scene = Scene::start([70, 30], 2, 1).await;
    for sequence in 0..SEQUENCES {
        let clients = Clients::start(&scene.addresses, 2);
        for _ in 0..UPDATES {
            let state = scene.state();
            let next = match random.below(8) {
                0..=2 => State {
                    discovered: random.below(5),
                    ..state
                },
                3 | 4 => State {
                    direct: random.below(5),
                    ..state
                },
                5 => State {
                    has_direct: !state.has_direct,
                    ..state
                },
                6 => State {
                    discovered: random.below(5),
                    direct: random.below(5),
                    ..state
                },
                _ => State {
                    has_direct: true,
                    direct: random.below(1_000),
                    ..state
                },
            };
            scene.update(next);
            tokio::time::sleep(Duration::from_millis(5 + random.below(20))).await;
        }
        clients.stop().await;
        assert_all_counted(&scene, &format!("seed {seed}, sequence {sequence}")).await;
    }
    let [v1, v2] = scene.received();
    let updates = scene.envoy.stat("listener_manager.listener_modified").await;
    let reloads = scene.envoy.stat(RELOADS).await;
    println!(
        "{v1} + {v2} requests, all counted; {updates} listeners replaced, {reloads} filters replaced"
    );
    assert!(v1 + v2 > 10_000, "{v1} + {v2} requests");
    assert!(
        updates > 100 && reloads > 100,
        "{updates} listeners, {reloads} filters"
    );
    scene.envoy.assert_no_traps().await;
}

/// The VMs of a `vm_id` end with their last listener. Envoy deletes a counter when no VM has it, so VMs with another
/// `vm_id` keep the counters.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_vms_lose_no_count() {
    let _turn = alone().await;
    let mut scene = Scene::start([70, 30], 2, 0).await;
    let with_own_vms = State {
        has_own_vms: true,
        ..scene.state()
    };
    scene.update(with_own_vms);
    let updates = "wasmcustom.weir_config_updates_total";
    scene.envoy.wait_for_stat(updates, 2).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let clients = Clients::start(&scene.addresses, 2);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let requests = clients.stop().await;
    assert!(requests > 100, "{requests} requests");
    scene.update(State {
        has_direct: false,
        ..with_own_vms
    });
    assert_all_counted(&scene, "the VMs of direct are gone").await;
}

/// A new plugin configuration continues the sequence of a rule, so every ten picks have the share of each backend.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn update_continues_the_sequence() {
    let _turn = alone().await;
    let mut scene = Scene::start([90, 10], 1, 1).await;
    let mut connection = Connection::open(scene.addresses[0]).await;
    for round in 0..20 {
        let mut second = 0;
        for pick in 0..10 {
            if pick == round % 10 {
                let state = scene.state();
                scene.update(State {
                    discovered: state.discovered + 1,
                    ..state
                });
                scene.envoy.wait_for_stat(RELOADS, round + 2).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let answer = connection.get("web", "/").await;
            second += usize::from(answer.header("identity") == "v2");
        }
        assert_eq!(second, 1, "round {round}");
    }
}
