use super::*;
use crate::api::route::{ParentKind, RouteRule};
use crate::manifest::hostname::Hostname;
use crate::manifest::object::read;
use crate::manifest::problem::{Extent, Reason};
use weir_split::wire::{Field, PathMatch, Retry, Timeouts, ValueMatch};

const GATEWAY_API: &str = "gateway.networking.k8s.io/v1";
const LINKERD: &str = "policy.linkerd.io/v1beta3";

fn object(api_version: &str, spec: &str) -> Object {
    let text = format!(
        "apiVersion: {api_version}\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop, foo: 1}}\nstatus: {{foo: 1}}\nspec: {spec}\n"
    );
    read("a.yaml", &text).unwrap().objects.remove(0)
}

fn read_in(api_version: &str, spec: &str) -> (Result<Option<Route>, Problem>, Vec<Problem>) {
    let mut problems = Vec::new();
    let route = Route::parse(&object(api_version, spec), &mut problems);
    (route, problems)
}

#[track_caller]
fn parse(spec: &str) -> Route {
    let (route, problems) = read_in(GATEWAY_API, spec);
    let problems: Vec<_> = problems
        .into_iter()
        .filter(|it| it.code != "no_parent")
        .collect();
    assert_eq!(problems, []);
    route.unwrap().unwrap()
}

/// Parses a route with this rule, and checks that the route has no problems.
#[track_caller]
fn rule(rule: &str) -> RouteRule {
    parse(&format!("{{rules: [{rule}]}}")).rules.remove(0)
}

/// Returns the path and the reason of the problem that refuses the whole route.
fn refused_in(api_version: &str, spec: &str) -> (String, Reason) {
    match read_in(api_version, spec) {
        (Ok(Some(route)), _) => panic!("{spec}: {route:?}"),
        (Ok(None), problems) => {
            let mut problems = problems.into_iter();
            let problem = problems.find(|it| it.effect.extent == Extent::Whole);
            let problem = problem.unwrap();
            (problem.path, problem.reason)
        }
        (Err(problem), _) => (problem.path, problem.reason),
    }
}

/// Parses a route with `rule` and a valid rule. Checks that the only problem has this extent, and that the valid rule
/// stays valid.
#[track_caller]
fn broken_in(api_version: &str, rule: &str, extent: Extent) -> (RouteRule, Problem) {
    let good = "{name: good, backendRefs: [{name: a, port: 80}]}";
    let spec = format!("{{rules: [{rule}, {good}]}}");
    let (route, problems) = read_in(api_version, &spec);
    let mut route = route.unwrap().unwrap();
    assert_eq!(route.rules.len(), 2, "{rule}");
    let good = route.rules.pop().unwrap();
    assert!(!good.broken && good.matches.len() == 1, "{rule}");
    let mut found: Vec<_> = problems
        .into_iter()
        .filter(|it| it.code != "no_parent")
        .collect();
    assert_eq!(found.len(), 1, "{rule}: {found:?}");
    let problem = found.remove(0);
    assert_eq!(problem.effect.extent, extent, "{rule}: {problem}");
    let broken = route.rules.remove(0);
    assert_eq!(broken.broken, extent == Extent::Rule, "{rule}");
    (broken, problem)
}

/// Each case has a rule, the path of its problem below `spec.rules[0]`, and the reason of the problem.
#[track_caller]
fn assert_broken(cases: &[(&str, &str, Reason)], extent: Extent) {
    for (rule, path, reason) in cases {
        let expected = (format!("spec.rules[0].{path}"), *reason);
        let (_, problem) = broken_in(GATEWAY_API, rule, extent);
        assert_eq!((problem.path, problem.reason), expected, "{rule}");
    }
}

