//! A golden case: one file that a person reads in a minute, and that is itself a manifest.
//!
//! ```text
//! # Why the case exists.
//! apiVersion: ...                                       the input, as a user would apply it
//! #= configuration from default                         written by the machine (UPDATE_GOLDEN=1), read by people
//! # bookstore.default:14001 and without port
//! #   any path -> TrafficSplit/default/split:14001
//! # TrafficSplit/default/split:14001 = 90 v1.default:14001, 10 v2.default:14001
//! #= problems
//! # HTTPRoute default/web spec.rules[0].backendRefs[1]: BackendNotFound: ...; ...
//! #= requests                                           questions by people, answers by the machine
//! # from default bookstore:14001 /buy -> v1.default:14001 9, v2.default:14001 1
//! ```
//!
//! Who asks: `anyone` (a proxy without a scope), `from NAMESPACE`, `at NAMESPACE/GATEWAY[:LISTENER]`.
//! The counts are exact: as many requests are made as the reduced total of the rule has units.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir::object::{self, Object};
use weir::plan::{Plan, Scope, scope};
use weir::problem::Problem;
use weir::translate::translate;
use weir::world::World;
use weir_split::{Decision, Live, Plugin, Table, UntilConfigured, wire};

pub struct Case {
    pub path: PathBuf,
    pub text: String,
    input: String,
    pub requests: Vec<Request>,
}

/// A line of the section `requests`.
pub struct Request {
    pub who: Who,
    pub host: String,
    pub request_path: String,
    pub expected: String,
}

/// Whose proxy a request goes through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who(String);

impl Who {
    fn scope(&self) -> Scope {
        match self.0.split_once(' ') {
            Some(("from", namespace)) => Scope::Namespace(namespace.into()),
            Some(("at", gateway)) => {
                let gateway = gateway.split(':').next().unwrap_or_default();
                let (namespace, name) = gateway.split_once('/').expect("at NAMESPACE/GATEWAY");
                Scope::Gateway {
                    namespace: namespace.into(),
                    name: name.into(),
                }
            }
            _ => Scope::Producers,
        }
    }

    /// The plugin configuration of that proxy; backends' clusters have the names that cases use.
    pub fn plugin(&self, control_plane: &str) -> String {
        let mut keys = serde_json::json!({
            "control_plane": control_plane,
            "cluster": "{service}.{namespace}:{port}",
        });
        match self.0.split_once(' ') {
            Some(("from", namespace)) => keys["namespace"] = namespace.into(),
            Some(("at", gateway)) => {
                let mut parts = gateway.split(':');
                keys["gateway"] = parts.next().into();
                if let Some(listener) = parts.next() {
                    keys["listener"] = listener.into();
                }
            }
            _ => {}
        }
        keys.to_string()
    }
}

/// Every case below `tests/golden`.
pub fn cases() -> Vec<Case> {
    let mut paths = Vec::new();
    collect(&crate::root().join("tests/golden"), &mut paths);
    paths.sort();
    paths.into_iter().map(Case::read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("tests/golden") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            paths.push(path);
        }
    }
}

impl Case {
    fn read(path: PathBuf) -> Case {
        let text = std::fs::read_to_string(&path).expect("a case");
        let input = text.split("#= ").next().unwrap_or_default().to_owned();
        let requests = text
            .split_once("#= requests\n")
            .map_or("", |(_, rest)| rest);
        let requests = requests.lines().map(|line| {
            let parsed = Request::parse(line);
            parsed.unwrap_or_else(|| panic!("{}: {line:?} is no request", path.display()))
        });
        let requests: Vec<_> = requests.collect();
        Case {
            path,
            text,
            input,
            requests,
        }
    }

    /// The case's name: its path below `tests/golden`, without the ending.
    pub fn name(&self) -> String {
        let golden = crate::root().join("tests/golden");
        let name = self.path.strip_prefix(golden).expect("below tests/golden");
        name.with_extension("").display().to_string()
    }

    fn objects(&self) -> (Vec<Object>, Vec<Problem>) {
        let manifests = object::read("", &self.input)
            .unwrap_or_else(|problem| panic!("{}: {problem}", self.path.display()));
        (manifests.objects, manifests.problems)
    }

    fn translate(&self, objects: Vec<Object>, mut problems: Vec<Problem>) -> (Plan, Vec<Problem>) {
        let (world, bad) = World::from_objects(objects);
        let (plan, unhonoured) = translate(&world);
        problems.extend(bad);
        problems.extend(unhonoured);
        problems.sort();
        (plan, problems)
    }

