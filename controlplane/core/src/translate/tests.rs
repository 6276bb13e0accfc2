use super::*;
use crate::manifest::object::{Object, read};
use crate::plan::{Scope, scope};
use weir_split::wire::{Config, Destination, Field, Target, ValueMatch};
use weir_split::{Site, Table};

const SERVICES: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80, name: http}, {port: 9090, name: admin}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web-v1, namespace: shop}, spec: {ports: [{port: 80}, {port: 9090}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web-v2, namespace: shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: two, namespace: shop}, spec: {ports: [{port: 8080}, {port: 9090}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: headless, namespace: shop}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: far, namespace: back}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: front, labels: {team: a}}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: shop}, spec: {gatewayClassName: any, listeners: [
  {name: plain, port: 80, protocol: HTTP},
  {name: wild, port: 81, protocol: HTTP, hostname: '*.example.com'},
  {name: tls, port: 443, protocol: HTTPS, hostname: a.example.com, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}},
  {name: raw, port: 5000, protocol: TCP}]}}
";

fn objects(manifests: &str) -> Vec<Object> {
    let mut objects = read("services.yaml", SERVICES).unwrap().objects;
    let manifests = read("a.yaml", manifests).unwrap();
    assert_eq!(manifests.problems(), []);
    objects.extend(manifests.objects);
    objects
}

fn translated(manifests: &str) -> (Plan, Vec<String>) {
    let (world, own_problems) = World::from_objects(objects(manifests));
    let (plan, problems) = translate(&world, Policy::Unstated);
    let line = |p: &Problem| {
        format!(
            "{}/{} {} {}",
            p.object.namespace, p.object.name, p.path, p.reason
        )
    };
    (
        plan,
        own_problems.iter().chain(&problems).map(line).collect(),
    )
}

/// Returns one line for each part of the configuration:
/// - host sets as `HOST -> PATH [CONDITIONS] [LISTENERS] RULE, ...`
/// - connections as `tcp DESTINATION -> RULE`
/// - rules as `IDENTITY = BACKEND WEIGHT, ...`
///
/// A `+` follows each rule or backend with filters.
fn lines(config: &Config) -> Vec<String> {
    let hosts = config.hosts.iter().map(|set| {
        let host = match &set.hosts {
            Hosts::Root(r) => format!(
                "{}.{}:{}{}",
                r.service,
                r.namespace,
                r.port,
                if r.default_port { "!" } else { "" }
            ),
            Hosts::Literal(l) => format!(
                "{}:{}{}{}",
                l.name,
                l.port,
                if l.default_port { "!" } else { "" },
                if l.every_port { "*" } else { "" }
            ),
            Hosts::Gateway(g) => {
                let hostname = g.hostname.as_deref().unwrap_or("*");
                let ports = g.ports.iter().map(|(name, port)| format!(" {name}={port}"));
                format!("gateway {hostname}{}", ports.collect::<String>())
            }
        };
        let matches = set.matches.iter().map(|m| {
            let path = match &m.path {
                Some(wire::PathMatch::Regex(path)) => format!("like {path}"),
                None => "/".to_owned(),
                Some(wire::PathMatch::Exact(path)) => format!("={path}"),
                Some(wire::PathMatch::Prefix(path)) => path.clone(),
            };
            let value = |field: &Field| match &field.value {
                ValueMatch::Exact(value) => format!("{}={value}", field.name),
                ValueMatch::Regex(value) => format!("{}~{value}", field.name),
            };
            let fields = m.headers.iter().chain(&m.query).map(value);
            let hostnames = m.hostnames.iter().map(|name| format!("@{name}"));
            let conditions = m.method.iter().cloned().chain(fields).chain(hostnames);
            let rule = m.rule.split('#').next().unwrap().to_owned();
            let listeners = m.listeners.clone();
            [vec![path], conditions.collect(), listeners, vec![rule]]
                .concat()
                .join(" ")
        });
        format!("{host} -> {}", matches.collect::<Vec<_>>().join(", "))
    });
    let connections = config.connections.iter().map(|connections| {
        let to = match &connections.to {
            Destination::Root(r) => format!("{}.{}:{}", r.service, r.namespace, r.port),
            Destination::Listeners(ports) => format!("{ports:?}"),
        };
        let rule = connections.rule.split('#').next().unwrap();
        format!("tcp {to} -> {rule}")
    });
    let rules = config.rules.iter().map(|(identity, rule)| {
        let mark = |is_empty: bool| if is_empty { "" } else { "+" };
        let backends = rule.backends.iter().map(|b| {
            let to = match &b.to {
                Target::Service(service) => service.to_string(),
                Target::Status(status) => status.to_string(),
            };
            format!("{to} {}{}", b.weight, mark(b.filters.is_none()))
        });
        let filters = mark(rule.filters.is_none());
        let identity = identity.split('#').next().unwrap();
        format!(
            "{identity}{filters} = {}",
            backends.collect::<Vec<_>>().join(", ")
        )
    });
    hosts.chain(connections).chain(rules).collect()
}

