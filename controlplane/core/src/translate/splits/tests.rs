use weir_split::wire::{Config, PathMatch, ValueMatch};
use weir_split::{Site, Table};

use crate::api::smi::traffic_target::Policy;
use crate::manifest::object::read;
use crate::plan::{Scope, scope};
use crate::world::World;

use super::*;

const WORLD: &str = "
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 3306, name: tcp-mysql}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: v1}, spec: {ports: [{port: 80}, {port: 3306}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: v2}, spec: {ports: [{port: 80}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: beta}, spec: {matches: [
  {name: a, pathRegex: /a, methods: [PUT, GET], headers: [{user: b.*}]}, {name: b, pathRegex: /b}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: all}, spec: {matches: [{name: a}]}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, metadata: {name: bad}, spec: {matches: [{name: a, pathRegex: '('}]}}
";

/// Returns a split with the backend v1. The name of the split is a digit: split `3` was created in the year 2003.
fn split(name: &str, service: &str, matches: &str) -> String {
    format!(
        "---\n{{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: '{name}', creationTimestamp: '200{name}-01-01T00:00:00Z'}}, \
         spec: {{service: '{service}', backends: [{{service: v1, weight: 1}}], matches: [{matches}]}}}}\n"
    )
}

fn group(name: &str) -> String {
    format!("{{kind: HTTPRouteGroup, name: {name}}}")
}

fn render(config: &Config) -> Vec<String> {
    let hosts = config.hosts.iter().flat_map(|set| &set.matches);
    let hosts = hosts.map(|it| {
        let mut parts = Vec::new();
        parts.extend(it.method.clone());
        if let Some(PathMatch::Regex(path)) = &it.path {
            parts.push(path.clone());
        }
        for header in &it.headers {
            let ValueMatch::Regex(value) = &header.value else {
                panic!("{header:?}");
            };
            parts.push(format!("{}={value}", header.name));
        }
        parts.push(it.rule.replace("TrafficSplit/default/", ""));
        parts.join(" ")
    });
    let connections = config.connections.iter().map(|it| {
        let Destination::Root(root) = &it.to else {
            panic!("{it:?}");
        };
        let rule = it.rule.replace("TrafficSplit/default/", "");
        let ips = root.cluster_ips.concat();
        format!("{}:{} {ips} -> {rule}", root.service, root.port)
    });
    hosts.chain(connections).collect()
}

#[track_caller]
fn check(splits: &[String], expected: &[&str], problems: &[&str]) {
    let text = format!("{WORLD}{}", splits.concat());
    let (world, _) = World::from_objects(read("a.yaml", &text).unwrap().objects);
    let (plan, found) = crate::translate::translate(&world, Policy::Unstated);
    let config = scope(&plan, &Scope::Namespace("default".into()));
    assert_eq!(render(&config), expected);
    Table::compile(&config, &Site::default()).unwrap();
    let line = |p: &Problem| format!("{} {} {}", p.object.name, p.path, p.reason);
    assert_eq!(found.iter().map(line).collect::<Vec<_>>(), problems);
}

#[test]
fn only_requests_of_groups_are_split() {
    let groups = format!("{}, {}", group("beta"), group("all"));
    check(
        &[split("1", "web:80", &groups)],
        &[
            "GET /a user=b.* 1:80/http",
            "PUT /a user=b.* 1:80/http",
            "/b 1:80/http",
            "1:80/http",
        ],
        &[],
    );
}

#[test]
fn splits_with_matches_come_first() {
    check(
        &[
            split("1", "web:80", ""),
            split("2", "web:80", ""),
            split("3", "web:80", &group("all")),
            split("4", "web:80", &group("beta")),
            split("5", "web:80", &group("bad")),
        ],
        &[
            "GET /a user=b.* 4:80/http",
            "PUT /a user=b.* 4:80/http",
            "/b 4:80/http",
            "3:80/http",
        ],
        &[
            "1 spec.service Conflicted",
            "2 spec.service Conflicted",
            "5 spec.matches NoTraffic",
        ],
    );
}

#[test]
fn unusable_groups_disable_the_split() {
    let api = |name: &str| format!("{{apiGroup: {name}, kind: HTTPRouteGroup, name: all}}");
    for (matches, problem) in [
        (group("gone"), "[0].name ReferenceNotFound"),
        (
            format!("{}, {}", group("all"), group("gone")),
            "[1].name ReferenceNotFound",
        ),
        (
            format!("{}, {}", group("gone"), group("all")),
            "[0].name ReferenceNotFound",
        ),
    ] {
        let problem = format!("1 spec.matches{problem}");
        check(&[split("1", "web:80", &matches)], &[], &[&problem]);
    }
    check(
        &[split("1", "web:80", &group("bad"))],
        &[],
        &["1 spec.matches NoTraffic"],
    );
    check(
        &[split("1", "web:80", &api("specs.smi-spec.io"))],
        &["1:80/http"],
        &[],
    );
}

#[test]
fn tcp_port_splits_connections() {
    check(
        &[split("1", "web", ""), split("2", "web:3306", "")],
        &["1:80/http", "web:3306 10.0.0.1 -> 1:3306/tcp"],
        &["2 spec.service Conflicted"],
    );
    check(
        &[split("1", "web", &group("all")), split("2", "web", "")],
        &["1:80/http", "web:3306 10.0.0.1 -> 2:3306/tcp"],
        &[
            "1 spec.matches UnsupportedValue",
            "2 spec.service Conflicted",
        ],
    );
}

#[test]
fn literal_host_has_matches() {
    check(
        &[
            split("1", "web.example.com:3306", ""),
            split("2", "web.example.com:3306", &group("all")),
        ],
        &["2:3306/http"],
        &[
            "1 spec.service Conflicted",
            "2 spec.service OwnNamespaceOnly",
        ],
    );
}
