use weir_split::wire::{Access, Grants};

use super::*;
use crate::manifest::object::read;
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

/// Objects of each kind that has a cost.
const OBJECTS: [&str; 11] = [
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
    "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: o, namespace: a}, spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [
        {filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web-v2, port: 80}, fraction: {numerator: 2147483646, denominator: 2147483647}}}],
         backendRefs: [{name: web-v1, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, percent: 5}}]}]}]}}",
];

fn world(manifests: &str) -> World {
    let manifests = read("a.yaml", &format!("{SERVICES}{manifests}")).unwrap();
    assert_eq!(manifests.problems(), []);
    let (world, problems) = World::from_objects(manifests.objects);
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{problems:?}");
    world
}

fn size(plan: &Plan, of: &Scope) -> u64 {
    json(&scope(plan, of))
}

#[test]
fn cost_bounds_the_added_bytes() {
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
            let cost: u64 = concerned.map(|(_, part)| part.all.bytes).sum();
            let is_about_right = added <= cost && (cost <= 3 * added + 1_000 || added == 0);
            assert!(
                is_about_right,
                "{wanted:?} {policy:?}: {added} bytes cost {cost}: {text}"
            );
            is_anywhere |= added > 0;
        }
        assert!(is_anywhere, "{text}");
        // `min_bytes` is a lower bound of the cost.
        let whole = parts.values().map(|part| part.own.bytes).sum::<u64>();
        let costly = costs.costly();
        let min_bytes = costly
            .iter()
            .find(|it| it.object == object)
            .unwrap()
            .min_bytes;
        assert!(min_bytes <= whole, "{min_bytes} {whole} {text}");
    }
}

/// Tests two attacks. Each attack is a split of a Service that has 1,000 ports. The first split names one backend 1,000
/// times. The second split has 1,000 different backends.
#[test]
fn multiplied_parts_are_not_built() {
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

/// The route has 16 matches with 16 headers of 4 KiB each, so it has 1 MiB at each port.
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
fn group_over_budget_is_broken() {
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

/// Returns a Service `big` with these ports, in namespace a.
fn big(ports: std::ops::RangeInclusive<u16>) -> String {
    let ports: Vec<String> = ports
        .map(|it| format!("{{port: {it}, name: p{it}}}"))
        .collect();
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: big, namespace: a}}, spec: {{clusterIP: 10.0.0.2, ports: [{}]}}}}\n---\n",
        ports.join(", ")
    )
}

/// Returns five HTTPRouteGroups in namespace a, with 200 matches each.
fn groups() -> String {
    let group = |group: usize| {
        let matches =
            (0..200).map(|it| format!("{{name: m{it}, headers: {{x{group}-{it}: '1'}}}}"));
        let matches: Vec<String> = matches.collect();
        format!(
            "{{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {{name: g{group}, namespace: a}}, spec: {{matches: [{}]}}}}\n---\n",
            matches.join(", ")
        )
    };
    (0..5).map(group).collect()
}

fn split_of_groups(name: &str, service: &str) -> String {
    let groups: Vec<String> = (0..5)
        .map(|it| format!("{{kind: HTTPRouteGroup, name: g{it}}}"))
        .collect();
    format!(
        "{{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: {name}, namespace: a}}, spec: {{service: {service}, matches: [{}], backends: [{{service: {service}, weight: 1}}]}}}}\n---\n",
        groups.join(", ")
    )
}

/// Returns the codes of the problems, and the world with the remaining objects.
fn left(world: &World) -> (Vec<&'static str>, World) {
    let mut problems = BTreeSet::new();
    let within = within(world, Policy::Unstated, &Limits::default(), &mut problems);
    let codes = problems.iter().map(|it| it.code).collect();
    (codes, within.unwrap_or_else(|| world.clone()))
}

#[test]
fn too_many_matches_are_refused_early() {
    let route = |name: &str, parents: &str| {
        let matches: Vec<String> = (0..5)
            .map(|it| format!("{{path: {{value: /{it}}}}}"))
            .collect();
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: a}}, spec: {{parentRefs: [{parents}], rules: [{{matches: [{}], backendRefs: [{{name: web-v1, port: 80}}]}}]}}}}\n---\n",
            matches.join(", ")
        )
    };
    let whole = "{group: '', kind: Service, name: big}";
    let manifests = [
        big(1..=1_000),
        groups(),
        split_of_groups("split", "big"),
        route("all", whole),
        route("first", "{group: '', kind: Service, name: big, port: 1}"),
    ];
    let (codes, left) = left(&world(&manifests.concat()));
    assert_eq!(codes, ["too_many_matches"; 2]);
    assert!(left.splits.is_empty());
    let routes: Vec<&str> = left
        .routes
        .iter()
        .map(|it| it.object.name.as_str())
        .collect();
    assert_eq!(routes, ["first"]);
}

