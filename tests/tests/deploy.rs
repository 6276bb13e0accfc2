//! Tests the manifests of `deploy/` and `demo/kubernetes`. Kustomize and Helm must render the same objects. The API
//! server must accept all objects. All pods must satisfy the Pod Security Standard `restricted`.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};
use weir_cluster::ApiServer;
use weir_cluster::programs::{gateway_api_crds, go_module, go_program};
use weir_tests::{objects, root};

const HELM_RELEASE: [&str; 5] = [
    "template",
    "weir",
    "deploy/chart",
    "--namespace",
    "weir-system",
];

fn run(program: &str, family: &str, args: &[&str]) -> String {
    let output = Command::new(go_program(family, program))
        .args(args)
        .current_dir(root())
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn kustomize(folder: &str) -> String {
    run("kubectl", "kubernetes", &["kustomize", folder])
}

fn helm(args: &[&str]) -> String {
    run("helm", "helm", args)
}

/// Returns the objects by `KIND NAMESPACE/NAME`.
fn by_name(manifests: &str) -> BTreeMap<String, Value> {
    let named = objects(manifests).into_iter().map(|object| {
        let text = |path: &str| {
            object
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        let name = format!(
            "{} {}/{}",
            text("/kind"),
            text("/metadata/namespace"),
            text("/metadata/name")
        );
        (name, object)
    });
    named.collect()
}

#[test]
fn kustomize_and_helm_agree() {
    let mut kustomized = by_name(&kustomize("deploy"));
    let mut helmed = by_name(&helm(&[&HELM_RELEASE[..], &["--include-crds"]].concat()));
    // Helm creates the namespace itself, and the certificate without a Job.
    for only in [
        "Namespace /weir-system",
        "Job weir-system/weir-certificate",
        "Role weir-system/weir-certificate",
        "RoleBinding weir-system/weir-certificate",
        "ServiceAccount weir-system/weir-certificate",
    ] {
        assert!(kustomized.remove(only).is_some(), "{only}");
    }
    let secret = helmed
        .remove("Secret weir-system/weir-tls")
        .expect("weir-tls");
    for file in ["ca.crt", "tls.crt", "tls.key"] {
        assert!(secret["data"][file].is_string(), "{file}");
    }
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kustomized), names(&helmed));
    for (name, object) in &kustomized {
        assert_eq!(object, &helmed[name], "{name}");
    }
}

