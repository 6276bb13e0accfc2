use super::*;
use crate::object::read;

fn object(api_version: &str, spec: &str) -> Object {
    let text = format!(
        "apiVersion: {api_version}\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop, foo: 1}}\nstatus: {{foo: 1}}\nspec: {spec}\n"
    );
    read("a.yaml", &text).unwrap().objects.remove(0)
}

fn parse(spec: &str) -> HttpRoute {
    let object = object("gateway.networking.k8s.io/v1", spec);
    HttpRoute::parse(&object).unwrap().unwrap()
}

fn refused(spec: &str) -> (String, Reason) {
    let problem = HttpRoute::parse(&object("gateway.networking.k8s.io/v1", spec)).unwrap_err();
    (problem.path, problem.reason)
}

fn rules(rules: &str) -> Vec<(usize, String)> {
    let route = parse(&format!("{{rules: {rules}}}"));
    route
        .rules
        .into_iter()
        .map(|rule| (rule.index, rule.key))
        .collect()
}

#[test]
fn what_is_not_understood_refuses_the_route() {
    let unsupported = [
        ("{useDefaultGateways: All}", "spec.useDefaultGateways"),
        ("{rules: [{filters: [{type: X}]}]}", "spec.rules[0].filters"),
        (
            "{rules: [{}, {timeouts: {request: 1s}}]}",
            "spec.rules[1].timeouts",
        ),
        ("{rules: [{retry: {attempts: 1}}]}", "spec.rules[0].retry"),
        ("{rules: [{retry: {}}]}", "spec.rules[0].retry"),
        (
            "{rules: [{sessionPersistence: {}}]}",
            "spec.rules[0].sessionPersistence",
        ),
        (
            "{rules: [{sessionPersistence: {type: Cookie}}]}",
            "spec.rules[0].sessionPersistence",
        ),
        (
            "{rules: [{matches: [{method: GET}]}]}",
            "spec.rules[0].matches[0].method",
        ),
        (
            "{rules: [{matches: [{headers: [{name: a, value: b}]}]}]}",
            "spec.rules[0].matches[0].headers",
        ),
        (
            "{rules: [{matches: [{queryParams: [{name: a, value: b}]}]}]}",
            "spec.rules[0].matches[0].queryParams",
        ),
        (
            "{rules: [{matches: [{path: {type: RegularExpression, value: /a}}]}]}",
            "spec.rules[0].matches[0].path.type",
        ),
        (
            "{rules: [{backendRefs: [{name: a, port: 1, filters: [{type: X}]}]}]}",
            "spec.rules[0].backendRefs[0].filters",
        ),
    ];
    for (spec, path) in unsupported {
        assert_eq!(
            refused(spec),
            (path.to_owned(), Reason::UnsupportedValue),
            "{spec}"
        );
    }
    let invalid = [
        ("{rulez: [{}]}", "spec.rulez"),
        (
            "{parentRefs: [{name: a, prot: 80}]}",
            "spec.parentRefs[0].prot",
        ),
        (
            "{parentRefs: [{kind: Service, group: ''}]}",
            "spec.parentRefs[0]",
        ),
        ("{parentRefs: [3]}", "spec.parentRefs[0]"),
        ("{hostnames: ['a:80']}", "spec.hostnames[0]"),
        (
            "{rules: [{matches: [{path: {value: a}}]}]}",
            "spec.rules[0].matches[0].path.value",
        ),
        (
            "{rules: [{matches: [{path: {val: /a}}]}]}",
            "spec.rules[0].matches[0].path.val",
        ),
        (
            "{rules: [{backendRefs: [{name: a, port: 70000}]}]}",
            "spec.rules[0].backendRefs[0].port",
        ),
        (
            "{rules: [{backendRefs: [{name: a, weight: -1}]}]}",
            "spec.rules[0].backendRefs[0].weight",
        ),
        (
            "{rules: [{backendRefs: [{name: a, weight: 1000001}]}]}",
            "spec.rules[0].backendRefs[0].weight",
        ),
        (
            "{rules: [{backendRefs: [{name: a, weight: '1'}]}]}",
            "spec.rules[0].backendRefs[0].weight",
        ),
        ("{rules: [{name: a b}]}", "spec.rules[0].name"),
        ("{rules: [{name: a}, {name: a}]}", "spec.rules[1].name"),
        ("null", "spec"),
    ];
    for (spec, path) in invalid {
        assert_eq!(
            refused(spec),
            (path.to_owned(), Reason::InvalidValue),
            "{spec}"
        );
    }
}

