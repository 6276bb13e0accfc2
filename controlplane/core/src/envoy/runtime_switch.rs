//! Reads conditions on a runtime key (envoy.config.core.v3.RuntimeFractionalPercent). Such a key switches Weir on and
//! off.

use std::collections::BTreeMap;

use serde_json::Value;

/// The values of runtime keys in a running Envoy.
pub type RuntimeValues = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeSwitch {
    pub key: String,
    /// True if no request fits when the key has its default value.
    is_off_by_default: bool,
}

impl RuntimeSwitch {
    /// Reads `{ "default_value": { "numerator": 100 }, "runtime_key": "weir.enabled" }`. A key without a default value
    /// is no switch.
    pub fn read(fraction: &Value) -> Option<RuntimeSwitch> {
        let default = fraction.get("default_value")?;
        let numerator = default.get("numerator").and_then(Value::as_u64);
        Some(RuntimeSwitch {
            key: fraction.get("runtime_key")?.as_str()?.to_owned(),
            is_off_by_default: numerator.unwrap_or_default() == 0,
        })
    }

    /// True if no request fits now.
    pub fn is_off(&self, values: &RuntimeValues) -> bool {
        match values.get(&self.key).filter(|value| !value.is_empty()) {
            Some(value) => value == "0",
            None => self.is_off_by_default,
        }
    }
}

/// Reads the answer of `/runtime`.
pub fn read_values(runtime: &Value) -> RuntimeValues {
    let entries = runtime.get("entries").and_then(Value::as_object);
    let value = |entry: &Value| Some(entry.get("final_value")?.as_str()?.to_owned());
    let entries = entries.into_iter().flatten();
    entries
        .filter_map(|(key, entry)| Some((key.clone(), value(entry)?)))
        .collect()
}

/// True if a runtime key of an Envoy with this bootstrap can change while Envoy runs.
pub fn is_changeable(bootstrap: &Value) -> bool {
    let Some(runtime) = bootstrap.get("layered_runtime") else {
        return false;
    };
    let layers = runtime.get("layers").and_then(Value::as_array);
    // Envoy adds an admin layer to an empty list.
    layers.is_none_or(|layers| {
        let is_static = |layer: &Value| layer.get("static_layer").is_some();
        layers.is_empty() || !layers.iter().all(is_static)
    })
}
