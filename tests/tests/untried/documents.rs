//! Sends harmful configurations ("documents"), as a compromised replica of the control plane could. Documents have no
//! signature, so the filter installs every valid document. No document makes the filter trap. If a document is invalid,
//! the filter keeps the last valid document.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::fault::{Behaviour, FakePlane, Web, document};
use weir_tests::{Connection, Envoy};

fn serve(revision: &str, body: String) -> Behaviour {
    Behaviour::Serve {
        revision: revision.into(),
        body,
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut document = document([1, 0]);
    change(&mut document);
    document.to_string()
}

fn harmful() -> Vec<String> {
    let backend = |document: &mut Value, key: &str, value: Value| {
        document["rules"]["web"]["backends"][0][key] = value;
    };
    let filters = |value: Value| changed(|document| document["rules"]["web"]["filters"] = value);
    let regex = |text: &str| {
        let path = json!({ "regex": text });
        changed(|document| {
            document["hosts"][0]["matches"] = json!([{ "path": path, "rule": "web" }])
        })
    };
    let set = |name: &str, value: &str| {
        filters(json!({ "request_headers": { "set": [{ "name": name, "value": value }] } }))
    };
    vec![
        changed(|document| backend(document, "weight", json!(u64::MAX))),
        changed(|document| backend(document, "weight", json!(-1))),
        changed(|document| backend(document, "to", json!({ "status": 99 }))),
        changed(|document| backend(document, "to", json!({ "status": 65_535 }))),
        changed(|document| {
            backend(
                document,
                "to",
                json!({ "service": { "name": "\r\n", "namespace": "", "port": 0 } }),
            )
        }),
        changed(|document| document["rules"] = json!({})),
        changed(|document| document["hosts"][0]["matches"][0]["rule"] = json!("nowhere")),
        changed(|document| document["unknown"] = json!({ "deep": [[[[]]]] })),
        changed(|document| document["rules"]["web"]["unknown"] = json!(1)),
        set("x-weir-cluster", "elsewhere"),
        set(":path", "/../\r\nx: y"),
        set(":method", "CONNECT"),
        set("x", "a\r\nhost: evil\u{0}"),
        set("transfer-encoding", "chunked"),
        filters(json!({ "redirect": { "status": 99 } })),
        regex("((((a{100}){100}){100}){100})"),
        regex(&"(".repeat(10_000)),
        regex("(?:[ab]?[ab]?){100}x"),
        changed(|document| {
            let hosts = (0..50_000).map(|n| json!({ "hosts": { "literal": { "name": format!("h{n}.example") } }, "matches": [] }));
            document["hosts"] = hosts.collect();
        }),
        changed(|document| {
            let backends = (0..20_000)
                .map(|_| json!({ "weight": u64::MAX / 20_001, "to": { "status": 200 } }));
            document["rules"]["web"]["backends"] = backends.collect();
        }),
        changed(|document| {
            document["access"] = json!({ "grants": { "": [{ "by": "", "sources": ["/"] }] } })
        }),
        changed(|document| {
            document["connections"] = json!([{ "to": { "root": {} }, "rule": "web" }])
        }),
        changed(|document| document["version"] = json!(u64::MAX)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_document_makes_the_filter_trap() {
    let fake = FakePlane::start(serve("good", document([1, 0]).to_string())).await;
    let web = Web::start().await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "default" }"#;
    let bootstrap = web
        .bootstrap(fake.address)
        .listener("outbound", plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    envoy.wait_for_updates(1).await;
    let counters = async || {
        let mut counts = [0; 2];
        for (count, name) in counts.iter_mut().zip(["updates", "refused"]) {
            *count = envoy
                .stat(&format!("wasmcustom.weir_config_{name}_total"))
                .await;
        }
        counts
    };
    let (mut taken, mut refused) = (0, 0);
    for (number, body) in harmful().into_iter().enumerate() {
        let before = counters().await;
        let shown: String = body.chars().take(300).collect();
        fake.switch(serve(&format!("bad{number}"), body));
        let start = Instant::now();
        let now = loop {
            let now = counters().await;
            if now != before {
                break now;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "the filter neither installed nor refused {shown}: {}",
                envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        let answer = connection.get("web", "/abab").await;
        if now[1] > before[1] {
            refused += 1;
            // The filter still uses the last valid document.
            let good = serve(&format!("good{number}"), document([1, 0]).to_string());
            assert!(
                taken > 0 || answer.header("identity") == "v1",
                "{shown} {answer:?}"
            );
            fake.switch(good);
        } else {
            taken += 1;
        }
        envoy.assert_no_traps().await;
    }
    println!("{taken} installed, {refused} refused");
    assert!(taken > 0 && refused > 0, "{taken} {refused}");
    // The filter still installs a good document.
    fake.switch(serve("truth", document([0, 1]).to_string()));
    let start = Instant::now();
    loop {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        if connection.get("web", "/").await.header("identity") == "v2" {
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "the filter does not use the good document"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    envoy.assert_no_traps().await;
}
