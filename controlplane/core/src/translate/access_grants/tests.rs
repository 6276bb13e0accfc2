use crate::api::smi::traffic_target::Policy;
use crate::manifest::object::read;
use crate::plan::{Plan, Scope, scope};
use crate::world::World;
use weir_split::wire::{Access, Config, PathMatch};
use weir_split::{Decision, Live, Plugin, Table};

use super::*;

/// Service `web` in namespace `shop`, with a split to `web-v2`. Its clients are in namespace `front`.
const WORLD: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web-v2, namespace: shop}, spec: {selector: {app: web, v: '2'}, ports: [{port: 80}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {template: {metadata: {labels: {app: web, v: '1'}}, spec: {serviceAccountName: web}}}}
---
{apiVersion: v1, kind: Pod, metadata: {generateName: web-, namespace: shop, labels: {app: web, v: '2'}}, spec: {serviceAccountName: web-v2}}
---
{apiVersion: v1, kind: Pod, metadata: {generateName: web-, namespace: shop, labels: {app: web, v: '2'}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: front, labels: {app: web}}, spec: {serviceAccountName: other}}
---
{apiVersion: v1, kind: Service, metadata: {name: store, namespace: back}, spec: {ports: [{port: 80}]}}
---
{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: s, namespace: shop}, spec: {service: web, backends: [{service: web, weight: 1}, {service: web-v2, weight: 1}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: g, namespace: shop}, spec: {matches: [{name: a, pathRegex: /a}, {name: b, pathRegex: /b}, {name: bad, pathRegex: '('}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: {name: some, namespace: shop}, spec: {matches: {name: m, ports: [1, 2]}}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: {name: every, namespace: shop}, spec: {}}
";

fn target(version: &str, destination: &str, rules: &str) -> String {
    format!(
        "---\n{{apiVersion: access.smi-spec.io/{version}, kind: TrafficTarget, metadata: {{name: t, namespace: shop}}, spec: {{\
         destination: {{kind: ServiceAccount, {destination}}}, sources: [{{kind: ServiceAccount, name: buyer, namespace: front}}, \
         {{kind: ServiceAccount, name: web}}], rules: [{rules}]}}}}\n"
    )
}

fn translate(manifests: &str, policy: Policy) -> (Plan, Vec<String>) {
    let text = format!("{WORLD}{manifests}");
    let (world, wrong) = World::from_objects(read("a.yaml", &text).unwrap().objects);
    assert_eq!(wrong.len(), 1, "the bad expression: {wrong:?}");
    let (plan, problems) = crate::translate::translate(&world, policy);
    let line = |p: &Problem| format!("{} {} {}", p.object.name, p.path, p.reason);
    (plan, problems.iter().map(line).collect())
}

/// Returns the grants as `DESTINATION <- SOURCES: PATHS [PORTS]`.
fn granted(config: &Config) -> Vec<String> {
    let Some(Access::Grants(grants)) = &config.access else {
        panic!("{:?}", config.access);
    };
    let grants = grants.iter().flat_map(|(to, grants)| {
        grants.iter().map(move |grant| {
            let paths = grant.requests.iter().map(|request| match &request.path {
                Some(PathMatch::Regex(path)) => path.as_str(),
                _ => "any",
            });
            let paths = paths.collect::<Vec<_>>().join(" ");
            let ports = grant.ports.as_ref().map(|ports| format!(" {ports:?}"));
            let ports = ports.unwrap_or_default();
            format!("{to} <- {}: {paths}{ports}", grant.sources.join(" "))
        })
    });
    grants.collect()
}

fn shop() -> Scope {
    Scope::Namespace("shop".into())
}

#[test]
fn targets_grant_matches_and_ports() {
    for (version, destination, rules, expected, problem) in [
        (
            "v1alpha3",
            "name: web",
            "{kind: HTTPRouteGroup, name: g}",
            "/a /b",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: HTTPRouteGroup, name: g, matches: [b]}, {kind: HTTPRouteGroup, name: g}",
            "/b /a",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: HTTPRouteGroup, name: g, matches: [bad]}",
            "nothing",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: HTTPRouteGroup, name: g, matches: [b, c]}",
            "/b",
            "spec.rules[0].matches[1] ReferenceNotFound",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: HTTPRouteGroup, name: gone}, {kind: TCPRoute, name: every}",
            " []",
            "spec.rules[0].name ReferenceNotFound",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: TCPRoute, name: some}, {kind: HTTPRouteGroup, name: g, matches: [a]}",
            "/a [1, 2]",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: TCPRoute, name: some, matches: [m]}",
            " [1, 2]",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: TCPRoute, name: some, matches: [other]}",
            "nothing",
            "spec.rules[0].matches[0] ReferenceNotFound",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: TCPRoute, name: some}, {kind: TCPRoute, name: every}",
            " []",
            "",
        ),
        (
            "v1alpha3",
            "name: web",
            "{kind: UDPRoute, name: some}",
            "nothing",
            "spec.rules[0].kind InvalidKind",
        ),
        (
            "v1alpha2",
            "name: web, port: 2",
            "{kind: TCPRoute, name: some}, {kind: TCPRoute, name: every}",
            " [2]",
            "",
        ),
        (
            "v1alpha2",
            "name: web, port: 3",
            "{kind: TCPRoute, name: some}",
            "nothing",
            "spec.destination.port InvalidValue",
        ),
        (
            "v1alpha2",
            "name: web, port: 80",
            "{kind: HTTPRouteGroup, name: g}",
            "nothing",
            "spec.destination.port UnsupportedValue",
        ),
    ] {
        let (plan, problems) = translate(&target(version, destination, rules), Policy::Smi);
        let found = granted(&scope(&plan, &shop()));
        if expected == "nothing" {
            assert_eq!(found, [""; 0], "{destination} {rules}");
        } else {
            let expected = format!("shop/web <- front/buyer shop/web: {expected}");
            assert_eq!(found, [expected], "{destination} {rules}");
        }
        let expected = Some(problem).filter(|it| !it.is_empty());
        let expected: Vec<String> = expected.iter().map(|it| format!("t {it}")).collect();
        assert_eq!(problems, expected, "{destination} {rules}");
    }
}

