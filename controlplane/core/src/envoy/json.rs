//! Parts of the configuration dump that several modules read.

use serde_json::Value;
use weir_split::{Plugin, Protocol};

/// `google.protobuf.Any` in JSON says its type in `@type`; a TypedStruct has it in `type_url`.
pub(super) fn wasm(any: &Value) -> Option<(&Value, Protocol)> {
    let chain = |key: &str| match any.get(key)?.as_str()?.rsplit('/').next()? {
        "envoy.extensions.filters.http.wasm.v3.Wasm" => Some(Protocol::Http),
        "envoy.extensions.filters.network.wasm.v3.Wasm" => Some(Protocol::Tcp),
        _ => None,
    };
    match chain("@type") {
        Some(chain) => Some((any, chain)),
        None => Some((any.get("value")?, chain("type_url")?)),
    }
}

/// The plugin configuration is the text of a StringValue, or a Struct, which Envoy hands over as JSON. The text too.
pub(super) fn plugin(configuration: &Value) -> Option<(Plugin, String)> {
    let value = configuration.get("value")?;
    let json = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((Plugin::parse(json.as_bytes()).ok()?, json))
}

pub(super) fn message(any: &Value) -> &str {
    let name = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

/// A string field; empty where it is absent.
pub(super) fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
