//! Functions that read fields of Envoy's configuration dump. Several modules use them.

use serde_json::Value;
use weir_split::{Plugin, PluginError, Protocol};

/// HTTP filters that pass a request on without changes, or answer it with an error.
pub(super) const HARMLESS_FILTERS: [&str; 12] = [
    "adaptive_concurrency",
    "admission_control",
    "bandwidth_limit",
    "buffer",
    "cors",
    "csrf",
    "fault",
    "grpc_stats",
    "local_ratelimit",
    "ratelimit",
    "rbac",
    "set_metadata",
];

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

/// Returns the Wasm filter in `within`, even if it is inside another extension.
pub(super) fn find_wasm(within: &Value) -> Option<(&Value, Protocol)> {
    wasm(within).or_else(|| children(within).find_map(find_wasm))
}

/// Returns the plugin configuration of a filter, and its text; None if it is not a plugin configuration of Weir.
/// `configuration` is a StringValue with the text, or a BytesValue with the text in base64.
pub(super) fn plugin(configuration: &Value) -> Option<(Plugin, String)> {
    let json = plugin_text(configuration)?;
    Some((Plugin::parse(json.as_bytes()).ok()?, json))
}

/// Returns the reason if Weir refuses the plugin configuration of this filter. A Wasm filter is a filter of Weir if its
/// module has a name such as `weir.wasm`, or if its configuration names a control plane.
pub(super) fn refused_plugin(filter: &Value) -> Option<PluginError> {
    let (wasm, _) = find_wasm(filter)?;
    let text = plugin_text(wasm.pointer("/config/configuration")?)?;
    let places = ["local/filename", "remote/http_uri/uri"];
    let is_named_weir = places.iter().any(|place| {
        let file = wasm.pointer(&format!("/config/vm_config/code/{place}"));
        let name = file.and_then(|it| it.as_str()?.rsplit('/').next());
        name.is_some_and(|name| name.contains("weir"))
    });
    let is_weir = is_named_weir || text.contains("\"control_plane\"");
    let has_own_root = wasm.pointer("/config/root_id").is_some();
    let error = Plugin::parse(text.as_bytes()).err()?;
    (is_weir && !has_own_root).then_some(error)
}

/// Returns the text of the configuration of a Wasm filter.
fn plugin_text(configuration: &Value) -> Option<String> {
    match configuration.get("value")? {
        Value::String(text) if message(configuration) == "BytesValue" => base64(text),
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
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

/// Returns the items of a list; nothing if the field is absent.
pub(super) fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    let items = value.get(key).and_then(Value::as_array);
    items.into_iter().flatten()
}

/// Returns the values of an object's fields, or the items of a list.
pub(super) fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let fields = value.as_object().into_iter();
    let fields = fields.flat_map(|fields| fields.values());
    fields.chain(value.as_array().into_iter().flatten())
}

/// Returns the resources of one dump: `{"static_clusters": [{"cluster": {...}}]}`, and for listeners
/// `{"dynamic_listeners": [{"active_state": {"listener": {...}}}]}`. Warming listeners are included, because they will
/// soon be active.
pub(super) fn resources<'a>(dump: &'a Value, kind: &str) -> Vec<&'a Value> {
    let lists = dump.as_object().into_iter();
    let lists = lists.flat_map(|lists| lists.values());
    let mut found = Vec::new();
    for entry in lists.filter_map(Value::as_array).flatten() {
        let states = ["active_state", "warming_state"].map(|state| entry.get(state));
        for holder in [Some(entry)].into_iter().chain(states).flatten() {
            found.extend(holder.get(kind));
        }
    }
    found
}

/// Decodes base64 (RFC 4648, 4). In the JSON of a protobuf message, the type `bytes` is base64.
fn base64(encoded: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0u32);
    for byte in encoded.trim_end_matches('=').bytes() {
        let digit = ALPHABET.iter().position(|it| *it == byte)?;
        bits = (bits << 6 | u32::try_from(digit).ok()?) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Returns the package of the type of an HTTP filter: `rbac` for `envoy.extensions.filters.http.rbac.v3.RBAC`.
pub(super) fn http_kind(config: &Value) -> Option<&str> {
    let kind = config.get("@type")?.as_str()?;
    let (_, name) = kind.split_once("envoy.extensions.filters.http.")?;
    name.split('.').next()
}
