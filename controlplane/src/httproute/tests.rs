use super::*;
use crate::object::read;
use crate::problem::Reason;
use crate::route::ParentKind;
use weir_split::wire::{Field, PathMatch, Retry, Timeouts, ValueMatch};

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const LINKERD: &str = "policy.linkerd.io/v1beta3";

fn object(api_version: &str, spec: &str) -> Object {
    let text = format!(
        "apiVersion: {api_version}\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop, foo: 1}}\nstatus: {{foo: 1}}\nspec: {spec}\n"
    );
    read("a.yaml", &text).unwrap().objects.remove(0)
}

#[track_caller]
fn parse(spec: &str) -> Route {
    let parsed = Route::parse(&object(GATEWAY_API, spec));
    let (route, problems) = parsed.unwrap().unwrap();
    assert_eq!(problems, []);
    route
}

/// The only rule.
#[track_caller]
fn rule(rule: &str) -> RouteRule {
    parse(&format!("{{rules: [{rule}]}}")).rules.remove(0)
}

fn refused_in(api_version: &str, spec: &str) -> (String, Reason) {
    match Route::parse(&object(api_version, spec)) {
        Ok(parsed) => panic!("{spec}: {parsed:?}"),
        Err(problem) => (problem.path, problem.reason),
    }
}

/// Each is the inside of `rules: [...]` and the path of its problem below `spec.rules[0]`.
#[track_caller]
fn rules_are_refused(cases: &[(&str, &str, Reason)]) {
    for (rule, path, reason) in cases {
        let expected = (format!("spec.rules[0].{path}"), *reason);
        let spec = format!("{{rules: [{rule}]}}");
        assert_eq!(refused_in(GATEWAY_API, &spec), expected, "{rule}");
    }
}

fn keys(rules: &str) -> Vec<(usize, String)> {
    let route = parse(&format!("{{rules: {rules}}}"));
    let rules = route.rules.into_iter();
    rules.map(|rule| (rule.index, rule.key)).collect()
}

fn exact(name: &str, value: &str) -> Field {
    let (name, value) = (name.to_owned(), ValueMatch::Exact(value.to_owned()));
    Field { name, value }
}

use Reason::{InvalidValue as Invalid, UnsupportedValue as Unsupported};

#[test]
fn what_is_not_understood_refuses_the_route() {
    let cases = [
        (
            "{useDefaultGateways: All}",
            "spec.useDefaultGateways",
            Unsupported,
        ),
        ("{rulez: [{}]}", "spec.rulez", Invalid),
        (
            "{parentRefs: [{name: a, prot: 80}]}",
            "spec.parentRefs[0].prot",
            Invalid,
        ),
        (
            "{parentRefs: [{kind: Service, group: ''}]}",
            "spec.parentRefs[0]",
            Invalid,
        ),
        ("{parentRefs: [3]}", "spec.parentRefs[0]", Invalid),
        ("{hostnames: ['a:80']}", "spec.hostnames[0]", Invalid),
        (
            "{rules: [{name: a}, {name: a}]}",
            "spec.rules[1].name",
            Invalid,
        ),
        ("null", "spec", Invalid),
    ];
    for (spec, path, reason) in cases {
        let expected = (path.to_owned(), reason);
        assert_eq!(refused_in(GATEWAY_API, spec), expected, "{spec}");
    }
    rules_are_refused(&[
        ("{name: a b}", "name", Invalid),
        ("{filterz: [{}]}", "filterz", Invalid),
        ("{retry: {backoff: 1s}}", "retry.backoff", Unsupported),
        ("{retry: {attempts: 0}}", "retry.attempts", Invalid),
        ("{retry: {attempts: -1}}", "retry.attempts", Invalid),
        ("{retry: {codes: [500, 399]}}", "retry.codes[1]", Invalid),
        ("{retry: {code: [500]}}", "retry.code", Invalid),
        ("{timeouts: {request: 1}}", "timeouts.request", Invalid),
        ("{timeouts: {request: 1d}}", "timeouts.request", Invalid),
        ("{timeouts: {reqest: 1s}}", "timeouts.reqest", Invalid),
        (
            "{timeouts: {request: 1s, backendRequest: 1001ms}}",
            "timeouts.backendRequest",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, port: 70000}]}",
            "backendRefs[0].port",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, weight: -1}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, weight: 1000001}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, weight: '1'}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
    ]);
}

