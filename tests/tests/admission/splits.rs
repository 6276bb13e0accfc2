//! TrafficSplits: valid objects, and edits that must be refused.

use crate::cluster::{Broken, Cluster, Refusal, Write, broken, broken_edit, parse};
use crate::weights;

/// Valid splits: the version, and all fields except the metadata.
const RIGHT: [(&str, &str); 21] = [
    // Flagger omits a weight of 0, because Go's JSON encoder omits zero values.
    (
        "v1alpha2",
        "spec: { service: podinfo, backends: [{ service: podinfo-canary }, { service: podinfo-primary, weight: 100 }] }",
    ),
    (
        "v1alpha1",
        "spec: { service: podinfo, backends: [{ service: podinfo-canary, weight: '10' }, { service: podinfo-primary, weight: '90' }] }",
    ),
    (
        "v1alpha1",
        "spec: { service: app.example.com, backends: [{ service: podinfo-canary, weight: 100m }, { service: podinfo-primary, weight: 900m }] }",
    ),
    // A YAML dumper may write null for an absent field.
    (
        "v1alpha3",
        "spec: { service: web, matches: [{ kind: HTTPRouteGroup, name: canary, apiGroup: null }], backends: [{ service: web-stable, weight: 0 }, { service: web-stage, weight: 100 }] }\nstatus: null",
    ),
    (
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: null }, { service: b, weight: 500m }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: web, matches: null, backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha1",
        "spec: { service: web, matches: [], backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha4",
        "spec: { service: web, matches: [{ apiGroup: specs.smi-spec.io, kind: HTTPRouteGroup, name: x }], backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha4",
        "spec: { service: web, matches: [{ apiGroup: '', kind: HTTPRouteGroup, name: x }], backends: [{ service: a, weight: 1 }] }",
    ),
    ("v1alpha2", "spec: { service: web, backends: [] }"),
    (
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: 0 }, { service: b, weight: 0 }] }",
    ),
    // Weir reports a duplicate backend as a problem, but serves the split.
    (
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: 1 }, { service: a, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: NAMESPACE, backends: [{ service: a.NAMESPACE, weight: 1 }, { service: A.NAMESPACE.svc, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: web.NAMESPACE, backends: [{ service: a.NAMESPACE.svc.cluster.local, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: 'web.NAMESPACE.svc.cluster.local.:14001', backends: [{ service: a.NAMESPACE.svc.k8s.corp, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: 'web:80', backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: 'Shop.Example.com.:65535', backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: foo.com, backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: web.unknown.svc.k8s.corp, backends: [{ service: a, weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: 9a, backends: [{ service: 'a.', weight: 1 }] }",
    ),
    (
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: 1 }, { service: b }, { service: c, weight: 0 }] }",
    ),
];

const MISSING: Refusal = Some("Write a weight for every backend");
const ROOT: Refusal = Some("is neither the name of a Service nor a host");
const BACKEND: Refusal = Some("is not the name of a Service");
const NO_MATCHES: Refusal = Some("has no matches: the split would not be in force");
const NO_GROUP: Refusal = Some("not an HTTPRouteGroup of specs.smi-spec.io");

/// Invalid edits: the version, all fields except the metadata, words of the schema's refusal, words of the policy's
/// refusal.
const BROKEN: [Broken; 45] = [
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a }] }",
        Some("weight: Required value"),
        MISSING,
    ),
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a }, { service: b, weight: 0 }] }",
        Some("weight: Required value"),
        MISSING,
    ),
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a }, { service: b, weight: 0m }] }",
        Some("weight: Required value"),
        MISSING,
    ),
    // The schema cannot distinguish null from a value.
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: null }, { service: b, weight: 0 }] }",
        None,
        MISSING,
    ),
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: 10 }, { service: b, wieght: 90 }] }",
        Some("backends[1].weight: Required value"),
        Some("unknown field wieght"),
    ),
    broken(
        "v1alpha2",
        "spec: { service: web, backends: [{ service: a, weight: 10 }, { service: b, weight: 90, port: 80 }] }",
        Some("backends[1]: Too many"),
        Some("unknown field port"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: web, namespace: blue, weight: 0 }, { service: web, namespace: green, weight: 100 }] }",
        Some("backends[0]: Too many"),
        Some("unknown field namespace"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, mathces: [{ kind: HTTPRouteGroup, name: x }], backends: [{ service: a, weight: 1 }] }",
        Some("spec: Too many"),
        Some("unknown field mathces"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: a, weight: 1 }] }\nmatches: [{ kind: HTTPRouteGroup, name: x }]",
        Some("matches belong in the spec, not at the top"),
        Some("unknown field matches"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backend: [{ service: a, weight: 1 }] }",
        Some("backends: Required value"),
        Some("unknown field backend"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web }",
        Some("backends: Required value"),
        Some("spec.backends is not a list"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: null }",
        Some("spec.backends"),
        Some("spec.backends is not a list"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: { service: a } }",
        Some("must be of type array"),
        Some("spec.backends is not a list"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [a] }",
        Some("must be of type object"),
        Some("spec.backends is not a list"),
    ),
    broken(
        "v1alpha4",
        "spec: {}",
        Some("service: Required value"),
        Some("spec.service is not text"),
    ),
    broken(
        "v1alpha4",
        "spec: null",
        Some("spec: Required value"),
        Some("spec.service is not text"),
    ),
    broken(
        "v1alpha4",
        "status: {}",
        Some("spec: Required value"),
        Some("spec.service is not text"),
    ),
    broken(
        "v1alpha4",
        "spec: { backends: [{ service: a, weight: 1 }] }",
        Some("service: Required value"),
        Some("spec.service is not text"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: { name: money, namespace: bank }, backends: [{ service: a, weight: 1 }] }",
        Some("spec.service in body must be of type string"),
        Some("Write the name alone"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: 1, backends: [{ service: a, weight: 1 }] }",
        Some("spec.service in body must be of type string"),
        Some("spec.service is not text"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: '', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: ' ', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: '.', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: ':80', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: 'web:', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: 'web:http', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web_1, backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: '*.example.com', backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: a..b, backends: [{ service: a, weight: 1 }] }",
        ROOT,
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: '10.0.0.1:80', backends: [{ service: a, weight: 1 }] }",
        Some("is an address"),
        ROOT,
    ),
    broken(
        "v1alpha4",
        "spec: { service: 'web:0', backends: [{ service: a, weight: 1 }] }",
        Some("the port in 'web:0' is not a port"),
        Some("is not a port"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: 'web:65536', backends: [{ service: a, weight: 1 }] }",
        Some("Write a number from 1 to 65535"),
        Some("is not a port"),
    ),
    // A schema does not know the object's namespace.
    broken(
        "v1alpha4",
        "spec: { service: web.other.svc.cluster.local, backends: [{ service: a, weight: 1 }] }",
        None,
        Some("is a Service of another namespace"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: a.other.svc.cluster.local, weight: 1 }] }",
        None,
        BACKEND,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: '', weight: 1 }] }",
        BACKEND,
        BACKEND,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: 'a:80', weight: 1 }] }",
        BACKEND,
        BACKEND,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: shop.example.com, weight: 1 }] }",
        BACKEND,
        BACKEND,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ service: { name: a }, weight: 1 }] }",
        Some("must be of type string"),
        BACKEND,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, backends: [{ weight: 1 }] }",
        Some("service: Required value"),
        BACKEND,
    ),
    broken(
        "v1alpha2",
        "spec: { service: web, matches: [{ kind: HTTPRouteGroup, name: x }], backends: [{ service: a, weight: 1 }] }",
        Some("this version has no matches"),
        NO_MATCHES,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, matches: [{ kind: TCPRoute, name: x }], backends: [{ service: a, weight: 1 }] }",
        Some("Name an HTTPRouteGroup"),
        NO_GROUP,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, matches: [{ apiGroup: gateway.networking.k8s.io, kind: HTTPRouteGroup, name: x }], backends: [{ service: a, weight: 1 }] }",
        Some("Write specs.smi-spec.io"),
        NO_GROUP,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, matches: [{ kind: HTTPRouteGroup }], backends: [{ service: a, weight: 1 }] }",
        Some("name: Required value"),
        NO_GROUP,
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, matches: [{ kind: HTTPRouteGroup, name: x, match: y }], backends: [{ service: a, weight: 1 }] }",
        Some("matches[0]: Too many"),
        Some("unknown field match"),
    ),
    broken(
        "v1alpha4",
        "spec: { service: web, matches: { name: x }, backends: [{ service: a, weight: 1 }] }",
        Some("must be of type array"),
        Some("spec.matches is not a list"),
    ),
];