#[test]
fn chart_values_reach_the_objects() {
    helm(&["lint", "--strict", "deploy/chart"]);
    let rendered = by_name(&helm(&[
        "template",
        "weir",
        "deploy/chart",
        "--namespace=elsewhere",
        "--set=policy=smi,replicas=3,certificate.secret=ours,serviceMonitor.enabled=true",
        "--set=image.repository=registry.example/weir,image.tag=v1,args={--namespaces=a}",
        "--set=pod.priorityClassName=high,resources.requests.cpu=1,prometheusNamespace=metrics",
    ]));
    assert!(
        !rendered
            .keys()
            .any(|name| name.contains("weir-system") || name.starts_with("Secret"))
    );
    let deployment = &rendered["Deployment elsewhere/weir"]["spec"];
    let pod = &deployment["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(deployment["replicas"], 3);
    assert_eq!(pod["priorityClassName"], "high");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "ours");
    assert_eq!(container["image"], "registry.example/weir:v1");
    assert_eq!(container["resources"], json!({ "requests": { "cpu": 1 } }));
    let args = container["args"].as_array().expect("args");
    assert_eq!(
        args[args.len() - 2..],
        [json!("--policy=smi"), json!("--namespaces=a")]
    );
    let metrics = &rendered["NetworkPolicy elsewhere/weir"]["spec"]["ingress"][1]["from"][0];
    let namespace = &metrics["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
    assert_eq!(namespace, "metrics");
    assert!(rendered.contains_key("ServiceMonitor elsewhere/weir"));
    for kind in [
        "ClusterRoleBinding /weir",
        "ClusterRoleBinding /weir-policy",
        "RoleBinding elsewhere/weir",
    ] {
        assert_eq!(
            rendered[kind]["subjects"][0]["namespace"], "elsewhere",
            "{kind}"
        );
    }
    let refused = Command::new(go_program("helm", "helm"))
        .args([&HELM_RELEASE[..], &["--set=replica=3"]].concat())
        .current_dir(root())
        .output()
        .expect("helm starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && errors.contains("replica"),
        "{errors}"
    );
}

/// The admin port has no TLS and no tokens. A user who can create a pod can choose the pod's labels. So each rule of
/// the NetworkPolicy for this port must name a namespace.
#[test]
fn admin_port_requires_a_named_namespace() {
    let path = root().join("deploy/weir/networkpolicy.yaml");
    let text = std::fs::read_to_string(path).expect("a file");
    let policy = &by_name(&text)["NetworkPolicy weir-system/weir"];
    let rules = policy["spec"]["ingress"].as_array().expect("rules");
    let is_for_admin = |rule: &&Value| {
        let ports = rule["ports"].as_array().expect("a rule names its ports");
        ports.iter().any(|it| it["port"] != "config")
    };
    let rules: Vec<&Value> = rules.iter().filter(is_for_admin).collect();
    assert_eq!(rules.len(), 1, "{rules:?}");
    let peers = rules[0]["from"].as_array().expect("peers");
    assert!(!peers.is_empty());
    for peer in peers {
        let namespace = peer.pointer("/namespaceSelector/matchLabels/kubernetes.io~1metadata.name");
        assert!(namespace.is_some_and(Value::is_string), "{peer}");
    }
}

/// A tag can move to another image; a digest cannot.
#[test]
fn image_can_be_named_by_digest() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let folder = overlay(&json!({
        "resources": ["../../deploy", "../../demo/kubernetes"],
        "images": [{ "name": "weir.dev/weir", "newName": "registry.example/weir", "digest": digest }],
    }));
    let pinned = format!("registry.example/weir@{digest}");
    let kustomized = kustomize(&folder.path().display().to_string());
    let images = kustomized
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "));
    let ours: Vec<&str> = images
        .filter(|it| it.contains("/weir@") || it.contains("/weir:"))
        .collect();
    assert!(ours.len() >= 2, "{ours:?}");
    assert!(ours.iter().all(|image| *image == pinned), "{ours:?}");

    let repository = "--set=image.repository=registry.example/weir,image.tag=v1";
    let set = format!("--set=image.digest={digest}");
    let rendered = by_name(&helm(
        &[&HELM_RELEASE[..], &[repository, set.as_str()]].concat(),
    ));
    let pod = &rendered["Deployment weir-system/weir"]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], pinned);
    let refused = Command::new(go_program("helm", "helm"))
        .args([&HELM_RELEASE[..], &["--set=image.digest=v1"]].concat())
        .current_dir(root())
        .output()
        .expect("helm starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && errors.contains("digest"),
        "{errors}"
    );
}

/// Creates a folder with this kustomization, two levels below the root of the repository.
fn overlay(kustomization: &Value) -> tempfile::TempDir {
    let target = root().join("target");
    std::fs::create_dir_all(&target).expect("target");
    let folder = tempfile::tempdir_in(target).expect("a folder");
    let file = folder.path().join("kustomization.yaml");
    std::fs::write(file, kustomization.to_string()).expect("written");
    folder
}

/// A team can add the component `deploy/smi` to its own kustomization. Helm must render the same objects with
/// `policy=smi`.
#[test]
fn smi_policy_is_a_component() {
    let folder = overlay(&json!({
        "resources": ["../../deploy"],
        "components": ["../../deploy/smi"],
    }));
    let kustomized = by_name(&kustomize(&folder.path().display().to_string()));
    let helmed = by_name(&helm(&[&HELM_RELEASE[..], &["--set=policy=smi"]].concat()));
    for name in [
        "Deployment weir-system/weir",
        "ClusterRole /weir-policy",
        "ClusterRoleBinding /weir-policy",
    ] {
        assert_eq!(kustomized[name], helmed[name], "{name}");
    }
}

