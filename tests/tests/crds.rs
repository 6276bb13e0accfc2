//! Tests the SMI CRDs of `deploy/crds`. An object that is written at one version must keep all its fields at every
//! other version.

use serde_json::{Value, json};
use weir_cluster::{ApiServer, Kubectl};
use weir_tests::{objects, root};

const SPLIT: &str = "trafficsplits.VERSION.split.smi-spec.io";
const GROUP: &str = "httproutegroups.VERSION.specs.smi-spec.io";
const ROUTE: &str = "tcproutes.VERSION.specs.smi-spec.io";
const TARGET: &str = "traffictargets.VERSION.access.smi-spec.io";

const FOUR: &[&str] = &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"];

/// A resource, its versions, and an object.
const EXAMPLES: [(&str, &[&str], &str); 14] = [
    (
        SPLIT,
        FOUR,
        "{ apiVersion: split.smi-spec.io/v1alpha1, kind: TrafficSplit, metadata: { name: a }, spec: { service: web, backends: [{ service: v1, weight: 500m }, { service: v2, weight: 1 }, { service: v3 }, { service: v4, weight: '1e3' }] } }",
    ),
    (
        SPLIT,
        FOUR,
        "{ apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: { name: b }, spec: { service: bookstore.bookstore, backends: [{ service: v1, weight: 50 }, { service: v2, weight: 0.5 }] } }",
    ),
    (
        SPLIT,
        FOUR,
        "{ apiVersion: split.smi-spec.io/v1alpha3, kind: TrafficSplit, metadata: { name: c }, spec: { service: web, matches: [{ apiGroup: specs.smi-spec.io, kind: HTTPRouteGroup, name: ab }], backends: [{ service: v1, weight: 1 }] } }",
    ),
    (
        SPLIT,
        FOUR,
        "{ apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: { name: d }, spec: { service: shop.example.com, matches: [{ kind: HTTPRouteGroup, name: ab }], backends: [{ service: v1, weight: 4294967295 }] } }",
    ),
    (
        GROUP,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha1, kind: HTTPRouteGroup, metadata: { name: a }, matches: [{ name: metrics, pathRegex: /metrics, methods: [GET] }, { name: all, pathRegex: '.*', methods: ['*'] }] }",
    ),
    (
        GROUP,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha2, kind: HTTPRouteGroup, metadata: { name: b }, matches: [{ name: agents, headers: [{ user-agent: '.*Android.*' }, { client-app: bookbuyer }] }] }",
    ),
    (
        GROUP,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha3, kind: HTTPRouteGroup, metadata: { name: c }, spec: { matches: [{ name: agents, headers: { user-agent: '.*Android.*', x-user: '.+' } }] } }",
    ),
    (
        GROUP,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: { name: d }, spec: { matches: [{ name: everything }, { name: buy, pathRegex: '.*a-book.*new', methods: [GET, PATCH], headers: [{ host: '.*' }] }] } }",
    ),
    (
        ROUTE,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha1, kind: TCPRoute, metadata: { name: a } }",
    ),
    (
        ROUTE,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha3, kind: TCPRoute, metadata: { name: c }, spec: {} }",
    ),
    (
        ROUTE,
        FOUR,
        "{ apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: { name: d }, spec: { matches: { ports: [3306, 6446] } } }",
    ),
    (
        TARGET,
        &["v1alpha1", "v1alpha2", "v1alpha3"],
        "{ apiVersion: access.smi-spec.io/v1alpha1, kind: TrafficTarget, metadata: { name: a }, destination: { kind: ServiceAccount, name: store, namespace: default, port: 8080 }, specs: [{ kind: HTTPRouteGroup, name: a, matches: [metrics] }], sources: [{ kind: ServiceAccount, name: buyer, namespace: default }] }",
    ),
    (
        TARGET,
        &["v1alpha1", "v1alpha2", "v1alpha3"],
        "{ apiVersion: access.smi-spec.io/v1alpha2, kind: TrafficTarget, metadata: { name: b }, spec: { destination: { kind: ServiceAccount, name: store, namespace: default, port: 8080 }, rules: [{ kind: TCPRoute, name: a }], sources: [{ kind: ServiceAccount, name: buyer, namespace: other }] } }",
    ),
    (
        TARGET,
        &["v1alpha1", "v1alpha2", "v1alpha3"],
        "{ apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: { name: c }, spec: { destination: { kind: ServiceAccount, name: store, namespace: default }, rules: [{ kind: HTTPRouteGroup, name: a, matches: [metrics, all] }], sources: [{ kind: ServiceAccount, name: buyer, namespace: other }] } }",
    ),
];