/// A host of a Gateway counts as one match even if no match of the route is valid.
#[test]
fn places_without_matches_are_counted() {
    let gateways = (0..31).map(|gateway| {
        let listeners = (0..64).map(|it| format!("{{name: l{it}, port: 80, protocol: HTTP, hostname: h{it}.example.com}}"));
        let listeners: Vec<String> = listeners.collect();
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g{gateway}, namespace: a}}, spec: {{gatewayClassName: any, listeners: [{}]}}}}\n---\n",
            listeners.join(", ")
        )
    });
    let parents: Vec<String> = (0..31).map(|it| format!("{{name: g{it}}}")).collect();
    let hostnames: Vec<String> = (0..3).map(|it| format!("h{it}.example.com")).collect();
    let route = |hostnames: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: a}}, spec: {{parentRefs: [{}], {hostnames} rules: [{{matches: [{{path: {{value: /}}}}], backendRefs: [{{name: web-v1, port: 80}}]}}]}}}}\n---\n",
            parents.join(", ")
        )
    };
    let gateways: String = gateways.collect();
    let read = world(&format!("{gateways}{}", route("")));
    let mut empty = read.clone();
    for route in &mut empty.routes {
        for rule in &mut Arc::make_mut(route).rules {
            rule.matches.clear();
        }
    }
    let few = world(&format!(
        "{gateways}{}",
        route(&format!("hostnames: [{}],", hostnames.join(", ")))
    ));
    for (world, places) in [(read, 31 * 64), (empty, 31 * 64), (few, 31 * 3)] {
        let route = &world.routes[0];
        assert_eq!(
            crate::translate::routes::places::Places::of(&world, route).count("a"),
            places
        );
        assert_eq!(match_count::of_route(&world, route), places as u64);
    }
}

/// 100 splits use the same groups. Each split counts the matches of these groups as its own.
#[test]
fn split_without_ports_has_a_cost() {
    let headless = "{apiVersion: v1, kind: Service, metadata: {name: none, namespace: a}, spec: {clusterIP: None}}\n---\n";
    let splits: String = (0..100)
        .map(|it| split_of_groups(&format!("s{it:03}"), "none"))
        .collect();
    let world = world(&format!("{headless}{}{splits}", groups()));
    let (codes, left) = left(&world);
    let over = codes.iter().filter(|it| **it == "over_namespace").count();
    assert!(over > 80 && left.splits.len() == 100 - over, "{codes:?}");
}

#[test]
fn equal_parent_refs_count_once() {
    let parents = vec!["{group: '', kind: Service, name: big}"; 32].join(", ");
    let route = format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: r, namespace: a}}, spec: {{parentRefs: [{parents}], rules: [{{backendRefs: [{{name: web-v1, port: 80}}]}}]}}}}\n"
    );
    let world = world(&format!("{}{route}", big(1..=10)));
    assert_eq!(world.routes[0].parents.len(), 1);
}

/// Namespace b has a Service with 1,000 ports and 1,000 ServiceAccounts. Routes of namespace a use this Service.
#[test]
fn other_namespace_cannot_exhaust_a_budget() {
    let route = |name: &str, year: u16, parent: &str, backend: &str| {
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: a, creationTimestamp: '{year}-01-01T00:00:00Z'}}, spec: {{parentRefs: [{{group: '', kind: Service, {parent}}}], rules: [{{matches: [{{path: {{value: /slow}}}}], backendRefs: [{{{backend}, port: 80}}]}}, {{matches: [{{path: {{value: /other}}}}], backendRefs: [{{{backend}, port: 80}}]}}, {{backendRefs: [{{{backend}, port: 80}}]}}]}}}}\n---\n"
        )
    };
    let of_b = big(80..=1_079)
        .replace("namespace: a", "namespace: b")
        .replace("clusterIP", "selector: {app: two}, clusterIP");
    let pods: String = (0..1_000)
        .map(|it| format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p{it}, namespace: b, labels: {{app: two}}}}, spec: {{serviceAccountName: account-{it}}}}}\n---\n"))
        .collect();
    let consumers: String = (0..5)
        .map(|it| {
            route(
                &format!("consumer-{it}"),
                2010 + it,
                "name: big, namespace: b",
                "name: big, namespace: b",
            )
        })
        .collect();
    let release = route("release", 2020, "name: web", "name: web-v1");
    let world = world(&format!("{of_b}{pods}{consumers}{release}"));
    for policy in [Policy::Unstated, Policy::Smi] {
        let (plan, problems) = translate_within(&world, policy, &Limits::default());
        let codes: BTreeSet<_> = problems
            .iter()
            .map(|it| (it.code, it.object.name.as_str()))
            .collect();
        assert!(
            codes
                .iter()
                .all(|(code, _)| *code != "over_namespace" && *code != "over_object"),
            "{codes:?}"
        );
        let config = scope(&plan, &Scope::Namespace("a".into()));
        assert!(
            config
                .rules
                .keys()
                .any(|it| it.starts_with("HTTPRoute/a/release@")),
            "{codes:?}"
        );
        // Routes to the Service of the other namespace have a limit of their own.
        assert!(
            codes.contains(&("over_elsewhere", "consumer-4")),
            "{codes:?}"
        );
        assert!(json(&config) < 3 << 20, "{}", json(&config));
    }
    let one = Limits {
        namespace: 1 << 14,
        object: 1 << 14,
        ..Limits::default()
    };
    let (_, problems) = translate_within(&world, Policy::Unstated, &one);
    assert!(
        problems
            .iter()
            .all(|it| it.object.name.starts_with("consumer")),
        "{problems:?}"
    );
}
