use super::*;
use crate::matching::pattern::Effort;

/// Every row of the table in the specification, and cases that the table does not have.
#[test]
fn prefixes_are_replaced_by_path_element() {
    for (path, prefix, replacement, expected) in [
        ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
        ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
        ("/foo", "/foo", "/xyz", "/xyz"),
        ("/foo/", "/foo", "/xyz", "/xyz/"),
        ("/foo/bar", "/foo", "", "/bar"),
        ("/foo/", "/foo", "", "/"),
        ("/foo", "/foo", "", "/"),
        ("/foo/", "/foo", "/", "/"),
        ("/foo", "/foo", "/", "/"),
        ("/foo/bar", "/foo", "/", "/bar"),
        ("/bar", "/", "/xyz", "/xyz/bar"),
        ("/", "/", "/xyz", "/xyz/"),
        ("/foo//bar", "/foo", "/xyz", "/xyz//bar"),
        ("/foo/bar", "/foo", "xyz", "/xyz/bar"),
        ("/foo", "/foo", "/a b?#é", "/a%20b%3F%23%C3%A9"),
        ("/foobar", "/foo", "/xyz", "/foobar"),
        ("*", "/", "/xyz", "*"),
    ] {
        let edit = wire::PrefixEdit {
            prefix: prefix.into(),
            replacement: replacement.into(),
        };
        let edit = PathEdit::compile(&wire::PathEdit::Prefix(edit)).unwrap();
        let got = String::from_utf8(edit.apply(path.as_bytes())).unwrap();
        assert_eq!(got, expected, "{path} {prefix} {replacement}");
    }
    for (path, expected) in [("/a", "/a"), ("", "/"), ("a/", "/a/"), ("/a?b", "/a%3Fb")] {
        let edit = PathEdit::compile(&wire::PathEdit::Full(path.into())).unwrap();
        assert_eq!(edit.apply(b"/x"), expected.as_bytes());
    }
}

/// Checks the location of `redirect` for the request `SCHEME AUTHORITY PATH` at a listener with this port.
#[track_caller]
fn check(redirect: &str, request: &str, listener: Option<u16>, expected: &str) {
    let mut redirect: serde_json::Value = serde_json::from_str(redirect).unwrap();
    redirect["status"] = 302.into();
    let redirect = serde_json::from_value(redirect).unwrap();
    let redirect = Redirect::compile(&redirect).unwrap();
    let mut parts = request.split(' ');
    let mut next = || parts.next().unwrap().as_bytes();
    let (scheme, authority, path) = (next(), next(), next());
    let mut read = |name: &str| match name {
        ":scheme" => Some(scheme.to_vec()),
        ":path" => Some(path.to_vec()),
        _ => panic!("reads {name}"),
    };
    let got = redirect.decide(
        &mut RequestView::new(authority, &Effort::default(), &mut read),
        listener,
    );
    assert_eq!(got, Decision::Redirect(302, expected.into()), "{request}");
}

#[test]
fn redirect_keeps_other_parts() {
    let to = r#"{"hostname":"b.example"}"#;
    check(
        to,
        "http a.example /x?y=%20#z",
        None,
        "http://b.example/x?y=%20#z",
    );
    check(
        r#"{"scheme":"https"}"#,
        "http A.Example.:8080 /x?y",
        None,
        "https://a.example/x?y",
    );
    let path = r#"{"path":{"full":"/new"}}"#;
    check(
        path,
        "https a.example /old?y",
        None,
        "https://a.example/new?y",
    );
    let prefix = r#"{"path":{"prefix":{"prefix":"/old","replacement":"/new"}}}"#;
    check(
        prefix,
        "http a.example /old/x?y",
        None,
        "http://a.example/new/x?y",
    );
}

#[test]
fn redirect_chooses_its_port() {
    let a = "http a /";
    check(r#"{"port":8080}"#, a, Some(81), "http://a:8080/");
    check(r#"{"port":80}"#, "http a:8080 /", Some(8080), "http://a/");
    check(r#"{"port":443}"#, a, None, "http://a:443/");
    check(r#"{"port":443,"scheme":"https"}"#, a, None, "https://a/");
    check(r#"{"port":80,"scheme":"https"}"#, a, None, "https://a:80/");
    check(
        r#"{"scheme":"https"}"#,
        "http a:8080 /",
        Some(8080),
        "https://a/",
    );
    check(r#"{"scheme":"http"}"#, "https a /", Some(443), "http://a/");
    check(
        r#"{"hostname":"b"}"#,
        "http a:99 /",
        Some(8080),
        "http://b:8080/",
    );
    check(r#"{"hostname":"b"}"#, "http a:99 /", Some(80), "http://b/");
    check(r#"{"hostname":"b"}"#, "https a /", Some(443), "https://b/");
    check(r#"{"hostname":"b"}"#, "http a:99 /", None, "http://b:99/");
    check(r#"{"hostname":"b"}"#, "https a /", None, "https://b/");
}

#[test]
fn location_is_visible_ascii() {
    check(
        "{}",
        "http a\u{e9}/@b x\u{e9}",
        None,
        "http://a%C3%A9%2F%40b/x%C3%A9",
    );
    check("{}", "http a *", None, "http://a/*");
    check("{}", "http [::1]:8080 //b", None, "http://[::1]:8080//b");
    check("{}", "gopher a ", None, "http://a/");
    let nowhere = Redirect::compile(&serde_json::from_str(r#"{"status":301}"#).unwrap()).unwrap();
    let mut read = |_: &str| None;
    let got = nowhere.decide(
        &mut RequestView::new(b"a:b", &Effort::default(), &mut read),
        None,
    );
    assert_eq!(got, Decision::Answer(400));
}

#[test]
fn location_length_is_bounded() {
    let redirect = Redirect::compile(&serde_json::from_str(r#"{"status":301}"#).unwrap()).unwrap();
    let decide = |path: Vec<u8>| {
        let mut read = |name: &str| (name == ":path").then(|| path.clone());
        redirect.decide(
            &mut RequestView::new(b"a", &Effort::default(), &mut read),
            None,
        )
    };
    let of = |length: usize, byte: u8| [b"/".to_vec(), vec![byte; length]].concat();
    let start = "http://a/".len();
    match decide(of(MAX_LOCATION - start, b'x')) {
        Decision::Redirect(301, location) => assert_eq!(location.len(), MAX_LOCATION),
        other => panic!("{other:?}"),
    }
    for path in [
        of(MAX_LOCATION - start + 1, b'x'),
        of(MAX_LOCATION, b'x'),
        of(MAX_LOCATION / 3, 0xe9),
        [b"/?".to_vec(), of(900 << 10, b'y')].concat(),
    ] {
        assert_eq!(decide(path), Decision::Answer(414));
    }
}

#[test]
fn a_bad_redirect_is_refused() {
    for (bad, place) in [
        (r#"{"status":304}"#, "status"),
        (r#"{"status":301,"scheme":"ftp"}"#, "scheme"),
        (r#"{"status":301,"port":0}"#, "port"),
        (r#"{"status":301,"hostname":"a b"}"#, "hostname"),
        (r#"{"status":301,"hostname":"*.a"}"#, "hostname"),
        (r#"{"status":301,"path":{"full":"/a\r\nb"}}"#, "path.full"),
    ] {
        let refusal = Redirect::compile(&serde_json::from_str(bad).unwrap()).unwrap_err();
        assert!(
            refusal.to_string().starts_with(&format!("{place}: ")),
            "{refusal}"
        );
    }
}