#[track_caller]
fn assert_rules_broken(cases: &[(&str, &str, Reason)]) {
    assert_broken(cases, Extent::Rule);
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
fn route_with_unclear_spec_is_refused() {
    let cases = [
        (
            "{useDefaultGateways: All}",
            "spec.useDefaultGateways",
            Unsupported,
        ),
        ("{rulez: [{}]}", "spec.rulez", Invalid),
        ("{parentRefs: {name: a}}", "spec.parentRefs", Invalid),
        ("{hostnames: ['a:80']}", "spec.hostnames[0]", Invalid),
        ("{hostnames: ['*', 3]}", "spec.hostnames[0]", Invalid),
        ("{hostnames: a.org}", "spec.hostnames", Invalid),
        ("{rules: {}}", "spec.rules", Invalid),
        ("null", "spec", Invalid),
        ("[]", "spec", Invalid),
    ];
    for (spec, path, reason) in cases {
        let expected = (path.to_owned(), reason);
        assert_eq!(refused_in(GATEWAY_API, spec), expected, "{spec}");
    }
}

#[test]
fn invalid_parent_affects_no_other() {
    for (parent, path, reason) in [
        ("{name: a, prot: 80}", ".prot", Invalid),
        ("{name: a, port: 0x10000}", ".port", Invalid),
        ("{kind: Service, group: ''}", "", Invalid),
        ("3", "", Invalid),
        (
            "{name: a, kind: Service}",
            ".group",
            Reason::NoMatchingParent,
        ),
    ] {
        let spec = format!("{{parentRefs: [{parent}, {{name: b}}]}}");
        let (route, problems) = read_in(GATEWAY_API, &spec);
        let parents = route.unwrap().unwrap().parents;
        let parents: Vec<_> = parents.iter().map(|it| (it.index, &*it.name)).collect();
        assert_eq!(parents, [(1, "b")], "{parent}");
        let [problem] = &problems[..] else {
            panic!("{problems:?}")
        };
        let path = format!("spec.parentRefs[0]{path}");
        assert_eq!((&problem.path, problem.reason), (&path, reason), "{parent}");
        assert_eq!(problem.effect.extent, Extent::Parent, "{parent}");
    }
}

#[test]
fn invalid_hostname_affects_no_other() {
    let (route, problems) = read_in(GATEWAY_API, "{hostnames: ['*', a.org, b.org:80, 'c.org.']}");
    assert_eq!(route.unwrap().unwrap().hostnames, [exactly("a.org")]);
    let found: Vec<_> = problems
        .iter()
        .map(|it| (it.code, it.effect.extent))
        .collect();
    let part = |code| (code, Extent::Part);
    let expected = [
        ("no_parent", Extent::Nothing),
        part("hostname_star"),
        part("hostname_with_port"),
        part("hostname_with_dot"),
    ];
    assert_eq!(found, expected);
}

fn exactly(name: &str) -> Hostname {
    Hostname::Exact(name.to_owned())
}

#[test]
fn invalid_fields_break_their_rule() {
    assert_rules_broken(&[
        ("{name: a b}", "name", Invalid),
        ("{name: 3}", "name", Invalid),
        ("{timeoutz: {request: 1s}}", "timeoutz", Invalid),
        ("{filters: {}}", "filters", Invalid),
        ("{backendRefs: 3}", "backendRefs", Invalid),
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
            "{backendRefs: [{name: a, weight: -1}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, weight: 5000000000}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, weight: '1'}]}",
            "backendRefs[0].weight",
            Invalid,
        ),
        (
            "{backendRefs: [{name: a, wieght: 1}]}",
            "backendRefs[0].wieght",
            Invalid,
        ),
        ("{backendRefs: [a]}", "backendRefs[0]", Invalid),
    ]);
}

