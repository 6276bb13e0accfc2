//! Writes objects directly to etcd, in the form in which the API server stores them.

use serde_json::{Value, json};
use weir_cluster::ApiServer;

fn key(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().expect("a kind");
    let plural = format!("{}s", kind.to_ascii_lowercase());
    let api_version = object["apiVersion"].as_str().expect("a version");
    let folder = match (kind, api_version.split_once('/')) {
        ("Service", _) => "services/specs".to_owned(),
        // The key of a built-in kind does not contain its API group.
        (_, None | Some(("apps", _))) => plural,
        (_, Some((group, _))) => format!("{group}/{plural}"),
    };
    format!("/registry/{folder}/{}/{}", text("namespace"), text("name"))
}

/// Adds the metadata that the API server sets, and returns the object with its key.
fn kept(number: usize, mut object: Value) -> (String, Value) {
    let metadata = &mut object["metadata"];
    metadata["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
    metadata["creationTimestamp"] = json!("2026-01-31T12:00:00Z");
    metadata["generation"] = json!(1);
    (key(&object), object)
}

/// Writes the objects to etcd, and prints their number and total size.
pub fn keep(server: &ApiServer, objects: impl IntoIterator<Item = Value>) {
    let (mut waiting, mut bytes, mut all) = (Vec::new(), 0, [0; 2]);
    for (number, object) in objects.into_iter().enumerate() {
        let size = object.to_string().len();
        // etcd accepts at most 1.5 MiB in one request.
        if bytes + size > 800_000 || waiting.len() == 100 {
            server.keep(&std::mem::take(&mut waiting));
            bytes = 0;
        }
        bytes += size;
        all = [all[0] + 1, all[1] + size];
        waiting.push(kept(number, object));
    }
    server.keep(&waiting);
    println!("{} objects, {} MB", all[0], all[1] / 1_000_000);
}
