//! The requests of this test make the filter run many large regular expressions, on a real Envoy. No request may block
//! its worker thread for long. So the filter answers 431 if the expressions need too many steps.

use std::time::Duration;

use serde_json::json;
use weir_tests::{Bootstrap, Connection, Envoy};

/// As many expressions as 160 objects with 16 expressions each.
const EXPRESSIONS: usize = 2_560;
/// Limit for the CPU time of the fastest of several equal requests. The filter stops after about a tenth of a second,
/// but a busy machine is slower.
const MOST: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn expensive_request_is_refused_quickly() {
    let matches = (0..EXPRESSIONS).map(|number| {
        let path = json!({ "regex": format!("/(?:[ab]?[ab]?){{100}}x{number}") });
        json!({ "path": path, "rule": "heavy" })
    });
    let simple = (0..1_000).map(|number| {
        let path = json!({ "regex": format!("/[ab]*x{number}") });
        json!({ "path": path, "rule": "heavy" })
    });
    let document = json!({
        "version": 1,
        "listeners": { "http": { "port": 80 } },
        "hosts": [
            { "hosts": { "gateway": { "ports": { "http": 80 }, "hostname": "heavy.example" } }, "matches": matches.collect::<Vec<_>>() },
            { "hosts": { "gateway": { "ports": { "http": 80 }, "hostname": "many.example" } }, "matches": simple.collect::<Vec<_>>() },
            {
                "hosts": { "gateway": { "ports": { "http": 80 }, "hostname": "long.example" } },
                "matches": [{ "path": { "regex": "/(?:[ab]*a[ab]{400}c)*x" }, "rule": "heavy" }],
            },
            { "hosts": { "gateway": { "ports": { "http": 80 }, "hostname": "light.example" } }, "matches": [{ "rule": "heavy" }] },
        ],
        "rules": { "heavy": { "backends": [{ "weight": 1, "to": { "status": 501 } }] } },
    });
    let plugin = json!({ "gateway": "default/edge", "initial": document }).to_string();
    let bootstrap = Bootstrap::default().listener("edge", &plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let mut connection = Connection::open(envoy.listener("edge")).await;
    let light = connection.get("light.example", "/").await;
    assert_eq!(light.status, 501, "{light:?}");
    let memory = envoy.memory();
    let path = format!("/{}", "aab".repeat(15));
    let mut times = Vec::new();
    for _ in 0..5 {
        let start = envoy.cpu();
        let heavy = connection.get("heavy.example", &path).await;
        times.push(envoy.cpu().saturating_sub(start));
        assert_eq!(heavy.status, 431, "{heavy:?}");
    }
    let grown = envoy.memory().saturating_sub(memory) >> 10;
    println!("CPU time {times:?}, {grown} MiB more memory");
    assert!(times.iter().min() < Some(&MOST), "{times:?}");
    assert!(grown < 40, "{grown} MiB");
    // `long.example` has one large expression, and `many.example` has a thousand small expressions. Each host gets a
    // long path that the filter accepts, and a longer path that the filter refuses.
    let mut noise = 1u32;
    let mut letter = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if noise >> 31 == 0 { 'a' } else { 'b' }
    };
    for (host, length, expected) in [
        ("long.example", 27_000, 200),
        ("long.example", 40_000, 431),
        ("many.example", 36_000, 200),
        ("many.example", 40_000, 431),
    ] {
        let letters = (0..length).map(|_| letter());
        let path: String = std::iter::once('/').chain(letters).collect();
        let mut times = Vec::new();
        for _ in 0..3 {
            let start = envoy.cpu();
            let answer = connection.get(host, &path).await;
            times.push(envoy.cpu().saturating_sub(start));
            assert_eq!(answer.status, expected, "{host} {length}");
        }
        println!("{host}, {length} bytes: CPU time {times:?}");
        assert!(times.iter().min() < Some(&MOST), "{host}: {times:?}");
    }
    envoy.assert_no_traps().await;
}
