//! Findings of `weir check --envoy` about the shipped configurations on a real Envoy, and about insecure listeners.

use tempfile::TempDir;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::envoy::{EnvoyDump, Finding, findings};
use weir_core::manifest::object;
use weir_core::plan::Plan;
use weir_core::translate::translate;
use weir_core::world::World;
use weir_tests::tls::Authority;
use weir_tests::{Envoy, root, shipped};

const REASONS: [&str; 4] = [
    "InboundUnverified",
    "InboundNotFirst",
    "PathsNotNormalized",
    "FailsOpen",
];

/// Starts an Envoy with this configuration. Returns the findings that have one of the four reasons.
async fn found(config: &str) -> Vec<String> {
    let mut lines = all_findings(config, &Plan::default()).await;
    lines.retain(|line| REASONS.iter().any(|reason| line.contains(reason)));
    lines
}

/// Starts an Envoy with this configuration. Returns all findings except the findings from statistics.
async fn all_findings(config: &str, plan: &Plan) -> Vec<String> {
    let folder = TempDir::new().expect("a folder");
    let own = Authority::new().sign(&["spiffe://cluster.local/ns/bookstore/sa/bookstore"]);
    for (name, text) in [
        ("tls.crt", &own.pem),
        ("tls.key", &own.key),
        ("ca.crt", &own.authority),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a certificate");
    }
    let config = config.replace("certs/", &format!("{}/", folder.path().display()));
    let envoy = Envoy::start(&config, 1).await;
    let dump = envoy.ask("/config_dump").await;
    let running = EnvoyDump::read(&serde_json::from_str(&dump).expect("JSON")).expect("a dump");
    let lines = findings(&running, plan);
    lines.iter().map(Finding::to_string).collect()
}

/// Returns the plan of the bookstore and of the Gateway of Kong's guide.
fn plan() -> Plan {
    let mut objects = Vec::new();
    for file in [
        "demo/manifests/bookstore.yaml",
        "demo/splits/v1-50-v2-50.yaml",
        "tests/manifests/kong/gateway.yaml",
        "tests/manifests/kong/canary-route.yaml",
        "tests/manifests/kong/echo.yaml",
    ] {
        let text = std::fs::read_to_string(root().join(file)).expect("manifests");
        objects.extend(object::read(file, &text).expect("objects").objects);
    }
    translate(&World::from_objects(objects).0, Policy::Unstated).0
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_configurations_have_no_findings() {
    let plan = plan();
    for file in [
        "existing.yaml",
        "gateway.yaml",
        "grpc.yaml",
        "inbound-mtls.yaml",
        "sidecar.yaml",
        "tcp.yaml",
    ] {
        let mut lines = all_findings(&shipped(file, &[]), &plan).await;
        // Each file has the clusters, the scope and the root of its own example.
        let of_example = ["ClusterNotFound", "NoRules", "NoRuleOfRoot"];
        lines.retain(|line| !of_example.iter().any(|reason| line.contains(reason)));
        assert_eq!(lines, [""; 0], "{file}");
    }
    // This configuration has paths of a container, so Envoy cannot start with it here. Check its text instead.
    let text = std::fs::read_to_string(root().join("envoy-config/kubernetes-sidecar.yaml"))
        .expect("a file");
    assert!(text.contains("failure_policy: FAIL_RELOAD") && !text.contains("inbound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_listener_settings_are_reported() {
    let inbound = shipped("inbound-mtls.yaml", &[]);
    let gateway = shipped("gateway.yaml", &[]);
    // The listeners refer to a secret with the validation context.
    let authority = "validation_context: { trusted_ca: { filename: certs/ca.crt } }";
    let secret =
        "  secrets: [{ name: ca, validation_context: { trusted_ca: { filename: certs/ca.crt } } }]";
    let named = inbound
        .replace(
            authority,
            "validation_context_sds_secret_config: { name: ca }",
        )
        .replace(
            "static_resources:\n",
            &format!("static_resources:\n{secret}\n"),
        );
    assert_eq!(found(&named).await, [""; 0]);
    let lua = "          http_filters:
          - name: first
            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua }
";
    for (config, from, to, reason, listeners) in [
        (
            &inbound,
            "validation_context: { trusted_ca: { filename: certs/ca.crt } }",
            "validation_context: { trusted_ca: { filename: certs/ca.crt }, trust_chain_verification: ACCEPT_UNTRUSTED }",
            "InboundUnverified",
            &["inbound", "inbound-tcp"][..],
        ),
        (
            &named,
            "{ trusted_ca: { filename: certs/ca.crt } }",
            "{ trusted_ca: { filename: certs/ca.crt }, trust_chain_verification: ACCEPT_UNTRUSTED }",
            "InboundUnverified",
            &["inbound", "inbound-tcp"],
        ),
        (
            &inbound,
            "          require_client_certificate: true\n",
            "",
            "InboundUnverified",
            &["inbound", "inbound-tcp"],
        ),
        (
            &inbound,
            "          merge_slashes: true\n",
            "",
            "PathsNotNormalized",
            &["inbound"],
        ),
        (
            &gateway,
            "          normalize_path: true\n",
            "",
            "PathsNotNormalized",
            &["http"],
        ),
        (
            &inbound,
            "          http_filters:\n",
            lua,
            "InboundNotFirst",
            &["inbound"],
        ),
        (
            &inbound,
            "failure_policy: FAIL_RELOAD",
            "failure_policy: FAIL_OPEN",
            "FailsOpen",
            &["inbound", "inbound-tcp", "outbound"],
        ),
    ] {
        assert!(config.contains(from), "{from}");
        // Envoy accepts reload_config only with FAIL_RELOAD.
        let config = config.replace(from, to);
        let config = match reason {
            "FailsOpen" => without_lines(&config, "reload_config:"),
            _ => config,
        };
        let lines = found(&config).await;
        let expected: Vec<_> = listeners
            .iter()
            .map(|listener| format!("envoy, listener {listener}: {reason}: "))
            .collect();
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, begin) in lines.iter().zip(&expected) {
            assert!(line.starts_with(begin), "{line}");
        }
    }
}

fn without_lines(text: &str, what: &str) -> String {
    let lines = text.lines().filter(|line| !line.trim().starts_with(what));
    lines.collect::<Vec<_>>().join("\n")
}
