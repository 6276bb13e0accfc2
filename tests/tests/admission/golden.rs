//! Tests that the API server accepts the objects of the golden cases. Objects with a problem are left out.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_tests::{objects, root};

use crate::cluster::{Cluster, Write};

/// This test leaves these files out. Their cases are valid for Weir, but the released schemas of Gateway API or the
/// admission policies refuse their objects.
const REFUSED: [&str; 2] = ["query-named-twice.yaml", "filter-header-named-twice.yaml"];

/// This test leaves these files out. They have invalid objects of the access policy, but list no problems, because
/// their cases run without this policy.
const OF_THE_ACCESS_POLICY: [&str; 2] = [
    "permissive-without-problems.yaml",
    "other-kinds-are-passed-over.yaml",
];

/// Only these kinds are checked.
const KINDS: [&str; 6] = [
    "TrafficSplit",
    "HTTPRouteGroup",
    "TCPRoute",
    "TrafficTarget",
    "HTTPRoute",
    "GRPCRoute",
];

/// Creates, as a dry run, every golden object that has no problem. Leaves out kinds that the API server does not serve.
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
                namespace => namespace.to_owned(),
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

/// True if the case has a line `# KIND NAMESPACE/NAME PATH: ...` for the object.
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
    let of = |path: PathBuf| {
        if path.is_dir() {
            files(&path)
        } else {
            BTreeSet::from([path])
        }
    };
    let yaml = |path: &PathBuf| path.extension().is_some_and(|it| it == "yaml");
    paths.flat_map(of).filter(yaml).collect()
}