#[track_caller]
fn check(manifests: &str, of_scope: Scope, expected: &[&str], problems: &[&str]) {
    let (plan, found) = translated(manifests);
    let config = scope(&plan, &of_scope);
    // The filter must accept every published configuration.
    assert_eq!(Table::compile(&config, &Site::default()).err(), None);
    assert_eq!(lines(&config), expected);
    assert_eq!(found, problems);
}

fn split(name: &str, created: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: split.smi-spec.io/v1alpha2, kind: TrafficSplit, metadata: {{name: {name}, namespace: shop, creationTimestamp: {created}}}, spec: {spec}}}\n"
    )
}

fn route(namespace: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: {namespace}}}, spec: {spec}}}\n"
    )
}

fn namespace(name: &str) -> Scope {
    Scope::Namespace(name.to_owned())
}

fn edge() -> Scope {
    Scope::Gateway {
        namespace: "shop".into(),
        name: "edge".into(),
    }
}

#[test]
fn consumer_route_replaces_producer_routes() {
    let parent = "parentRefs: [{group: core, kind: Service, namespace: shop, name: web, port: 80}]";
    let manifests = [
        split("s", "null", "{service: web, backends: [{service: web-v1, weight: 1}]}"),
        route("front", &format!("{{{parent}, hostnames: [ignored.example], rules: [{{backendRefs: [{{name: web-v2, namespace: shop, port: 80}}]}}]}}")),
    ]
    .concat();
    check(
        &manifests,
        namespace("front"),
        &[
            "web.shop:80! -> / HTTPRoute/front/r@web.shop:80",
            "web.shop:9090 -> / TrafficSplit/shop/s:9090/http",
            "HTTPRoute/front/r@web.shop:80 = web-v2.shop:80 1",
            "TrafficSplit/shop/s:9090/http = web-v1.shop:9090 1",
        ],
        &[],
    );
    let (plan, _) = translated(&manifests);
    assert_eq!(plan.scopes(), [Scope::Producers, namespace("front")].into());
    let others = scope(&plan, &namespace("back"));
    assert_eq!(others, scope(&plan, &Scope::Producers));
    assert_eq!(
        lines(&others)[0],
        "web.shop:80! -> / TrafficSplit/shop/s:80/http"
    );
    assert_eq!(scope(&plan, &edge()).hosts, []);
}

#[test]
fn producer_route_needs_a_grant() {
    let parent = "parentRefs: [{group: core, kind: Service, namespace: shop, name: web, port: 80}]";
    let to_back = |namespace: &str| {
        let spec = "rules: [{backendRefs: [{name: far, namespace: back, port: 80}]}]";
        route(namespace, &format!("{{{parent}, {spec}}}"))
    };
    let producer = to_back("shop");
    let refused = [
        "web.shop:80! -> / HTTPRoute/shop/r@web.shop:80",
        "HTTPRoute/shop/r@web.shop:80 = 500 1",
    ];
    let problem = "shop/r spec.rules[0].backendRefs[0] RefNotPermitted";
    check(&producer, Scope::Producers, &refused, &[problem]);
    let granted = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, \
        metadata: {name: g, namespace: back}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, \
        namespace: shop}], to: [{group: '', kind: Service}]}}\n";
    let served = [refused[0], "HTTPRoute/shop/r@web.shop:80 = far.back:80 1"];
    check(&(producer + granted), Scope::Producers, &served, &[]);
    let consumed = [
        "web.shop:80! -> / HTTPRoute/front/r@web.shop:80",
        "HTTPRoute/front/r@web.shop:80 = far.back:80 1",
    ];
    check(&to_back("front"), namespace("front"), &consumed, &[]);
}

