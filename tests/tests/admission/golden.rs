//! The objects of the golden cases: whatever is in force without a problem is stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_tests::{objects, root};

use crate::cluster::{Cluster, Write};

/// Files whose objects the released schemas of Gateway API refuse, or which say two things of one header.
const REFUSED: [&str; 2] = ["query-named-twice.yaml", "filter-header-named-twice.yaml"];

/// Kinds of which the access policy alone says a problem, and where it is not in force says nothing.
const OF_THE_ACCESS_POLICY: [&str; 2] = [
    "permissive-without-problems.yaml",
    "other-kinds-are-passed-over.yaml",
];

/// Other kinds are not judged.
const KINDS: [&str; 6] = [
    "TrafficSplit",
    "HTTPRouteGroup",
    "TCPRoute",
    "TrafficTarget",
    "HTTPRoute",
    "GRPCRoute",
];

/// Of the kinds that the cluster has.
pub async fn objects_without_a_problem_are_stored(cluster: &Cluster) {
    let kinds = cluster.kinds();
    let mut tried = 0;
    for file in files(&root().join("tests/golden")) {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        if REFUSED.contains(&name) || OF_THE_ACCESS_POLICY.contains(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("it is read");
        for mut object in objects(&text) {
            let kind = format!(
                "{} {}",
                text_of(&object, "/apiVersion"),
                text_of(&object, "/kind")
            );
            let is_judged = KINDS.contains(&text_of(&object, "/kind")) && kinds.contains(&kind);
            if !is_judged || has_problem(&text, &object) {
                continue;
            }
            let namespace = match text_of(&object, "/metadata/namespace") {
                "" => "default".to_owned(),
                written => written.to_owned(),
            };
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            metadata.remove("creationTimestamp");
            cluster.namespace(&namespace).await;
            let outcome = cluster.create(&namespace, &object, Write::Try).await;
            assert!(outcome.is_ok(), "{}: {outcome:?}", file.display());
            tried += 1;
        }
    }
    assert!(tried >= 50, "{tried} objects");
}

/// `# KIND NAMESPACE/NAME PATH: ...` in the case's answers.
fn has_problem(text: &str, object: &Value) -> bool {
    let name = text_of(object, "/metadata/name");
    let kind = text_of(object, "/kind");
    let problems = text
        .split_once("#= problems")
        .map_or("", |(_, after)| after);
    problems.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|first| first.starts_with(kind))
            && words
                .next()
                .is_some_and(|named| named.ends_with(&format!("/{name}")))
    })
}

fn text_of<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let of = |path: PathBuf| match path.is_dir() {
        true => files(&path),
        false => BTreeSet::from([path]),
    };
    let yaml = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml");
    paths.flat_map(of).filter(yaml).collect()
}
