//! A soak test: load on four workers and one change each second, for a minute or for the time that `scripts/soak` sets.
//! No request fails, and no process needs more and more memory.

use std::time::{Duration, Instant};

use weir_tests::fault::{Load, Sample, Web, manifest};
use weir_tests::{Envoy, Plane};

/// The memory of both processes at one time, in KiB.
struct Reading {
    envoy: u64,
    plane: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_and_nothing_grows() {
    let seconds = std::env::var("WEIR_SOAK_SECONDS").ok();
    let seconds: u64 = seconds.map_or(60, |text| text.parse().expect("WEIR_SOAK_SECONDS"));
    let plane = Plane::start(&[("web.yaml", &manifest([50, 50]))]);
    let web = Web::start().await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "default" }"#;
    let bootstrap = web
        .bootstrap(plane.listen)
        .listener("outbound", plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;

    let (mut requests, mut readings) = (0, Vec::new());
    let start = Instant::now();
    for second in 1..=seconds {
        plane.rename_into_place("web.yaml", &manifest([second % 101, 100 - second % 101]));
        tokio::time::sleep_until((start + Duration::from_secs(second)).into()).await;
        let samples = load.take();
        let failed =
            |sample: &&Sample| sample.status != 200 || !["v1", "v2"].contains(&&*sample.by);
        let failed = samples.iter().find(failed);
        assert!(
            failed.is_none(),
            "after {second} s: {failed:?}\n{}",
            envoy.log()
        );
        requests += samples.len();
        readings.push(Reading {
            envoy: envoy.process.memory(),
            plane: plane.memory(),
        });
    }
    load.stop().await;

    let updates = envoy.stat("wasmcustom.weir_config_updates_total").await;
    for failure in ["weir_config_refused_total", "weir_poll_failures_total"] {
        assert_eq!(
            envoy.stat(&format!("wasmcustom.{failure}")).await,
            0,
            "{failure}"
        );
    }
    for failure in ["vm_reload", "vm_reload_failure", "vm_reload_backoff"] {
        assert_eq!(
            envoy.stat(&format!("wasm.weir.{failure}")).await,
            0,
            "{failure}"
        );
    }
    assert_eq!(
        plane.metric(r#"weir_problems{severity="error"}"#).await,
        0.0
    );
    // Ignore the first quarter, while caches and pools fill.
    let settled = &readings[readings.len() / 4];
    let end = &readings[readings.len() - 1];
    println!(
        "{seconds} s, {requests} requests, 0 failed; {updates} configurations; memory (RSS, KiB) after a quarter \
         and at the end: Envoy {} and {}, weir {} and {}",
        settled.envoy, end.envoy, settled.plane, end.plane
    );
    assert!(updates + 2 >= seconds, "{updates} updates in {seconds} s");
    for (what, before, after) in [
        ("Envoy", settled.envoy, end.envoy),
        ("weir", settled.plane, end.plane),
    ] {
        assert!(
            after < before + before / 20 + 4_096,
            "{what} grew from {before} to {after} KiB"
        );
    }
}
