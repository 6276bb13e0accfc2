use super::*;
use weir_split::wire::{Filters, Header, HeaderEdits, PathEdit, PrefixEdit, Redirect, Rewrite};

fn header(name: &str, value: &str) -> Header {
    let (name, value) = (name.to_owned(), value.to_owned());
    Header { name, value }
}

#[test]
fn valid_filters_are_parsed() {
    let parsed = rule(
        "{matches: [{path: {value: /a/}}], filters: [\
         {type: URLRewrite, urlRewrite: {hostname: B.org, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b/}}},\
         {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: a}, {name: Host, value: c.org}], add: [{name: b, value: 'ä b'}], remove: [X-C]}},\
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
            set: vec![header("x-a", "a"), header("host", "c.org")],
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
        mirrors: Vec::new(),
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
fn invalid_filters_break_rule_or_share() {
    let edits = |edits: &str| {
        format!("{{type: RequestHeaderModifier, requestHeaderModifier: {{{edits}}}}}")
    };
    let redirect =
        |inside: &str| format!("{{type: RequestRedirect, requestRedirect: {{{inside}}}}}");
    let rewrite = |path: &str| format!("{{type: URLRewrite, urlRewrite: {{path: {{{path}}}}}}}");
    let many = (0..17).map(|number| format!("a{number}"));
    let many = many.collect::<Vec<_>>().join(", ");
    let bad_hosts = [
        "a b ä",
        "*.a.org",
        "a.org:",
        "a.org:0",
        "a.org:+80",
        "[::1",
        "[a.org]:80",
        ":80",
    ];
    let bad_hosts = bad_hosts.map(|host| {
        let edits = edits(&format!("set: [{{name: Host, value: '{host}'}}]"));
        (edits, "requestHeaderModifier.set[0].value", Some(Invalid))
    });
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
            edits(
                "set: [{name: a, value: b}, {name: A, value: c}], add: [{name: b, value: b}], remove: [c, C]",
            ),
            "",
            None,
        ),
        (
            edits("set: [{name: a, value: b}], add: [{name: b, value: b}, {name: A, value: b}]"),
            "requestHeaderModifier.add[1].name",
            Some(Invalid),
        ),
        (
            edits("add: [{name: b, value: c}], remove: [a, B]"),
            "requestHeaderModifier.remove[1]",
            Some(Invalid),
        ),
        (edits("set: [{name: Host, value: 'a.org:8080'}]"), "", None),
        (edits("set: [{name: Host, value: '10.0.0.1'}]"), "", None),
        (edits("set: [{name: Host, value: '[::1]:80'}]"), "", None),
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
            edits("add: [{name: Host, value: a.org}]"),
            "requestHeaderModifier.add[0].name",
            Some(Unsupported),
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
            "urlRewrite.path.replacePrefixMatch",
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
    for (filter, path, reason) in cases.into_iter().chain(bad_hosts) {
        let rules = [
            (
                format!("{{filters: [{filter}]}}"),
                "filters[0]",
                Extent::Rule,
            ),
            (
                format!("{{backendRefs: [{{name: a, filters: [{filter}]}}]}}"),
                "backendRefs[0].filters[0]",
                Extent::Share,
            ),
        ];
        for (text, place, extent) in rules {
            match reason {
                None => drop(rule(&text)),
                Some(reason) => {
                    assert_broken(&[(&text, &format!("{place}.{path}"), reason)], extent)
                }
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
        assert_rules_broken(&[(&text, path, Invalid)]);
        let path = "filters[0].requestRedirect.path.type";
        let filter = redirect(&format!("path: {{{replace}}}"));
        let text = format!("{{matches: {matches}, filters: [{filter}]}}");
        assert_rules_broken(&[(&text, path, Invalid)]);
    }
    let [one, other] = [redirect(""), rewrite(replace)];
    assert_rules_broken(&[
        (
            &format!("{{filters: [{one}, {one}]}}"),
            "filters[1].type",
            Invalid,
        ),
        (
            &format!("{{filters: [{one}, {other}]}}"),
            "filters",
            Reason::IncompatibleFilters,
        ),
        (
            &format!("{{filters: [{one}], backendRefs: [{{name: a}}]}}"),
            "backendRefs",
            Invalid,
        ),
    ]);
}

#[test]
fn unsupported_filters_break_rule_or_share() {
    for kind in ["CORS", "ExtensionRef", "ExternalAuth", "Foo"] {
        let filter = format!("{{type: {kind}, anything: {{a: 1}}}}");
        assert_rules_broken(&[(
            &format!("{{filters: [{filter}]}}"),
            "filters[0].type",
            Unsupported,
        )]);
        let share = format!("{{backendRefs: [{{name: a, filters: [{filter}]}}, {{name: b}}]}}");
        let path = "backendRefs[0].filters[0].type";
        assert_broken(&[(&share, path, Unsupported)], Extent::Share);
    }
    let session = "{sessionPersistence: {}}";
    assert_rules_broken(&[(session, "sessionPersistence", Unsupported)]);

    // An HTTPRoute of Linkerd may have fewer filters and redirect statuses, and no retry.
    let of_linkerd = |rule: &str| broken_in(LINKERD, rule, Extent::Rule).1.path;
    let path = of_linkerd("{filters: [{type: URLRewrite, urlRewrite: {}}]}");
    assert_eq!(path, "spec.rules[0].filters[0].type");
    let modifier = "{filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {}}]}";
    let (route, _) = read_in(LINKERD, &format!("{{rules: [{modifier}]}}"));
    assert!(!route.unwrap().unwrap().rules[0].broken);
    let status = "{filters: [{type: RequestRedirect, requestRedirect: {statusCode: 303}}]}";
    let path = "spec.rules[0].filters[0].requestRedirect.statusCode";
    assert_eq!(of_linkerd(status), path);
    assert_eq!(of_linkerd("{retry: {}}"), "spec.rules[0].retry");
}
