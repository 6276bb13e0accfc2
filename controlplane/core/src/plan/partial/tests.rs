use weir_split::wire::{Access, Filters, Gateway, Grants, Mirror, Root, Unmatched, VERSION};
use weir_split::{Site, Table};

use super::*;
use crate::plan::needed_clusters::needed_clusters;

fn service(name: &str) -> Service {
    Service {
        name: name.into(),
        namespace: "shop".into(),
        port: 80,
    }
}

fn names(text: &str) -> Names {
    let names = text.split_whitespace();
    names.map(|it| cluster_name(&service(it)).into()).collect()
}

fn missing(awaited: &str, given_up: &str) -> MissingClusters {
    MissingClusters {
        awaited: names(awaited),
        given_up: names(given_up),
    }
}

fn root(name: &str) -> Root {
    Root {
        service: name.into(),
        namespace: "shop".into(),
        port: 80,
        default_port: true,
        cluster_ips: vec![],
    }
}

/// Reads a rule such as `1 v1, 2 v2, mirror v3`.
fn rule(text: &str) -> Rule {
    let mut rule = Rule::default();
    let mut filters = Filters::default();
    for part in text.split(", ") {
        let (weight, name) = part.split_once(' ').unwrap();
        match weight.parse() {
            Ok(weight) => {
                let to = Target::Service(service(name));
                rule.backends.push(Backend::new(weight, to));
            }
            Err(_) => filters.mirrors.push(Mirror {
                to: service(name),
                fraction: None,
                accounts: vec![],
            }),
        }
    }
    rule.filters = filters.boxed();
    rule
}

fn matches(rules: &str) -> Vec<Match> {
    let rules = rules.split_whitespace();
    rules
        .map(|rule| Match {
            rule: rule.into(),
            ..Match::default()
        })
        .collect()
}

/// Returns a configuration. `hosts` has roots and the rules of their matches, `tcp` has roots and their rules.
fn config(rules: &[(&str, &str)], hosts: &[(&str, &str)], tcp: &[(&str, &str)]) -> Config {
    Config {
        version: VERSION,
        hosts: hosts
            .iter()
            .map(|(host, rules)| HostSet {
                hosts: Hosts::Root(root(host)),
                matches: matches(rules),
                unmatched: Unmatched::Pass,
            })
            .collect(),
        connections: tcp
            .iter()
            .map(|(to, rule)| Connections {
                to: Destination::Root(root(to)),
                rule: (*rule).into(),
            })
            .collect(),
        rules: rules
            .iter()
            .map(|(identity, text)| ((*identity).into(), rule(text)))
            .collect(),
        ..Config::default()
    }
}

/// Writes a configuration: rules, hosts with the rules of their matches, and connections.
fn text(config: &Config) -> String {
    let mut lines = Vec::new();
    for (identity, rule) in &config.rules {
        let mut parts: Vec<String> = Vec::new();
        for backend in &rule.backends {
            let to = match &backend.to {
                Target::Service(service) => service.name.clone(),
                Target::Status(status) => status.to_string(),
            };
            parts.push(format!("{} {to}", backend.weight));
        }
        let mirrors = rule.all_filters().flat_map(|it| &it.mirrors);
        parts.extend(mirrors.map(|mirror| format!("mirror {}", mirror.to.name)));
        lines.push(format!("{identity} = {}", parts.join(", ")));
    }
    for set in &config.hosts {
        let Hosts::Root(root) = &set.hosts else {
            continue;
        };
        let rules = set.matches.iter().map(|it| it.rule.as_str());
        let rules = rules.collect::<Vec<_>>().join(" ");
        lines.push(format!("{}: {rules}", root.service));
    }
    for entry in &config.connections {
        if let Destination::Root(root) = &entry.to {
            lines.push(format!("tcp {}: {}", root.service, entry.rule));
        }
    }
    lines.join("; ")
}

