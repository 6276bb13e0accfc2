//! Checks that two tenants are independent: a proxy of namespace `b` and a Gateway of `b` get the same configuration
//! with and without the objects of namespace `a`. The specifications allow one exception: objects of `a` may add rules
//! for the Services of `a`, and grants for the ServiceAccounts of `a`.
//!
//! The objects are made from bytes, so that a fuzzer can choose them. This file uses only the crates of the core,
//! because the fuzz target `tenants` includes it by its path.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::Object;
use weir_core::plan::{Plan, Scope, scope};
use weir_core::translate::budget::Limits;
use weir_core::translate::translate_objects;
use weir_core::world::Entry;
use weir_split::wire::{Access, Config, Destination, Hosts};

/// Limits so small that a few objects exceed them.
const LIMITS: Limits = Limits {
    object: 3 << 10,
    namespace: 8 << 10,
    scope: 64 << 10,
    namespace_expressions: 6,
    scope_expressions: 64,
};

/// Panics if the objects of `a` change the configuration of `b`.
pub fn check(data: &[u8]) {
    let mut choices = Choices(data);
    let passive = passive();
    let of_a = objects(&mut choices, "a");
    let of_b = objects(&mut choices, "b");
    let is_active = |object: &&Value| !["Service", "Pod", "ReferenceGrant"].contains(&kind(object));
    let passive_of_a = of_a.iter().filter(|object| !is_active(object));
    let without: Vec<&Value> = passive.iter().chain(passive_of_a).chain(&of_b).collect();
    let active_of_a = of_a.iter().filter(is_active);
    let with: Vec<&Value> = without.iter().copied().chain(active_of_a).collect();
    for policy in [Policy::Unstated, Policy::Smi] {
        let (without, with) = (plan(&without, policy), plan(&with, policy));
        let gateway = Scope::Gateway {
            namespace: "b".into(),
            name: "edge".into(),
        };
        assert_eq!(
            scope(&with, &gateway),
            scope(&without, &gateway),
            "the Gateway of b"
        );
        let own = Scope::Namespace("b".into());
        let (without, with) = (scope(&without, &own), scope(&with, &own));
        let added = size(&with).saturating_sub(size(&without));
        assert!(added <= LIMITS.namespace, "a adds {added} bytes to b");
        assert_only_producers(&with);
        assert_eq!(without_a(with), without_a(without), "the proxies of b");
    }
}

fn plan(objects: &[&Value], policy: Policy) -> Plan {
    let parse = |object: &&Value| Object::parse((*object).clone()).ok().flatten();
    let objects = objects.iter().filter_map(parse);
    let entries: Vec<Entry> = objects.map(|object| Entry::of(&object)).collect();
    translate_objects(&entries, policy, &LIMITS).plan
}

fn size(config: &Config) -> u64 {
    serde_json::to_vec(config).map_or(u64::MAX, |text| text.len() as u64)
}

/// Returns the namespace of the object in a rule's name.
fn namespace_of(rule: &str) -> Option<&str> {
    rule.split('/').nth(1)
}

fn is_of_a(rule: &str) -> bool {
    namespace_of(rule) == Some("a")
}

/// Checks that rules and grants of `a` are only for Services and ServiceAccounts of `a`.
fn assert_only_producers(config: &Config) {
    for set in &config.hosts {
        let is_root_of_a = matches!(&set.hosts, Hosts::Root(root) if root.namespace == "a");
        let rules = set.matches.iter().map(|entry| &entry.rule);
        let mut rules = rules.filter(|rule| is_of_a(rule));
        assert!(
            is_root_of_a || rules.next().is_none(),
            "a has a rule for {set:?}"
        );
    }
    for connections in &config.connections {
        let is_root_of_a =
            matches!(&connections.to, Destination::Root(root) if root.namespace == "a");
        assert!(
            is_root_of_a || !is_of_a(&connections.rule),
            "a has a rule for {connections:?}"
        );
    }
    let grants = match &config.access {
        Some(Access::Grants(grants)) => Some(grants),
        Some(Access::Everyone) | None => None,
    };
    let grants = grants.into_iter().flatten();
    for (destination, grants) in grants.filter(|(destination, _)| !destination.starts_with("a/")) {
        let mut by = grants.iter().map(|grant| &grant.by);
        assert!(
            !by.any(|by| by.starts_with("a/")),
            "a grants access to {destination}"
        );
    }
}

