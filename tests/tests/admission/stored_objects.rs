//! Tests for invalid objects that were stored before the policies or schemas were installed, and for unknown fields.

use std::process::Stdio;

use serde_json::{Value, json};
use weir_tests::root;

use crate::cluster::{Cluster, Write, parse};
use crate::{groups, routes, splits};

/// Returns objects that the policies refuse. The first two objects are also refused by the shipped schemas. The other
/// two objects are routes, for which Weir ships no schemas.
fn broken_objects() -> [Value; 4] {
    let split = "spec: { service: web, backends: [{ service: a, weight: 10O }] }";
    let old = "matches: [{ name: a, pathRegex: '/(?!x)' }]";
    let cors = "rules: [{ filters: [{ type: CORS, cors: {} }], TO }]";
    [
        splits::object("v1alpha4", split),
        groups::object("v1alpha4", old),
        routes::object("gateway.networking.k8s.io/v1 HTTPRoute", cors),
        routes::object("policy.linkerd.io/v1beta3 HTTPRoute", cors),
    ]
}

/// Installs the policies after invalid objects were stored. Labels, finalizers and status of these objects may still
/// change. An edit of a spec must make the object valid.
pub async fn policies_pass_an_unchanged_spec(cluster: &Cluster) {
    let namespace = "unlabelled";
    for object in broken_objects() {
        let stored = cluster.create(namespace, &object, Write::Store).await;
        stored.expect("the namespace has no admission label");
    }
    cluster.policies().await;
    let label = [
        "label",
        "--overwrite",
        "namespace",
        namespace,
        "weir.dev/admission=enabled",
    ];
    cluster.server.kubectl_client().run(&label);
    let [split, ..] = broken_objects();
    let mut other = split;
    other["metadata"]["name"] = json!("other");
    cluster
        .refused_in_the_end(namespace, &other.to_string())
        .await;
    for object in broken_objects() {
        unchanged_specs_pass(cluster, namespace, &object).await;
    }
    let mended = [
        splits::object(
            "v1alpha4",
            "spec: { service: web, backends: [{ service: a, weight: 100 }] }",
        ),
        groups::object("v1alpha4", "spec: { matches: [{ name: a }] }"),
        routes::object("gateway.networking.k8s.io/v1 HTTPRoute", "rules: [{ TO }]"),
        routes::object("policy.linkerd.io/v1beta3 HTTPRoute", "rules: [{ TO }]"),
    ];
    for object in mended {
        let outcome = cluster.replace(namespace, &object).await;
        assert!(outcome.is_ok(), "{object}: {outcome:?}");
    }
}

/// Installs the shipped schemas after another project's schema accepted invalid objects.
pub async fn shipped_schemas_pass_an_unchanged_spec(cluster: &Cluster) {
    let [split, group, ..] = broken_objects();
    for object in [&split, &group] {
        let stored = cluster.create("default", object, Write::Store).await;
        stored.expect("the foreign schema accepts any object");
    }
    cluster.server.crds(&[&root().join("deploy/crds")]);
    let mut other = split.clone();
    other["metadata"]["name"] = json!("other");
    cluster
        .refused_in_the_end("default", &other.to_string())
        .await;
    for object in [&split, &group] {
        unchanged_specs_pass(cluster, "default", object).await;
    }
}

async fn unchanged_specs_pass(cluster: &Cluster, namespace: &str, object: &Value) {
    let mut stored = cluster.read(namespace, object).await;
    stored["metadata"]["labels"] = json!({ "touched": "yes" });
    stored["metadata"]["finalizers"] = json!(["example.org/held"]);
    let outcome = cluster.replace(namespace, &stored).await;
    assert!(outcome.is_ok(), "{object}: {outcome:?}");
    let mut freed = cluster.read(namespace, object).await;
    freed["metadata"]["finalizers"] = json!([]);
    let outcome = cluster.replace(namespace, &freed).await;
    assert!(outcome.is_ok(), "{object}: {outcome:?}");
    if object["kind"] == "TrafficSplit" {
        let patch = json!({ "status": { "conditions": [] } }).to_string();
        let what = [
            "patch",
            "trafficsplits",
            "web",
            "-n",
            namespace,
            "--subresource=status",
        ];
        let how = ["--type=merge", "-p", patch.as_str()];
        cluster
            .server
            .kubectl_client()
            .run(&[&what[..], &how].concat());
    }
    let mut edit = cluster.read(namespace, object).await;
    let changed = match edit.get("spec") {
        Some(_) => &mut edit["spec"],
        None => &mut edit["matches"],
    };
    match changed {
        Value::Array(matches) => matches.push(json!({ "name": "b" })),
        spec if object["kind"] == "TrafficSplit" => spec["backends"][0]["service"] = json!("b"),
        spec => spec["hostnames"] = json!(["a.example"]),
    }
    let outcome = cluster.replace(namespace, &edit).await;
    assert!(outcome.is_err(), "{edit}");
}

pub async fn mistyped_fields(cluster: &Cluster) {
    let good = "spec: { service: web, backends: [{ service: web-v1, weight: 10 }, { service: web-v2, weight: 90 }] }";
    let good = splits::object("v1alpha2", good);
    let stored = cluster.create("default", &good, Write::Store).await;
    let stored = stored.expect("the object is valid");
    let edit = good.to_string().replace(
        r#""service":"web-v2","weight""#,
        r#""service":"web-v2","wieght""#,
    );
    assert!(edit.contains("wieght"), "{edit}");
    for validation in ["--validate=strict", "--validate=warn", "--validate=ignore"] {
        for how in [&["--server-side", "--force-conflicts"][..], &[]] {
            let message = refused_by_kubectl(cluster, &[how, &[validation]].concat(), &edit);
            assert!(
                message.contains("spec.backends[1].weight: Required value"),
                "{message}"
            );
        }
    }
    // The schema has no field `specs`. kubectl refuses the object. If a controller writes the object, the API server
    // drops the field.
    let misplaced = parse(
        &good
            .to_string()
            .replace(r#""spec""#, r#""specs":{"a":1},"spec""#),
    );
    let message = refused_by_kubectl(cluster, &[], &misplaced.to_string());
    assert!(message.contains(r#"unknown field "specs""#), "{message}");
    let dropped = cluster.replace("default", &misplaced).await;
    assert_eq!(dropped.expect("the write succeeds").get("specs"), None);
    assert_eq!(cluster.read("default", &good).await["spec"], stored["spec"]);
}

fn refused_by_kubectl(cluster: &Cluster, args: &[&str], object: &str) -> String {
    let file = cluster.server.folder().join("object.json");
    std::fs::write(&file, object).expect("written");
    let file = file.display().to_string();
    let mut command = cluster.server.kubectl_client().command();
    command
        .args(["apply", "-f", &file])
        .args(args)
        .stdin(Stdio::null());
    let output = command.output().expect("kubectl starts");
    assert!(!output.status.success(), "{args:?}: {object}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
