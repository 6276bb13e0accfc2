//! The objects of a hundred small namespaces, and the objects with which one namespace fills its limits.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// The number of small namespaces.
pub const NEIGHBOURS: usize = 100;

pub fn service(namespace: &str, name: &str, ports: std::ops::RangeInclusive<u16>) -> Value {
    let ports: Vec<Value> = ports
        .map(|it| json!({ "port": it, "name": format!("p{it}") }))
        .collect();
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": ports } })
}

pub fn split(namespace: &str, name: &str, root: &str, backends: &[(&str, u64)]) -> Value {
    let backends = backends
        .iter()
        .map(|(service, weight)| json!({ "service": service, "weight": weight }));
    json!({ "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "service": root, "backends": backends.collect::<Vec<_>>() } })
}

fn route(name: &str, root: &str, matches: &[Value]) -> Value {
    json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "namespace": "evil", "name": name },
        "spec": { "parentRefs": [{ "group": "", "kind": "Service", "name": root, "port": 80 }],
            "rules": [{ "matches": matches, "backendRefs": [{ "name": "v1", "port": 80 }] }] } })
}

/// Returns the objects of the small namespaces. Each namespace has a split whose second backend has this weight.
pub fn neighbours(weight: u64) -> Vec<Value> {
    let of = |number: usize| {
        let namespace = format!("team-{number}");
        let services = ["web", "v1", "v2"].map(|name| service(&namespace, name, 80..=80));
        let split = split(&namespace, "web", "web", &[("v1", 90), ("v2", weight)]);
        services.into_iter().chain([split]).collect::<Vec<_>>()
    };
    (0..NEIGHBOURS).flat_map(of).collect()
}

/// Returns a Service with 1,000 ports and two splits of this Service. One split names the same backend 1,000 times; the
/// other split names 1,000 different backends.
pub fn bombs() -> Vec<Value> {
    let names: Vec<String> = (0..1_000).map(|it| format!("b{it}")).collect();
    let others: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    vec![
        service("evil", "wide", 1..=1_000),
        split("evil", "a-bomb", "wide", &[("wide", 1); 1_000]),
        split("evil", "another-bomb", "wide", &others),
    ]
}

/// Returns objects that fill the limits of a namespace: first regular expressions, then splits.
pub fn fill() -> Vec<Value> {
    let mut objects = vec![service("evil", "v1", 80..=80)];
    for number in 0..8 {
        let root = format!("re-{number}");
        let matches = (0..50).map(|it| {
            let value = format!("(a|b)*a(a|b){{10}}{number}-{it}");
            json!({ "headers": [{ "name": "x", "type": "RegularExpression", "value": value }] })
        });
        objects.push(service("evil", &root, 80..=80));
        objects.push(route(
            &format!("a{number}"),
            &root,
            &matches.collect::<Vec<_>>(),
        ));
    }
    for number in 0..4_000 {
        let root = format!("s{number}");
        objects.push(service("evil", &root, 80..=80));
        objects.push(split("evil", &root, &root, &[("v1", 1), (&root, 1)]));
    }
    objects
}

pub fn yaml(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        writeln!(text, "{object}\n---").expect("text");
    }
    text
}
