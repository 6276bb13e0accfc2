//! Manifests as plain values.

use serde_json::Value;

/// Every object of a stream of YAML documents.
pub fn objects(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    documents.into_iter().filter(|it| !it.is_null()).collect()
}
