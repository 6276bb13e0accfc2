//! Objects of every kind, which fill a namespace. Some are just below the largest size that the control plane reads.
//! Some have the largest size that the API server accepts. Some have lists as long as their schemas allow.

use serde_json::{Value, json};

use crate::objects::{bombs, fill, service, split};

/// The number of objects of each kind.
const EACH: usize = 130;
/// How many of these objects have almost 1 MiB of text.
const LARGE: usize = 12;
/// The largest number of bytes of text in such a large object.
const TEXT: usize = 1_000_000;

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";

/// Returns 10,000 objects of the namespace `evil`, of every kind that the control plane may watch.
pub fn ten_thousand() -> Vec<Value> {
    let mut objects = fill();
    for service in objects.iter_mut().filter(|it| it["kind"] == "Service") {
        // Every pod of this test has this label.
        service["spec"]["selector"] = json!({ "0": "" });
    }
    objects.extend(bombs());
    for number in 0..EACH {
        objects.extend(of_each_kind(number));
    }
    for number in 0..40 {
        let mut huge = split("evil", &format!("huge-{number}"), "v1", &[("v1", 1)]);
        huge["metadata"]["annotations"] = json!({ "x": "x".repeat(1_300_000) });
        objects.push(huge);
    }
    objects
}

fn of_each_kind(number: usize) -> Vec<Value> {
    let is_large = number < LARGE;
    // Above a limit, Weir keeps the oldest objects. All objects here have the same age, so Weir keeps the objects
    // whose names come first in the alphabet. These are the large objects.
    let name = format!("{}-{number:03}", if is_large { "a" } else { "t" });
    let route = |api_version: &str, kind: &str, rules: Vec<Value>| {
        let parents: Vec<_> = (1..=32)
            .map(|port| json!({ "group": "", "kind": "Service", "name": "wide", "port": port }))
            .collect();
        object(
            api_version,
            kind,
            &name,
            json!({ "parentRefs": parents, "rules": rules }),
        )
    };
    let http = rules(is_large);
    let linkerd = route("policy.linkerd.io/v1beta3", "HTTPRoute", http.clone());
    let grpc: Vec<Value> = rules(is_large)
        .into_iter()
        .map(|mut rule| {
            for one_match in rule["matches"].as_array_mut().expect("matches") {
                one_match.as_object_mut().expect("a match").remove("path");
                one_match["method"] = json!({ "service": "a.B", "method": "C" });
            }
            rule
        })
        .collect();
    let tcp =
        vec![json!({ "backendRefs": vec![json!({ "name": "v1", "port": 80, "weight": 1 }); 16] })];
    let mut objects = vec![
        route(GATEWAY_API, "HTTPRoute", http),
        linkerd,
        route(GATEWAY_API, "GRPCRoute", grpc),
        route(GATEWAY_API, "TCPRoute", tcp),
        gateway(&name),
        grant(&name),
        group(&name, is_large),
        object(
            "specs.smi-spec.io/v1alpha4",
            "TCPRoute",
            &name,
            json!({ "matches": { "ports": (1..=1000).collect::<Vec<_>>() } }),
        ),
        target(&name),
        pod(&name, is_large),
        wide_service(&name, is_large),
        wide_split(&name),
    ];
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];
    objects.extend(kinds.map(|kind| controller(kind, &name, is_large)));
    objects
}

fn object(api_version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "kind": kind,
        "metadata": { "namespace": "evil", "name": name }, "spec": spec })
}

/// Returns 16 rules with 8 matches each. An HTTPRoute can have at most these 128 matches. Each match has 16 headers.
fn rules(is_large: bool) -> Vec<Value> {
    let backends = vec![json!({ "name": "v1", "port": 80 }); 16];
    let value = if is_large {
        "v".repeat(400)
    } else {
        "v".to_owned()
    };
    let headers: Vec<Value> = (0..16)
        .map(|it| json!({ "name": format!("h{it}"), "value": value }))
        .collect();
    (0..16)
        .map(|rule| {
            let matches: Vec<Value> = (0..8)
                .map(|it| json!({ "path": { "type": "Exact", "value": format!("/{rule}/{it}") }, "headers": headers }))
                .collect();
            json!({ "matches": matches, "backendRefs": backends })
        })
        .collect()
}

fn gateway(name: &str) -> Value {
    let listeners: Vec<Value> = (0..64)
        .map(|it| {
            json!({ "name": format!("l{it}"), "port": 80, "protocol": "HTTP", "hostname": format!("{}.h{it}.example", "x".repeat(63)),
                "allowedRoutes": { "namespaces": { "from": "Selector", "selector": { "matchLabels": labels(20) } } } })
        })
        .collect();
    object(
        GATEWAY_API,
        "Gateway",
        name,
        json!({ "gatewayClassName": "weir", "listeners": listeners }),
    )
}

