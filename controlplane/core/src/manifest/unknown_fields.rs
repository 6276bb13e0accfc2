//! Fields of a manifest that its form here does not name.
//!
//! A split or a route that is half understood would send traffic where its author did not want it,
//! so such a field refuses the object, unless it is empty and therefore means nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::manifest::problem::messages::object as messages;
use crate::manifest::problem::{ObjectRef, Problem};

/// Collects with `#[serde(flatten)]` what the other fields of a struct leave over.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Rest(BTreeMap<String, Value>);

impl Rest {
    /// The fields that say something and are not `known`.
    pub fn unknown<'r>(&'r self, known: &[&str]) -> impl Iterator<Item = &'r str> {
        let unknown = self
            .0
            .iter()
            .filter(|(field, value)| !known.contains(&field.as_str()) && !says_nothing(value));
        unknown.map(|(field, _)| field.as_str())
    }

    /// A problem for the first field that says something. `unsupported` names those that exist in
    /// the API but not in Weir; any other is taken for a mistake.
    pub fn refuse(
        &self,
        object: &ObjectRef,
        path: &str,
        unsupported: &[&str],
    ) -> Result<(), Problem> {
        let says_something = |(field, value): &(&String, &Value)| {
            // `sessionPersistence: {}` asks for a session; `timeouts: {}` for no time at all.
            let is_asked = unsupported.contains(&field.as_str()) && *field != "timeouts";
            (is_asked && value.is_object()) || !says_nothing(value)
        };
        let Some((field, _)) = self.0.iter().find(says_something) else {
            return Ok(());
        };
        let message = match unsupported.contains(&field.as_str()) {
            true => messages::unsupported_field(field),
            false => messages::unknown_field(field),
        };
        Err(object.problem(format!("{path}.{field}"), message))
    }
}

/// A problem for a list at `path` with more than `limit` entries: lists within lists multiply.
pub fn at_most<T>(list: &[T], limit: usize, object: &ObjectRef, path: &str) -> Result<(), Problem> {
    if list.len() <= limit {
        return Ok(());
    }
    Err(object.problem(path, messages::too_many_entries(list.len(), limit)))
}

/// Whether a field with this value means as much as no field.
pub fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
