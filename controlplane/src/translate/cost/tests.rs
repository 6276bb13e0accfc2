use weir_split::wire::{Access, Grants};

use super::*;
use crate::object::read;
use crate::plan::{Plan, Scope, scope};
use crate::translate::translate_within;

const SERVICES: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: a}, spec: {selector: {app: one}, clusterIP: 10.0.0.1, ports: [{port: 80, name: http}, {port: 9090, name: admin}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web-v1, namespace: a}, spec: {selector: {app: one}, ports: [{port: 80}, {port: 9090}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web-v2, namespace: a}, spec: {selector: {app: one}, ports: [{port: 80}, {port: 9090}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: one, namespace: a, labels: {app: one}}, spec: {serviceAccountName: account}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: a}, spec: {gatewayClassName: any, listeners: [
  {name: plain, port: 80, protocol: HTTP}, {name: other, port: 81, protocol: HTTP}, {name: wild, port: 82, protocol: HTTP, hostname: '*.example.com'},
  {name: raw, port: 83, protocol: TCP}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: group, namespace: a}, spec: {matches: [
  {name: one, pathRegex: /one/.*, methods: [GET, PUT]}, {name: two, pathRegex: /two, headers: {x-role: admin.*}}]}}
---
";

/// One object of each shape that costs something.
const OBJECTS: [&str; 10] = [
    "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: o, namespace: a}, spec: {service: web, backends: [{service: web-v1, weight: 1}, {service: web-v2, weight: 99}]}}",
    "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: o, namespace: a}, spec: {service: 'web:80', backends: [{service: web-v1, weight: 1}]}}",
    "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: o, namespace: a}, spec: {service: shop.example.com, backends: [{service: web-v1, weight: 1}, {service: web-v2, weight: 99}]}}",
    "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: o, namespace: a}, spec: {service: web, matches: [{kind: HTTPRouteGroup, name: group}], backends: [{service: web-v1, weight: 1}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [
        {matches: [{path: {value: /a}, method: GET}, {headers: [{name: x, value: v}, {name: z, type: RegularExpression, value: '[a-c]+'}]}], backendRefs: [{name: web-v1, port: 80}, {name: web-v2, port: 80, weight: 7}]},
        {filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}], backendRefs: [{name: web-v1, port: 80}], timeouts: {request: 5s}, retry: {attempts: 3, codes: [500, 503]}}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{name: edge}], hostnames: [a.example.com, b.example.com, '*.example.org'], rules: [
        {name: r, matches: [{path: {value: /a}}, {queryParams: [{name: x, value: v}]}], backendRefs: [{name: web-v1, port: 80}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{name: edge, sectionName: wild}, {name: edge, port: 80}], rules: [{backendRefs: [{name: web-v1, port: 80}]}]}}",
    "{apiVersion: gateway.networking.k8s.io/v1, kind: TCPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{name: edge, sectionName: raw}, {group: '', kind: Service, name: web, port: 80}], rules: [{backendRefs: [{name: web-v1, port: 80}]}]}}",
    "{apiVersion: policy.linkerd.io/v1beta3, kind: HTTPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{group: core, kind: Service, name: web, port: 80}], hostnames: [web, web.a], rules: [{matches: [{path: {value: /a}}], backendRefs: [{name: web-v1, port: 80}]}]}}",
    "{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {name: o, namespace: a}, spec: {destination: {kind: ServiceAccount, name: account}, sources: [{kind: ServiceAccount, name: x, namespace: b}, {kind: ServiceAccount, name: w, namespace: a}], rules: [{kind: HTTPRouteGroup, name: group, matches: [two]}]}}",
];

fn world(manifests: &str) -> World {
    let read = read("a.yaml", &format!("{SERVICES}{manifests}")).unwrap();
    assert_eq!(read.problems(), []);
    let (world, problems) = World::from_objects(read.objects);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:?}");
    world
}

fn size(plan: &Plan, wanted: &Scope) -> u64 {
    json(&scope(plan, wanted))
}