#[test]
fn rules_wait_for_their_clusters() {
    let new = || {
        config(
            &[("one", "1 v1, 1 v2"), ("two", "1 v3")],
            &[("web", "one two"), ("api", "two")],
            &[],
        )
    };
    let present = config(
        &[("one", "1 v1"), ("gone", "1 v1")],
        &[("web", "one gone"), ("old", "gone")],
        &[],
    );
    for (awaited, given_up, expected) in [
        (
            "",
            "",
            "one = 1 v1, 1 v2; two = 1 v3; web: one two; api: two",
        ),
        ("v2", "", "one = 1 v1; two = 1 v3; web: one two; api: two"),
        ("v3", "", "gone = 1 v1; one = 1 v1, 1 v2; web: one gone"),
        ("v2 v3", "", "gone = 1 v1; one = 1 v1; web: one gone"),
        (
            "",
            "v2",
            "one = 1 v1, 1 500; two = 1 v3; web: one two; api: two",
        ),
        (
            "v2",
            "v3",
            "one = 1 v1; two = 1 500; web: one two; api: two",
        ),
        // The proxy has no cluster of the present rule either.
        ("v1 v2", "", "two = 1 v3; web: two; api: two"),
        (
            "v2",
            "v1",
            "one = 1 500; two = 1 v3; web: one two; api: two",
        ),
    ] {
        let missing = missing(awaited, given_up);
        let partial = partial(new(), Some(&present), &missing);
        assert_eq!(text(&partial), expected, "{missing:?}");
    }
}

#[test]
fn first_configuration_leaves_rules_out() {
    let new = || {
        config(
            &[("one", "1 v1, 1 v2"), ("two", "1 v3")],
            &[("web", "one two"), ("api", "two")],
            &[("db", "two")],
        )
    };
    for (awaited, given_up, expected) in [
        ("v2", "", "two = 1 v3; web: two; api: two; tcp db: two"),
        ("v3", "", "one = 1 v1, 1 v2; web: one; api: "),
        (
            "",
            "v3",
            "one = 1 v1, 1 v2; two = 1 500; web: one two; api: two; tcp db: two",
        ),
    ] {
        let partial = partial(new(), None, &missing(awaited, given_up));
        assert_eq!(text(&partial), expected, "{awaited}");
    }
}

#[test]
fn empty_host_keeps_present_matches() {
    let new = config(
        &[("route", "1 v2"), ("kept", "1 v1")],
        &[("web", "route"), ("api", "kept")],
        &[("db", "route"), ("mq", "route")],
    );
    let present = config(
        &[("split", "1 v1"), ("tcp", "2 v1")],
        &[("web", "split")],
        &[("db", "tcp")],
    );
    let kept = partial(new.clone(), Some(&present), &missing("v2", ""));
    assert_eq!(
        text(&kept),
        "kept = 1 v1; split = 1 v1; tcp = 2 v1; web: split; api: kept; tcp db: tcp"
    );
    // No present rule is usable, but the hosts stay.
    let kept = partial(new, Some(&present), &missing("v1 v2", ""));
    assert_eq!(text(&kept), "web: ");
}

#[test]
fn renamed_rule_keeps_its_requests() {
    let new = || {
        config(
            &[("canary-2", "1 v2"), ("all", "1 v1")],
            &[("web", "canary-2 all")],
            &[],
        )
    };
    for (present, awaited, expected) in [
        (
            "canary-1 all",
            "v2",
            "all = 1 v1; canary-1 = 1 v0; web: canary-1 all",
        ),
        (
            "canary-1 all",
            "",
            "all = 1 v1; canary-2 = 1 v2; web: canary-2 all",
        ),
        // No present rule can get the requests.
        ("canary-1 all", "v0 v2", "all = 1 v1; web: all"),
        ("all", "v2", "all = 1 v1; web: all"),
    ] {
        let rules = [("canary-1", "1 v0"), ("all", "1 v1")];
        let before = config(&rules, &[("web", present)], &[]);
        let partial = partial(new(), Some(&before), &missing(awaited, ""));
        assert_eq!(text(&partial), expected, "{present} without {awaited}");
    }
}

#[test]
fn mirrors_never_hold_a_rule() {
    let new = config(&[("one", "1 v1, mirror v2")], &[("web", "one")], &[]);
    for missing in [missing("v2", ""), missing("", "v2")] {
        let partial = partial(new.clone(), None, &missing);
        assert_eq!(text(&partial), "one = 1 v1; web: one");
        assert_eq!(partial.rules["one"].filters, None);
    }
}

#[test]
fn grpc_backend_answers_503() {
    let identity = "GRPCRoute/shop/web@web.shop:80#a";
    let new = config(&[(identity, "1 v1, 0 v2")], &[("web", identity)], &[]);
    let partial = partial(new, None, &missing("v2", "v1"));
    let rule = &partial.rules[identity];
    assert_eq!(rule.backends[0], Backend::new(1, Target::Status(503)));
}

