//! A real Envoy without clusters for backends gets its clusters from `weir serve`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use weir_tests::{Connection, Echo, Envoy, Plane, delta_stream};

/// Time in which a change must reach the Envoy.
const SOON: Duration = Duration::from_secs(10);

/// Returns the configuration of an Envoy whose only cluster is the control plane.
fn bootstrap(plane: SocketAddr) -> String {
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster_header": "x-weir-cluster" } }],
        }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        } }],
    });
    let address = |host: &str, port: u16| json!({ "socket_address": { "address": host, "port_value": port } });
    json!({
        "node": { "id": "envoy-1", "cluster": "shop" },
        "admin": { "address": address("127.0.0.1", 0) },
        "dynamic_resources": delta_stream(&json!({ "weir": { "namespace": "shop" } })),
        "static_resources": {
            "listeners": [{
                "name": "outbound",
                "address": address("127.0.0.1", 0),
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }] }],
            }],
            "clusters": [{
                "name": "weir",
                "type": "STATIC",
                "load_assignment": { "cluster_name": "weir", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                    "address": address("127.0.0.1", plane.port()),
                } }] }] },
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": {
                            "connection_keepalive": { "interval": "30s", "timeout": "5s" },
                        } },
                    },
                },
            }],
        },
    })
    .to_string()
}

/// Returns a Service with one endpoint.
fn service(name: &str, address: SocketAddr) -> String {
    let port = address.port();
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: 10.0.0.1, ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: '', port: {port}}}]
endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]
"
    )
}

/// Returns a split of the Service `web` between these Services.
fn split(backends: &[&str]) -> String {
    let backends: Vec<_> = backends
        .iter()
        .map(|name| format!("{{service: {name}, weight: 1}}"))
        .collect();
    format!(
        "---
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata: {{name: web, namespace: shop}}
spec: {{service: web, backends: [{}]}}
",
        backends.join(", ")
    )
}

fn cluster(name: &str) -> String {
    format!("{name}.shop.svc.cluster.local:80")
}

/// Returns the answer of a backend: its name, or the status of an error.
async fn ask(envoy: &Envoy, name: &str) -> String {
    let mut client = Connection::open(envoy.listener("outbound")).await;
    let cluster = cluster(name);
    let answer = client
        .get_with("web", "/", &[("x-weir-cluster", &cluster)])
        .await;
    if answer.status == 200 {
        return answer.header("identity").to_owned();
    }
    answer.status.as_u16().to_string()
}

/// Waits until the backend answers with this text, and returns the time that it took.
async fn wait_for(envoy: &Envoy, name: &str, expected: &str, limit: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let answer = ask(envoy, name).await;
        if answer == expected {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < limit,
            "{name} answers {answer}\n{}",
            envoy.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn envoy_gets_clusters_as_needed() {
    let (v1, v2) = (Echo::start("v1").await, Echo::start("v2").await);
    let moved = Echo::start("moved").await;
    let services = |v1| {
        [
            service("web", v1),
            service("v1", v1),
            service("v2", v2.address),
        ]
        .concat()
    };
    let manifests = |v1, backends: &[&str]| services(v1) + &split(backends);
    let plane = Plane::start(&[("shop.yaml", &manifests(v1.address, &["v1"]))]);
    let envoy = Envoy::start(&bootstrap(plane.listen), 2).await;
    wait_for(&envoy, "v1", "v1", SOON).await;
    assert_eq!(ask(&envoy, "v2").await, "503");
    assert_eq!(plane.metric("weir_ads_streams").await, 1.0);
    let change =
        |v1, backends: &[&str]| plane.rename_into_place("shop.yaml", &manifests(v1, backends));

    change(v1.address, &["v1", "v2"]);
    wait_for(&envoy, "v2", "v2", SOON).await;
    change(moved.address, &["v1", "v2"]);
    wait_for(&envoy, "v1", "moved", SOON).await;
    assert_eq!(ask(&envoy, "v2").await, "v2");

    // No poll tells which clusters the proxy uses, so the cluster stays.
    change(moved.address, &["v1"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(&envoy, "v2").await, "v2");
    assert_eq!(envoy.stat("cluster_manager.cds.update_rejected").await, 0);
}

/// An Envoy keeps its clusters while the control plane is away, and gets nothing a second time.
#[tokio::test]
async fn envoy_keeps_clusters_without_stream() {
    let v1 = Echo::start("v1").await;
    let manifests = [
        service("web", v1.address),
        service("v1", v1.address),
        split(&["v1"]),
    ]
    .concat();
    let mut plane = Plane::start(&[("shop.yaml", &manifests)]);
    let envoy = Envoy::start(&bootstrap(plane.listen), 1).await;
    wait_for(&envoy, "v1", "v1", SOON).await;
    plane.restart_with(&[]);
    let start = Instant::now();
    while plane.metric("weir_ads_streams").await < 1.0 {
        assert_eq!(ask(&envoy, "v1").await, "v1");
        assert!(start.elapsed() < SOON, "{}", envoy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let metrics = Connection::open(plane.admin)
        .await
        .get("x", "/metrics")
        .await;
    assert!(
        !metrics.text().contains("weir_ads_pushes_total{"),
        "{}",
        metrics.text()
    );
    assert_eq!(ask(&envoy, "v1").await, "v1");
}