#[test]
fn broken_backends_keep_their_share() {
    check(
        &route(
            "shop",
            "{parentRefs: [{group: '', kind: Service, name: web, sectionName: http}], rules: [{backendRefs: [\
            {name: web-v1, port: 80, weight: 3}, {name: gone, port: 80, weight: 0}, {name: web-v2, port: 81}, {name: web-v2},\
            {kind: Pod, name: x}, {name: far, namespace: back, port: 80}]}]}",
        ),
        Scope::Producers,
        &[
            "web.shop:80! -> / HTTPRoute/shop/r@web.shop:80",
            "HTTPRoute/shop/r@web.shop:80 = web-v1.shop:80 3, 500 0, 500 1, 500 1, 500 1, 500 1",
        ],
        &[
            "shop/r spec.rules[0].backendRefs[1] BackendNotFound",
            "shop/r spec.rules[0].backendRefs[2] BackendNotFound",
            "shop/r spec.rules[0].backendRefs[3] BackendNotFound",
            "shop/r spec.rules[0].backendRefs[4] InvalidKind",
            "shop/r spec.rules[0].backendRefs[5] RefNotPermitted",
        ],
    );
}

#[test]
fn empty_rule_fails_except_for_linkerd() {
    let parent = "parentRefs: [{group: '', kind: Service, name: web, port: 80}]";
    let rule = "HTTPRoute/shop/r@web.shop:80";
    let host = format!("web.shop:80! -> / {rule}");
    check(
        &route("shop", &format!("{{{parent}}}")),
        Scope::Producers,
        &[&host, &format!("{rule} = 500 1")],
        &["shop/r spec.rules NoTraffic"],
    );
    check(
        &route(
            "shop",
            &format!(
                "{{{parent}, rules: [{{backendRefs: [{{name: web-v1, port: 80, weight: 0}}]}}]}}"
            ),
        ),
        Scope::Producers,
        &[&host, &format!("{rule} = 500 1")],
        &["shop/r spec.rules[0].backendRefs NoTraffic"],
    );
    let linkerd = route("shop", &format!("{{{parent}}}"))
        .replace("gateway.networking.k8s.io/v1", "policy.linkerd.io/v1beta3");
    check(
        &linkerd,
        Scope::Producers,
        &[
            "web.shop:80! -> / HTTPRoute.policy.linkerd.io/shop/r@web.shop:80",
            "HTTPRoute.policy.linkerd.io/shop/r@web.shop:80 = web.shop:80 1",
        ],
        &[],
    );
}

#[test]
fn unsuitable_parents_refuse_the_route() {
    let refused = |parent: &str| {
        let (plan, problems) = translated(&route(
            "shop",
            &format!("{{parentRefs: [{parent}], hostnames: [b.org]}}"),
        ));
        assert_eq!(plan, Plan::default(), "{parent}");
        problems.concat().replace("shop/r spec.parentRefs[0]", "")
    };
    let service = |rest: &str| refused(&format!("{{group: '', kind: Service, {rest}}}"));
    assert_eq!(service("name: gone"), " NoMatchingParent");
    assert_eq!(service("name: headless"), " NoMatchingParent");
    assert_eq!(service("name: web, port: 81"), ".port NoMatchingParent");
    assert_eq!(
        service("name: web, sectionName: x"),
        ".sectionName NoMatchingParent"
    );
    assert_eq!(refused("{name: gone}"), " NoMatchingParent");
    assert_eq!(refused("{name: edge, sectionName: x}"), " NoMatchingParent");
    assert_eq!(refused("{name: edge, port: 82}"), " NoMatchingParent");
    assert_eq!(
        refused("{name: edge, sectionName: raw}"),
        " NotAllowedByListeners"
    );
    assert_eq!(
        refused("{name: edge, sectionName: tls}"),
        " NotAllowedByListeners"
    );
    assert_eq!(
        refused("{name: edge, sectionName: wild}"),
        " NoMatchingListenerHostname"
    );
}