fn without_a(mut config: Config) -> Config {
    for set in &mut config.hosts {
        set.matches.retain(|entry| !is_of_a(&entry.rule));
    }
    config.hosts.retain(|set| !set.matches.is_empty());
    config.connections.retain(|it| !is_of_a(&it.rule));
    config.rules.retain(|rule, _| !is_of_a(rule));
    for backend in config
        .rules
        .values_mut()
        .flat_map(|rule| &mut rule.backends)
    {
        backend
            .accounts
            .retain(|account| !account.starts_with("a/"));
    }
    // Clients of a Service of `a` need permission if the pods behind the Service require it, and `a` owns these pods.
    for rule in config.rules.values_mut() {
        if rule
            .called
            .as_ref()
            .is_some_and(|it| it.service.namespace == "a")
        {
            rule.called = None;
        }
    }
    if let Some(Access::Grants(grants)) = &mut config.access {
        grants.retain(|destination, _| !destination.starts_with("a/"));
    }
    config
}

/// Makes a choice from each byte. After the last byte every choice is 0.
struct Choices<'d>(&'d [u8]);

impl Choices<'_> {
    fn below(&mut self, end: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*first) % end.max(1)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn is(&mut self) -> bool {
        self.below(2) == 1
    }

    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = 1 + self.below(most);
        (0..count).map(|_| one(self)).collect()
    }
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn object(api: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({ "apiVersion": api, "kind": kind, "metadata": { "namespace": namespace, "name": name }, "spec": spec })
}

/// Returns objects that exist in both namespaces: Services, pods, and Gateways for the routes of their own namespace.
fn passive() -> Vec<Value> {
    let mut objects = Vec::new();
    for namespace in ["a", "b"] {
        let name =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        objects.push(name);
        for (place, name) in ["web", "v1", "v2", "raw"].into_iter().enumerate() {
            let ports = match name {
                "raw" => json!([{ "port": 80, "name": "tcp" }]),
                _ => json!([{ "port": 80 }, { "port": 9090, "name": "admin" }]),
            };
            let address = format!("10.0.{}.{place}", namespace.len());
            let spec = json!({ "clusterIP": address, "selector": { "app": name }, "ports": ports });
            objects.push(object("v1", "Service", namespace, name, spec));
            let mut pod = object(
                "v1",
                "Pod",
                namespace,
                name,
                json!({ "serviceAccountName": name }),
            );
            pod["metadata"]["labels"] = json!({ "app": name });
            objects.push(pod);
        }
        let listeners = json!([{ "name": "http", "port": 80, "protocol": "HTTP" },
            { "name": "wild", "port": 81, "protocol": "HTTP", "hostname": "*.example.com" },
            { "name": "raw", "port": 82, "protocol": "TCP" }]);
        let spec = json!({ "gatewayClassName": "any", "listeners": listeners });
        objects.push(object(
            "gateway.networking.k8s.io/v1",
            "Gateway",
            namespace,
            "edge",
            spec,
        ));
    }
    objects
}

const NAMESPACES: [&str; 2] = ["a", "b"];
const NAMES: [&str; 5] = ["web", "v1", "v2", "raw", "none"];
const ROOTS: [&str; 12] = [
    "web",
    "web:80",
    "raw",
    "web.a",
    "web.b",
    "web.b.svc.cluster.local",
    "v1.b.svc",
    "shop.example.com",
    "web.b.",
    "b",
    "shop.example.com:80",
    "v1.a",
];
const HOSTNAMES: [&str; 6] = [
    "*.example.com",
    "shop.example.com",
    "web.b",
    "web",
    "b.org",
    "*.b",
];

fn objects(choices: &mut Choices, own: &str) -> Vec<Value> {
    let mut names = BTreeSet::new();
    let mut objects = Vec::new();
    for number in 0..1 + choices.below(8) {
        let name = if choices.is() {
            format!("o{number}")
        } else {
            choices.one(&["web", "v1", "x"]).to_owned()
        };
        let mut made = one_object(choices, own, &name);
        if choices.is() {
            let day = 1 + choices.below(28);
            made["metadata"]["creationTimestamp"] = json!(format!("2026-01-{day:02}T00:00:00Z"));
        }
        if names.insert((kind(&made).to_owned(), name)) {
            objects.push(made);
        }
    }
    objects
}

