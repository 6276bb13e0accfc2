use super::*;
use crate::manifest::object::{Object, read};

fn settings(source: &str, annotations: &str) -> (Option<Box<UpstreamSettings>>, Vec<Problem>) {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {annotations}}}\n"
    );
    let mut object: Object = read("a.yaml", &text).unwrap().objects.remove(0);
    object.source = source.into();
    let mut problems = Vec::new();
    let settings = UpstreamSettings::parse(&object, None, &mut problems);
    (settings, problems)
}

fn name(text: &str) -> HostAddress {
    HostAddress::Name(text.into())
}

#[test]
fn addresses_have_optional_ports() {
    let ip = |text: &str| HostAddress::Ip(text.parse().unwrap());
    for (text, host, port) in [
        ("10.0.0.1", ip("10.0.0.1"), None),
        ("10.0.0.1:80", ip("10.0.0.1"), Some(80)),
        ("fd00::1", ip("fd00::1"), None),
        ("[fd00::1]:80", ip("fd00::1"), Some(80)),
        ("Host.example", name("host.example"), None),
        ("host.example.:443", name("host.example"), Some(443)),
    ] {
        assert_eq!(
            address(text),
            Some(UpstreamAddress { host, port }),
            "{text}"
        );
    }
    for text in [
        "",
        ":80",
        "10.0.0",
        "10.0.0.1:0",
        "10.0.0.1:99999",
        "a b",
        "0.0.0.0:80",
        "[10.0.0.1]:80",
        "http://a:80",
    ] {
        assert_eq!(address(text), None, "{text}");
    }
    assert_eq!(addresses("b:1, a:1 ,b:1").unwrap().len(), 2);
    assert_eq!(addresses(" , "), None);
}

#[test]
fn wrong_annotation_affects_nothing_else() {
    let (read, problems) = settings(
        "a.yaml",
        "{weir.dev/max-connections: '7', weir.dev/connect-timeout: soon, other.dev/x: y,
          weir.dev/outlier-interval: '1', weir.dev/tcp-keepalive-time: 30s, weir.dev/max-retrys: '1',
          weir.dev/load-balancing: least_request, weir.dev/color: red, weir.dev/max-requests: 5}",
    );
    let policies = read.unwrap().policies;
    assert_eq!(policies.limits.connections, Some(7));
    assert_eq!(policies.load_balancing, Some(LoadBalancing::LeastRequest));
    assert_eq!(policies.keepalive.unwrap().time, Some(30));
    assert_eq!((policies.connect_timeout, policies.outliers), (None, None));
    let remedies: Vec<_> = problems
        .iter()
        .map(|it| (it.code, it.remedy.as_str()))
        .collect();
    assert_eq!(remedies.len(), 5);
    assert!(remedies.contains(&(
        "annotation_misspelled",
        "write weir.dev/max-retries, or take the annotation out"
    )));
    assert!(remedies.contains(&(
        "bad_annotation",
        "write a duration such as 5s or 500ms, from 1ms to 24h"
    )));
    assert!(
        remedies
            .iter()
            .any(|(code, _)| *code == "annotation_unknown")
    );
    assert!(
        remedies
            .iter()
            .any(|(code, _)| *code == "annotation_no_text")
    );
    assert_eq!(settings("a.yaml", "{other.dev/x: y}"), (None, vec![]));
}

#[test]
fn keepalive_has_limits_of_linux() {
    let whole_seconds = "write a duration in whole seconds such as 30s, from 1s to 32767s";
    let probes = "write a whole number from 1 to 127";
    for (own, value, remedy) in [
        ("time", "32767s", None),
        ("time", "32768s", Some(whole_seconds)),
        ("time", "24h", Some(whole_seconds)),
        ("interval", "9h", None),
        ("interval", "10h", Some(whole_seconds)),
        ("interval", "1500ms", Some(whole_seconds)),
        ("probes", "127", None),
        ("probes", "128", Some(probes)),
        ("probes", "0", Some(probes)),
        ("probes", "+1", Some(probes)),
    ] {
        let annotation = format!("{{weir.dev/tcp-keepalive-{own}: '{value}'}}");
        let (read, problems) = settings("a.yaml", &annotation);
        let remedies: Vec<&str> = problems.iter().map(|it| it.remedy.as_str()).collect();
        assert_eq!(remedies, Vec::from_iter(remedy), "{own} {value}");
        assert_eq!(read.is_none(), remedy.is_some(), "{own} {value}");
    }
}

#[test]
fn cluster_ignores_addresses() {
    let annotation = "{weir.dev/addresses: '10.0.0.1:80'}";
    assert_eq!(settings("a.yaml", annotation).0.unwrap().addresses.len(), 1);
    let (read, problems) = settings("", annotation);
    assert_eq!(read, None);
    assert_eq!(problems[0].code, "addresses_in_cluster");
}