/// All parts of a release have the same version.
#[test]
fn images_have_this_version() {
    let all = [kustomize("deploy"), kustomize("demo/kubernetes")].concat();
    let version = env!("CARGO_PKG_VERSION");
    let mut seen = 0;
    for line in all
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("image: "))
    {
        let envoy = format!("envoyproxy/envoy:distroless-v{}", envoy_version());
        let expected = [
            format!("weir.dev/weir:{version}"),
            format!("weir.dev/weir-demo:{version}"),
            envoy,
        ];
        assert!(
            expected.contains(&line.to_owned()),
            "{line} is not in {expected:?}"
        );
        seen += 1;
    }
    assert!(seen >= 7, "{seen} images");
    let chart = &objects(
        &std::fs::read_to_string(root().join("deploy/chart/Chart.yaml")).expect("Chart.yaml"),
    )[0];
    assert_eq!(
        [&chart["version"], &chart["appVersion"]],
        [version, version]
    );
}

fn envoy_version() -> String {
    let install = std::fs::read_to_string(root().join("scripts/install")).expect("scripts/install");
    let line = install
        .lines()
        .find_map(|line| line.strip_prefix("envoy_version="));
    line.expect("envoy_version").to_owned()
}

/// The Envoy configurations of the two clients must differ only in the namespace.
#[test]
fn sidecars_differ_only_in_namespace() {
    let rendered = by_name(&kustomize("demo/kubernetes"));
    let config = |namespace: &str| {
        let found = rendered
            .iter()
            .find(|(name, _)| name.starts_with(&format!("ConfigMap {namespace}/envoy-")));
        let (_, object) = found.expect("a ConfigMap");
        object["data"]["envoy.yaml"]
            .as_str()
            .expect("envoy.yaml")
            .to_owned()
    };
    let shipped =
        std::fs::read_to_string(root().join("envoy-config/kubernetes-ads.yaml")).expect("the file");
    // demo/kubernetes/bookthief replaces the text between the first two single quotes of the file.
    let quoted = shipped.split('\'').nth(1).unwrap_or_default();
    assert!(
        serde_json::from_str::<serde_json::Map<String, Value>>(quoted).is_ok(),
        "{quoted}"
    );
    assert_eq!(config("bookbuyer"), shipped);
    let thief = shipped.replace(r#""namespace": "bookbuyer""#, r#""namespace": "bookthief""#);
    assert_ne!(thief, shipped);
    assert_eq!(config("bookthief"), thief);
}

/// Envoy must run before the first call and after the last call of the workload. The kubelet runs preStop of a sidecar
/// while the workload still runs.
#[test]
fn envoys_are_native_sidecars() {
    let objects = objects(&kustomize("demo/kubernetes"));
    let is_envoy = |container: &&Value| {
        let image = container["image"].as_str().unwrap_or_default();
        image.starts_with("envoyproxy/envoy:")
    };
    let mut seen = 0;
    for object in &objects {
        let Some(pod) = object.pointer("/spec/template/spec") else {
            continue;
        };
        let of = |kind: &str| pod[kind].as_array().into_iter().flatten();
        let name = &object["metadata"]["name"];
        assert_eq!(of("containers").find(is_envoy), None, "{name}");
        for envoy in of("initContainers").filter(is_envoy) {
            assert_eq!(envoy["restartPolicy"], "Always", "{name}");
            let probe = json!({ "path": "/ready", "port": 15090 });
            assert_eq!(envoy["startupProbe"]["httpGet"], probe, "{name}");
            assert_eq!(envoy["lifecycle"], Value::Null, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2);
}

#[test]
fn api_server_accepts_all_manifests() {
    let server = ApiServer::start();
    server.crds(&[&root().join("deploy/crds")]);
    let kubectl = server.kubectl_client();
    let dry_run = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    for (what, manifests) in [
        ("deploy", kustomize("deploy")),
        (
            "helm",
            helm(&[&HELM_RELEASE[..], &["--set=policy=smi"]].concat()),
        ),
        ("demo/kubernetes", kustomize("demo/kubernetes")),
    ] {
        let objects = objects(&manifests);
        // A dry run of an object fails without its namespace, and a dry run of a pod fails without its ServiceAccount.
        for object in &objects {
            if matches!(
                object["kind"].as_str(),
                Some("Namespace" | "ServiceAccount")
            ) {
                kubectl.with_input(&["apply", "-f", "-"], &object.to_string());
            }
        }
        let mut pods = 0;
        for object in &objects {
            let said = kubectl.with_input(&dry_run, &object.to_string());
            assert!(said.contains("server dry run"), "{what}: {said}");
            let Some(template) = object.pointer("/spec/template") else {
                continue;
            };
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .expect("a namespace");
            kubectl.run(&[
                "label",
                "--overwrite",
                "namespace",
                namespace,
                "pod-security.kubernetes.io/enforce=restricted",
            ]);
            let mut pod = template.clone();
            pod["apiVersion"] = json!("v1");
            pod["kind"] = json!("Pod");
            pod["metadata"]["name"] = object["metadata"]["name"].clone();
            pod["metadata"]["namespace"] = json!(namespace);
            let said = kubectl.with_input(&dry_run, &pod.to_string());
            assert!(said.contains("server dry run"), "{what}: {said}");
            pods += 1;
        }
        assert!(pods >= 1, "{what}");
    }
    // The API server must refuse a pod that violates the level `restricted`. Otherwise the loop above checked nothing.
    let bare = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "bare", "namespace": "weir-system" },
        "spec": { "serviceAccountName": "weir", "containers": [{ "name": "bare", "image": "bare" }] },
    });
    std::fs::write(server.folder().join("bare.json"), bare.to_string()).expect("written");
    let file = server.folder().join("bare.json").display().to_string();
    let refused = kubectl.output(&["apply", "--dry-run=server", "-f", &file]);
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && errors.contains("violates PodSecurity"),
        "{errors}"
    );
}

