//! A real Envoy accepts the clusters that the control plane makes from manifests.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use weir::publish::Publisher;
use weir::xds::lazy_cluster::cluster_in;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_tests::delta_client::field;
use weir_tests::envoy_binary;
use weir_tests::tls::Authority;

/// Returns the errors of Envoy for a static configuration with the clusters of these manifests. `count` is the number of
/// clusters.
fn errors(manifests: &str, count: usize) -> String {
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let read = object::read("shop.yaml", manifests).expect("manifests");
    assert!(read.problems().is_empty());
    publisher.publish(read.into());
    let clusters = publisher.catalog().clusters().borrow().clone();
    assert_eq!(clusters.len(), count);
    // Bootstrap.static_resources and StaticResources.clusters.
    let encoded = clusters
        .keys()
        .filter_map(|name| cluster_in(&clusters, name));
    let encoded = encoded.flat_map(|it| field(2, &it.body));
    let bootstrap = field(2, &encoded.collect::<Vec<_>>());
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("envoy.pb");
    fs::write(&file, bootstrap).expect("a configuration");
    let output = Command::new(envoy_binary())
        .args(["--mode", "validate", "--log-level", "error"])
        .args(["--service-node", "a", "--service-cluster", "a", "-c"])
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
    let policy = |name: &str, authority: &str| {
        format!(
            "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: {{name: {name}}}, spec: {{targetRefs: \
             [{{group: '', kind: Service, name: {name}}}], validation: {{hostname: a.example, {authority}}}}}}}\n"
        )
    };
    let pem = Authority::new()
        .sign(&["a"])
        .authority
        .replace('\n', "\n    ");
    let verified = [
        service("system", "", "ports: [{port: 80}]"),
        policy("system", "wellKnownCACertificates: System"),
        service("pem", "", "ports: [{port: 80, appProtocol: grpc}]"),
        policy(
            "pem",
            "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}], subjectAltNames: [{type: URI, uri: 'spiffe://a/b'}, \
             {type: Hostname, hostname: b.example}]",
        ),
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: ca}}\ndata:\n  ca.crt: |\n    {pem}\n"
        ),
        service("closed", "", "ports: [{port: 80}]"),
        policy("closed", "wellKnownCACertificates: Mine"),
    ];
    let names = [
        "plain", "h2c", "https", "policies", "static", "names", "system", "pem", "closed",
    ];
    let backends = names.map(|name| format!("{{service: {name}, weight: 1}}"));
    let split = format!(
        "{{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: s}}, spec: {{service: plain, backends: [{}]}}}}\n",
        backends.join(", ")
    );
    let manifests = [split, services.concat(), verified.concat()].concat();
    assert_eq!(errors(&manifests, names.len()), "");
}