#[test]
fn invalid_backend_affects_no_other() {
    for (fields, path) in [
        ("port: 70000", "port"),
        ("port: 0", "port"),
        ("port: [80]", "port"),
        ("namespace: 3", "namespace"),
        ("weight: 7, prot: 80", "prot"),
        ("weight: 1000001", "weight"),
        ("filters: 3", "filters"),
        ("filters: [{type: CORS}]", "filters[0].type"),
    ] {
        let rule = format!("{{backendRefs: [{{name: b, weight: 2}}, {{name: a, {fields}}}]}}");
        let (rule, problem) = broken_in(GATEWAY_API, &rule, Extent::Share);
        assert_eq!(problem.path, format!("spec.rules[0].backendRefs[1].{path}"));
        let shares: Vec<_> = rule
            .backends
            .iter()
            .map(|it| (it.weight, it.broken))
            .collect();
        let weight = match fields {
            "weight: 7, prot: 80" => 7,
            "weight: 1000001" => 1_000_001,
            _ => 1,
        };
        assert_eq!(shares, [(2, false), (weight, true)], "{fields}");
    }
    let (rule, problem) = broken_in(GATEWAY_API, "{backendRefs: [{port: 80}]}", Extent::Share);
    assert_eq!(problem.path, "spec.rules[0].backendRefs[0]");
    assert!(rule.backends[0].broken && rule.backends[0].to.is_none());
}

#[test]
fn rules_with_equal_names_keep_keys() {
    let spec =
        "{rules: [{name: a, matches: [{method: GET}]}, {name: a, matches: [{method: PUT}]}]}";
    let (route, problems) = read_in(GATEWAY_API, spec);
    let rules = route.unwrap().unwrap().rules;
    let broken: Vec<_> = rules.iter().map(|it| (&*it.key, it.broken)).collect();
    let unnamed = keys("[{matches: [{method: PUT}]}]").remove(0).1;
    assert_eq!(broken, [("a", false), (unnamed.as_str(), true)]);
    assert_eq!(problems[1].path, "spec.rules[1].name");
}

#[test]
fn broken_rules_keep_their_keys() {
    let [good, broken] = ["filters: []", "filters: 3"].map(|filters| {
        let rule = format!("{{matches: [{{path: {{value: /a}}}}], {filters}}}");
        let (route, _) = read_in(GATEWAY_API, &format!("{{rules: [{rule}]}}"));
        route.unwrap().unwrap().rules.remove(0).key
    });
    assert_eq!(good, broken);
    // The key of the first rule includes its unreadable match, so the rules have different keys.
    let spec = "{rules: [{matches: [{method: GET}, {method: get}]}, {matches: [{method: GET}]}]}";
    let (route, _) = read_in(GATEWAY_API, spec);
    let rules = route.unwrap().unwrap().rules;
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[1].key, keys("[{matches: [{method: GET}]}]")[0].1);
}

#[test]
fn unreadable_rules_match_no_request() {
    for rule in [
        "3",
        "null",
        "[]",
        "{matches: 3}",
        "{matches: {path: {value: /a}}}",
    ] {
        let good = "{name: good}";
        let (route, problems) = read_in(GATEWAY_API, &format!("{{rules: [{rule}, {good}]}}"));
        let rules = route.unwrap().unwrap().rules;
        assert_eq!(rules.len(), 2, "{rule}");
        assert!(rules[0].matches.is_empty(), "{rule}");
        assert_eq!(rules[1].matches.len(), 1, "{rule}");
        assert_eq!(problems[1].effect.extent, Extent::Rule, "{rule}");
    }
}

#[test]
fn misspelled_matches_keep_their_conditions() {
    let matches = "path: {type: Exact, value: /a}";
    for rule in [
        format!("matchez: [{{{matches}}}]"),
        format!("match: {{{matches}}}"),
        matches.to_owned(),
    ] {
        let (rule, _) = broken_in(GATEWAY_API, &format!("{{{rule}}}"), Extent::Rule);
        let paths: Vec<_> = rule.matches.iter().map(|it| it.path.clone()).collect();
        assert_eq!(paths, [Some(PathMatch::Exact("/a".into()))]);
    }
}

