use super::*;
use crate::object::read;
use crate::problem::Reason;
use crate::route::ParentKind;
use weir_split::wire::{
    Field, Filters, Header, HeaderEdits, PathEdit, PathMatch, PrefixEdit, Redirect, Retry, Rewrite,
    Timeouts, ValueMatch,
};

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

fn header(name: &str, value: &str) -> Header {
    let (name, value) = (name.to_owned(), value.to_owned());
    Header { name, value }
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
        let one = format!("{{path: {{type: RegularExpression, value: '{pattern}'}}}}");
        let many = vec![one.as_str(); count].join(", ");
        let spec = format!("{{rules: [{{matches: [{many}]}}]}}");
        Route::parse(&object(GATEWAY_API, &spec)).map(|_| ())
    };
    assert_eq!(patterns("/[a-z]{500}", 1), Ok(()));
    for (pattern, count, place) in [
        ("/[a-z]{500}", 60, None),
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
fn filters() {
    let parsed = rule(
        "{matches: [{path: {value: /a/}}], filters: [\
         {type: URLRewrite, urlRewrite: {hostname: B.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b/}}},\
         {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: a}], add: [{name: b, value: 'ä b'}], remove: [X-C]}},\
         {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [host]}}],\
         backendRefs: [{name: a, port: 1, filters: [{type: RequestRedirect, requestRedirect: {}}]}]}",
    );
    let prefix = |replacement: &str| {
        let (prefix, replacement) = ("/a".to_owned(), replacement.to_owned());
        PathEdit::Prefix(PrefixEdit {
            prefix,
            replacement,
        })
    };
    let expected = Filters {
        request_headers: HeaderEdits {
            set: vec![header("x-a", "a")],
            add: vec![header("b", "ä b")],
            remove: vec!["x-c".into()],
        },
        response_headers: HeaderEdits {
            remove: vec!["host".into()],
            ..HeaderEdits::default()
        },
        rewrite: Some(Rewrite {
            hostname: Some("b.org".into()),
            path: Some(prefix("/b/")),
        }),
        redirect: None,
    };
    assert_eq!(parsed.filters, expected);
    let redirect = parsed.backends[0].filters.redirect.clone().unwrap();
    assert_eq!((redirect.status, redirect.port), (302, None));

    let parsed = rule(
        "{filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.org, port: 8443, statusCode: 308, path: {type: ReplaceFullPath, replaceFullPath: /x}}}]}",
    );
    let redirect = Redirect {
        scheme: Some("https".into()),
        hostname: Some("a.org".into()),
        port: Some(8443),
        path: Some(PathEdit::Full("/x".into())),
        status: 308,
    };
    assert_eq!(parsed.filters.redirect, Some(redirect));
    let default = rule(
        "{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}]}",
    );
    let path = default.filters.redirect.unwrap().path;
    let PathEdit::Prefix(edit) = path.unwrap() else {
        panic!()
    };
    assert_eq!((&*edit.prefix, &*edit.replacement), ("/", ""));
}

#[test]
fn filters_that_are_wrong_refuse_the_route() {
    let edits = |edits: &str| {
        format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{edits}}}}}")
    };
    let redirect =
        |inside: &str| format!("{{type: RequestRedirect, requestRedirect: {{{inside}}}}}");
    let rewrite = |path: &str| format!("{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}");
    let many = (0..17).map(|number| format!("a{number}"));
    let many = many.collect::<Vec<_>>().join(", ");
    let cases = [
        (edits("sett: []"), "", None),
        (
            edits("sett: [1]"),
            "requestHeaderModifier.sett",
            Some(Invalid),
        ),
        (
            edits(&format!("remove: [{many}]")),
            "requestHeaderModifier.remove",
            Some(Invalid),
        ),
        (
            edits("remove: [a, A]"),
            "requestHeaderModifier.remove[1]",
            Some(Invalid),
        ),
        (
            edits("remove: [':path']"),
            "requestHeaderModifier.remove[0]",
            Some(Invalid),
        ),
        (
            edits("remove: [Host]"),
            "requestHeaderModifier.remove[0]",
            Some(Unsupported),
        ),
        (
            edits("set: [{name: a, value: b}], add: [{name: A, value: b}]"),
            "requestHeaderModifier.add[0].name",
            Some(Invalid),
        ),
        (
            edits(r#"set: [{name: a, value: "b\r\nc: d"}]"#),
            "requestHeaderModifier.set[0].value",
            Some(Invalid),
        ),
        (
            "{type: RequestHeaderModifier}".into(),
            "requestHeaderModifier",
            Some(Invalid),
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {}, urlRewrite: {}}".into(),
            "urlRewrite",
            Some(Invalid),
        ),
        (
            "{type: RequestHeaderModifier, requestHeaderModifier: {}, cors: {a: 1}}".into(),
            "cors",
            Some(Invalid),
        ),
        (
            redirect("scheme: ftp"),
            "requestRedirect.scheme",
            Some(Unsupported),
        ),
        (
            redirect("hostname: '*.a.org'"),
            "requestRedirect.hostname",
            Some(Invalid),
        ),
        (redirect("port: 0"), "requestRedirect.port", Some(Invalid)),
        (
            redirect("statusCode: 304"),
            "requestRedirect.statusCode",
            Some(Unsupported),
        ),
        (redirect("foo: 1"), "requestRedirect.foo", Some(Invalid)),
        (
            rewrite("type: ReplaceFullPath, replacePrefixMatch: /a"),
            "urlRewrite.path.replaceFullPath",
            Some(Invalid),
        ),
        (
            rewrite("type: ReplaceFullPath, replaceFullPath: a"),
            "urlRewrite.path.replaceFullPath",
            Some(Invalid),
        ),
        (
            rewrite("type: ReplaceFullPath, replaceFullPath: '/a?b'"),
            "urlRewrite.path.replaceFullPath",
            Some(Invalid),
        ),
        (
            rewrite("type: Other"),
            "urlRewrite.path.type",
            Some(Unsupported),
        ),
    ];
    for (filter, path, reason) in cases {
        let rules = [
            (format!("{{filters: [{filter}]}}"), "filters[0]"),
            (
                format!("{{backendRefs: [{{name: a, filters: [{filter}]}}]}}"),
                "backendRefs[0].filters[0]",
            ),
        ];
        for (text, place) in rules {
            match reason {
                None => drop(rule(&text)),
                Some(reason) => rules_are_refused(&[(&text, &format!("{place}.{path}"), reason)]),
            }
        }
    }
    let replace = "type: ReplacePrefixMatch, replacePrefixMatch: /b";
    for matches in [
        "[{path: {type: Exact, value: /a}}]",
        "[{path: {type: RegularExpression, value: /a}}]",
        "[{}, {path: {value: /a}}]",
    ] {
        let path = "filters[0].urlRewrite.path.type";
        let text = format!("{{matches: {matches}, filters: [{}]}}", rewrite(replace));
        rules_are_refused(&[(&text, path, Invalid)]);
        let path = "filters[0].requestRedirect.path.type";
        let filter = redirect(&format!("path: {{{replace}}}"));
        let text = format!("{{matches: {matches}, filters: [{filter}]}}");
        rules_are_refused(&[(&text, path, Invalid)]);
    }
    let [one, other] = [redirect(""), rewrite(replace)];
    rules_are_refused(&[
        (
            &format!("{{filters: [{one}, {one}]}}"),
            "filters[1].type",
            Invalid,
        ),
        (
            &format!("{{filters: [{one}, {other}]}}"),
            "filters",
            Invalid,
        ),
        (
            &format!("{{filters: [{one}], backendRefs: [{{name: a}}]}}"),
            "backendRefs",
            Invalid,
        ),
    ]);
}