#[test]
fn a_field_beside_the_spec_refuses_the_route() {
    let path = |beside: &str| {
        let object = object(GATEWAY_API, &format!("{{rules: []}}\n{beside}"));
        Route::parse(&object).map_err(|problem| problem.path).err()
    };
    assert_eq!(path("hostnames: [a.org]"), Some("hostnames".to_owned()));
    assert_eq!(path("hostnames: []"), None);
}

#[test]
fn matches_that_are_wrong_refuse_the_route() {
    let long = "a".repeat(4097);
    let cases = [
        ("{path: {value: a}}", "path.value", Invalid),
        ("{path: {val: /a}}", "path.val", Invalid),
        ("{path: {type: Glob, value: /a}}", "path.type", Unsupported),
        (
            "{path: {type: RegularExpression, value: '/('}}",
            "path.value",
            Invalid,
        ),
        ("{method: get}", "method", Unsupported),
        ("{methods: [GET]}", "methods", Invalid),
        ("{headers: [{name: a}]}", "headers[0]", Invalid),
        (
            "{headers: [{name: 'a:', value: b}]}",
            "headers[0].name",
            Invalid,
        ),
        (
            "{headers: [{name: '', value: b}]}",
            "headers[0].name",
            Invalid,
        ),
        (
            "{headers: [{name: a, value: ''}]}",
            "headers[0].value",
            Invalid,
        ),
        (
            &format!("{{headers: [{{name: a, value: {long}}}]}}"),
            "headers[0].value",
            Invalid,
        ),
        (
            r#"{headers: [{name: a, value: "b\nc"}]}"#,
            "headers[0].value",
            Invalid,
        ),
        (
            "{headers: [{name: a, type: Glob, value: b}]}",
            "headers[0].type",
            Unsupported,
        ),
        (
            "{headers: [{name: a, type: RegularExpression, value: '('}]}",
            "headers[0].value",
            Invalid,
        ),
        (
            "{queryParams: [{name: a, valu: b, value: b}]}",
            "queryParams[0].valu",
            Invalid,
        ),
        (
            &format!("{{queryParams: [{{name: a, value: {}}}]}}", &long[..1025]),
            "queryParams[0].value",
            Invalid,
        ),
    ];
    for (entry, path, reason) in cases {
        let rule = format!("{{matches: [{entry}]}}");
        rules_are_refused(&[(&rule, &format!("matches[0].{path}"), reason)]);
    }
}

#[test]
fn the_conditions_of_a_match() {
    let matches = rule(
        "{matches: [{path: {type: RegularExpression, value: '/a.*'}, method: PATCH,\
         headers: [{name: X-B, value: 'B'}, {name: Host, type: RegularExpression, value: 'a.*'}, {name: x-b, value: other}],\
         queryParams: [{name: Q, value: 'b c'}, {name: q, type: Exact, value: d}]}]}",
    )
    .matches;
    let [wanted] = &matches[..] else { panic!() };
    assert_eq!(wanted.path, Some(PathMatch::Regex("/a.*".into())));
    assert_eq!(wanted.method.as_deref(), Some("PATCH"));
    let authority = Field {
        name: ":authority".into(),
        value: ValueMatch::Regex("a.*".into()),
    };
    assert_eq!(wanted.headers, [authority, exact("x-b", "B")]);
    assert_eq!(wanted.query, [exact("Q", "b c"), exact("q", "d")]);
}

