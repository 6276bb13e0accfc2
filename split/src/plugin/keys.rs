//! The keys of the plugin configuration, each read by its type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::{self, PluginError, PluginMessage};

/// All keys of the plugin configuration.
const ALL_KEYS: [&str; 20] = [
    "control_plane",
    "initial",
    "until_configured",
    "log_rule",
    "namespace",
    "gateway",
    "listener",
    "listeners",
    "cluster",
    "clusters",
    "clusters_from",
    "cluster_domain",
    "header",
    "ordinary_route_serves_root",
    "protocol",
    "root",
    "service_account",
    "trust_domain",
    "access_max_age",
    "direction",
];

/// The keys that have not been read yet, with their values.
pub(super) struct Keys(BTreeMap<String, Value>);

impl Keys {
    pub(super) fn parse(json: &[u8]) -> Result<Keys, PluginError> {
        if json.trim_ascii().is_empty() {
            return Err(PluginError::new(&error::EMPTY, ""));
        }
        if is_protobuf_struct(json) {
            return Err(PluginError::new(&error::STRUCT, ""));
        }
        let mut keys = BTreeMap::new();
        for (key, value) in entries(json)? {
            if !ALL_KEYS.contains(&key.as_str()) {
                return Err(PluginError::new(&error::UNKNOWN_KEY, key));
            }
            if keys.insert(key.clone(), value).is_some() {
                return Err(PluginError::new(&error::KEY_TWICE, key));
            }
        }
        Ok(Keys(keys))
    }

    /// Returns the value of the key; None if the key is absent or null.
    pub(super) fn value(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    fn read<T>(
        &mut self,
        key: &str,
        message: &'static PluginMessage,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, PluginError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let value = read(value).ok_or_else(|| PluginError::new(message, key))?;
        Ok(Some(value))
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, PluginError> {
        self.read(key, &error::NOT_TEXT, text)
    }

    /// Returns the boolean value of the key; false if the key is absent.
    pub(super) fn flag(&mut self, key: &str) -> Result<bool, PluginError> {
        let flag = self.read(key, &error::NOT_BOOLEAN, |value| value.as_bool())?;
        Ok(flag.unwrap_or(false))
    }

    /// Returns a map of strings; empty if the key is absent.
    pub(super) fn texts(&mut self, key: &str) -> Result<BTreeMap<String, String>, PluginError> {
        let texts = self.read(key, &error::NOT_TEXTS, |value| match value {
            Value::Object(entries) => entries
                .into_iter()
                .map(|(name, value)| Some((name, text(value)?)))
                .collect(),
            _ => None,
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// Returns a map of lists of names; None if the key is absent. An empty list and an empty name are errors.
    pub(super) fn names(
        &mut self,
        key: &str,
    ) -> Result<Option<BTreeMap<String, BTreeSet<String>>>, PluginError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let Value::Object(entries) = value else {
            return Err(PluginError::new(&error::NO_LISTENERS, ""));
        };
        let mut names = BTreeMap::new();
        for (name, value) in entries {
            let list = match value {
                Value::Array(items) => items.into_iter().map(text).collect::<Option<BTreeSet<_>>>(),
                _ => None,
            };
            let list = list.filter(|names| !names.is_empty() && !names.contains(""));
            let Some(list) = list else {
                return Err(PluginError::new(&error::LISTENERS_NAMES, name));
            };
            names.insert(name, list);
        }
        Ok(Some(names))
    }
}

/// True if these are the bytes of a google.protobuf.Struct. The first field of a Struct is an entry of a map, and the
/// first field of the entry is the key.
fn is_protobuf_struct(bytes: &[u8]) -> bool {
    let Some((0x0a, rest)) = bytes.split_first().map(|(tag, rest)| (*tag, rest)) else {
        return false;
    };
    let after_length = rest.iter().position(|byte| *byte < 0x80);
    let entry = after_length.and_then(|last| rest.get(last.saturating_add(1)..));
    let Some([0x0a, length, key @ ..]) = entry else {
        return false;
    };
    // The field after the key is the value.
    key.get(usize::from(*length)) == Some(&0x12)
}

/// Returns all keys with their values. If the text has a key twice, the list has the key twice.
fn entries(json: &[u8]) -> Result<Vec<(String, Value)>, PluginError> {
    let not_json = |error: serde_json::Error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        PluginError::new(&error::NOT_JSON, place)
    };
    match serde_json::from_slice(json).map_err(not_json)? {
        Value::Object(_) => serde_json::from_slice(json).map(|Entries(all)| all),
        _ => return Err(PluginError::new(&error::NOT_A_MAP, "")),
    }
    .map_err(not_json)
}

struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Entries(all))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