#[test]
fn backoff_changes_nothing() {
    let (rule, problem) = broken_in(
        GATEWAY_API,
        "{retry: {attempts: 3, backoff: 1s}}",
        Extent::Nothing,
    );
    assert_eq!(problem.path, "spec.rules[0].retry.backoff");
    assert_eq!(rule.retry.map(|retry| retry.attempts), Some(3));
}

#[test]
fn star_in_path_is_reported() {
    let star = |path: &str| {
        let rule = format!("{{matches: [{{path: {{{path}}}}}]}}");
        let (route, problems) = read_in(GATEWAY_API, &format!("{{rules: [{rule}]}}"));
        assert_eq!(route.unwrap().unwrap().rules[0].matches.len(), 1);
        problems
            .get(1)
            .map(|it| (it.effect.extent, it.remedy.clone()))
    };
    let (extent, remedy) = star("value: '/api/*'").unwrap();
    assert_eq!(extent, Extent::Nothing);
    assert!(remedy.ends_with("value: /api"), "{remedy}");
    let (_, remedy) = star("type: Exact, value: '/api/*/a'").unwrap();
    assert!(remedy.ends_with("value: /api/[^/]+/a"), "{remedy}");
    assert!(star("value: '/*'").unwrap().1.ends_with("value: /"));
    assert!(
        star("value: '/a/*/*'")
            .unwrap()
            .1
            .ends_with("value: /a/[^/]+/[^/]+")
    );
    assert_eq!(star("value: '/a*b'"), None);
    assert_eq!(star("type: RegularExpression, value: '/api/*'"), None);
}

#[test]
fn fields_outside_spec_are_refused() {
    let path = |field: &str| {
        let (route, _) = read_in(GATEWAY_API, &format!("{{rules: []}}\n{field}"));
        route.map_err(|problem| problem.path).err()
    };
    assert_eq!(path("hostnames: [a.org]"), Some("hostnames".to_owned()));
    assert_eq!(path("hostnames: []"), None);
}

#[test]
fn invalid_matches_match_no_request() {
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
        let rule = format!("{{matches: [{entry}, {{method: GET}}]}}");
        let (rule, problem) = broken_in(GATEWAY_API, &rule, Extent::Match);
        assert_eq!(problem.path, format!("spec.rules[0].matches[0].{path}"));
        assert_eq!(problem.reason, reason, "{entry}");
        assert_eq!(rule.matches.len(), 1, "{entry}");

        let rule = format!("{{matches: [{entry}]}}");
        let (rule, _) = broken_in(GATEWAY_API, &rule, Extent::Match);
        assert_eq!(rule.matches, [], "{entry}");
    }
    assert_broken(&[("{matches: [3]}", "matches[0]", Invalid)], Extent::Match);
}

#[test]
fn match_conditions_are_parsed() {
    let matches = rule(
        "{matches: [{path: {type: RegularExpression, value: '/a.*'}, method: PATCH,\
         headers: [{name: X-B, value: 'B'}, {name: Host, type: RegularExpression, value: 'a.*'}, {name: x-b, value: other}],\
         queryParams: [{name: Q, value: 'b c'}, {name: q, type: Exact, value: d}]}]}",
    )
    .matches;
    let [only] = &matches[..] else { panic!() };
    assert_eq!(only.path, Some(PathMatch::Regex("/a.*".into())));
    assert_eq!(only.method.as_deref(), Some("PATCH"));
    let authority = Field {
        name: ":authority".into(),
        value: ValueMatch::Regex("a.*".into()),
    };
    assert_eq!(only.headers, [authority, exact("x-b", "B")]);
    assert_eq!(only.query, [exact("Q", "b c"), exact("q", "d")]);
}

