//! Tests of routes: conditions other than paths, filters, kinds of routes, and conflicts of two routes.

use super::*;

const MORE: &str = "---
{apiVersion: v1, kind: Service, metadata: {name: elsewhere, namespace: shop}, spec: {type: ExternalName, externalName: a.org, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {ports: [{port: 80, appProtocol: mysql}, {port: 81, appProtocol: kubernetes.io/h2c}]}}
";

/// Returns a route of this kind and name in namespace shop. A route with a lower `age` is older.
fn of_kind(kind: &str, name: &str, age: u16, spec: &str) -> String {
    let group = match kind {
        "Linkerd" => "policy.linkerd.io/v1beta3",
        _ => "gateway.networking.k8s.io/v1",
    };
    let kind = kind.replace("Linkerd", "HTTPRoute");
    format!(
        "---\n{{apiVersion: {group}, kind: {kind}, metadata: {{name: {name}, namespace: shop, creationTimestamp: '{}-01-01T00:00:00Z'}}, spec: {spec}}}\n",
        2000 + age
    )
}

const V1: &str = "backendRefs: [{name: web-v1, port: 80}]";
const WEB: &str = "parentRefs: [{group: '', kind: Service, name: web, port: 80}]";

/// Returns the problems as `OBJECT PATH REASON`.
fn problems(manifests: &str) -> Vec<String> {
    translated(manifests).1
}

#[test]
fn conditions_decide_the_order_across_routes() {
    let old = format!(
        "{{{WEB}, rules: [{{matches: [{{}}, {{path: {{type: RegularExpression, value: /b.}}}}, {{path: {{value: /bcde}}}}], {V1}}}]}}"
    );
    let young = format!(
        "{{{WEB}, rules: [{{matches: [{{method: GET}}, {{headers: [{{name: A, value: b}}]}}, {{queryParams: [{{name: q, value: 'c.*', type: RegularExpression}}]}}, {{path: {{value: /bcde/f/}}}}], {V1}}}]}}"
    );
    let manifests =
        of_kind("HTTPRoute", "old", 1, &old) + &of_kind("HTTPRoute", "young", 2, &young);
    let (plan, found) = translated(&manifests);
    assert_eq!(found, [""; 0]);
    let line = lines(&scope(&plan, &Scope::Producers)).remove(0);
    let [old, young] = ["old", "young"].map(|name| format!("HTTPRoute/shop/{name}@web.shop:80"));
    let expected = [
        format!("like /b. {old}"),
        format!("/bcde/f {young}"),
        format!("/bcde {old}"),
        format!("/ GET {young}"),
        format!("/ a=b {young}"),
        format!("/ q~c.* {young}"),
        format!("/ {old}"),
    ];
    assert_eq!(line, format!("web.shop:80! -> {}", expected.join(", ")));
}

#[test]
fn linkerd_hostnames_come_first() {
    let hosts = "hostnames: ['*.org', web.shop, '*.a.org', web]";
    let spec = format!("{{{WEB}, {hosts}, rules: [{{{V1}}}]}}");
    let exact = format!(
        "{{{WEB}, hostnames: [ignored.org], rules: [{{matches: [{{path: {{type: Exact, value: /a}}}}], {V1}}}]}}"
    );
    let manifests = of_kind("Linkerd", "young", 2, &spec) + &of_kind("HTTPRoute", "old", 1, &exact);
    let young = "HTTPRoute.policy.linkerd.io/shop/young@web.shop:80";
    let old = "HTTPRoute/shop/old@web.shop:80";
    check(
        &manifests,
        Scope::Producers,
        &[
            &format!(
                "web.shop:80! -> / @web.shop @web {young}, / @*.a.org {young}, / @*.org {young}, =/a {old}"
            ),
            &format!("{young} = web-v1.shop:80 1"),
            &format!("{old} = web-v1.shop:80 1"),
        ],
        &[
            "shop/young spec.hostnames[0] UnsupportedValue",
            "shop/young spec.hostnames[2] UnsupportedValue",
        ],
    );
}

#[test]
fn filters_keep_their_level() {
    let remove = "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}]";
    let spec = format!(
        "{{{WEB}, rules: [{{{remove}, timeouts: {{request: 1s}}, backendRefs: [{{name: web-v1, port: 80, {remove}}}, {{name: gone, port: 80, {remove}}},\
        {{name: web-v2, port: 80, filters: [{{type: CORS, cors: {{}}}}]}}]}}]}}"
    );
    let rule = "HTTPRoute/shop/r@web.shop:80";
    check(
        &of_kind("HTTPRoute", "r", 1, &spec),
        Scope::Producers,
        &[
            &format!("web.shop:80! -> / {rule}"),
            &format!("{rule}+ = web-v1.shop:80 1+, 500 1, 500 1"),
        ],
        &[
            "shop/r spec.rules[0].backendRefs[2].filters[0].type UnsupportedValue",
            "shop/r spec.rules[0].backendRefs[1] BackendNotFound",
        ],
    );
    let cors = format!("{{{WEB}, rules: [{{filters: [{{type: CORS}}], {V1}}}]}}");
    for (kind, status) in [("HTTPRoute", 500), ("GRPCRoute", 503)] {
        let rule = format!("{kind}/shop/r@web.shop:80");
        check(
            &of_kind(kind, "r", 1, &cors),
            Scope::Producers,
            &[
                &format!("web.shop:80! -> / {rule}"),
                &format!("{rule} = {status} 1"),
            ],
            &["shop/r spec.rules[0].filters[0].type UnsupportedValue"],
        );
    }
}

#[test]
fn unusable_services_are_refused() {
    let spec =
        |kind_of_backend: &str| format!("{{{WEB}, rules: [{{backendRefs: [{kind_of_backend}]}}]}}");
    for (kind, backend, reason) in [
        // In a folder a Service of type ExternalName is allowed. Golden cases test a cluster.
        ("HTTPRoute", "name: elsewhere, port: 80", ""),
        ("HTTPRoute", "name: db, port: 80", "UnsupportedProtocol"),
        ("GRPCRoute", "name: db, port: 80", "UnsupportedProtocol"),
        ("TCPRoute", "name: db, port: 80", ""),
        ("HTTPRoute", "name: db, port: 81", ""),
        ("HTTPRoute", "name: headless, port: 80", ""),
        (
            "HTTPRoute",
            "name: web, port: 80, kind: ServiceImport, group: multicluster.x-k8s.io",
            "InvalidKind",
        ),
    ] {
        let manifests = of_kind(kind, "r", 1, &spec(&format!("{{{backend}}}"))) + MORE;
        let expected: Vec<String> = [reason]
            .iter()
            .filter(|reason| !reason.is_empty())
            .map(|reason| format!("shop/r spec.rules[0].backendRefs[0] {reason}"))
            .collect();
        assert_eq!(problems(&manifests), expected, "{kind} {backend}");
    }
}

#[test]
fn grpc_method_becomes_a_path() {
    let matches = "matches: [{method: {method: Get}}, {method: {service: shop.Cart}}, {method: {service: shop.Cart, method: Get}}, {}]";
    let spec = format!("{{{WEB}, rules: [{{{matches}, {V1}}}]}}");
    let none =
        format!("{{{WEB}, rules: [{{backendRefs: [{{name: web-v1, port: 80, weight: 0}}]}}]}}");
    let rule = "GRPCRoute/shop/r@web.shop:80";
    check(
        &of_kind("GRPCRoute", "r", 1, &spec),
        Scope::Producers,
        &[
            &format!(
                "web.shop:80! -> =/shop.Cart/Get {rule}, /shop.Cart {rule}, like /[^/]+/Get {rule}, / {rule}"
            ),
            &format!("{rule} = web-v1.shop:80 1"),
        ],
        &[],
    );
    check(
        &of_kind("GRPCRoute", "r", 1, &none),
        Scope::Producers,
        &[
            &format!("web.shop:80! -> / {rule}"),
            &format!("{rule} = 503 1"),
        ],
        &["shop/r spec.rules[0].backendRefs NoTraffic"],
    );
}

#[test]
fn tcp_routes_become_connections() {
    let spec = "{parentRefs: [{name: edge}, {group: '', kind: Service, name: two}], rules: [{backendRefs: [{name: web-v1, port: 80, weight: 3}, {name: gone, port: 80}]}]}";
    let route = of_kind("TCPRoute", "r", 2, spec);
    let root = |port: u16| {
        [
            format!("tcp two.shop:{port} -> TCPRoute/shop/r@two.shop:{port}"),
            format!("TCPRoute/shop/r@two.shop:{port} = web-v1.shop:80 3, 500 1"),
        ]
    };
    let [(first, first_rule), (second, second_rule)] = [8080, 9090].map(|port| {
        let [to, rule] = root(port);
        (to, rule)
    });
    let missing = "shop/r spec.rules[0].backendRefs[1] BackendNotFound";
    check(
        &route,
        Scope::Producers,
        &[&first, &second, &first_rule, &second_rule],
        &[missing],
    );
    check(
        &route,
        edge(),
        &[
            "tcp {\"raw\": 5000} -> TCPRoute/shop/r@gateway/shop/edge",
            "TCPRoute/shop/r@gateway/shop/edge = web-v1.shop:80 3, 500 1",
        ],
        &[missing],
    );
    // A proxy cannot distinguish the connections of two routes.
    let both = route + &of_kind("TCPRoute", "older", 1, &spec.replace("gone", "web-v2"));
    let lost = ["0", "1"].map(|parent| format!("shop/r spec.parentRefs[{parent}] Conflicted"));
    assert_eq!(problems(&both)[..2], lost);

    const PARENT: &str = "parentRefs: [{name: edge}]";
    let rules = |rules: &str| {
        problems(&of_kind(
            "TCPRoute",
            "r",
            1,
            &format!("{{{PARENT}, rules: {rules}}}"),
        ))
    };
    let rule = "{backendRefs: [{name: web, port: 80}]}";
    let path = |rules: &str, path: &str| {
        let expected = format!("shop/r {path} InvalidValue");
        assert_eq!(problems(&of_kind("TCPRoute", "r", 1, rules)), [expected]);
    };
    assert_eq!(rules(&format!("[{rule}]")), [""; 0]);
    path(
        &format!("{{{PARENT}, rules: [{rule}, {rule}]}}"),
        "spec.rules",
    );
    path(&format!("{{{PARENT}}}"), "spec.rules");
    path(
        &format!("{{{PARENT}, rules: [{{}}]}}"),
        "spec.rules[0].backendRefs",
    );
}

/// Each row has the kinds of several routes of one port, and the kinds that get no requests.
#[test]
fn route_kinds_have_precedence() {
    let spec = |kind: &str, parent: &str| {
        let backends = "backendRefs: [{name: web-v2, port: 80}]";
        match kind {
            "TrafficSplit" => split(
                "trafficsplit",
                "null",
                "{service: 'web:80', backends: [{service: web-v2, weight: 1}]}",
            ),
            _ => {
                let spec = format!("{{parentRefs: [{parent}], rules: [{{{backends}}}]}}");
                of_kind(kind, &kind.to_lowercase(), 0, &spec)
            }
        }
    };
    let service = "{group: '', kind: Service, name: web, port: 80}";
    for (kinds, losers) in [
        (vec!["HTTPRoute", "GRPCRoute"], vec!["httproute"]),
        (vec!["HTTPRoute", "TCPRoute"], vec!["tcproute"]),
        (vec!["Linkerd", "TCPRoute"], vec!["tcproute"]),
        (vec!["Linkerd", "HTTPRoute"], vec![]),
        (
            vec!["Linkerd", "GRPCRoute", "TCPRoute", "HTTPRoute"],
            vec!["linkerd", "tcproute", "httproute"],
        ),
        (vec!["TrafficSplit", "TCPRoute"], vec!["trafficsplit"]),
        (vec!["TrafficSplit", "GRPCRoute"], vec!["trafficsplit"]),
    ] {
        let manifests: String = kinds.iter().map(|kind| spec(kind, service)).collect();
        let lost = problems(&manifests);
        let mut expected: Vec<String> = losers
            .iter()
            .map(|name| match *name {
                "trafficsplit" => format!("shop/{name} spec.service Conflicted"),
                _ => format!("shop/{name} spec.parentRefs[0] Conflicted"),
            })
            .collect();
        // An HTTPRoute and a Linkerd route can share the port. Their equal matches are another problem.
        let is_conflict = |it: &&String| it.ends_with("Conflicted");
        let mut lost_sorted: Vec<String> = lost.iter().filter(is_conflict).cloned().collect();
        lost_sorted.sort();
        expected.sort();
        assert_eq!(lost_sorted, expected, "{kinds:?}");
    }
}

/// Gateway API v1, GRPCRouteSpec.hostnames.
#[test]
fn http_and_grpc_conflict_by_host() {
    let at = |parents: &str, hostnames: &str| {
        format!("{{parentRefs: [{parents}], hostnames: [{hostnames}], rules: [{{}}]}}")
    };
    let section = |name: &str| format!("{{name: edge, sectionName: {name}}}");
    let old = |hostnames: &str| of_kind("HTTPRoute", "old", 1, &at(&section("wild"), hostnames));
    let lost = |hostnames: &str, parents: &str, of_young: &str| {
        let young = of_kind("GRPCRoute", "young", 2, &at(parents, of_young));
        let mut found = problems(&(old(hostnames) + &young));
        found.retain(|it| !it.ends_with("NoTraffic"));
        found
    };
    let conflict = ["shop/young spec.parentRefs[0] Conflicted"];
    for (of_old, of_young) in [
        ("a.example.com", "a.example.com"),
        ("'*.example.com'", "a.example.com"),
        ("a.example.com", "'*.example.com'"),
        ("a.example.com", ""),
        ("", "a.example.com"),
        ("'*.com'", "'*.example.com'"),
        ("'*.b.example.com', b.org", "x.a.b.example.com, c.org"),
    ] {
        let lost = lost(of_old, &section("wild"), of_young);
        assert_eq!(lost, conflict, "{of_old} {of_young}");
    }
    for (of_old, of_young) in [
        ("a.example.com", "b.example.com"),
        ("'*.a.example.com'", "a.example.com"),
        // The listener has only hosts under example.com.
        ("a.example.com, '*.org'", "b.example.com, b.org"),
    ] {
        let lost = lost(of_old, &section("wild"), of_young);
        assert_eq!(lost, [""; 0], "{of_old} {of_young}");
    }
    assert_eq!(
        lost("a.example.com", &section("plain"), "a.example.com"),
        [""; 0]
    );
    // The young route gets requests at the other listener, which has no other route.
    let young = of_kind(
        "GRPCRoute",
        "young",
        2,
        &at("{name: edge}", "a.example.com"),
    );
    let (plan, _) = translated(&(old("a.example.com") + &young));
    let text = format!("{plan:?}");
    assert!(
        text.contains("GRPCRoute/shop/young@gateway/shop/edge"),
        "{text}"
    );
}

#[test]
fn blocked_route_blocks_no_other_route() {
    let route = |kind: &str, name: &str, age: u16, hostname: &str| {
        let spec = format!(
            "{{parentRefs: [{{name: edge, sectionName: plain}}], hostnames: ['{hostname}'], rules: [{{}}]}}"
        );
        of_kind(kind, name, age, &spec)
    };
    let middle = route("GRPCRoute", "middle", 2, "*.a.org");
    let routes = route("HTTPRoute", "old", 1, "*.org") + &middle;
    // A route that gets no requests does not block other routes.
    let routes = routes + &route("HTTPRoute", "young", 3, "x.a.org");
    let mut found = problems(&routes);
    found.retain(|it| !it.ends_with("NoTraffic"));
    assert_eq!(found, ["shop/middle spec.parentRefs[0] Conflicted"]);
}

#[test]
fn route_over_limit_blocks_nothing() {
    let ports: Vec<String> = (1..=1000).map(|port| format!("{{port: {port}}}")).collect();
    let wide = format!(
        "---\n{{apiVersion: v1, kind: Service, metadata: {{name: wide, namespace: shop}}, spec: {{ports: [{}]}}}}\n",
        ports.join(", ")
    );
    let matches = |path: &str| {
        let matches = (0..5).map(|n| format!("{{name: m{n}, {path}: /{n}}}"));
        matches.collect::<Vec<_>>().join(", ")
    };
    let group = format!(
        "---\n{{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {{name: g, namespace: shop}}, spec: {{matches: [{}]}}}}\n",
        matches("pathRegex")
    );
    let split = |name: &str, service: &str, matches: &str| {
        let backends = "backends: [{service: wide, weight: 1}]";
        split(
            name,
            "null",
            &format!("{{service: '{service}', {matches}{backends}}}"),
        )
        .replace("v1alpha2", "v1alpha4")
    };
    let groups = "matches: [{kind: HTTPRouteGroup, name: g}], ";
    let route = |name: &str, port: &str| {
        let matches: Vec<String> = (0..5)
            .map(|n| format!("{{path: {{value: /{n}}}}}"))
            .collect();
        let parent = format!("{{group: '', kind: Service, name: wide{port}}}");
        let matches = matches.join(", ");
        let spec = format!("{{parentRefs: [{parent}], rules: [{{matches: [{matches}]}}]}}");
        of_kind("HTTPRoute", name, 1, &spec)
    };
    let (plan, found) = translated(
        &[
            wide,
            group,
            split("every-port", "wide", groups),
            split("one-port", "wide:8", groups),
            split("every-request", "wide", ""),
            route("every-port", ""),
            route("one-port", ", port: 7"),
        ]
        .concat(),
    );
    assert_eq!(
        found,
        [
            "shop/every-port spec.rules UnsupportedValue",
            "shop/one-port spec.rules NoTraffic",
            "shop/every-port spec.matches UnsupportedValue",
            "shop/every-request spec.service Conflicted",
        ]
    );
    let config = scope(&plan, &Scope::Producers);
    let rules = |at: usize| -> Vec<&str> {
        let matches = config.hosts[at].matches.iter();
        let rules = matches.map(|entry| entry.rule.split(['@', ':']).next().unwrap());
        rules.collect()
    };
    assert_eq!(config.hosts.len(), 1000);
    assert_eq!(rules(5), ["TrafficSplit/shop/every-request"]);
    assert_eq!(rules(6), ["HTTPRoute/shop/one-port"; 5]);
    assert_eq!(rules(7)[..5], ["TrafficSplit/shop/one-port"; 5]);
    assert_eq!(rules(7)[5..], ["TrafficSplit/shop/every-request"]);
}
