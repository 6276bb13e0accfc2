//! An Envoy gets the filter from the control plane. The control plane replaces the module in the running Envoy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_tests::fault::{Load, Sample, Web};
use weir_tests::{Connection, Envoy, FreePorts, Plane, delta_stream, dist};

const TYPES: &str = "type.googleapis.com/envoy";

/// A control plane with its own copy of the filter.
struct Scene {
    _web: Web,
    plane: Plane,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Scene {
        let folder = TempDir::new().expect("a folder");
        let web = Web::start().await;
        let file = folder.path().join("weir.wasm");
        std::fs::copy(dist("weir.wasm"), &file).expect("a copy");
        let file = file.to_str().expect("a path").to_owned();
        let manifest = manifest(&web);
        let plane = Plane::start_with(&["--filter", &file], &[("web.yaml", &manifest)]);
        plane.wait_until_ready().await;
        Scene {
            _web: web,
            plane,
            folder,
        }
    }

    fn module(&self) -> PathBuf {
        self.folder.path().join("weir.wasm")
    }

    fn replace_module(&self, bytes: &[u8]) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, bytes).expect("a module");
        std::fs::rename(new, self.module()).expect("renamed");
    }

    /// Starts an Envoy without a filter and without clusters of backends.
    async fn envoy(&self, port: u16, workers: usize) -> Envoy {
        Envoy::start(&bootstrap(self.plane.listen, port), workers).await
    }

    async fn count_of(&self, module: &str) -> u64 {
        let mut admin = Connection::open(self.plane.admin).await;
        let metrics = admin.get("admin", "/metrics").await.text();
        let short: String = module.chars().take(12).collect();
        let name = format!("weir_proxies_by_filter{{module=\"{short}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().expect("a count"))
    }

    async fn wait_for_module(&self, hash: &str, envoy: &Envoy) {
        for _ in 0..600 {
            if self.count_of(hash).await == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{hash}:\n{}\n{}", self.plane.log(), envoy.log());
    }

    async fn wait_until_stopped(&self) {
        for _ in 0..600 {
            if self.plane.metric("weir_filter_rollout_stopped").await > 0.5 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{}", self.plane.log());
    }

    async fn list(&self) -> Value {
        let mut listener = Connection::open(self.plane.listen).await;
        let list = listener.get("127.0.0.1", "/v1/proxies").await.text();
        serde_json::from_str(&list).expect("a list")
    }
}

/// The Service `web`, one request of four to `v1`.
fn manifest(web: &Web) -> String {
    let service = |name: &str, address: SocketAddr| {
        let annotations = format!("{{ weir.dev/addresses: \"{address}\" }}");
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, annotations: {annotations} }}\n\
             spec: {{ ports: [{{ port: 80 }}] }}\n---\n"
        )
    };
    let backends = [
        ("web", web.v1.address),
        ("web-v1", web.v1.address),
        ("web-v2", web.v2.address),
    ];
    let services: String = backends
        .map(|(name, address)| service(name, address))
        .concat();
    services
        + "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: { name: web }\n\
           spec: { service: web, backends: [{ service: web-v1, weight: 1 }, { service: web-v2, weight: 3 }] }\n"
}

/// A module with the same code and other bytes: a custom section follows the code.
fn variant(number: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(dist("weir.wasm")).expect("the module");
    bytes.extend([0, 3, 1, b'v', number]);
    bytes
}

fn hash(bytes: &[u8]) -> String {
    let mut hash = weir_core::digest::sha256(bytes);
    hash.truncate(32);
    hash
}

fn bootstrap(plane: SocketAddr, port: u16) -> String {
    let ads = json!({ "resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "1s" });
    let no_op = format!("{TYPES}.extensions.filters.http.header_mutation.v3.HeaderMutation");
    let filter = json!({
        "name": "weir",
        "config_discovery": {
            "config_source": ads,
            "type_urls": [
                format!("{TYPES}.extensions.common.matching.v3.ExtensionWithMatcher"),
                format!("{TYPES}.extensions.filters.http.wasm.v3.Wasm"),
                no_op,
            ],
            "default_config": { "@type": no_op },
        },
    });
    let router = json!({
        "name": "router",
        "typed_config": { "@type": format!("{TYPES}.extensions.filters.http.router.v3.Router") },
    });
    let routes = json!([
        {
            "match": {
                "prefix": "/",
                "headers": [{ "name": "x-weir-cluster", "present_match": true }],
            },
            "route": { "cluster_header": "x-weir-cluster" },
        },
        {
            "match": { "prefix": "/" },
            "direct_response": { "status": 200, "body": { "inline_string": "ordinary" } },
        },
    ]);
    let manager = json!({
        "@type": format!("{TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "outbound",
        "http_filters": [filter, router],
        "route_config": {
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
        },
    });
    let http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let filters = json!({ "weir": { "namespace": "default" } });
    let address =
        |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    json!({
        "node": { "id": "envoy", "cluster": "test" },
        "dynamic_resources": delta_stream(&filters),
        "static_resources": {
            "listeners": [{
                "name": "outbound",
                "address": address(port),
                "connection_balance_config": { "exact_balance": {} },
                "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
            }],
            "clusters": [{
                "name": "weir",
                "load_assignment": {
                    "cluster_name": "weir",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(plane.port()) } }] }],
                },
                "typed_extension_protocol_options": { http2: {
                    "@type": format!("type.googleapis.com/{http2}"),
                    "explicit_http_config": { "http2_protocol_options": {} },
                } },
            }],
        },
        "layered_runtime": { "layers": [{ "name": "admin", "admin_layer": {} }] },
        "admin": { "address": address(0) },
    })
    .to_string()
}

