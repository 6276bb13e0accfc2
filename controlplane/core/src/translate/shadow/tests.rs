use std::collections::BTreeMap;

use weir_split::wire::{self, Backend, Config, HostSet, Hosts, Literal, Rule, Target, Unmatched};
use weir_split::{Decision, Live, Site, Table, UntilConfigured};

use super::*;

fn field(name: &str, value: ValueMatch) -> Field {
    Field {
        name: name.into(),
        value,
    }
}

fn exact(name: &str, value: &str) -> Field {
    field(name, ValueMatch::Exact(value.into()))
}

fn regex(name: &str, value: &str) -> Field {
    field(name, ValueMatch::Regex(value.into()))
}

fn paths() -> Vec<Option<PathMatch>> {
    let exact = ["/", "/a", "/a/", "/a/b", "/ab"].map(|it| PathMatch::Exact(it.into()));
    let prefix = ["/", "/a", "/a/", "/a/b"].map(|it| PathMatch::Prefix(it.into()));
    let regex = ["/a", "/a.*", ".*", "^/.*$", "/.*"].map(|it| PathMatch::Regex(it.into()));
    let some = exact.into_iter().chain(prefix).chain(regex);
    some.map(Some).chain([None]).collect()
}

/// Returns matches with many combinations of conditions.
fn matches() -> Vec<Match> {
    let headers = [
        vec![],
        vec![exact("x", "1")],
        vec![regex("x", "1")],
        vec![regex("x", ".*"), exact("y", "2")],
    ];
    let query = [vec![], vec![exact("q", "1")]];
    let hostnames: [&[&str]; 3] = [&[], &["a.example"], &["*.example", "b.test"]];
    let mut all = Vec::new();
    for path in paths() {
        for method in [None, Some("GET")] {
            for headers in &headers {
                for query in &query {
                    for hostnames in hostnames {
                        all.push(Match {
                            path: path.clone(),
                            method: method.map(str::to_owned),
                            headers: headers.clone(),
                            query: query.clone(),
                            hostnames: hostnames.iter().map(ToString::to_string).collect(),
                            listeners: Vec::new(),
                            rule: "r".into(),
                        });
                    }
                }
            }
        }
    }
    all
}

const HOSTS: [&str; 3] = ["a.example", "x.a.example", "b.test"];

/// Returns one value for each of many requests: true if the request fits this match in a proxy.
fn fits(wire: &Match) -> Vec<bool> {
    let set = |name: &str| HostSet {
        hosts: Hosts::Literal(Literal {
            name: name.into(),
            port: 80,
            default_port: true,
            every_port: false,
        }),
        matches: vec![wire.clone()],
        unmatched: Unmatched::Pass,
    };
    let rule = Rule {
        backends: vec![Backend::new(1, Target::Status(500))],
        ..Rule::default()
    };
    let config = Config {
        version: wire::VERSION,
        hosts: HOSTS.map(set).into(),
        rules: BTreeMap::from([("r".to_owned(), rule)]),
        ..Config::default()
    };
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(Table::compile(&config, &Site::default()).unwrap());
    let mut outcome = Vec::new();
    for host in HOSTS {
        for path in ["/", "/a", "/a/", "/a/b/c", "/ab", "*"] {
            for query in ["", "?q=1"] {
                for method in ["GET", "PUT"] {
                    for (x, y) in [
                        (None, None),
                        (Some("1"), None),
                        (Some("1"), Some("2")),
                        (Some("3"), Some("2")),
                    ] {
                        let decided = live.decide(
                            host.as_bytes(),
                            || None,
                            |name| match name {
                                ":path" => Some(format!("{path}{query}").into_bytes()),
                                ":method" => Some(method.into()),
                                "x" => x.map(|it: &str| it.into()),
                                "y" => y.map(|it: &str| it.into()),
                                _ => None,
                            },
                        );
                        outcome.push(decided.decision != Decision::Ordinary);
                    }
                }
            }
        }
    }
    outcome
}

#[test]
fn covering_match_fits_all_requests() {
    let all: Vec<(Match, Vec<bool>)> = matches()
        .into_iter()
        .map(|it| (it.clone(), fits(&it)))
        .collect();
    let mut certain = 0;
    for (earlier, of_earlier) in &all {
        for (later, of_later) in &all {
            if covers(earlier, later) {
                certain += 1;
                let holds = of_earlier
                    .iter()
                    .zip(of_later)
                    .all(|(earlier, later)| *earlier || !later);
                assert!(holds, "{earlier:?} does not cover {later:?}");
            }
        }
    }
    assert!(certain > all.len() * 4, "{certain} of {}", all.len());
}

#[test]
fn index_finds_the_same_shadows() {
    let all = matches();
    for step in [7, 11, 13] {
        let some: Vec<&Match> = all.iter().cycle().step_by(step).take(120).collect();
        for (later, shadow) in shadows(&some).into_iter().enumerate() {
            let naive = some[..later]
                .iter()
                .position(|earlier| covers(earlier, some[later]));
            assert_eq!(shadow.is_some(), naive.is_some(), "{:?}", some[later]);
            if let Some(earlier) = shadow {
                assert!(earlier < later && covers(some[earlier], some[later]));
            }
        }
    }
}