fn server() -> (ApiServer, Kubectl) {
    let server = ApiServer::start();
    server.crds(&[&root().join("deploy/crds")]);
    let kubectl = server.kubectl_client().clone();
    (server, kubectl)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the object without `apiVersion`, `kind` and `metadata`.
fn content(mut object: Value) -> Value {
    let fields = object.as_object_mut().expect("an object");
    for field in ["apiVersion", "kind", "metadata"] {
        fields.remove(field);
    }
    object
}

#[test]
fn nothing_is_lost_between_versions() {
    let (_server, kubectl) = server();
    for (resource, versions, example) in EXAMPLES {
        // `strict` refuses unknown fields. The schema sets no defaults, so the object must come back unchanged.
        kubectl.apply(example, &["--server-side", "--validate=strict"]);
        let object = objects(example).remove(0);
        let name = object["metadata"]["name"].as_str().expect("a name");
        for version in versions {
            let resource = resource.replace("VERSION", version);
            let read = json(&kubectl.run(&["get", &resource, name, "-o", "json"]));
            assert_eq!(content(read), content(object.clone()), "{resource} {name}");
        }
        // A tool may write the object at another version.
        let last = resource.replace("VERSION", versions[versions.len() - 1]);
        kubectl.run(&["label", &last, name, "touched=yes"]);
        let first = resource.replace("VERSION", versions[0]);
        let read = json(&kubectl.run(&["get", &first, name, "-o", "json"]));
        assert_eq!(content(read), content(object.clone()), "{first} {name}");
    }
}

#[test]
fn kubectl_shows_and_awaits_split_status() {
    let (_server, kubectl) = server();
    let (_, _, split) = EXAMPLES[1];
    kubectl.apply(split, &[]);
    let condition = |generation: u64| {
        json!({
            "type": "weir.dev/Live", "status": "True", "observedGeneration": generation, "reason": "Live",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "on 2 of 2 proxies",
        })
    };
    let live = |generation: u64| {
        let patch = json!({ "status": { "conditions": [condition(generation)] } }).to_string();
        let what = ["--subresource=status", "--type=merge", "-p", &patch];
        kubectl.run(&[&["patch", "ts", "b"], &what[..]].concat());
    };
    live(1);
    let table = kubectl.run(&["get", "ts", "b", "-o", "wide"]);
    let row: Vec<_> = table
        .lines()
        .nth(1)
        .unwrap_or("")
        .split_whitespace()
        .collect();
    assert_eq!(
        row[..9],
        [
            "b",
            "bookstore.bookstore",
            "True",
            "1",
            "1",
            "on",
            "2",
            "of",
            "2"
        ],
        "{table}"
    );
    // Weir has not read this edit. So the table shows that True belongs to generation 1.
    kubectl.apply(&split.replace("weight: 50", "weight: 55"), &[]);
    let table = kubectl.run(&["get", "ts", "b"]);
    let row: Vec<_> = table.split_whitespace().rev().take(4).skip(1).collect();
    assert_eq!(row, ["1", "2", "True"], "{table}");
    live(2);
    let wait = [
        "wait",
        "ts/b",
        "--for=condition=weir.dev/Live",
        "--timeout=2s",
    ];
    kubectl.run(&wait);

    // A status write keeps the generation, and a new spec gets a new generation. `kubectl wait` ignores a condition of
    // an old generation.
    let old = kubectl.run(&["get", "ts", "b", "-o", "jsonpath={.metadata.generation}"]);
    assert_eq!(old, "2");
    kubectl.apply(&split.replace("weight: 50", "weight: 60"), &[]);
    assert!(!kubectl.output(&wait).status.success());
    live(3);
    kubectl.run(&wait);
    // A patch without `--subresource=status` does not change the status.
    kubectl.run(&[
        "patch",
        "ts",
        "b",
        "--type=merge",
        "-p",
        r#"{"status":{"conditions":[]}}"#,
    ]);
    kubectl.run(&wait);
}

#[test]
fn every_field_is_explained() {
    let (_server, kubectl) = server();
    for (field, word) in [
        ("trafficsplits.spec.backends.weight", "sum of all weights"),
        (
            "trafficsplits.spec.service",
            "The service that clients call",
        ),
        (
            "trafficsplits.status.conditions.type",
            "name of the condition",
        ),
        ("httproutegroups.spec.matches.pathRegex", "whole path"),
        (
            "traffictargets.spec.sources",
            "ServiceAccounts of the allowed clients",
        ),
    ] {
        // The API server publishes the documentation of a new kind a moment after the kind.
        let explained = (0..100).find_map(|_| {
            let output = kubectl.output(&["explain", field]);
            let explained = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            output.status.success().then_some(explained)
        });
        let explained = explained.unwrap_or_default();
        assert!(explained.contains(word), "{field}: {explained}");
    }
}
