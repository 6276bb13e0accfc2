//! The cases of `tests/golden-status` contain the status and the Events of each object. `ROWS.md` in that folder has
//! tables of conditions. Every row has a case, and every case is in a row.
//!
//! ```text
//! # Why the case exists.
//! # input: httproute/grant-absent                    The manifests are in this case of tests/golden. Without this line
//!                                                    they are in this file.
//! # proxy: NODE SCOPE STATE                          A proxy. STATE is `live`, `behind`, `stuck` (behind for a
//!                                                    minute), `refuses TEXT`, `lean` (live with weir-lean.wasm), or
//!                                                    `lacks CLUSTER REASON` (`awaited`, `late`, `no stream`, or Envoy's
//!                                                    message).
//!                                                    SCOPE is a namespace, NAMESPACE/NAME of a Gateway,
//!                                                    `producers` (a proxy that names no namespace), or
//!                                                    `everywhere` (an edge). With `NS:SCOPE` the proxy has a token of
//!                                                    the namespace NS, otherwise of the namespace in SCOPE. Without
//!                                                    any line `proxy`, each scope has one live proxy.
//! # no proxies                                       No scope has a proxy.
//! # refused: TEXT                                    The plan is not published, for this reason.
//! #= status KIND NAMESPACE/NAME                      From here on the test writes the file (UPDATE_GOLDEN=1).
//! # {parentRef as JSON}                              One entry of status.parents.
//! #   Accepted=True Accepted @3 2026-01-02T03:04:05Z: message
//! # {entry as JSON}                                  An entry of another controller.
//! # nothing is written                               Weir does not write this status.
//! #= events KIND NAMESPACE/NAME
//! # Warning REASON: note
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::{self, Kind, Object};
use weir_core::manifest::problem::Problem;
use weir_core::owner::Owner;
use weir_core::plan::Scope;
use weir_core::status::cluster_gaps::{ClusterGap, ClusterGaps};
use weir_core::status::proxy::Proxy;
use weir_core::status::subject::Subject;
use weir_core::status::{Evidence, ObjectEvent, PlanState, events_of_change};
use weir_core::translate::translate;
use weir_core::watermark::Watermark;
use weir_core::world::World;
use weir_tests::{golden, root};

const CONTROLLER: &str = "weir.dev/gateway-controller";
/// The resource version of every object. A proxy that is not behind has read all objects up to this version.
const SINCE: u64 = 100;

fn folder() -> PathBuf {
    root().join("tests/golden-status")
}

fn cases() -> Vec<PathBuf> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder()).expect("tests/golden-status") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            cases.push(path);
        }
    }
    cases.sort();
    cases
}

fn directives<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let head = text.lines().take_while(|line| line.starts_with("# "));
    let prefix = format!("# {name}: ");
    head.filter_map(|line| line.strip_prefix(&prefix)).collect()
}

fn scope(text: &str) -> Scope {
    match (text, text.split_once('/')) {
        ("producers", _) => Scope::Producers,
        ("everywhere", _) => Scope::Edge,
        (_, Some((namespace, name))) => Scope::Gateway {
            namespace: namespace.into(),
            name: name.into(),
        },
        (namespace, None) => Scope::Namespace(namespace.into()),
    }
}

fn proxy(node: &str, place: &str, state: &str) -> Proxy {
    let (home, place) = match place.split_once(':') {
        Some((home, place)) => (Some(home), place),
        None => (None, place),
    };
    let scope = scope(place);
    let home = home.or(scope.namespace());
    let owner = home.map(|home| Owner::of_pod(home, node));
    let refused = state.strip_prefix("refuses ").unwrap_or_default();
    let read = match state {
        "live" | "lean" => SINCE,
        state if state.starts_with("lacks ") => SINCE,
        _ => SINCE - 1,
    };
    let mut watermark = Watermark::default();
    for resource in [
        "trafficsplits.split.smi-spec.io",
        "httproutes.gateway.networking.k8s.io",
        "httproutes.policy.linkerd.io",
        "grpcroutes.gateway.networking.k8s.io",
        "tcproutes.gateway.networking.k8s.io",
    ] {
        watermark.set(resource, read);
    }
    Proxy {
        instance: format!("of-{node}"),
        owner: owner.unwrap_or_default(),
        node: node.into(),
        scope,
        applied: "r".into(),
        watermark: watermark.to_string(),
        refused: refused.into(),
        gaps: gaps(state),
        is_lean: state == "lean",
        behind: if state == "stuck" { 60 } else { 0 },
        silent: 0,
        closed: None,
        unpolled: 0,
        traps: 0,
    }
}

/// Returns the clusters of `lacks CLUSTER REASON`. The reason is `awaited`, `late`, `no stream` or a message of Envoy.
fn gaps(state: &str) -> ClusterGaps {
    let gap = state.strip_prefix("lacks ").map(|rest| {
        let (name, reason) = rest.split_once(' ').unwrap_or((rest, "awaited"));
        let gap = match reason {
            "no stream" => ClusterGap::NoStream,
            "awaited" => ClusterGap::Awaited,
            "late" => ClusterGap::Late,
            message => ClusterGap::Refused(message.to_owned()),
        };
        (name.to_owned(), gap)
    });
    ClusterGaps::new(gap)
}

