//! Reads conditions on a runtime key (envoy.config.core.v3.RuntimeFractionalPercent). Such a key switches Weir on and
//! off.

use std::collections::BTreeMap;

use serde_json::Value;

const HUNDRED: u64 = 100;

/// The values of runtime keys in a running Envoy.
pub type RuntimeValues = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuntimeSwitch {
    pub key: String,
    /// The numerator of the default value, and the number of parts of a whole.
    default: (u64, u64),
}

impl RuntimeSwitch {
    /// Reads `{ "default_value": { "numerator": 100 }, "runtime_key": "weir.enabled" }`. A key without a default value
    /// is no switch.
    pub fn read(fraction: &Value) -> Option<RuntimeSwitch> {
        let default = fraction.get("default_value")?;
        let numerator = default.get("numerator").and_then(Value::as_u64);
        let denominator = default.get("denominator").and_then(Value::as_str);
        Some(RuntimeSwitch {
            key: fraction.get("runtime_key")?.as_str()?.to_owned(),
            default: (
                numerator.unwrap_or_default(),
                parts(denominator.unwrap_or_default()),
            ),
        })
    }

    /// True if no request fits now.
    pub fn is_off(&self, values: &RuntimeValues) -> bool {
        self.fraction(values).0 == 0
    }

    /// True if every request fits now.
    pub fn is_full(&self, values: &RuntimeValues) -> bool {
        let (numerator, parts) = self.fraction(values);
        numerator >= parts
    }

    /// Returns the value of the key if it is no number, so that Envoy uses the default value.
    pub fn ignored_value<'v>(&self, values: &'v RuntimeValues) -> Option<&'v str> {
        let value = values.get(&self.key).filter(|it| !it.is_empty())?;
        read_fraction(value).is_none().then_some(value)
    }

    fn fraction(&self, values: &RuntimeValues) -> (u64, u64) {
        let value = values.get(&self.key).and_then(|it| read_fraction(it));
        value.unwrap_or(self.default)
    }
}

/// Reads the value of a key as Envoy does: a number of percent without its decimal places, or a FractionalPercent in one
/// of the text formats of protobuf. Returns None for other values.
fn read_fraction(value: &str) -> Option<(u64, u64)> {
    if let Ok(number) = value.trim().parse::<f64>() {
        // The cast rounds down.
        return (number >= 0.0).then_some((number as u64, HUNDRED));
    }
    if !value.contains("numerator") && !value.contains("denominator") {
        return None;
    }
    // `numerator: 5`, or `key: "numerator" value { number_value: 5 }`.
    let after = value.split("numerator").nth(1).unwrap_or_default();
    let digits = after.trim_start_matches(|it: char| !it.is_ascii_digit() && it != '}');
    let end = digits.find(|it: char| !it.is_ascii_digit());
    let digits = digits.get(..end.unwrap_or(digits.len()));
    let numerator = digits.and_then(|it| it.parse().ok());
    Some((numerator.unwrap_or_default(), parts(value)))
}

/// Returns the number of parts of a whole. `text` contains the name of a denominator.
fn parts(text: &str) -> u64 {
    if text.contains("TEN_THOUSAND") {
        10_000
    } else if text.contains("MILLION") {
        1_000_000
    } else {
        HUNDRED
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