#[test]
fn patterns_of_a_route_are_bounded() {
    let patterns = |pattern: &str, count: usize| {
        let one = |number: usize| {
            let value = pattern.replace('N', &number.to_string());
            format!("{{path: {{type: RegularExpression, value: '{value}'}}}}")
        };
        let many = (0..count).map(one).collect::<Vec<_>>().join(", ");
        let spec = format!("{{rules: [{{matches: [{many}]}}]}}");
        Route::parse(&object(GATEWAY_API, &spec)).map(|_| ())
    };
    assert_eq!(patterns("/[a-z]{400}", 60), Ok(()), "the same one");
    for (pattern, count, place) in [
        ("/N[a-z]{400}", 60, None),
        ("/([a-z]{500}){500}", 1, Some(0)),
    ] {
        let problem = patterns(pattern, count).unwrap_err();
        assert_eq!(problem.reason, Invalid);
        let path = |place| format!("spec.rules[0].matches[{place}].path.value");
        let places: Vec<String> = match place {
            Some(place) => vec![path(place)],
            None => (1..count).map(path).collect(),
        };
        assert!(places.contains(&problem.path), "{problem}");
    }
}

#[test]
fn timeouts_and_retries() {
    let parsed = rule(
        "{timeouts: {request: 0s, backendRequest: 1m500ms}, retry: {codes: [503, 500, 503], attempts: 3}}",
    );
    let timeouts = Timeouts {
        request: Some(0),
        backend_request: Some(60_500),
    };
    assert_eq!(parsed.timeouts, timeouts);
    let retry = Retry {
        attempts: 3,
        codes: vec![500, 503],
    };
    assert_eq!(parsed.retry, Some(retry));
    let retry = rule("{retry: {}, timeouts: {request: 1s, backendRequest: 1s}}").retry;
    assert_eq!(retry.map(|retry| retry.attempts), Some(1));
}

#[test]
fn longer_lists_than_the_api_has_refuse_the_route() {
    let list = |entry: &str, count: usize| format!("[{}]", vec![entry; count].join(", "));
    let rule = |field: &str, count| format!("{{{field}: {}}}", list("{name: a}", count));
    let matches = |count| format!("{{matches: {}}}", list("{}", count));
    let fields = |field: &str| {
        let list = list("{name: a, value: b}", 17);
        format!("{{rules: [{{matches: [{{{field}: {list}}}]}}]}}")
    };
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
        (fields("headers"), "spec.rules[0].matches[0].headers"),
        (
            fields("queryParams"),
            "spec.rules[0].matches[0].queryParams",
        ),
        (
            format!("{{rules: [{{filters: {}}}]}}", list("{type: a}", 17)),
            "spec.rules[0].filters",
        ),
        (
            format!("{{rules: [{{retry: {{codes: {}}}}}]}}", list("500", 201)),
            "spec.rules[0].retry.codes",
        ),
    ];
    for (spec, path) in cases {
        assert_eq!(refused_in(GATEWAY_API, &spec), (path.to_owned(), Invalid));
    }
    parse(&format!("{{rules: [{}, {}]}}", matches(64), matches(64)));
}

#[test]
fn empty_fields_say_nothing() {
    let empty = parse(
        "{parentRefs: null, hostnames: [], useDefaultGateways: '', rules: [{name: null, filters: [], timeouts: {}, retry: null,\
         sessionPersistence: null, matches: [{headers: [], method: null, path: null, queryParams: null}],\
         backendRefs: [{name: a, port: 80, filters: [], weight: null}]}]}",
    );
    let plain = parse("{rules: [{backendRefs: [{name: a, port: 80}]}]}");
    assert_eq!(empty, plain);
    assert_eq!(
        plain.rules[0].matches,
        [crate::route::RouteMatch::default()]
    );
    assert_eq!(plain.rules[0].backends[0].weight, 1);
    assert_eq!(parse("{}").rules, parse("{rules: [{}]}").rules);
}