fn one_object(choices: &mut Choices, own: &str, name: &str) -> Value {
    const ROUTES: &str = "gateway.networking.k8s.io/v1";
    match choices.below(11) {
        0..=2 => object(
            "split.smi-spec.io/v1alpha4",
            "TrafficSplit",
            own,
            name,
            split(choices),
        ),
        3 | 4 => object(ROUTES, "HTTPRoute", own, name, http_route(choices, "")),
        5 => object(
            "policy.linkerd.io/v1beta3",
            "HTTPRoute",
            own,
            name,
            http_route(choices, "core"),
        ),
        6 => {
            let rules = json!([{ "backendRefs": backends(choices) }]);
            let spec =
                json!({ "parentRefs": choices.some(2, |it| parent(it, "")), "rules": rules });
            object(
                "gateway.networking.k8s.io/v1alpha2",
                "TCPRoute",
                own,
                name,
                spec,
            )
        }
        7 => {
            let condition = |choices: &mut Choices| {
                let name = choices.one(&["m", "n"]);
                json!({ "name": name, "pathRegex": choices.one(&["/a", "/b/.*", "(x|y)+z"]), "methods": [choices.one(&["GET", "*"])] })
            };
            let spec = json!({ "matches": choices.some(4, condition) });
            object(
                "specs.smi-spec.io/v1alpha4",
                "HTTPRouteGroup",
                own,
                "group",
                spec,
            )
        }
        8 => {
            let source = |choices: &mut Choices| json!({ "kind": "ServiceAccount", "name": choices.one(&NAMES), "namespace": choices.one(&NAMESPACES) });
            let destination = json!({ "kind": "ServiceAccount", "name": choices.one(&NAMES), "namespace": choices.one(&NAMESPACES) });
            let spec = json!({ "destination": destination, "sources": choices.some(12, source),
                "rules": [{ "kind": "HTTPRouteGroup", "name": "group" }] });
            object(
                "access.smi-spec.io/v1alpha3",
                "TrafficTarget",
                own,
                name,
                spec,
            )
        }
        9 => {
            let from = json!([{ "group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": choices.one(&NAMESPACES) }]);
            let spec = json!({ "from": from, "to": [{ "group": "", "kind": "Service" }] });
            object(
                "gateway.networking.k8s.io/v1beta1",
                "ReferenceGrant",
                own,
                name,
                spec,
            )
        }
        _ => {
            let spec = json!({ "gatewayClassName": "any", "listeners": [
                { "name": "http", "port": 80, "protocol": "HTTP", "hostname": choices.one(&HOSTNAMES), "allowedRoutes": { "namespaces": { "from": "All" } } }] });
            object(ROUTES, "Gateway", own, name, spec)
        }
    }
}

fn split(choices: &mut Choices) -> Value {
    let backend = |choices: &mut Choices| {
        let service = choices.one(&["v1", "v2", "web", "v1.b", "raw"]);
        json!({ "service": service, "weight": choices.below(5) })
    };
    let mut spec = json!({ "service": choices.one(&ROOTS), "backends": choices.some(24, backend) });
    if choices.is() {
        spec["matches"] =
            json!([{ "apiGroup": "specs.smi-spec.io", "kind": "HTTPRouteGroup", "name": "group" }]);
    }
    spec
}

fn parent(choices: &mut Choices, core: &str) -> Value {
    let namespace = choices.one(&NAMESPACES);
    match choices.below(3) {
        0 => json!({ "name": "edge", "namespace": namespace }),
        1 => {
            json!({ "group": core, "kind": "Service", "name": choices.one(&NAMES), "namespace": namespace })
        }
        _ => {
            json!({ "group": core, "kind": "Service", "name": choices.one(&NAMES), "namespace": namespace, "port": 80 })
        }
    }
}

fn backends(choices: &mut Choices) -> Vec<Value> {
    choices.some(3, |choices| {
        let namespace = choices.one(&NAMESPACES);
        json!({ "name": choices.one(&NAMES), "namespace": namespace, "port": 80, "weight": choices.below(9) })
    })
}

fn http_route(choices: &mut Choices, core: &str) -> Value {
    let wanted = |choices: &mut Choices| {
        let path = choices.one(&["/", "/a", "/a/b"]);
        let mut wanted = json!({ "path": { "type": choices.one(&["PathPrefix", "Exact", "RegularExpression"]), "value": path } });
        if choices.is() {
            wanted["headers"] =
                json!([{ "name": "x", "value": "v".repeat(8 * choices.below(32)) + "v" }]);
        }
        wanted
    };
    let rule = |choices: &mut Choices| {
        let mut rule =
            json!({ "matches": choices.some(6, wanted), "backendRefs": backends(choices) });
        if choices.is() {
            rule["filters"] = json!([{ "type": "URLRewrite", "urlRewrite": { "hostname": choices.one(&["web.b", "x.org"]) } }]);
        }
        rule
    };
    let mut spec = json!({ "parentRefs": choices.some(3, |it| parent(it, core)), "rules": choices.some(3, rule) });
    if choices.is() {
        spec["hostnames"] = json!(choices.some(2, |choices| choices.one(&HOSTNAMES)));
    }
    spec
}