/// Small random numbers (Knuth's MMIX generator).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn services(&mut self) -> String {
        let all = ["a", "b", "c", "d", "e"];
        let some = all.iter().filter(|_| self.below(4) == 0);
        some.copied().collect::<Vec<_>>().join(" ")
    }

    fn rule(&mut self) -> String {
        let mut parts = vec![format!("1 {}", self.pick(&["a", "b", "c", "d", "e"]))];
        for _ in 0..self.below(3) {
            let weight = self.pick(&["0", "1", "2"]);
            parts.push(format!(
                "{weight} {}",
                self.pick(&["a", "b", "c", "d", "e"])
            ));
        }
        parts.join(", ")
    }

    fn config(&mut self) -> Config {
        let mut rules = vec![("p", self.rule()), ("tcp", self.rule())];
        for identity in ["q", "r", "s", "t"] {
            if self.below(3) > 0 {
                rules.push((identity, self.rule()));
            }
        }
        let of_requests = rules.iter().map(|(identity, _)| *identity);
        let of_requests: Vec<&str> = of_requests.filter(|it| *it != "tcp").collect();
        let hosts = ["web", "api", "db"].map(|host| {
            let matches = (0..self.below(4)).map(|_| self.pick(&of_requests));
            (host, matches.collect::<Vec<_>>().join(" "))
        });
        let rules: Vec<_> = rules.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let hosts: Vec<_> = hosts.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let mut config = config(&rules, &hosts, &[("tcp", "tcp")]);
        if self.below(4) == 0 {
            let rule_with_mirror = rule("1 a, mirror b");
            config.rules.insert("p".into(), rule_with_mirror);
        }
        config.access = (self.below(2) == 0).then(|| Access::Grants(Grants::new()));
        config
    }
}

#[test]
fn partial_changes_only_affected_rules() {
    let mut random = Random(7);
    let mut changed = 0;
    for round in 0..20_000 {
        let new = random.config();
        let present = (random.below(4) > 0).then(|| random.config());
        let awaited = random.services();
        let given_up = random.services();
        let missing = missing(&awaited, &given_up);
        let partial = partial(new.clone(), present.as_ref(), &missing);
        let context = format!("round {round}: {} without {missing:?}", text(&new));
        Table::compile(&partial, &Site::default()).expect(&context);
        for name in needed_clusters(&partial) {
            let is_missing = missing.awaited.contains(&name) || missing.given_up.contains(&name);
            assert!(!is_missing, "{context}: {}", text(&partial));
        }
        assert_eq!(partial.access, new.access, "{context}");
        for (identity, rule) in &new.rules {
            let mut alone = Config::default();
            alone.rules.insert(identity.clone(), rule.clone());
            let names = needed_clusters(&alone);
            if names.is_disjoint(&missing.awaited) && names.is_disjoint(&missing.given_up) {
                let same = partial.rules.get(identity).map(weights);
                assert_eq!(same, Some(weights(rule)), "{context}");
            } else {
                changed += 1;
            }
        }
        for (set, before) in partial.hosts.iter().zip(&new.hosts) {
            let is_new = |it: &Match| new.rules.contains_key(&it.rule);
            let has_only_new = set.matches.iter().all(is_new);
            if partial.hosts.len() == new.hosts.len() && !set.matches.is_empty() && has_only_new {
                let mut kept = before.matches.clone();
                kept.retain(|it| partial.rules.contains_key(&it.rule));
                assert!(kept.is_empty() || kept == set.matches, "{context}");
            }
        }
    }
    assert!(changed > 10_000, "{changed}");
}

/// Returns the backends with a weight. A backend without a weight may have no cluster.
fn weights(rule: &Rule) -> Vec<&Backend> {
    rule.backends.iter().filter(|it| it.weight > 0).collect()
}

#[test]
fn gateway_host_keeps_its_404() {
    let mut new = config(&[("one", "1 v1")], &[("web", "one")], &[]);
    new.hosts[0].hosts = Hosts::Gateway(Gateway::default());
    new.hosts[0].unmatched = Unmatched::NotFound;
    let first = partial(new.clone(), None, &missing("v1", ""));
    assert_eq!(first.hosts[0].unmatched, Unmatched::NotFound);
    assert!(first.hosts[0].matches.is_empty());
    let present = Config::default();
    let later = partial(new, Some(&present), &missing("v1", ""));
    assert_eq!(later.hosts, []);
}