#[test]
fn total_size_of_patterns_is_bounded() {
    let patterns = |pattern: &str, count: usize| {
        let one = |number: usize| {
            let value = pattern.replace('N', &number.to_string());
            format!("{{path: {{type: RegularExpression, value: '{value}'}}}}")
        };
        let many = (0..count).map(one).collect::<Vec<_>>().join(", ");
        let spec = format!("{{rules: [{{matches: [{many}]}}]}}");
        let (route, problems) = read_in(GATEWAY_API, &spec);
        let matches = route.unwrap().unwrap().rules.remove(0).matches.len();
        assert_eq!(matches + problems.len() - 1, count);
        let of_matches = problems.into_iter().filter(|it| it.code != "no_parent");
        let codes = of_matches.map(|it| (it.effect.extent, it.code));
        codes.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(
        patterns("/[a-z]{400}", 60),
        [].into(),
        "equal patterns count once"
    );
    let of_match = |code| [(Extent::Match, code)].into();
    assert_eq!(patterns("/N[a-z]{400}", 60), of_match("patterns_too_large"));
    assert_eq!(
        patterns("/([a-z]{500}){500}", 1),
        of_match("pattern_too_large")
    );
}

#[test]
fn timeouts_and_retries_are_parsed() {
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
fn lists_are_bounded() {
    let list = |entry: &str, count: usize| format!("[{}]", vec![entry; count].join(", "));
    let rule = |field: &str, count| format!("{{{field}: {}}}", list("{name: a}", count));
    let matches = |count| format!("{{matches: {}}}", list("{}", count));
    let fields = |field: &str| {
        let list = list("{name: a, value: b}", 17);
        format!("{{matches: [{{{field}: {list}}}]}}")
    };
    let cases = [
        (rule("parentRefs", 33), "spec.parentRefs"),
        (
            format!("{{hostnames: {}}}", list("a.b", 17)),
            "spec.hostnames",
        ),
        (format!("{{rules: {}}}", list("{}", 17)), "spec.rules"),
        (
            format!(
                "{{rules: [{{}}, {}, {}, {}]}}",
                matches(64),
                matches(64),
                matches(1)
            ),
            "spec.rules",
        ),
    ];
    for (spec, path) in cases {
        assert_eq!(refused_in(GATEWAY_API, &spec), (path.to_owned(), Invalid));
    }
    assert_rules_broken(&[
        (&matches(65), "matches", Invalid),
        (&rule("backendRefs", 17), "backendRefs", Invalid),
        (
            &format!("{{filters: {}}}", list("{type: a}", 17)),
            "filters",
            Invalid,
        ),
        (
            &format!("{{retry: {{codes: {}}}}}", list("500", 201)),
            "retry.codes",
            Invalid,
        ),
    ]);
    for name in ["headers", "queryParams"] {
        let path = format!("matches[0].{name}");
        assert_broken(&[(&fields(name), &path, Invalid)], Extent::Match);
    }
    let most = format!("{{rules: [{}, {}]}}", matches(64), matches(64));
    let (route, _) = read_in(GATEWAY_API, &most);
    assert_eq!(route.unwrap().unwrap().rules[0].matches.len(), 64);
}

#[test]
fn empty_fields_are_ignored() {
    let empty = parse(
        "{parentRefs: null, hostnames: [], useDefaultGateways: '', rules: [{name: null, filters: [], timeouts: {}, retry: null,\
         sessionPersistence: null, matches: [{headers: [], method: null, path: null, queryParams: null}],\
         backendRefs: [{name: a, port: 80, filters: [], weight: null}]}]}",
    );
    let plain = parse("{rules: [{backendRefs: [{name: a, port: 80}]}]}");
    assert_eq!(empty, plain);
    assert_eq!(
        plain.rules[0].matches,
        [crate::api::route::RouteMatch::default()]
    );
    assert_eq!(plain.rules[0].backends[0].weight, 1);
    assert_eq!(parse("{}").rules, parse("{rules: [{}]}").rules);
}

#[test]
fn foreign_parents_are_ignored() {
    let kinds = |version: &str, parents: &str| {
        let (route, _) = read_in(version, &format!("{{parentRefs: {parents}}}"));
        let kinds = |route: Route| {
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
    assert_eq!(kinds(LINKERD, "[{name: a}]"), Some(vec![]));
    assert_eq!(kinds(LINKERD, "[{name: a, kind: Server}]"), None);
    assert_eq!(
        kinds(GATEWAY_API, "[{name: a, kind: Mesh, group: example.com}]"),
        None
    );
    assert_eq!(kinds(GATEWAY_API, "[]"), Some(vec![]));

    // A route has no problems if all its parents belong to other controllers.
    let foreign = "{parentRefs: [{name: a, kind: Server}], rules: [{filters: [{type: X}]}]}";
    assert_eq!(read_in(LINKERD, foreign), (Ok(None), vec![]));

    // Gateway API has the resource kind ListenerSet. Weir does not support it, and warns about a parent of this kind.
    let set = "{name: a, kind: ListenerSet}";
    let (route, problems) = read_in(GATEWAY_API, &format!("{{parentRefs: [{set}]}}"));
    assert_eq!(route, Ok(None));
    let notes = |problems: &[Problem]| {
        let problems = problems.iter();
        let notes = problems.map(|it| (it.path.clone(), it.code, it.effect.extent));
        notes.collect::<Vec<_>>()
    };
    let note_at = |index| {
        let path = format!("spec.parentRefs[{index}]");
        (path, "parent_not_served", Extent::Nothing)
    };
    assert_eq!(notes(&problems), [note_at(0)]);
    let (_, problems) = read_in(
        GATEWAY_API,
        &format!("{{parentRefs: [{{name: a}}, {set}]}}"),
    );
    assert_eq!(notes(&problems), [note_at(1)]);
}

#[test]
fn rule_keys_depend_on_matches() {
    let echo = "matches: [{path: {value: /echo}}]";
    let one = keys(&format!("[{{{echo}}}]"));
    // These hashes must never change, so that every rule keeps its key after an upgrade of Weir.
    assert_eq!(one[0].1, "4f2d3489");
    assert_eq!(keys("[{}]")[0].1, "e10808d4");
    assert_eq!(one, keys("[{matches: [{path: {value: /echo/}}]}]"));
    assert_eq!(keys("[{}]"), keys("[{matches: [{path: {value: /}}]}]"));

    // Every condition changes the key. The order of headers does not change the key.
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
    let rules = conditions.map(|entry| format!("{{matches: [{entry}]}}"));
    let distinct = keys(&format!("[{}]", rules.join(", ")));
    assert_eq!(distinct.len(), conditions.len());

    // If another rule comes first, the index of the rule changes, but not its key.
    let two = keys(&format!("[{{name: first}}, {{{echo}}}]"));
    assert_eq!(two, [(0, "first".to_owned()), (1, one[0].1.clone())]);

    // The second of two equal rules gets no request.
    let spec = format!("{{parentRefs: [{{name: g}}], rules: [{{{echo}}}, {{{echo}}}, {{}}]}}");
    let (route, problems) = read_in(GATEWAY_API, &spec);
    assert_eq!(route.unwrap().unwrap().rules.len(), 2);
    let [problem] = &problems[..] else {
        panic!("{problems:?}")
    };
    assert_eq!(
        (&*problem.path, problem.code),
        ("spec.rules[1]", "rule_shadowed")
    );
    assert_eq!(
        keys(&format!("[{{{echo}}}, {{name: other, {echo}}}]")).len(),
        2
    );

    // If the name of another rule equals the hash, the hash gets one more digit.
    let clash = keys(&format!("[{{{echo}}}, {{name: {}}}]", one[0].1));
    assert_eq!(clash[1].1, one[0].1);
    assert_eq!(clash[0].1.len(), 9);
}

mod filters;