    /// Who asks in this case, each once.
    pub fn askers(&self) -> Vec<Who> {
        let mut askers: Vec<_> = self
            .requests
            .iter()
            .map(|request| request.who.clone())
            .collect();
        askers.sort();
        askers.dedup();
        askers
    }

    /// Configurations that the askers of this case are given.
    pub fn scopes(&self) -> usize {
        let mut scopes: Vec<_> = self.askers().iter().map(Who::scope).collect();
        scopes.sort();
        scopes.dedup();
        scopes.len()
    }

    pub fn configuration(&self, who: &Who) -> wire::Config {
        let (objects, problems) = self.objects();
        scope(&self.translate(objects, problems).0, &who.scope())
    }

    /// The whole file as the machine would write it.
    pub fn rendered(&self) -> String {
        let (objects, problems) = self.objects();
        let (plan, problems) = self.translate(objects.clone(), problems);
        for problem in &problems {
            assert_path_resolves(problem, &objects);
        }
        self.assert_order_never_shows(&objects, &plan, &problems);

        let mut text = self.input.clone();
        let mut seen: Vec<Scope> = Vec::new();
        for who in self.askers() {
            if seen.contains(&who.scope()) {
                continue;
            }
            seen.push(who.scope());
            let config = scope(&plan, &who.scope());
            let json = serde_json::to_vec(&config).expect("JSON");
            let back: wire::Config = serde_json::from_slice(&json).expect("our own JSON");
            assert_eq!(config, back, "{}: JSON and back", self.name());
            let who = who.0.split(':').next().unwrap_or_default();
            let _ = writeln!(text, "#= configuration {who}");
            render(&mut text, &config);
        }
        text.push_str("#= problems\n");
        for problem in &problems {
            let _ = writeln!(text, "# {problem}");
        }
        text.push_str("#= requests\n");
        for request in &self.requests {
            let answer = answer(request, &scope(&plan, &request.who.scope()));
            let _ = writeln!(
                text,
                "# {} {} {} -> {answer}",
                request.who.0, request.host, request.request_path
            );
        }
        text
    }

    fn assert_order_never_shows(&self, objects: &[Object], plan: &Plan, problems: &[Problem]) {
        let mut shuffled = objects.to_vec();
        for _ in 0..objects.len().min(4) {
            shuffled.rotate_left(1);
            let mut reversed = shuffled.clone();
            reversed.reverse();
            for order in [&shuffled, &reversed] {
                let (_, unread) = self.objects();
                let (other, others) = self.translate(order.clone(), unread);
                for who in self.askers() {
                    let name = self.name();
                    assert_eq!(
                        scope(&other, &who.scope()),
                        scope(plan, &who.scope()),
                        "{name}"
                    );
                }
                assert_eq!(
                    others,
                    problems,
                    "{}: order shows in the problems",
                    self.name()
                );
            }
        }
    }
}

impl Request {
    /// `# WHO HOST PATH -> ANSWER`, the answer not yet there when the line is new.
    fn parse(line: &str) -> Option<Request> {
        let line = line.strip_prefix("# ")?;
        let (question, expected) = line.split_once("->").unwrap_or((line, ""));
        let words: Vec<_> = question.split_whitespace().collect();
        let (who, host, path) = match words.as_slice() {
            ["anyone", host, path] => ("anyone".to_owned(), host, path),
            [verb @ ("from" | "at"), whom, host, path] => (format!("{verb} {whom}"), host, path),
            _ => return None,
        };
        Some(Request {
            who: Who(who),
            host: (*host).into(),
            request_path: (*path).into(),
            expected: expected.trim().into(),
        })
    }