/// Panics if a request failed, or if the backends did not get their shares.
fn assert_split(samples: &[Sample]) {
    let wrong: Vec<_> = samples
        .iter()
        .filter(|it| it.status != 200 || !["v1", "v2"].contains(&it.by.as_str()))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        samples.len()
    );
    let first = samples.iter().filter(|it| it.by == "v1").count();
    let quarter = samples.len() / 4;
    assert!(first.abs_diff(quarter) < 60, "{first} of {}", samples.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_replace_each_other_under_load() {
    let scene = Scene::start().await;
    let envoy = scene.envoy(0, 2).await;
    let module = std::fs::read(scene.module()).expect("the module");
    scene.wait_for_module(&hash(&module), &envoy).await;
    envoy
        .wait_for_stat("wasmcustom.weir_config_updates_total", 0)
        .await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;
    for number in 1..=6 {
        let module = variant(number);
        let start = Instant::now();
        scene.replace_module(&module);
        scene.wait_for_module(&hash(&module), &envoy).await;
        println!("module {number}: accepted after {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let samples = load.stop().await;
    let slowest = samples.iter().map(|it| it.took).max().unwrap_or_default();
    println!("{} requests, the slowest took {slowest:?}", samples.len());
    assert_split(&samples);
    envoy.assert_no_traps().await;
    let list = scene.list().await;
    for proxy in list["proxies"].as_array().expect("proxies") {
        assert_eq!(proxy["traps"], 0, "{list:#}");
    }
    assert_eq!(scene.plane.metric("weir_filter_rollout_stopped").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_module_stops_the_rollout() {
    let scene = Scene::start().await;
    let envoy = scene.envoy(0, 2).await;
    let good = hash(&std::fs::read(scene.module()).expect("the module"));
    scene.wait_for_module(&good, &envoy).await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.replace_module(b"\0asm\x01\0\0\0broken");
    scene.wait_until_stopped().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.count_of(&good).await, 1);
    let log = scene.plane.log();
    let reason = "the rollout of the filter has stopped: the proxy envoy refuses the module";
    assert!(log.contains(reason), "{log}");
    let list = scene.list().await;
    assert!(list["modules"][0]["refused"].is_array(), "{list:#}");
    // The next module is a new rollout.
    let module = variant(1);
    scene.replace_module(&module);
    scene.wait_for_module(&hash(&module), &envoy).await;
    assert_eq!(scene.plane.metric("weir_filter_rollout_stopped").await, 0.0);
    assert_split(&load.stop().await);
    // The resource was never removed.
    assert_eq!(
        envoy.stat("cluster.weir.upstream_cx_destroy_local").await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn first_request_is_split() {
    let scene = Scene::start().await;
    let port = FreePorts::default().next();
    for round in 0..3 {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let clients: Vec<_> = (0..8).map(|_| tokio::spawn(hammer(address))).collect();
        let envoy = scene.envoy(port, 2).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut answers = Vec::new();
        for client in clients {
            answers.extend(client.await.expect("a client"));
        }
        println!("start {round}: {} requests", answers.len());
        let ordinary = answers
            .iter()
            .filter(|it| *it != "v1" && *it != "v2")
            .count();
        assert_eq!(
            ordinary,
            0,
            "{} of {}: {}",
            ordinary,
            answers.len(),
            envoy.log()
        );
        let first = answers.iter().filter(|it| *it == "v1").count();
        assert!(
            first.abs_diff(answers.len() / 4) < 20,
            "{first} of {}",
            answers.len()
        );
    }
}

/// Connects again and again until the listener is open, and then sends requests for a second. Returns who answered.
async fn hammer(address: SocketAddr) -> Vec<String> {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut connection = Connection::open(address).await;
    let mut answers = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        let answer = connection.get("web", "/").await;
        answers.push(match answer.header("identity") {
            "" => format!("{} {}", answer.status, answer.text()),
            backend => backend.to_owned(),
        });
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    answers
}