/// The definitions of Argo Rollouts come from its Go module. `scripts/rollouts` runs the controller with these manifests.
#[test]
fn api_server_accepts_argo_rollouts_manifests() {
    let server = ApiServer::start();
    let argo = go_module("argo-rollouts", "github.com/argoproj/argo-rollouts");
    server.crds(&[
        &root().join("deploy/crds"),
        &gateway_api_crds("standard"),
        &argo.join("manifests/crds"),
    ]);
    let kubectl = server.kubectl_client();
    kubectl.run(&["create", "namespace", "weir-system"]);
    let folder = root().join("deploy/argo-rollouts");
    let dry_run = ["--dry-run=server", "-f", "-"];
    let strict = [&["apply", "--validate=strict"], &dry_run[..]].concat();
    let manifests = kustomize("deploy/argo-rollouts");
    assert_eq!(objects(&manifests).len(), 7);
    kubectl.with_input(&strict, &manifests);
    for rollout in ["rollout-smi.yaml", "rollout-gatewayapi.yaml"] {
        let file = folder.join(rollout).display().to_string();
        kubectl.run(&["apply", "--validate=strict", "-f", &file]);
    }
    let mut patches = 0;
    for entry in std::fs::read_dir(&folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let object = match name.split_once('-') {
            Some(("steps", _)) => "rollout/podinfo",
            Some(("route", _)) => "httproute/podinfo",
            _ => continue,
        };
        let file = path.display().to_string();
        kubectl.run(&["patch", object, "--type=merge", "--patch-file", &file]);
        // A patch with an unknown field would change nothing else, so the object must have the whole patch.
        let patch = std::fs::read_to_string(&path).expect("a patch");
        let patched = kubectl.run(&["get", object, "-o", "json"]);
        let patched: Value = serde_json::from_str(&patched).expect("JSON");
        assert!(
            contains(&patched, &objects(&patch)[0]),
            "{name}: {patched:#}"
        );
        patches += 1;
    }
    assert_eq!(patches, 4);
}

/// True if the value has everything of the part. Lists must have the same length.
fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::Object(value), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| value.get(key).is_some_and(|value| contains(value, part))),
        (Value::Array(value), Value::Array(part)) => {
            value.len() == part.len()
                && value
                    .iter()
                    .zip(part)
                    .all(|(value, part)| contains(value, part))
        }
        _ => value == part,
    }
}