#[test]
fn traffic_targets_need_an_access_policy() {
    let rule = "{kind: HTTPRouteGroup, name: gone}";
    let rest = "---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: shop}, spec: {}}\n\
        ---\n{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: bad, namespace: com}, spec: {}}\n\
        ---\n{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {name: bad, namespace: com}}\n";
    let manifests = target("v1alpha3", "name: web", rule) + rest;
    let (plain, _) = translate("", Policy::Unstated);
    assert_eq!(
        translate(&manifests, Policy::Unstated),
        (plain.clone(), vec!["t spec UnsupportedValue".to_owned()])
    );
    let config = scope(&plain, &shop());
    assert_eq!(config.access, None);
    assert_eq!(
        translate(&manifests, Policy::Smi).1,
        [
            "bad spec InvalidValue",
            "web  Duplicate",
            "bad  InvalidValue",
            "t spec.rules[0].name ReferenceNotFound",
        ]
    );
}

#[test]
fn backends_have_accounts_of_pods() {
    let route = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: r, namespace: back}, spec: {\
        parentRefs: [{group: '', kind: Service, name: store}], rules: [{backendRefs: [{name: store, port: 80}]}]}}\n";
    let (plan, problems) = translate(route, Policy::Smi);
    let config = scope(&plan, &shop());
    let backends = config.rules.values().flat_map(|rule| &rule.backends);
    let accounts: Vec<_> = backends.map(|it| it.accounts.join(" ")).collect();
    assert_eq!(
        accounts,
        [
            "",
            "shop/default shop/web shop/web-v2",
            "shop/default shop/web-v2"
        ]
    );
    assert_eq!(problems, ["store spec.selector NoAccount"]);

    // The access policy does not apply to clients of a Gateway, so the backend needs no ServiceAccount.
    let gateway = "---\n{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: edge, namespace: back}, spec: {\
        listeners: [{name: a, port: 80, protocol: HTTP}]}}\n";
    let at_gateway = route.replace("{group: '', kind: Service, name: store}", "{name: edge}");
    let (_, problems) = translate(&(at_gateway + gateway), Policy::Smi);
    assert_eq!(problems, [""; 0]);
}