    /// Backends that the case expects, with their counts; none where the filter decides otherwise.
    pub fn shares(&self) -> BTreeMap<String, u64> {
        let shares = self.expected.split(", ").filter_map(|share| {
            let (backend, count) = share.rsplit_once(' ')?;
            Some((backend.to_owned(), count.parse().ok()?))
        });
        shares.collect()
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A rule's total in units of what all its weights have in common.
pub fn reduced_total(rule: &wire::Rule) -> u64 {
    let weights = rule.backends.iter().map(|backend| backend.weight);
    let total: u64 = weights.clone().sum();
    total / weights.fold(0, gcd).max(1)
}

/// What the pure core does with a request, over one reduced total of its rule.
fn answer(request: &Request, config: &wire::Config) -> String {
    let plugin = Plugin::parse(request.who.plugin("weir").as_bytes()).expect("a plugin");
    let mut live = Live::new(1, UntilConfigured::Pass);
    live.install(Table::compile(config, &plugin.site).expect("what is published compiles"));
    let read = |_: &str| Some(request.request_path.as_bytes().to_vec());
    let first = live.decide(request.host.as_bytes(), read);
    let rule = match (first.rule, first.decision) {
        (Some(rule), _) => rule.to_owned(),
        (None, Decision::Answer(status)) => return status.to_string(),
        (None, _) => return "untouched".into(),
    };
    for _ in 1..reduced_total(&config.rules[&rule]) {
        live.decide(request.host.as_bytes(), read);
    }
    let mut counts = BTreeMap::new();
    live.take_picks(|_, backend, count| {
        *counts.entry(backend.to_owned()).or_insert(0) += count;
    });
    let counts = counts
        .iter()
        .map(|(backend, count)| format!("{backend} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn render(text: &mut String, config: &wire::Config) {
    let wire::Config {
        version: _,
        hosts,
        rules,
        ..
    } = config;
    for wire::HostSet {
        hosts,
        matches,
        unmatched,
    } in hosts
    {
        let _ = writeln!(text, "# {}", render_hosts(hosts));
        for wire::Match {
            path,
            listeners,
            rule,
            ..
        } in matches
        {
            let path = match path {
                None => "any path".into(),
                Some(wire::PathMatch::Regex(path)) => format!("like {path}"),
                Some(wire::PathMatch::Exact(path)) => format!("exactly {path}"),
                Some(wire::PathMatch::Prefix(path)) => format!("below {path}"),
            };
            let listeners = match listeners.as_slice() {
                [] => String::new(),
                some => format!(" (listener {})", some.join(", ")),
            };
            let _ = writeln!(text, "#   {path}{listeners} -> {rule}");
        }
        if *unmatched == wire::Unmatched::NotFound {
            text.push_str("#   else 404\n");
        }
    }
    for (identity, wire::Rule { backends, .. }) in rules {
        let backends = backends
            .iter()
            .map(|wire::Backend { weight, to, .. }| match to {
                wire::Target::Service(service) => format!("{weight} {service}"),
                wire::Target::Status(status) => format!("{weight} {status}"),
            });
        let backends = backends.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "# {identity} = {backends}");
    }
}

fn render_hosts(hosts: &wire::Hosts) -> String {
    let portless = |yes: &bool| if *yes { " and without port" } else { "" };
    match hosts {
        wire::Hosts::Root(wire::Root {
            service,
            namespace,
            port,
            default_port,
            cluster_ips,
        }) => {
            let ips = match cluster_ips.as_slice() {
                [] => String::new(),
                some => format!(" ({})", some.join(", ")),
            };
            format!(
                "{service}.{namespace}:{port}{}{ips}",
                portless(default_port)
            )
        }
        wire::Hosts::Literal(wire::Literal {
            name,
            port,
            default_port,
        }) => format!("literally {name}:{port}{}", portless(default_port)),
        wire::Hosts::Gateway(wire::Gateway { hostname: None, .. }) => "every host".into(),
        wire::Hosts::Gateway(wire::Gateway {
            hostname: Some(hostname),
            ..
        }) => format!("host {hostname}"),
    }
}

/// A problem's path leads to a field of its object, or to where one is missing.
fn assert_path_resolves(problem: &Problem, objects: &[Object]) {
    let found = objects.iter().any(|object| {
        let reference = object.reference();
        reference.name == problem.object.name
            && reference.namespace == problem.object.namespace
            && reference.kind == problem.object.kind
            && resolves(&object.body, &problem.path)
    });
    // An object that could not even be read as one is not among the objects.
    let unread = objects
        .iter()
        .all(|object| object.reference() != problem.object);
    assert!(found || unread, "no field {:?}: {problem}", problem.path);
}

fn resolves(body: &Value, path: &str) -> bool {
    let pointer = path.replace('[', ".").replace(']', "");
    let mut words: Vec<_> = pointer.split('.').filter(|word| !word.is_empty()).collect();
    words.pop();
    words
        .into_iter()
        .try_fold(body, |at, word| match at {
            Value::Array(items) => items.get(word.parse::<usize>().ok()?),
            other => other.get(word),
        })
        .is_some()
}