#[test]
fn what_weir_does_not_do_is_answered_with_an_error() {
    let problems = |api_version: &str, rules: &str| {
        let spec = format!("{{parentRefs: [], rules: [{{name: first}}, {rules}]}}");
        let parsed = Route::parse(&object(api_version, &spec));
        let (route, problems) = parsed.unwrap().unwrap();
        let dropped: Vec<bool> = route.rules.iter().map(|rule| rule.dropped).collect();
        let problems = problems
            .iter()
            .map(|p| (p.path.clone(), p.reason, p.message.clone()));
        (dropped, problems.collect::<Vec<_>>())
    };
    for kind in [
        "RequestMirror",
        "CORS",
        "ExtensionRef",
        "ExternalAuth",
        "Foo",
    ] {
        let (dropped, found) = problems(
            GATEWAY_API,
            &format!("{{filters: [{{type: {kind}, whatever: {{a: 1}}}}]}}"),
        );
        assert_eq!(dropped, [false, true]);
        let message = format!(
            "Dropped Rule 1: filter {kind} is not supported, its requests are answered 500"
        );
        let path = "spec.rules[1].filters[0].type".to_owned();
        assert_eq!(found, [(path, Unsupported, message)]);
    }
    let (dropped, found) = problems(GATEWAY_API, "{sessionPersistence: {}}");
    assert_eq!(dropped, [false, true]);
    assert_eq!(found[0].0, "spec.rules[1].sessionPersistence");

    let mirror = "{backendRefs: [{name: a, filters: [{type: RequestMirror}]}, {name: b}]}";
    let (dropped, found) = problems(GATEWAY_API, mirror);
    assert_eq!(dropped, [false, false]);
    let path = "spec.rules[1].backendRefs[0].filters[0].type".to_owned();
    let message = "filter RequestMirror is not supported: its share is answered 500".to_owned();
    assert_eq!(found, [(path, Unsupported, message)]);

    // Linkerd's kind has fewer filters and statuses, and no retry.
    let (dropped, _) = problems(LINKERD, "{filters: [{type: URLRewrite, urlRewrite: {}}]}");
    assert_eq!(dropped, [false, true]);
    let modifier = "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {}}]}";
    assert_eq!(problems(LINKERD, modifier).0, [false, false]);
    let refused = |rule: &str| refused_in(LINKERD, &format!("{{rules: [{rule}]}}"));
    let status = "{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 303}}]}";
    let path = "spec.rules[0].filters[0].requestRedirect.statusCode";
    assert_eq!(refused(status), (path.to_owned(), Unsupported));
    let path = "spec.rules[0].retry".to_owned();
    assert_eq!(refused("{retry: {}}"), (path, Unsupported));
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
