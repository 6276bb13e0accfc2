//! Parts of the configuration dump that several modules read.

use serde_json::Value;
use weir_split::{Plugin, Protocol};

/// The configuration of a Wasm filter and the protocol of its chain; None if `any` is not a Wasm filter.
/// `google.protobuf.Any` has its type in `@type`, and a TypedStruct in `type_url`.
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

/// The plugin configuration of a filter, and its text. It is a StringValue with the text, or a Struct, which Envoy
/// passes to the filter as JSON. None if it is not a plugin configuration of Weir.
pub(super) fn plugin(configuration: &Value) -> Option<(Plugin, String)> {
    let value = configuration.get("value")?;
    let json = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some((Plugin::parse(json.as_bytes()).ok()?, json))
}

/// Name of the type of a part of the dump, without its package.
pub(super) fn message(any: &Value) -> &str {
    let name = any.get("@type").and_then(Value::as_str).unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

/// A string field; empty if it is absent.
pub(super) fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}