#[test]
fn scope_gets_the_needed_grants() {
    let to = |name: &str| {
        let rule = "{kind: TCPRoute, name: every}";
        let target = target("v1alpha3", &format!("name: {name}"), rule);
        target.replace("name: t,", &format!("name: to-{name},"))
    };
    let (plan, problems) = translate(&(to("web") + &to("cron")), Policy::Smi);
    assert_eq!(problems, [""; 0]);
    let namespace = |name: &str| Scope::Namespace(name.into());
    for (of_scope, expected, accounts) in [
        (
            shop(),
            vec![
                "shop/cron <- front/buyer shop/web:  []",
                "shop/web <- front/buyer shop/web:  []",
            ],
            [
                "shop/default shop/web shop/web-v2",
                "shop/default shop/web-v2",
            ],
        ),
        // No rule has a backend with the ServiceAccount shop/cron, so this scope gets no grant for it.
        (
            namespace("front"),
            vec!["shop/web <- front/buyer:  []"],
            ["shop/web", ""],
        ),
        (namespace("back"), vec![], ["", ""]),
        (Scope::Producers, vec![], ["", ""]),
    ] {
        let config = scope(&plan, &of_scope);
        assert_eq!(granted(&config), expected, "{of_scope:?}");
        let backends = config.rules.values().flat_map(|rule| &rule.backends);
        let known: Vec<String> = backends.map(|it| it.accounts.join(" ")).collect();
        assert_eq!(known, accounts, "{of_scope:?}");
    }
    let gateway = Scope::Gateway {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    assert_eq!(scope(&plan, &gateway).access, None);
    assert_eq!(scope(&plan, &Scope::Edge).access, None);
    assert_eq!(
        plan.scopes(),
        [Scope::Producers, Scope::Edge, namespace("front"), shop()].into()
    );
}

#[test]
fn client_reaches_only_permitted_backends() {
    let rule = "{kind: HTTPRouteGroup, name: g, matches: [a]}";
    let (plan, _) = translate(&target("v1alpha3", "name: web", rule), Policy::Smi);
    let of_scope = |account: &str, path: &str| {
        let keys = format!(
            "{{\"control_plane\":\"weir\",\"namespace\":\"front\",\"service_account\":\"{account}\"}}"
        );
        let plugin = Plugin::parse(keys.as_bytes()).unwrap();
        let config = scope(&plan, &Scope::Namespace("front".into()));
        let mut live = Live::new(1, plugin.until_configured);
        live.install(Table::compile(&config, &plugin.site).unwrap());
        // The weights of web and web-v2 are equal, so one of two requests goes to each.
        let mut reached = [(); 2].map(|()| {
            let decided = live.decide(
                b"web.shop",
                || None,
                |name| match name {
                    ":path" => Some(path.as_bytes().to_vec()),
                    _ => Some(b"GET".to_vec()),
                },
            );
            match decided.decision {
                Decision::Cluster(cluster) => cluster.split('.').next().unwrap().to_owned(),
                Decision::Denied(_) => "denied".to_owned(),
                other => format!("{other:?}"),
            }
        });
        reached.sort();
        reached
    };
    assert_eq!(of_scope("buyer", "/a"), ["denied", "web"]);
    assert_eq!(of_scope("buyer", "/b"), ["denied", "denied"]);
    assert_eq!(of_scope("thief", "/a"), ["denied", "denied"]);
}

#[test]
fn pods_of_service_are_searched_once() {
    let (world, _) = World::from_objects(read("a.yaml", WORLD).unwrap().objects);
    let backend = |port| {
        let web = wire::Service {
            name: "web".into(),
            namespace: "shop".into(),
            port,
        };
        wire::Backend::new(1, Target::Service(web))
    };
    let ports = 1..=1_000;
    let called = ports.clone().map(|port| {
        let at = ServicePort {
            namespace: "shop".into(),
            name: "web".into(),
            port,
        };
        (format!("{port:04}"), at)
    });
    let called: BTreeMap<String, ServicePort> = called.collect();
    let rules = ports.map(|port| {
        let rule = Rule {
            backends: vec![backend(port)],
            ..Rule::default()
        };
        (format!("{port:04}"), rule)
    });
    let mut rules: BTreeMap<String, Rule> = rules.collect();
    let of_workloads = rules.keys().cloned().collect();
    let mut accounts = Accounts::of_world(&world);
    name_accounts(
        &mut accounts,
        &of_workloads,
        &mut rules,
        &mut BTreeSet::new(),
    );
    require_called(&mut accounts, &called, &mut rules);
    assert_eq!(accounts.accounts.len(), 1);
    let all = ["shop/default", "shop/web", "shop/web-v2"];
    for rule in rules.values() {
        assert_eq!(rule.backends[0].accounts, all);
        assert_eq!(rule.called.as_ref().unwrap().accounts, all);
    }
}
