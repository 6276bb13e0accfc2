//! Functions that read fields of Envoy's configuration dump. Several modules use them.

use serde_json::Value;
use weir_split::{Plugin, Protocol};

/// Returns the configuration of a Wasm filter and the protocol of its filter chain; None if `any` is not a Wasm filter.
/// The name of the type is in the field `@type`. If `any` is a TypedStruct, the name is in the field `type_url`.
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

/// Returns the plugin configuration of a filter, and its text; None if it is not a plugin configuration of Weir.
/// `configuration` is a StringValue with the text, or a Struct. Envoy passes a Struct to the filter as JSON.
pub(super) fn plugin(configuration: &Value) -> Option<(Plugin, String)> {
    let value = configuration.get("value")?;
    let json = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((Plugin::parse(json.as_bytes()).ok()?, json))
}

/// Returns the type name of a part of the dump, without the package.
pub(super) fn message(any: &Value) -> &str {
    let name = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

/// Returns a string field; an empty string if the field is absent.
pub(super) fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