#[test]
fn paths_are_compared_by_segment() {
    let match_of = |path: &PathMatch| Match {
        path: Some(path.clone()),
        ..Match::default()
    };
    let covers =
        |earlier: PathMatch, later: PathMatch| covers(&match_of(&earlier), &match_of(&later));
    let prefix = |text: &str| PathMatch::Prefix(text.into());
    let exact = |text: &str| PathMatch::Exact(text.into());
    let regex = |text: &str| PathMatch::Regex(text.into());
    assert!(covers(prefix("/a"), prefix("/a/b")) && covers(prefix("/a/"), exact("/a")));
    assert!(covers(prefix("/"), regex("x")) && covers(regex("x"), regex("x")));
    assert!(!covers(prefix("/a"), prefix("/ab")) && !covers(prefix("/a/b"), prefix("/a")));
    assert!(!covers(exact("/a"), prefix("/a")) && !covers(regex("/a"), exact("/a")));
    assert!(!covers(exact("/a"), exact("/a/")) && !covers(regex("/.+"), prefix("/a")));
    for every_path in [".*", "/.*", "^/.*$"] {
        assert!(covers(regex(every_path), prefix("/a")) && covers(regex(every_path), exact("/")));
        assert!(covers(prefix("/"), regex(every_path)) && covers(regex(".*"), regex(every_path)));
        assert!(covers(regex("(/.*)"), regex(every_path)) == (every_path != ".*"));
    }
    // An OPTIONS request may have the path "*".
    assert!(covers(regex(".*"), prefix("/")) && !covers(regex("/.*"), prefix("/")));
    assert!(covers(regex(".*"), regex("a")) && !covers(regex("/.*"), regex(".a")));
}

#[test]
fn match_covers_only_its_listeners() {
    let of = |names: &[&str]| Match {
        listeners: names.iter().map(ToString::to_string).collect(),
        ..Match::default()
    };
    assert!(covers(&of(&["a", "b"]), &of(&["b"])) && covers(&of(&[]), &of(&[])));
    assert!(!covers(&of(&["b"]), &of(&["a", "b"])));
    assert!(!covers(&of(&[]), &of(&["a"])) && !covers(&of(&["a"]), &of(&[])));
}

#[test]
fn thousands_of_matches_are_fast() {
    let long = "/x".repeat(500);
    let all: Vec<Match> = (0..8_192)
        .map(|index| Match {
            path: Some(PathMatch::Prefix(long.clone())),
            method: Some("GET".into()),
            headers: vec![exact("a", &format!("{}", index % 4_096)), exact("b", "1")],
            ..Match::default()
        })
        .collect();
    let all: Vec<&Match> = all.iter().collect();
    // A comparison of each pair would take minutes.
    let shadows = shadows(&all);
    assert!(shadows[..4_096].iter().all(Option::is_none));
}

#[test]
fn wider_hostnames_cover_narrower_ones() {
    let of = |names: &[&str]| Match {
        hostnames: names.iter().map(ToString::to_string).collect(),
        ..Match::default()
    };
    for (earlier, later, expected) in [
        (&[][..], &[][..], true),
        (&[], &["a.x"], true),
        (&["a.x"], &[], false),
        (&["b.x", "a.x"], &["a.x"], true),
        (&["a.x"], &["a.x", "b.x"], false),
        (&["*.x", "a.b.x", "y"], &["y", "*.b.x", "c.b.x"], true),
        (&["*.b.x"], &["b.x"], false),
        (&["*.b.x"], &["*.x"], false),
        (&["not a host"], &["not a host"], false),
        (&[], &["not a host"], true),
    ] {
        assert_eq!(
            covers(&of(earlier), &of(later)),
            expected,
            "{earlier:?} {later:?}"
        );
    }
}

/// Each match has 16 hostnames. 15 of them are long and the same for all matches, and one is different.
#[test]
fn hostname_lookups_are_bounded() {
    let long = [["b"; 60].concat(), ["b"; 60].concat(), ["b"; 60].concat()].join(".");
    let common = || (0..15).map(|it| format!("a{it:x}.{long}"));
    let all: Vec<Match> = (0..3_000)
        .map(|index| Match {
            hostnames: common().chain([format!("z{index}.x")]).collect(),
            headers: vec![exact("a", &format!("{}", index % 5))],
            ..Match::default()
        })
        .collect();
    let all: Vec<&Match> = all.iter().collect();
    let (shadows, lookups) = shadows_and_lookups(&all);
    assert!(shadows.iter().all(Option::is_none));
    // A comparison of each pair would need 72 million lookups.
    assert!(lookups <= all.len() * (MAX_COMPARED + 16), "{lookups}");
}