pub async fn right_forms_are_stored(cluster: &Cluster, namespace: &str) {
    let weights = weights::RIGHT.iter().flat_map(|weight| {
        let spec = format!("spec: {{ service: web, backends: [{{ service: a, weight: {weight} }}, {{ service: b, weight: 1 }}] }}");
        ["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"].map(|version| (version, spec.clone()))
    });
    let others = RIGHT
        .iter()
        .map(|(version, rest)| (*version, (*rest).to_owned()));
    let backends = vec!["{ service: web-v1, weight: 500m }"; 1000].join(", ");
    let groups = vec!["{ kind: HTTPRouteGroup, name: x }"; 16].join(", ");
    let largest = format!("spec: {{ service: web, backends: [{backends}], matches: [{groups}] }}");
    for (version, rest) in weights.chain(others).chain([("v1alpha4", largest)]) {
        let split = object(version, &rest.replace("NAMESPACE", namespace));
        let created = cluster.create(namespace, &split, Write::Try).await;
        assert!(created.is_ok(), "{rest}: {created:?}");
    }
}

/// Tries each edit on a stored split that sends all requests to its second backend.
pub async fn broken_edits(cluster: &Cluster, namespace: &str, words: impl Fn(&Broken) -> Refusal) {
    let good = "spec: { service: web, backends: [{ service: web-v1, weight: 0 }, { service: web-v2, weight: 100 }] }";
    let good = object("v1alpha2", good);
    let stored = cluster.create(namespace, &good, Write::Store).await;
    stored.expect("the object is valid");
    let limits = [
        many(
            "backends",
            "{ service: a, weight: 1 }",
            1001,
            "at most 1000",
        ),
        many(
            "matches",
            "{ kind: HTTPRouteGroup, name: x }",
            17,
            "at most 16",
        ),
    ];
    let weights: Vec<Broken> = weights::BROKEN.iter().map(|(weight, by_schema, by_policy)| {
        let spec = format!("spec: {{ service: web, backends: [{{ service: web-v1, weight: 1 }}, {{ service: web-v2, weight: {weight} }}] }}");
        broken("v1alpha2", spec.leak(), *by_schema, *by_policy)
    }).collect();
    for case in BROKEN.iter().chain(&weights).chain(&limits) {
        let edit = object(case.version, case.edit);
        broken_edit(cluster, namespace, &edit, words(case)).await;
    }
}

fn many(field: &str, entry: &str, count: usize, words: &'static str) -> Broken {
    let entries = vec![entry; count].join(", ");
    let backends = match field {
        "backends" => String::new(),
        _ => ", backends: []".to_owned(),
    };
    let spec = format!("spec: {{ service: web{backends}, {field}: [{entries}] }}");
    broken("v1alpha4", spec.leak(), Some(words), Some(words))
}

pub fn object(version: &str, rest: &str) -> serde_json::Value {
    parse(&format!(
        "apiVersion: split.smi-spec.io/{version}\nkind: TrafficSplit\nmetadata: {{ name: web }}\n{rest}"
    ))
}
