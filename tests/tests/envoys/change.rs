//! Changes of the base configuration: the operations of a JSON Patch (RFC 6902), and `store`, which moves a part of the
//! configuration into a file of Envoy's file-based xDS.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Change {
    Add {
        path: String,
        value: Value,
    },
    Remove {
        path: String,
    },
    Replace {
        path: String,
        value: Value,
    },
    /// Moves the value at `path` into `file`, as the field `under` of `resource`, or as the resource itself.
    Store {
        path: String,
        file: String,
        resource: Value,
        under: Option<String>,
    },
}

const LISTENER: &str = "/static_resources/listeners/0";
const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
const PLUGIN: &str = "/http_filters/0/typed_config/config";

/// Returns the JSON pointer of a path. A path begins with a short name of a part of the configuration.
fn pointer(path: &str) -> String {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let start = match first {
        "" => String::new(),
        "listener" => LISTENER.to_owned(),
        "manager" => MANAGER.to_owned(),
        "filter" => format!("{MANAGER}{PLUGIN}"),
        "host" => format!("{MANAGER}/route_config/virtual_hosts/0"),
        "routes" => format!("{MANAGER}/route_config/virtual_hosts/0/routes"),
        "cluster-weir" => "/static_resources/clusters/3".to_owned(),
        other => panic!("no part of the configuration has the short name {other}"),
    };
    match rest {
        "" => start,
        rest => format!("{start}/{rest}"),
    }
}

impl Change {
    /// Applies this change. Files go into `folder`.
    pub fn apply(&self, config: &mut Value, folder: &Path) {
        match self {
            Change::Add { path, value } => add(config, &pointer(path), value.clone()),
            Change::Remove { path } => drop(remove(config, &pointer(path))),
            Change::Replace { path, value } => {
                let place = config.pointer_mut(&pointer(path));
                *place.unwrap_or_else(|| panic!("nothing at {path}")) = value.clone();
            }
            Change::Store {
                path,
                file,
                resource,
                under,
            } => {
                let moved = remove(config, &pointer(path));
                let mut resource = resource.clone();
                match under {
                    Some(field) => resource[field] = moved,
                    None => {
                        for (field, value) in moved.as_object().into_iter().flatten() {
                            resource[field] = value.clone();
                        }
                    }
                }
                let response = json!({ "version_info": "1", "resources": [resource] });
                std::fs::write(folder.join(file), response.to_string()).expect("a resource");
            }
        }
    }
}

fn parent<'c, 'p>(config: &'c mut Value, pointer: &'p str) -> (&'c mut Value, &'p str) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let parent = config.pointer_mut(parent);
    (
        parent.unwrap_or_else(|| panic!("nothing holds {pointer}")),
        key,
    )
}

fn add(config: &mut Value, pointer: &str, value: Value) {
    match parent(config, pointer) {
        (Value::Array(items), "-") => items.push(value),
        (Value::Array(items), place) => items.insert(place.parse().expect("an index"), value),
        (fields, key) => fields[key.replace("~1", "/")] = value,
    }
}

fn remove(config: &mut Value, pointer: &str) -> Value {
    match parent(config, pointer) {
        (Value::Array(items), place) => items.remove(place.parse().expect("an index")),
        (Value::Object(fields), key) => fields
            .remove(&key.replace("~1", "/"))
            .unwrap_or_else(|| panic!("nothing at {pointer}")),
        _ => panic!("nothing at {pointer}"),
    }
}