#[test]
fn parents_of_others_are_passed_over() {
    let kinds = |version: &str, parents: &str| {
        let route = Route::parse(&object(version, &format!("{{parentRefs: {parents}}}")));
        let kinds = |(route, _): (Route, _)| {
            let kinds = route.parents.iter().map(|p| p.kind);
            kinds.collect::<Vec<_>>()
        };
        route.unwrap().map(kinds)
    };
    let service = "{name: a, kind: Service, group: Core}";
    assert_eq!(
        kinds(GATEWAY_API, &format!("[{{name: a}}, {service}]")),
        Some(vec![ParentKind::Gateway, ParentKind::Service])
    );
    assert_eq!(
        kinds(LINKERD, &format!("[{{name: a, kind: Server}}, {service}]")),
        Some(vec![ParentKind::Service])
    );
    let (path, _) = refused_in(LINKERD, "{parentRefs: [{name: a}]}");
    assert_eq!(path, "spec.parentRefs[0].group");
    assert_eq!(kinds(LINKERD, "[{name: a, kind: Server}]"), None);
    assert_eq!(
        kinds(GATEWAY_API, "[{name: a, kind: Mesh, group: example.com}]"),
        None
    );
    assert_eq!(kinds(GATEWAY_API, "[]"), Some(vec![]));

    // Whatever else such a route contains is not for Weir to judge.
    let foreign = "{parentRefs: [{name: a, kind: Server}], rules: [{filters: [{type: X}]}]}";
    assert_eq!(Route::parse(&object(LINKERD, foreign)), Ok(None));
}

#[test]
fn a_rule_is_known_by_its_name_or_its_matches() {
    let echo = "matches: [{path: {value: /echo}}]";
    let one = keys(&format!("[{{{echo}}}]"));
    // Sequences of picks go on across versions of Weir.
    assert_eq!(one[0].1, "4f2d3489");
    assert_eq!(keys("[{}]")[0].1, "e10808d4");
    assert_eq!(one, keys("[{matches: [{path: {value: /echo/}}]}]"));
    assert_eq!(keys("[{}]"), keys("[{matches: [{path: {value: /}}]}]"));

    // Every condition counts, the order of headers does not.
    let headers = |headers: &str| keys(&format!("[{{matches: [{{headers: [{headers}]}}]}}]"));
    let [a, b] = ["{name: a, value: b}", "{name: b, value: b}"];
    assert_eq!(headers(&format!("{a}, {b}")), headers(&format!("{b}, {a}")));
    let regex = "{name: a, value: b, type: RegularExpression}";
    let conditions = [
        "{}",
        "{method: GET}",
        "{method: PUT}",
        &format!("{{headers: [{a}]}}"),
        &format!("{{headers: [{regex}]}}"),
        &format!("{{queryParams: [{a}]}}"),
        &format!("{{headers: [{a}], queryParams: [{a}]}}"),
    ];
    let rules = conditions.map(|wanted| format!("{{matches: [{wanted}]}}"));
    let distinct = keys(&format!("[{}]", rules.join(", ")));
    assert_eq!(distinct.len(), conditions.len());

    // Another rule before it changes its place, not its key.
    let two = keys(&format!("[{{name: first}}, {{{echo}}}]"));
    assert_eq!(two, [(0, "first".to_owned()), (1, one[0].1.clone())]);

    // The second of two rules alike is never reached.
    assert_eq!(keys(&format!("[{{{echo}}}, {{{echo}}}, {{}}]")).len(), 2);
    assert_eq!(
        keys(&format!("[{{{echo}}}, {{name: other, {echo}}}]")).len(),
        2
    );

    // A name that looks like the hash does not become one with it.
    let clash = keys(&format!("[{{{echo}}}, {{name: {}}}]", one[0].1));
    assert_eq!(clash[1].1, one[0].1);
    assert_eq!(clash[0].1.len(), 9);
}

mod filters;