#[test]
fn gateway_hosts_merge_listener_matches() {
    let spec = "{parentRefs: [{name: edge}], hostnames: [a.example.com, b.org], rules: [{matches: [{path: {value: /a}}, {path: {type: Exact, value: /a}}], backendRefs: [{name: web-v1, port: 80}]}]}";
    let rule = "HTTPRoute/shop/r@gateway/shop/edge";
    check(
        &route("shop", spec),
        edge(),
        &[
            &format!(
                "gateway a.example.com plain=80 wild=81 -> =/a plain wild {rule}, /a plain wild {rule}"
            ),
            &format!("gateway b.org plain=80 -> =/a plain {rule}, /a plain {rule}"),
            &format!("{rule} = web-v1.shop:80 1"),
        ],
        &[],
    );
    check(
        &route(
            "shop",
            "{parentRefs: [{name: edge, sectionName: wild}, {name: edge, sectionName: plain}]}",
        ),
        edge(),
        &[
            &format!("gateway *.example.com wild=81 -> / wild {rule}"),
            &format!("gateway * plain=80 -> / plain {rule}"),
            &format!("{rule} = 500 1"),
        ],
        &["shop/r spec.rules NoTraffic"],
    );
}

#[test]
fn gateway_parents_need_a_grant() {
    let spec = "{parentRefs: [{name: edge, namespace: shop, sectionName: tls}], rules: [{backendRefs: [{name: far, namespace: back, port: 80}]}]}";
    let rule = "HTTPRoute/front/r@gateway/shop/edge";
    let host = format!("gateway a.example.com tls=443 -> / tls {rule}");
    check(
        &route("front", spec),
        edge(),
        &[&host, &format!("{rule} = 500 1")],
        &["front/r spec.rules[0].backendRefs[0] RefNotPermitted"],
    );
    let grant = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: back},\
        spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: front}], to: [{group: '', kind: Service}]}}\n";
    check(
        &(route("front", spec) + grant),
        edge(),
        &[&host, &format!("{rule} = far.back:80 1")],
        &[],
    );
}

#[test]
fn host_without_port_is_ambiguous() {
    let (plan, problems) = translated(&split(
        "s",
        "null",
        "{service: two, backends: [{service: two, weight: 1}]}",
    ));
    assert_eq!(problems, [""; 0]);
    assert_eq!(
        lines(&scope(&plan, &Scope::Producers))[0],
        "two.shop:8080 -> / TrafficSplit/shop/s:8080/http"
    );
    let (_, problems) = translated(&split(
        "s",
        "null",
        "{service: 'two:8080', backends: [{service: two, weight: 1}]}",
    ));
    assert_eq!(problems, [""; 0]);
    let parent = "{parentRefs: [{group: '', kind: Service, name: two}]}";
    assert_eq!(
        translated(&route("shop", parent)).1,
        [
            "shop/r spec.parentRefs[0] AmbiguousPort",
            "shop/r spec.rules NoTraffic"
        ]
    );
}

#[test]
fn object_order_does_not_matter() {
    let manifests = [
        split("a", "null", "{service: web, backends: [{service: web-v1, weight: 1}]}"),
        split("b", "null", "{service: web, backends: [{service: gone, weight: 1}]}"),
        split("c", "null", "{service: c.org, backends: [{service: web-v2, weight: 1}]}"),
        route("shop", "{parentRefs: [{name: edge}, {group: '', kind: Service, name: two}], rules: [{matches: [{path: {value: /b}}, {path: {value: /bb}}]}, {}]}"),
        route("front", "{parentRefs: [{group: '', kind: Service, name: web, namespace: shop}], rules: [{}]}"),
        route("shop", "{parentRefs: [{name: edge}], rules: [{backendRefs: [{name: web, port: 80}]}]}").replace("HTTPRoute", "GRPCRoute"),
        route("shop", "{parentRefs: [{name: edge}, {group: '', kind: Service, name: two}], rules: [{backendRefs: [{name: web, port: 80}]}]}").replace("HTTPRoute", "TCPRoute"),
    ]
    .concat();
    let mut objects = objects(&manifests);
    let outcome = |objects: &[Object]| {
        let (world, own_problems) = World::from_objects(objects.to_vec());
        (own_problems, translate(&world, Policy::Unstated))
    };
    let expected = outcome(&objects);
    // The test uses 50 orders of the objects. They are the same in each run.
    let mut state = 1usize;
    for _ in 0..50 {
        for i in (1..objects.len()).rev() {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            objects.swap(i, (state >> 33) % (i + 1));
        }
        assert_eq!(outcome(&objects), expected);
    }
}

mod routes;
mod splits;
