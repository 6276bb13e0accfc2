//! Compares the roles of `deploy/` with the control plane's requests. The roles must allow each request, and the
//! control plane must use each right. Its ServiceAccount must not be able to write a spec or to read a Secret.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_cluster::ApiServer;
use weir_cluster::programs::go_program;
use weir_tests::tls::Authority;
use weir_tests::{Plane, objects, root};

use crate::scene::{Ask, Files, NAME};

const ACCOUNT: &str = "system:serviceaccount:weir-system:weir";

/// One object of each kind whose status Weir writes, and a policy that names a ConfigMap. Each object has only one
/// backend, the Service `none`, which does not exist.
const OBJECTS: &str = "
{ apiVersion: v1, kind: Service, metadata: { name: web }, spec: { ports: [{ port: 80 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: calls }, spec: { ports: [{ port: 80 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: old }, spec: { ports: [{ port: 80 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: bytes }, spec: { ports: [{ port: 80 }] } }
---
{ apiVersion: v1, kind: Service, metadata: { name: shop }, spec: { ports: [{ port: 80 }] } }
---
{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: web }, spec: { parentRefs: [{ group: '', kind: Service, name: web }], rules: [{ backendRefs: [{ name: none, port: 80 }] }] } }
---
{ apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: { name: calls }, spec: { parentRefs: [{ group: '', kind: Service, name: calls }], rules: [{ backendRefs: [{ name: none, port: 80 }] }] } }
---
{ apiVersion: gateway.networking.k8s.io/v1alpha2, kind: TCPRoute, metadata: { name: bytes }, spec: { parentRefs: [{ group: '', kind: Service, name: bytes }], rules: [{ backendRefs: [{ name: none, port: 80 }] }] } }
---
{ apiVersion: policy.linkerd.io/v1beta3, kind: HTTPRoute, metadata: { name: old }, spec: { parentRefs: [{ group: core, kind: Service, name: old }], rules: [{ backendRefs: [{ name: none, port: 80 }] }] } }
---
{ apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: { name: shop }, spec: { service: shop, backends: [{ service: none, weight: 1 }] } }
---
{ apiVersion: gateway.networking.k8s.io/v1, kind: BackendTLSPolicy, metadata: { name: web }, spec: { targetRefs: [{ group: '', kind: Service, name: web }], validation: { hostname: a.example, caCertificateRefs: [{ group: '', kind: ConfigMap, name: ca }] } } }
";

fn kustomize(folder: &str) -> Vec<Value> {
    let output = Command::new(go_program("kubernetes", "kubectl"))
        .args(["kustomize", folder])
        .current_dir(root())
        .output()
        .expect("kubectl starts");
    assert!(output.status.success(), "{output:?}");
    objects(&String::from_utf8_lossy(&output.stdout))
}

fn words(value: &Value) -> Vec<&str> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(Value::as_str).collect()
}

/// Returns each right of the roles as `VERB RESOURCE.GROUP`.
fn rights(objects: &[Value]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for role in objects {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    for verb in words(&rule["verbs"]) {
                        rights.insert(format!("{verb} {resource}.{group}"));
                    }
                }
            }
        }
    }
    rights
}

/// Returns the requests that [`ACCOUNT`] has sent: first all requests, then the refused requests. Each request has the
/// form `VERB RESOURCE.GROUP`.
fn used_rights(server: &ApiServer) -> (BTreeSet<String>, BTreeSet<String>) {
    let log = std::fs::read_to_string(server.audit_log()).expect("the audit log");
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let of = &event["objectRef"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if event["user"]["username"] != ACCOUNT || of["resource"].is_null() {
            continue;
        }
        let mut resource = text(&of["resource"]);
        if let Some(part) = of["subresource"].as_str() {
            resource += &format!("/{part}");
        }
        let right = format!(
            "{} {resource}.{}",
            text(&event["verb"]),
            text(&of["apiGroup"])
        );
        if event["responseStatus"]["code"] == 403 {
            refused.insert(right.clone());
        }
        used.insert(right);
    }
    (used, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_is_used_and_sufficient() {
    rights_are_those_used("permissive", Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn smi_policy_rights_are_exact() {
    rights_are_those_used("smi", smi()).await;
}

/// Runs the control plane with the roles of `deploy/weir` and the roles in `more`. Compares the control plane's
/// requests with the rights of these roles.
async fn rights_are_those_used(policy: &str, more: Vec<Value>) {
    let server = ApiServer::start();
    server.route_crds();
    server.crds(&[&root().join("deploy/crds")]);
    let mut roles = Vec::new();
    for object in kustomize("deploy/weir").into_iter().chain(more) {
        let kind = object["kind"].as_str().unwrap_or_default();
        if kind == "Namespace" || kind == "ServiceAccount" || kind.contains("Role") {
            server.apply(&object.to_string());
            roles.push(object);
        }
    }
    server.apply(OBJECTS);
    let token = server.account_token("weir-system", "weir", None);
    let kubeconfig = server.kubeconfig(&token);

    let authority = Authority::new();
    let today = jiff::Zoned::now().date();
    let end = today.saturating_add(jiff::Span::new().days(20));
    let files = Files::new(&authority.sign_until(&[NAME], end), None);
    let mut arguments = files.arguments_without_authority();
    arguments.extend(["--policy", policy, "--lease", "weir-system/weir"]);
    let rights = rights(&roles);
    let start = Instant::now();
    let mut missing = rights.clone();
    // Some rights are used only if the Lease changes its holder, so the control plane runs several times.
    while !missing.is_empty() && start.elapsed() < Duration::from_secs(120) {
        let plane = Plane::of_cluster(&kubeconfig, &arguments);
        plane.wait_until_ready().await;
        let reader = server.account_token("weir-system", "weir", Some("weir.dev"));
        let _ = Ask::new(plane.listen, &authority)
            .with(None, "?namespace=default", &reader)
            .await;
        // If a problem is resolved and then returns, the control plane updates the problem's Event. The control plane
        // writes an Event when it holds the Lease and the problem has lasted five seconds.
        for backend in ["web", "none"] {
            tokio::time::sleep(Duration::from_secs(12)).await;
            server.apply(&OBJECTS.replace("service: none", &format!("service: {backend}")));
        }
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until && !missing.is_empty() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let (used, _) = used_rights(&server);
            missing = rights.difference(&used).cloned().collect();
        }
        plane.terminate();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (_, refused) = used_rights(&server);
    assert!(refused.is_empty(), "the control plane lacks {refused:?}");
    assert!(missing.is_empty(), "unused rights: {missing:?}");

    let events =
        server
            .kubectl_client()
            .run(&["events", "-n", "weir-system", "--for", "lease/weir"]);
    let says = |part: &str| events.contains(part);
    assert!(
        says("CertificateEnds") && says("expires in 19 days"),
        "{events}"
    );

    let account = server.kubectl_as(&token);
    // Weir's roles lack the right to read the keys of tokens, because every ServiceAccount has this right.
    assert!(
        account
            .run(&["get", "--raw", "/openid/v1/jwks"])
            .contains("keys")
    );
    for write in [
        &[
            "patch",
            "httproute.gateway.networking.k8s.io",
            "web",
            "--type=merge",
            "-p",
            r#"{"spec":{"hostnames":["a.b"]}}"#,
        ][..],
        &["annotate", "trafficsplit", "shop", "a=b"],
        &["label", "service", "web", "a=b"],
        &["delete", "trafficsplit", "shop"],
        &["get", "secrets", "-A"],
        &["create", "secret", "generic", "mine", "-n", "weir-system"],
    ] {
        let output = account.output(write);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.to_lowercase().contains("forbidden"),
            "{write:?}: {errors}"
        );
    }
}

/// Returns the objects of the component `deploy/smi`.
fn smi() -> Vec<Value> {
    ["clusterrole.yaml", "clusterrolebinding.yaml"]
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(root().join("deploy/smi").join(file));
            objects(&text.expect("a manifest"))
        })
        .collect()
}