/// Returns the proxies that the case names. If it names none, returns one live proxy for each scope of its objects.
fn proxies(text: &str, objects: &[Object]) -> Vec<Proxy> {
    let named: Vec<Proxy> = directives(text, "proxy")
        .into_iter()
        .map(|line| {
            let mut words = line.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line:?}"));
            let (node, place, state) = (word(), word(), word());
            assert!(
                matches!(state, "live" | "lean" | "behind" | "stuck")
                    || state.starts_with("refuses ")
                    || state.starts_with("lacks "),
                "{line:?}"
            );
            proxy(node, place, state)
        })
        .collect();
    if !named.is_empty() || text.contains("# no proxies\n") {
        return named;
    }
    let of_gateways = objects.iter().filter(|it| it.kind == Kind::Gateway);
    let of_gateways = of_gateways.map(|it| format!("{}/{}", it.namespace, it.name));
    let namespaces = objects.iter().map(|it| it.namespace.clone());
    let namespaces = namespaces.filter(|namespace| !namespace.is_empty());
    let scopes: BTreeSet<String> = of_gateways.chain(namespaces).collect();
    let scopes = scopes.into_iter().enumerate();
    scopes
        .map(|(index, place)| proxy(&format!("n{index}"), &place, "live"))
        .collect()
}

/// Returns the object as the watch delivers it.
fn subject(object: &Object) -> Option<Subject> {
    let (plural, group) = match object.kind {
        Kind::TrafficSplit => ("trafficsplits", "split.smi-spec.io"),
        Kind::HttpRoute => ("httproutes", "gateway.networking.k8s.io"),
        Kind::LinkerdHttpRoute => ("httproutes", "policy.linkerd.io"),
        Kind::GrpcRoute => ("grpcroutes", "gateway.networking.k8s.io"),
        Kind::TcpRoute => ("tcproutes", "gateway.networking.k8s.io"),
        _ => return None,
    };
    let metadata = &object.body["metadata"];
    Some(Subject {
        kind: object.kind,
        object: object.reference(),
        api_version: object.body["apiVersion"].as_str()?.into(),
        resource: format!("{plural}.{group}"),
        uid: format!("{}/{}", object.namespace, object.name),
        generation: metadata["generation"].as_i64().unwrap_or(1),
        since: SINCE,
        resource_version: SINCE.to_string(),
        parent_refs: (&object.body["spec"]["parentRefs"]).into(),
        status: (&object.body["status"]).into(),
        has_status: true,
    })
}

fn input(path: &Path, text: &str) -> String {
    match directives(text, "input").as_slice() {
        [] => text.split("#= ").next().unwrap_or_default().to_owned(),
        [name] => {
            let path = root().join(format!("tests/golden/{name}.yaml"));
            let text = std::fs::read_to_string(&path);
            let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            golden::manifests(&text)
        }
        more => panic!("{}: inputs {more:?}", path.display()),
    }
}

fn rendered(path: &Path, text: &str) -> String {
    let manifests = object::read("", &input(path, text)).expect("manifests");
    let objects = manifests.objects;
    let (world, mut problems) = World::from_objects(objects.clone());
    let (plan, of_plan) = translate(&world, Policy::Unstated);
    problems.extend(of_plan);
    let proxies = proxies(text, &objects);
    let refused = directives(text, "refused");
    let mut in_force = Watermark::default();
    if refused.is_empty() {
        for subject in objects.iter().filter_map(subject) {
            in_force.set(&subject.resource, SINCE);
        }
    }
    let gateways = world.owned_gateways();
    let evidence = Evidence::new(
        PlanState {
            problems: &problems,
            gateways: &gateways,
            splits_of_literals: plan.splits_of_literals(),
            edited: plan.edited_shares(),
            cluster_users: plan.cluster_users(|_| true),
            refused: refused.first().copied(),
            in_force: &in_force,
        },
        &proxies,
    );
    let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");

    let mut text = text.split("#= ").next().unwrap_or_default().to_owned();
    for subject in objects.iter().filter_map(subject) {
        let name = &subject.object;
        let _ = writeln!(text, "#= status {name}");
        let patch = evidence.status(&subject, &subject.status.value(), now);
        match &patch {
            None => text.push_str("# nothing is written\n"),
            Some(patch) => {
                render(&mut text, patch);
                let written = merged(&subject.status.value(), patch);
                let again = evidence.status(&subject, &written, Timestamp::now());
                assert_eq!(again, None, "{}: a second write", path.display());
            }
        }
        let problems: Vec<&Problem> = problems.iter().filter(|it| it.object == *name).collect();
        if subject.kind == Kind::TrafficSplit && !problems.is_empty() {
            let _ = writeln!(text, "#= events {name}");
            let now = problems.into_iter().map(ObjectEvent::of).collect();
            for remark in events_of_change(&BTreeSet::new(), &now) {
                let kind = if remark.is_warning {
                    "Warning"
                } else {
                    "Normal"
                };
                let _ = writeln!(text, "# {kind} {}: {}", remark.reason, remark.note);
            }
        }
    }
    text
}