#[test]
fn longer_lists_than_the_api_has_refuse_the_route() {
    let list = |entry: &str, count: usize| format!("[{}]", vec![entry; count].join(", "));
    let rule = |field: &str, count| format!("{{{field}: {}}}", list("{name: a}", count));
    let matches = |count| format!("{{matches: {}}}", list("{}", count));
    let cases = [
        (rule("parentRefs", 33), "spec.parentRefs"),
        (
            format!("{{hostnames: {}}}", list("a.b", 17)),
            "spec.hostnames",
        ),
        (format!("{{rules: {}}}", list("{}", 17)), "spec.rules"),
        (
            format!("{{rules: [{{}}, {}]}}", matches(65)),
            "spec.rules[1].matches",
        ),
        (
            format!(
                "{{rules: [{{}}, {}, {}, {}]}}",
                matches(64),
                matches(64),
                matches(1)
            ),
            "spec.rules",
        ),
        (
            format!("{{rules: [{}]}}", rule("backendRefs", 17)),
            "spec.rules[0].backendRefs",
        ),
    ];
    for (spec, path) in cases {
        assert_eq!(refused(&spec), (path.to_owned(), Reason::InvalidValue));
    }
    parse(&format!("{{rules: [{}, {}]}}", matches(64), matches(64)));
}

#[test]
fn empty_fields_say_nothing() {
    let empty = parse(
        "{parentRefs: null, hostnames: [], useDefaultGateways: '', rules: [{name: null, filters: [], timeouts: {}, retry: null,\
         matches: [{headers: [], method: null, path: null}], backendRefs: [{name: a, port: 80, filters: [], weight: null}]}]}",
    );
    let plain = parse("{rules: [{backendRefs: [{name: a, port: 80}]}]}");
    assert_eq!(empty, plain);
    assert_eq!(plain.rules[0].matches, [None]);
    assert_eq!(plain.rules[0].backends[0].weight, 1);
    assert_eq!(parse("{}").rules, parse("{rules: [{}]}").rules);
}

#[test]
fn parents_of_others_are_passed_over() {
    let kinds = |version: &str, parents: &str| {
        let route = HttpRoute::parse(&object(version, &format!("{{parentRefs: {parents}}}")));
        let kinds = |route: HttpRoute| route.parents.iter().map(|p| p.kind).collect::<Vec<_>>();
        route.unwrap().map(kinds)
    };
    let (gateway_api, linkerd) = (
        "gateway.networking.k8s.io/v1beta1",
        "policy.linkerd.io/v1beta2",
    );
    let service = "{name: a, kind: Service, group: Core}";
    assert_eq!(
        kinds(gateway_api, &format!("[{{name: a}}, {service}]")),
        Some(vec![ParentKind::Gateway, ParentKind::Service])
    );
    assert_eq!(
        kinds(linkerd, &format!("[{{name: a, kind: Server}}, {service}]")),
        Some(vec![ParentKind::Service])
    );
    let defaults = HttpRoute::parse(&object(linkerd, "{parentRefs: [{name: a}]}"));
    assert_eq!(defaults.unwrap_err().path, "spec.parentRefs[0].group");
    assert_eq!(kinds(linkerd, "[{name: a, kind: Server}]"), None);
    assert_eq!(
        kinds(gateway_api, "[{name: a, kind: Mesh, group: example.com}]"),
        None
    );
    assert_eq!(kinds(gateway_api, "[]"), Some(vec![]));

    // Whatever else such a route contains is not for Weir to judge.
    let foreign = "{parentRefs: [{name: a, kind: Server}], rules: [{filters: [{type: X}]}]}";
    assert_eq!(HttpRoute::parse(&object(linkerd, foreign)), Ok(None));
    let hosts = format!("{{parentRefs: [{service}], hostnames: [a.b]}}");
    let problem = HttpRoute::parse(&object(linkerd, &hosts)).unwrap_err();
    assert_eq!(
        (problem.path.as_str(), problem.reason),
        ("spec.hostnames", Reason::UnsupportedValue)
    );
}

#[test]
fn a_rule_is_known_by_its_name_or_its_matches() {
    let echo = "matches: [{path: {value: /echo}}]";
    let one = rules(&format!("[{{{echo}}}]"));
    assert_eq!(one, rules("[{matches: [{path: {value: /echo/}}]}]"));
    assert_eq!(one[0].1.len(), 8);
    assert_eq!(rules("[{}]"), rules("[{matches: [{path: {value: /}}]}]"));

    // Another rule before it changes its place, not its key.
    let two = rules(&format!("[{{name: first}}, {{{echo}}}]"));
    assert_eq!(two, [(0, "first".to_owned()), (1, one[0].1.clone())]);

    // The second of two rules alike is never reached.
    assert_eq!(rules(&format!("[{{{echo}}}, {{{echo}}}, {{}}]")).len(), 2);
    assert_eq!(
        rules(&format!("[{{{echo}}}, {{name: other, {echo}}}]")).len(),
        2
    );

    // A name that looks like the hash does not become one with it.
    let clash = rules(&format!("[{{{echo}}}, {{name: {}}}]", one[0].1));
    assert_eq!(clash[1].1, one[0].1);
    assert_eq!(clash[0].1.len(), 9);
}
