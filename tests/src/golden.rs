//! A golden case: a small file with manifests, requests and expected answers.
//!
//! ```text
//! # Why the case exists.
//! apiVersion: ...                                       the input, as a user would apply it
//! #= configuration from default                         the test writes this part (UPDATE_GOLDEN=1)
//! # bookstore.default:14001 and without port
//! #   POST below /buy, x-user like a.*, ?page = 1 -> HTTPRoute/default/buy@bookstore.default:14001#1f2e3d4c
//! #   any path -> TrafficSplit/default/split:14001
//! # TrafficSplit/default/split:14001 = 90 v1.default:14001, 10 v2.default:14001 (request {x-a: b})
//! #= problems
//! # HTTPRoute default/web spec.rules[0].backendRefs[1]: BackendNotFound: ...; ...
//! #= requests                                           people write the requests, the test writes the answers
//! # from default bookstore:14001 /buy -> v1.default:14001 9, v2.default:14001 1 {x-a: b}
//! ```
//!
//! A case with the line `# Services: _defaults.yaml` also has the objects of `tests/golden/_defaults.yaml`.
//! A line `# policy: smi` or `# policy: permissive` among the first comments sets the access policy of the case.
//!
//! A line of a request begins with the proxy that gets the request:
//! - `anyone` is a proxy that names no namespace and no Gateway. `everywhere` is an edge with `"namespace": "*"`.
//! - `from NAMESPACE` is a sidecar in the namespace. `as ACCOUNT from NAMESPACE` is a sidecar with a service account.
//! - `at NAMESPACE/GATEWAY` is a Gateway. `at NAMESPACE/GATEWAY:LISTENER` has the plugin key `listener`.
//! - `at NAMESPACE/GATEWAY:http|https via https` has the plugin key `listeners`. `|` separates sockets, `+` separates
//!   the listeners of a socket, and `via` names the socket of the request. `via unlisted` is a socket that the key
//!   lacks.
//! - `into NAMESPACE/ACCOUNT by NAMESPACE/ACCOUNT|anonymous` is the proxy in front of a workload. The client's identity
//!   follows `by`.
//!
//! After the proxy comes the request: `[METHOD] HOST PATH [{name: value, name: "a, b"}]`. The default method is GET. A
//! line of a connection is `from NAMESPACE tcp SERVICE.NAMESPACE:PORT`, `at NAMESPACE/GATEWAY tcp LISTENER`, or
//! `into ... by ... tcp PORT`.
//!
//! The answer lists backends with exact counts. The number of requests is the sum of the rule's weights, divided by
//! their greatest common divisor. Edits follow the backend. If all backends have the same edits, the edits follow
//! `each` at the end:
//! - `{x-a: b, +x-c: d, -x-e, :path: /f}` sets, adds and removes headers of the request, and rewrites the path.
//! - `answers {x-g: h}` edits the response.
//! - `(302 https://a.example/)` redirects, and `(denied)` is 403.
//!
//! An answer without a backend is `untouched` (the ordinary route), `404`, `302 https://a.example/`, or `500 listener
//! unknown` (listeners differ, and the proxy cannot tell at which one the request arrived). For inbound requests the
//! answer is `allowed` or `denied`. If the answer to a TCP connection is a status, the filter closes the connection.

mod comparison;
mod outcome;
mod render;
mod request;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::{self, Object};
use weir_core::manifest::problem::Problem;
use weir_core::plan::{Plan, Scope, scope};
use weir_core::translate::translate;
use weir_core::world::World;
use weir_split::wire;

pub use comparison::Comparison;
pub use outcome::{Action, Change, Outcome, Outcomes, outcomes, reduced_total};
pub use request::{Http, Proxy, Question, Request};

/// The line of a case that also has the objects of `tests/golden/_defaults.yaml`.
const WITH_DEFAULTS: &str = "# Services: _defaults.yaml";

pub struct Case {
    pub path: PathBuf,
    pub text: String,
    /// The text before the answers.
    input: String,
    pub requests: Vec<Request>,
}

/// Returns every case below `tests/golden`.
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
            continue;
        }
        let is_yaml = path.extension().is_some_and(|it| it == "yaml");
        let is_case = path.file_stem().is_some_and(|it| it != "_defaults");
        if is_yaml && is_case {
            paths.push(path);
        }
    }
}