fn grant(name: &str) -> Value {
    let from: Vec<Value> = (0..16)
        .map(|it| json!({ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": format!("team-{it}") }))
        .collect();
    let to: Vec<Value> = (0..16)
        .map(|it| json!({ "group": "", "kind": "Service", "name": format!("s{it}") }))
        .collect();
    object(
        "gateway.networking.k8s.io/v1beta1",
        "ReferenceGrant",
        name,
        json!({ "from": from, "to": to }),
    )
}

/// Returns a group with 256 matches. If the group is large, each match has 16 headers, otherwise 64 methods.
fn group(name: &str, is_large: bool) -> Value {
    let methods = vec!["GET"; 64];
    let value = "v".repeat(200);
    let matches: Vec<Value> = (0..256)
        .map(|it| {
            let headers: Vec<Value> = (0..16)
                .map(|it| json!({ format!("h{it}"): value }))
                .collect();
            if is_large {
                json!({ "name": format!("m{it}"), "headers": headers })
            } else {
                json!({ "name": format!("m{it}"), "methods": methods })
            }
        })
        .collect();
    object(
        "specs.smi-spec.io/v1alpha4",
        "HTTPRouteGroup",
        name,
        json!({ "matches": matches }),
    )
}

/// Returns a TrafficTarget with 1,000 sources and 100 rules. Each rule has 256 short names of matches.
fn target(name: &str) -> Value {
    let sources: Vec<Value> = (0..1_000)
        .map(|it| json!({ "kind": "ServiceAccount", "name": format!("b{it}"), "namespace": "b" }))
        .collect();
    let rules: Vec<Value> = (0..100)
        .map(|_| json!({ "kind": "HTTPRouteGroup", "name": "g", "matches": vec!["m"; 256] }))
        .collect();
    object(
        "access.smi-spec.io/v1alpha3",
        "TrafficTarget",
        name,
        json!({
        "destination": { "kind": "ServiceAccount", "name": "s", "namespace": "evil" },
        "sources": sources, "rules": rules }),
    )
}

/// Returns short labels. They need more memory than one text with the same number of bytes.
fn labels(count: usize) -> Value {
    let labels = (0..count).map(|it| (format!("{it:x}"), Value::from("")));
    Value::Object(labels.collect())
}

fn most_labels(is_large: bool) -> Value {
    labels(if is_large { TEXT / 11 } else { 1_000 })
}

fn pod(name: &str, is_large: bool) -> Value {
    let spec =
        json!({ "serviceAccountName": "buyer", "containers": [{ "name": "a", "image": "a" }] });
    let mut pod = object("v1", "Pod", name, spec);
    pod["metadata"]["labels"] = most_labels(is_large);
    pod
}

fn controller(kind: &str, name: &str, is_large: bool) -> Value {
    let mut template = pod(name, is_large);
    let template = json!({ "metadata": { "labels": template["metadata"]["labels"].take() }, "spec": template["spec"].take() });
    object(
        "apps/v1",
        kind,
        name,
        json!({ "selector": { "matchLabels": { "0": "" } }, "template": template, "replicas": 1 }),
    )
}

fn wide_service(name: &str, is_large: bool) -> Value {
    let mut wide = service("evil", name, 1..=1_000);
    wide["spec"]["selector"] = most_labels(is_large);
    wide
}

fn wide_split(name: &str) -> Value {
    let names: Vec<String> = (0..1_000).map(|it| format!("{it:x}")).collect();
    let backends: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    split("evil", name, "v1", &backends)
}

/// Returns named sets of objects. Each set is larger than `--namespace-limit` allows.
pub fn fills() -> Vec<(&'static str, Vec<Value>)> {
    let mut expressions = fill();
    let is_split = |it: &&Value| it["kind"] != "HTTPRoute";
    let splits = expressions.iter().filter(is_split).cloned().collect();
    expressions.extend(bombs());
    let http = |it: usize| json!({ "path": { "type": "Exact", "value": format!("/{it}") } });
    let headers = |it: usize| json!({ "headers": (0..16).map(|of| json!({ "name": format!("h{of}"), "value": it.to_string() })).collect::<Vec<_>>() });
    let grpc = |it: usize| json!({ "method": { "service": "a.B", "method": format!("C{it}") } });
    let linkerd = "policy.linkerd.io/v1beta3";
    vec![
        ("splits", splits),
        ("splits and expressions", expressions),
        (
            "HTTPRoutes of paths",
            routes(GATEWAY_API, "HTTPRoute", 200, http),
        ),
        (
            "HTTPRoutes of headers",
            routes(GATEWAY_API, "HTTPRoute", 30, headers),
        ),
        (
            "HTTPRoutes of Linkerd",
            routes(linkerd, "HTTPRoute", 200, http),
        ),
        ("GRPCRoutes", routes(GATEWAY_API, "GRPCRoute", 200, grpc)),
        ("TCPRoutes", tcp_routes(4_000)),
    ]
}

/// Returns routes with 16 rules of 8 matches each, and one Service for each route.
fn routes(
    api_version: &str,
    kind: &str,
    count: usize,
    one_match: impl Fn(usize) -> Value,
) -> Vec<Value> {
    let mut objects = vec![service("evil", "v1", 80..=80)];
    for number in 0..count {
        let name = format!("s{number}");
        let rules: Vec<Value> = (0..16)
            .map(|rule| {
                let matches: Vec<Value> = (0..8).map(|it| one_match(rule * 8 + it)).collect();
                json!({ "matches": matches, "backendRefs": [{ "name": "v1", "port": 80 }, { "name": name, "port": 80 }] })
            })
            .collect();
        objects.push(service("evil", &name, 80..=80));
        let parents = json!([{ "group": "", "kind": "Service", "name": name, "port": 80 }]);
        objects.push(object(
            api_version,
            kind,
            &name,
            json!({ "parentRefs": parents, "rules": rules }),
        ));
    }
    objects
}

fn tcp_routes(count: usize) -> Vec<Value> {
    let mut objects = vec![service("evil", "v1", 80..=80)];
    for number in 0..count {
        let name = format!("s{number}");
        let parents = json!([{ "group": "", "kind": "Service", "name": name, "port": 80 }]);
        let backends = json!([{ "name": "v1", "port": 80 }, { "name": name, "port": 80 }]);
        objects.push(service("evil", &name, 80..=80));
        objects.push(object(
            GATEWAY_API,
            "TCPRoute",
            &name,
            json!({ "parentRefs": parents, "rules": [{ "backendRefs": backends }] }),
        ));
    }
    objects
}
