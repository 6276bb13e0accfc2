//! Manifests as JSON values.

use serde_json::Value;

/// Returns every object of a YAML stream.
pub fn objects(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    documents.into_iter().filter(|it| !it.is_null()).collect()
}
