//! Runs `demo/edge` on a real Envoy. In one test Envoy gets the filter by ECDS (discovery of filter configurations),
//! and the filter's plugin configuration changes under load. The other test finds the rule in a trace.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use serde_json::{Value, json};
use weir_tests::fault::Load;
use weir_tests::{Connection, Echo, Envoy, Plane, root, shares};

const HOST: &str = "shop.example.com";
const RELOADS: &str = "extension_config_discovery.http_filter.weir.config_reload";

struct Edge {
    config: Value,
    plane: Plane,
    backends: [Echo; 2],
}

impl Edge {
    /// Returns the Envoy configuration of `demo/edge` with free ports, with backends of this test, and with the runtime
    /// key `weir.enabled` at 100.
    async fn new() -> Edge {
        let read = |name: &str| std::fs::read_to_string(root().join(name)).expect("demo/edge");
        let plane = Plane::start(&[("shop.yaml", &read("demo/edge/manifests/shop.yaml"))]);
        let backends = [Echo::start("v1").await, Echo::start("v2").await];
        let mut config: Value =
            serde_saphyr::from_str(&read("demo/edge/envoy.yaml")).expect("YAML");
        config["node"] = json!({ "id": "edge", "cluster": "edge" });
        config["admin"]["address"]["socket_address"]["port_value"] = 0.into();
        config["layered_runtime"]["layers"][0]["static_layer"] = json!({ "weir.enabled": 100 });
        let listener = &mut config["static_resources"]["listeners"][0];
        listener["address"]["socket_address"]["port_value"] = 0.into();
        let ports = [backends[0].address, backends[1].address, plane.listen];
        for (cluster, address) in ports.iter().enumerate() {
            let cluster = &mut config["static_resources"]["clusters"][cluster];
            let endpoint = &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0];
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = address.port().into();
        }
        Edge {
            config,
            plane,
            backends,
        }
    }

    /// Returns the HTTP connection manager of the listener.
    fn manager(&mut self) -> &mut Value {
        let listener = &mut self.config["static_resources"]["listeners"][0];
        &mut listener["filter_chains"][0]["filters"][0]["typed_config"]
    }

    async fn envoy(&self) -> Envoy {
        let envoy = Envoy::start(&self.config.to_string(), 1).await;
        envoy.wait_for_updates(1).await;
        envoy
    }
}

/// Writes an xDS response with this filter to a new file, and renames the new file to `file`. Envoy reads `file` again
/// only after a rename.
fn write_resource(file: &Path, version: usize, filter: &Value) {
    let resource = json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "weir",
        "typed_config": filter });
    let answer = json!({ "version_info": version.to_string(), "resources": [resource] });
    let new = file.with_extension("new");
    std::fs::write(&new, answer.to_string()).expect("written");
    std::fs::rename(new, file).expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn ecds_updates_fail_no_request() {
    let mut edge = Edge::new().await;
    let folder = tempfile::TempDir::new().expect("a folder");
    let file = folder.path().join("filter.json");
    let mut filter = edge.manager()["http_filters"][0]["typed_config"].clone();
    write_resource(&file, 0, &filter);
    edge.manager()["http_filters"][0] = json!({ "name": "weir", "config_discovery": {
        "config_source": { "resource_api_version": "V3", "path_config_source": { "path": file } },
        "type_urls": [filter["@type"]],
    } });
    let envoy = edge.envoy().await;
    let mut connection = Connection::open(envoy.listener("edge")).await;
    let split = shares([("v1", 90), ("v2", 10)]);
    assert_eq!(connection.shares(HOST, "/", 100).await, split);

    let output = std::process::Command::new(weir_tests::dist("weir"))
        .arg("check")
        .arg(edge.plane.folder())
        .args(["--envoy", &format!("http://{}", envoy.admin)])
        .output()
        .expect("weir check");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");

    let before = envoy.stat(RELOADS).await;
    let load = Load::start(envoy.listener("edge"), HOST, 2).await;
    for version in 1..=5_usize {
        let plugin = &mut filter["extension_config"]["typed_config"]["config"]["configuration"];
        let text = plugin["value"].as_str().expect("a plugin configuration");
        let next = if version % 2 == 1 {
            text.replace("true", "false")
        } else {
            text.replace("false", "true")
        };
        plugin["value"] = next.into();
        write_resource(&file, version, &filter);
        let start = Instant::now();
        while envoy.stat(RELOADS).await < before + version as u64 {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", envoy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let samples = load.stop().await;
    assert!(samples.len() > 100, "{} requests", samples.len());
    for sample in samples {
        assert_eq!(sample.status, 200, "{sample:?}");
    }
    // The load ended within a sequence of picks. So the next 100 requests may give v2 one request more or less than its
    // share.
    let got = connection.shares(HOST, "/", 100).await;
    assert!((9..=11).contains(&got["v2"]), "{got:?}");
    assert_eq!(got["v1"] + got["v2"], 100, "{got:?}");
    drop(edge.backends);
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_names_rule_and_backend() {
    let spans = Arc::<Mutex<String>>::default();
    let seen = spans.clone();
    let collector = Echo::serve(Router::new().fallback(move |body: String| {
        seen.lock().expect("the spans").push_str(&body);
        async { "" }
    }))
    .await;
    let mut edge = Edge::new().await;
    edge.manager()["tracing"] = json!({
        "provider": { "name": "envoy.tracers.zipkin", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig", "collector_cluster": "collector",
            "collector_endpoint": "/api/v2/spans", "collector_endpoint_version": "HTTP_JSON",
        } },
        "custom_tags": [
            { "tag": "weir.rule", "value": "%FILTER_STATE(wasm.weir_rule:PLAIN)%" },
            { "tag": "weir.backend", "value": "%FILTER_STATE(wasm.weir_backend:PLAIN)%" },
        ],
    });
    let address = json!({ "address": "127.0.0.1", "port_value": collector.address.port() });
    let endpoint = json!({ "endpoint": { "address": { "socket_address": address } } });
    let clusters = &mut edge.config["static_resources"]["clusters"];
    clusters.as_array_mut().expect("clusters").push(json!({ "name": "collector",
        "load_assignment": { "cluster_name": "collector", "endpoints": [{ "lb_endpoints": [endpoint] }] } }));
    let envoy = edge.envoy().await;
    let mut connection = Connection::open(envoy.listener("edge")).await;
    connection.shares(HOST, "/", 20).await;
    let start = Instant::now();
    let tags = [
        r#""weir.rule":"TrafficSplit/shop/shop:80/http""#,
        r#""weir.backend":"shop"#,
    ];
    let has_tags = |spans: &str| tags.iter().all(|tag| spans.contains(tag));
    while !has_tags(&spans.lock().expect("the spans")) {
        let seen = spans.lock().expect("the spans").clone();
        assert!(start.elapsed() < Duration::from_secs(10), "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