#[test]
fn an_object_costs_what_it_adds_to_documents_and_at_most_three_times_as_much() {
    let empty = world("");
    for (text, policy) in OBJECTS
        .into_iter()
        .flat_map(|text| [(text, Policy::Unstated), (text, Policy::Smi)])
    {
        let world = world(text);
        let object = |costs: &Costs| {
            let mut objects = costs.subjects.keys();
            objects.find(|it| it.name == "o").map(|it| (*it).clone())
        };
        let mut costs = Costs::new(&world, policy);
        let Some(object) = object(&costs) else {
            assert_eq!(policy, Policy::Unstated);
            continue;
        };
        let parts = costs.of(&object);
        let (before, _) = translate_within(&empty, policy, &Limits::default());
        let (after, _) = translate_within(&world, policy, &Limits::default());
        let scopes = after.scopes();
        let mut is_anywhere = false;
        for wanted in scopes {
            let added = size(&after, &wanted) - size(&before, &wanted);
            let concerned = parts
                .iter()
                .filter(|(audience, _)| audience.concerns(&wanted));
            let cost: u64 = concerned.map(|(_, cost)| cost.bytes).sum();
            let is_about_right = added <= cost && (cost <= 3 * added + 1_000 || added == 0);
            assert!(
                is_about_right,
                "{wanted:?} {policy:?}: {added} bytes cost {cost}: {text}"
            );
            is_anywhere |= added > 0;
        }
        assert!(is_anywhere, "{text}");
        // The written bytes are a lower bound of the cost.
        let whole = parts.values().map(|cost| cost.bytes).sum::<u64>();
        let costly = costs.costly();
        let written = costly
            .iter()
            .find(|it| it.object == object)
            .unwrap()
            .written;
        assert!(written <= whole, "{written} {whole} {text}");
    }
}

/// Two attacks of 52 KB each, on a Service with 1,000 ports: one backend 1,000 times, and 1,000 different backends.
#[test]
fn backends_by_ports_are_not_multiplied_before_they_are_counted() {
    let ports: Vec<String> = (1..=1_000)
        .map(|it| format!("{{port: {it}, name: p{it}}}"))
        .collect();
    let backends = vec!["{service: big, weight: 1}"; 1_000].join(", ");
    let others: Vec<String> = (0..1_000)
        .map(|it| format!("{{service: b{it}, weight: 1}}"))
        .collect();
    let attack = |backends: &str, name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: big, namespace: evil}}, spec: {{ports: [{}]}}}}\n---\n\
             {{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: {name}, namespace: evil}}, spec: {{service: big, backends: [{backends}]}}}}\n---\n",
            ports.join(", "),
        )
    };
    for backends in [backends, others.join(", ")] {
        let world = world(&format!("{}{}", attack(&backends, "bomb"), OBJECTS[0]));
        let (plan, problems) = translate_within(&world, Policy::Unstated, &Limits::default());
        let over: Vec<_> = problems
            .iter()
            .filter(|it| it.code == "over_object")
            .collect();
        let [problem] = over.as_slice() else {
            panic!("{problems:?}");
        };
        assert_eq!(problem.object.name, "bomb");
        let config = scope(&plan, &Scope::Namespace("victim".into()));
        assert!(json(&config) < 10_000, "{}", json(&config));
        assert!(
            config
                .rules
                .keys()
                .any(|it| it.starts_with("TrafficSplit/a/o:"))
        );
    }
}

/// 16 headers of 4 KiB in each of 1,024 matches.
#[test]
fn large_values_are_counted() {
    let value = "v".repeat(4_096);
    let headers: Vec<String> = (0..16)
        .map(|it| format!("{{name: h{it}, value: {value}}}"))
        .collect();
    let matches: Vec<String> = (0..16)
        .map(|it| {
            format!(
                "{{path: {{value: /{it}}}, headers: [{}]}}",
                headers.join(", ")
            )
        })
        .collect();
    let route = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: wide, namespace: a}}, spec: {{parentRefs: [{{group: '', kind: Service, name: web}}], rules: [{{matches: [{}], backendRefs: [{{name: web-v1, port: 80}}]}}]}}}}",
        matches.join(", ")
    );
    let world = world(&route);
    let (plan, problems) = translate_within(&world, Policy::Unstated, &Limits::default());
    assert!(
        problems.iter().any(|it| it.code == "over_object"),
        "{problems:?}"
    );
    assert!(size(&plan, &Scope::Producers) < 1_000);
}

#[test]
fn a_group_over_the_budget_grants_nothing_and_is_known_as_broken() {
    let world = world(OBJECTS[9]);
    let limits = Limits {
        namespace_expressions: 2,
        ..Limits::default()
    };
    let (plan, problems) = translate_within(&world, Policy::Smi, &limits);
    let codes: Vec<_> = problems.iter().map(|it| it.code).collect();
    assert!(
        codes.contains(&"over_namespace_expressions") && codes.contains(&"rule_broken"),
        "{problems:?}"
    );
    let config = scope(&plan, &Scope::Namespace("a".into()));
    assert_eq!(config.access, Some(Access::Grants(Grants::new())));
}
