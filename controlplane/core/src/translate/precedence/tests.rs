use super::*;
use weir_split::wire::PathMatch;

fn route(namespace: &str, name: &str, created: Option<&str>) -> Route {
    Route {
        object: ObjectRef {
            namespace: namespace.into(),
            name: name.into(),
            ..ObjectRef::default()
        },
        kind: RouteKind::Http,
        created: created.map(|text| text.parse().unwrap()),
        parents: vec![],
        hostnames: vec![],
        rules: vec![],
        programs: crate::manifest::patterns::Programs::default(),
    }
}

fn prefix(text: &str) -> Option<PathMatch> {
    Some(PathMatch::Prefix(text.into()))
}

fn regex(text: &str) -> Option<PathMatch> {
    Some(PathMatch::Regex(text.into()))
}

const OLD: Option<&str> = Some("2020-01-01T00:00:00Z");
const NEW: Option<&str> = Some("2021-01-01T00:00:00Z");

fn grpc(service: usize, method: usize, headers: usize) -> Rank {
    Rank::Grpc {
        service: Reverse(service),
        method: Reverse(method),
        headers: Reverse(headers),
    }
}

/// Checks that each row is before all later rows.
#[track_caller]
fn in_order<T: Ord + std::fmt::Debug>(rows: &[T]) {
    for (place, row) in rows.iter().enumerate() {
        for later in &rows[place + 1..] {
            assert!(row < later, "{row:?} before {later:?}");
        }
    }
}

#[test]
fn http_matches_have_an_order() {
    let exact = Some(PathMatch::Exact("/a".into()));
    let rank = |path: &Option<PathMatch>, has_method, headers, query| {
        Rank::http(path.as_ref(), has_method, headers, query)
    };
    in_order(&[
        rank(&exact, true, 1, 1),
        rank(&exact, false, 0, 0),
        rank(&regex("/a.*"), true, 0, 0),
        rank(&regex("/a.*"), false, 0, 0),
        rank(&regex("/ä."), true, 9, 9),
        rank(&prefix("/a/b/c"), false, 0, 0),
        rank(&prefix("/äbc"), true, 0, 0),
        rank(&prefix("/abc"), false, 2, 0),
        rank(&prefix("/abc"), false, 1, 9),
        rank(&prefix("/abc"), false, 1, 8),
        rank(&prefix("/abc"), false, 0, 9),
        rank(&prefix("/a"), true, 9, 9),
        rank(&None, true, 9, 9),
        rank(&None, false, 0, 0),
    ]);
    assert_eq!(rank(&None, false, 0, 0), Rank::default());
    for every_path in [".*", "/.*", "^/.*$", "^(/.*)$"] {
        assert_eq!(rank(&regex(every_path), false, 0, 0), Rank::default());
        assert_eq!(
            rank(&regex(every_path), true, 2, 1),
            rank(&None, true, 2, 1)
        );
    }
}

#[test]
fn grpc_matches_have_an_order() {
    in_order(&[
        grpc(3, 0, 0),
        grpc(2, 9, 0),
        grpc(2, 8, 1),
        grpc(2, 8, 0),
        grpc(0, 9, 9),
        grpc(0, 0, 0),
    ]);
}

#[test]
fn precedence_compares_hosts_first() {
    let hosts = ["a.org", "*.longer.org", "*.org"].map(|text| Hostname::parse(text).unwrap());
    let [exact, longer, shorter] = hosts.each_ref().map(HostRank::new);
    let [narrow, wide] = [Some(prefix("/a")), None].map(|path| {
        let path = path.flatten();
        Rank::http(path.as_ref(), false, 0, 0)
    });
    let old = route("shop", "b", OLD);
    let elsewhere = route("a-shop", "z", NEW);
    let new = route("a", "a", NEW);
    let mut linkerd = new.clone();
    linkerd.kind = RouteKind::LinkerdHttp;
    let undated = route("a", "a", None);
    in_order(&[
        Precedence::new(&undated, 9, 9, wide, exact),
        Precedence::new(&undated, 9, 9, wide, longer),
        Precedence::new(&undated, 9, 9, wide, shorter),
        Precedence::new(&undated, 9, 9, narrow, HostRank::Any),
        Precedence::new(&old, 9, 9, wide, HostRank::Any),
        Precedence::new(&elsewhere, 9, 9, wide, HostRank::Any),
        Precedence::new(&new, 0, 0, wide, HostRank::Any),
        Precedence::new(&new, 0, 1, wide, HostRank::Any),
        Precedence::new(&new, 1, 0, wide, HostRank::Any),
        Precedence::new(&linkerd, 0, 0, wide, HostRank::Any),
        Precedence::new(&undated, 0, 0, wide, HostRank::Any),
    ]);
}