/// Returns the objects of a case with this text, as YAML.
pub fn manifests(text: &str) -> String {
    let input = text.split("#= ").next().unwrap_or_default();
    if !input.lines().any(|line| line == WITH_DEFAULTS) {
        return input.to_owned();
    }
    let path = crate::root().join("tests/golden/_defaults.yaml");
    let defaults = std::fs::read_to_string(path).expect("_defaults.yaml");
    format!("{input}---\n{defaults}")
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
            parsed.unwrap_or_else(|| panic!("{}: {line:?} is not a request", path.display()))
        });
        let requests: Vec<_> = requests.collect();
        Case {
            path,
            text,
            input,
            requests,
        }
    }

    /// Returns the path below `tests/golden` without its extension.
    pub fn name(&self) -> String {
        let golden = crate::root().join("tests/golden");
        let name = self.path.strip_prefix(golden).expect("below tests/golden");
        name.with_extension("").display().to_string()
    }

    /// Returns the objects of the case, as YAML.
    pub fn manifests(&self) -> String {
        manifests(&self.text)
    }

    fn objects(&self) -> (Vec<Object>, Vec<Problem>) {
        let manifests = object::read("", &self.manifests())
            .unwrap_or_else(|problem| panic!("{}: {problem}", self.path.display()));
        let problems = manifests.problems();
        (manifests.objects, problems)
    }

    pub fn policy(&self) -> Policy {
        let comments = self.text.lines().take_while(|line| line.starts_with('#'));
        match comments
            .filter_map(|line| line.strip_prefix("# policy: "))
            .next()
        {
            None => Policy::Unstated,
            Some("permissive") => Policy::Permissive,
            Some("smi") => Policy::Smi,
            Some(other) => panic!("{}: policy {other:?}", self.path.display()),
        }
    }

    fn translate(&self, objects: Vec<Object>, mut problems: Vec<Problem>) -> (Plan, Vec<Problem>) {
        let (world, bad) = World::from_objects(objects);
        let (plan, unhonoured) = translate(&world, self.policy());
        problems.extend(bad);
        problems.extend(unhonoured);
        problems.sort();
        (plan, problems)
    }

    /// Returns the proxies of this case, without duplicates.
    pub fn proxies(&self) -> Vec<Proxy> {
        let mut proxies: Vec<_> = self
            .requests
            .iter()
            .map(|request| request.proxy.clone())
            .collect();
        proxies.sort();
        proxies.dedup();
        proxies
    }

    pub fn configuration(&self, proxy: &Proxy) -> wire::Config {
        let (objects, problems) = self.objects();
        scope(&self.translate(objects, problems).0, &proxy.scope())
    }

    /// Returns the whole file with computed answers.
    pub fn rendered(&self) -> String {
        let (objects, problems) = self.objects();
        let (plan, problems) = self.translate(objects.clone(), problems);
        for problem in &problems {
            assert_path_resolves(problem, &objects);
        }
        self.assert_order_never_shows(&objects, &plan, &problems);

        let mut text = self.input.clone();
        let mut seen: Vec<Scope> = Vec::new();
        for proxy in self.proxies() {
            if seen.contains(&proxy.scope()) {
                continue;
            }
            seen.push(proxy.scope());
            let config = scope(&plan, &proxy.scope());
            let json = serde_json::to_vec(&config).expect("JSON");
            let back: wire::Config = serde_json::from_slice(&json).expect("our own JSON");
            assert_eq!(config, back, "{}: JSON changes it", self.name());
            let name = request::scope_name(&proxy.scope());
            let _ = writeln!(text, "#= configuration {name}");
            render::render(&mut text, &config);
        }
        text.push_str("#= problems\n");
        for problem in &problems {
            let _ = writeln!(text, "# {problem}");
        }
        text.push_str("#= requests\n");
        for request in &self.requests {
            let config = scope(&plan, &request.proxy.scope());
            let answer = outcome::render(&outcomes(request, &config));
            let _ = writeln!(text, "# {} -> {answer}", request.text);
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
                for proxy in self.proxies() {
                    let name = self.name();
                    assert_eq!(
                        scope(&other, &proxy.scope()),
                        scope(plan, &proxy.scope()),
                        "{name}"
                    );
                }
                assert_eq!(
                    others,
                    problems,
                    "{}: the order of objects changes problems",
                    self.name()
                );
            }
        }
    }
}

/// Checks that the parent of the problem's field is in the object.
fn assert_path_resolves(problem: &Problem, objects: &[Object]) {
    let found = objects.iter().any(|object| {
        let reference = object.reference();
        reference.name == problem.object.name
            && reference.namespace == problem.object.namespace
            && reference.kind == problem.object.kind
            && resolves(&object.body, &problem.path)
    });
    // An object that cannot be parsed is not in the list.
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