fn merged(status: &Value, patch: &Value) -> Value {
    let mut merged = match status {
        Value::Object(fields) => fields.clone(),
        _ => serde_json::Map::new(),
    };
    merged.extend(patch.as_object().cloned().unwrap_or_default());
    Value::Object(merged)
}

fn render(text: &mut String, patch: &Value) {
    let list = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    if patch.get("parents").is_some() && list(patch, "parents").is_empty() {
        text.push_str("# no parents\n");
    }
    for entry in list(patch, "parents") {
        if entry["controllerName"] != CONTROLLER {
            let _ = writeln!(text, "# {entry}");
            continue;
        }
        let _ = writeln!(text, "# {}", entry["parentRef"]);
        for condition in list(&entry, "conditions") {
            render_condition(text, "  ", &condition);
        }
    }
    for condition in list(patch, "conditions") {
        render_condition(text, "", &condition);
    }
}

fn render_condition(text: &mut String, indent: &str, condition: &Value) {
    let field = |name: &str| condition[name].as_str().unwrap_or("?").to_owned();
    let line = format!(
        "# {indent}{}={} {} @{} {}: {}",
        field("type"),
        field("status"),
        field("reason"),
        condition["observedGeneration"],
        field("lastTransitionTime"),
        field("message"),
    );
    text.push_str(line.trim_end());
    text.push('\n');
}

#[test]
fn every_object_gets_its_status() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).expect("a case");
        let rendered = rendered(&path, &text);
        if update {
            std::fs::write(&path, &rendered).expect("the case is written");
        } else if rendered != text {
            wrong.push(format!("{}\n{rendered}", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ, see them with UPDATE_GOLDEN=1 and git diff:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Tables that must exist, by the numbers in their headings.
const TABLES: [&str; 5] = [
    "gateway-api 4.1",
    "gateway-api 4.2",
    "gateway-api 4.4",
    "on how many proxies",
    "split-apis 8",
];

#[test]
fn rows_and_cases_match() {
    let text = std::fs::read_to_string(folder().join("ROWS.md")).expect("the table");
    let name = |path: &PathBuf| path.file_stem().map(|it| it.to_string_lossy().into_owned());
    let known: BTreeSet<String> = cases().iter().filter_map(name).collect();
    let (mut named, mut tables) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let number = heading
                .rsplit_once(" (")
                .and_then(|(_, it)| it.strip_suffix(')'));
            tables.insert(number.unwrap_or_else(|| panic!("{heading:?} has no number")));
        } else if let Some(cells) = line.strip_prefix("| ")
            && !line.starts_with("| row |")
        {
            let cases: Vec<&str> = cells.split('`').skip(1).step_by(2).collect();
            assert!(!cases.is_empty(), "no case shows {line:?}");
            for case in cases {
                assert!(known.contains(case), "{line:?}: no case {case}");
                named.insert(case.to_owned());
            }
        }
    }
    let idle: Vec<_> = known.difference(&named).collect();
    assert!(idle.is_empty(), "in no row: {idle:#?}");
    assert_eq!(tables, TABLES.into(), "tables");
}

/// Returns `TYPE=STATUS REASON` for each row of the table in docs/status.md.
fn documented() -> BTreeSet<String> {
    let page = root().join("docs/status.md");
    let page = std::fs::read_to_string(page).expect("docs/status.md");
    let rows = page.lines().skip_while(|line| *line != "|---|---|---|");
    let rows = rows.skip(1).map_while(|line| line.strip_prefix("| "));
    let (mut all, mut kind) = (BTreeSet::new(), "");
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [condition, says, ..] = cells.as_slice() else {
            panic!("{row:?}");
        };
        if !condition.is_empty() {
            kind = condition;
        }
        let (status, reasons) = says.split_once(", ").expect("a status and its reasons");
        for reason in reasons.split(", ") {
            all.insert(format!("{kind}={status} {reason}"));
        }
    }
    all
}

#[test]
fn documented_reasons_match_cases() {
    let documented = documented();
    assert!(documented.len() > 20, "{documented:#?}");
    let mut shown = BTreeSet::new();
    for path in cases() {
        let text = std::fs::read_to_string(&path).expect("a case");
        let lines = text.lines().filter_map(|line| line.strip_prefix("# "));
        for line in lines {
            let mut words = line.trim_start().split(' ');
            if let (Some(says), Some(reason), Some(generation)) =
                (words.next(), words.next(), words.next())
                && generation.starts_with('@')
                && !says.starts_with("example.com/")
            {
                shown.insert(format!("{says} {reason}"));
            }
        }
    }
    let differ: Vec<_> = documented.symmetric_difference(&shown).collect();
    assert!(
        differ.is_empty(),
        "only in docs/status.md or only in cases: {differ:#?}"
    );
}
