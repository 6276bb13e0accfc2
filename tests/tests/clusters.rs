//! A real Envoy accepts the clusters that the control plane makes from manifests.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use weir::publish::Publisher;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_tests::envoy_binary;

/// Returns a field of a protocol buffer with bytes as its value.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(value);
    bytes
}

/// Returns the errors of Envoy for a static configuration with the clusters of these manifests.
fn errors(manifests: &str) -> String {
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let read = object::read("shop.yaml", manifests).expect("manifests");
    assert!(read.problems().is_empty());
    publisher.publish(read.into());
    let clusters = publisher.catalog().clusters().borrow().clone();
    assert!(!clusters.is_empty());
    // Bootstrap.static_resources and StaticResources.clusters.
    let clusters = clusters.values().flat_map(|it| field(2, &it.body));
    let bootstrap = field(2, &clusters.collect::<Vec<_>>());
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("envoy.pb");
    fs::write(&file, bootstrap).expect("a configuration");
    let output = Command::new(envoy_binary())
        .args(["--mode", "validate", "--log-level", "error", "-c"])
        .arg(&file)
        .output()
        .expect("Envoy starts");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        String::new()
    } else {
        format!("failed: {text}")
    }
}

#[test]
fn envoy_accepts_every_form_of_cluster() {
    let service = |name: &str, annotations: &str, spec: &str| {
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, annotations: {{{annotations}}}}}, spec: {{{spec}}}}}\n"
        )
    };
    let policies = "weir.dev/connect-timeout: 1s500ms, weir.dev/load-balancing: least_request, \
                    weir.dev/max-connections: '10', weir.dev/max-pending-requests: '11', weir.dev/max-requests: '12', \
                    weir.dev/max-retries: '13', weir.dev/outlier-consecutive-5xx: '4', weir.dev/outlier-interval: 2s, \
                    weir.dev/outlier-ejection-time: 10s, weir.dev/outlier-max-ejection-percent: '50', \
                    weir.dev/tcp-keepalive-time: 30s, weir.dev/tcp-keepalive-interval: 5s, \
                    weir.dev/tcp-keepalive-probes: '3'";
    let services = [
        service("plain", "", "ports: [{port: 80}]"),
        service(
            "h2c",
            "",
            "ports: [{port: 80, appProtocol: kubernetes.io/h2c}]",
        ),
        service("https", "", "ports: [{port: 80, appProtocol: https}]"),
        service("policies", policies, "ports: [{port: 80}]"),
        service(
            "static",
            "weir.dev/addresses: '10.0.0.1:8080,[fd00::1]:80'",
            "ports: [{port: 80}]",
        ),
        service(
            "names",
            "weir.dev/addresses: '10.0.0.1:8080,host.example:443'",
            "ports: [{port: 80}]",
        ),
    ];
    let split = "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: s}, spec: {service: plain, \
                 backends: [{service: plain, weight: 1}, {service: h2c, weight: 1}, {service: https, weight: 1}, \
                 {service: policies, weight: 1}, {service: static, weight: 1}, {service: names, weight: 1}]}}\n";
    assert_eq!(errors(&format!("{split}{}", services.concat())), "");
}
