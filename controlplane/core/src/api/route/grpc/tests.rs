use super::*;
use crate::manifest::object::read;
use crate::manifest::problem::{Extent, Reason};

fn parsed(spec: &str) -> (Route, Vec<Problem>) {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: r, namespace: shop}}\nspec: {spec}\n"
    );
    let mut problems = Vec::new();
    let route = parse(&read("a.yaml", &text).unwrap().objects[0], &mut problems);
    problems.retain(|it| it.code != "no_parent");
    (route.unwrap().unwrap(), problems)
}

/// Returns the parsed match, or its problem.
fn method(method: &str) -> Result<RouteMatch, Problem> {
    let (mut route, mut problems) = parsed(&format!("{{rules: [{{matches: [{method}]}}]}}"));
    let mut matches = route.rules.remove(0).matches;
    match problems.pop() {
        None => Ok(matches.remove(0)),
        Some(problem) => {
            assert_eq!(
                (&matches[..], problem.effect.extent),
                (&[][..], Extent::Match)
            );
            Err(problem)
        }
    }
}

#[test]
fn method_becomes_path() {
    let exact = |path: &str| Some(PathMatch::Exact(path.into()));
    let regex = |path: &str| Some(PathMatch::Regex(path.into()));
    let cases = [
        ("{}", None, 0, 0),
        (
            "{method: {service: shop.Cart, method: Get}}",
            exact("/shop.Cart/Get"),
            9,
            3,
        ),
        (
            "{method: {type: Exact, service: .shop.Cart, method: Get_1}}",
            exact("/shop.Cart/Get_1"),
            9,
            5,
        ),
        (
            "{method: {service: shop.Cart}}",
            Some(PathMatch::Prefix("/shop.Cart".into())),
            9,
            0,
        ),
        ("{method: {method: Get}}", regex("/[^/]+/Get"), 0, 3),
        (
            "{method: {type: RegularExpression, service: 'shop\\.(A|B)', method: 'G|P'}}",
            regex("/(?:shop\\.(A|B))/(?:G|P)"),
            11,
            3,
        ),
        (
            "{method: {type: RegularExpression, service: 'a.*'}}",
            regex("/(?:a.*)/[^/]+"),
            3,
            0,
        ),
        (
            "{method: {type: RegularExpression, method: 'a.*'}}",
            regex("/[^/]+/(?:a.*)"),
            0,
            3,
        ),
    ];
    for (entry, path, service, length) in cases {
        let parsed = method(entry).unwrap();
        assert_eq!(parsed.path, path, "{entry}");
        let rank = Rank::Grpc {
            service: Reverse(service),
            method: Reverse(length),
            headers: Reverse(0),
        };
        assert_eq!(parsed.rank, rank, "{entry}");
    }
    let with_headers = method("{headers: [{name: Host, value: a}]}").unwrap();
    assert_eq!(with_headers.headers[0].name, ":authority");
    assert!(with_headers.rank < method("{}").unwrap().rank);
}

#[test]
fn invalid_matches_match_no_call() {
    use Reason::{InvalidValue as Invalid, UnsupportedValue as Unsupported};
    for (entry, path, reason) in [
        ("{method: {}}", ".method", Invalid),
        ("{method: {service: ''}}", ".method", Invalid),
        ("{method: {service: a/b}}", ".method.service", Invalid),
        ("{method: {service: a..b}}", ".method.service", Invalid),
        (
            "{method: {service: ., method: Get}}",
            ".method.service",
            Invalid,
        ),
        ("{method: {method: 'a.b'}}", ".method.method", Invalid),
        ("{method: {method: 1a}}", ".method.method", Invalid),
        (
            "{method: {type: Glob, method: a}}",
            ".method.type",
            Unsupported,
        ),
        (
            "{method: {type: RegularExpression, service: 'a)|(b'}}",
            ".method.service",
            Invalid,
        ),
        ("{path: {value: /a}}", ".path", Invalid),
        (
            "{headers: [{name: a, value: b, type: Glob}]}",
            ".headers[0].type",
            Unsupported,
        ),
    ] {
        let problem = method(entry).unwrap_err();
        let path = format!("spec.rules[0].matches[0]{path}");
        assert_eq!((problem.path, problem.reason), (path, reason), "{entry}");
    }
    let (route, problems) = parsed("{rules: [{timeouts: {request: 1s}}]}");
    assert_eq!(problems[0].path, "spec.rules[0].timeouts");
    assert!(route.rules[0].broken);
}

#[test]
fn rewrites_are_not_allowed() {
    let modifiers = "{rules: [{filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}},\
        {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [b]}}]}]}";
    let (route, problems) = parsed(modifiers);
    assert_eq!(problems, []);
    assert_eq!(route.rules[0].filters.request_headers.remove, ["a"]);
    assert_eq!(route.rules[0].filters.response_headers.remove, ["b"]);
    for kind in ["CORS", "ExtensionRef", "URLRewrite"] {
        let spec = format!("{{rules: [{{filters: [{{type: {kind}}}]}}]}}");
        let (route, problems) = parsed(&spec);
        assert!(route.rules[0].broken);
        let effect = "requests of this rule are answered 503";
        assert_eq!(problems[0].effect.words, effect);
    }
}
