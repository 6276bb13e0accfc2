//! Fields of a manifest that the struct which reads it does not name.
//!
//! A split or a route that is read without one of its fields could send traffic to a backend that its author did not
//! choose. So an unknown field refuses the object, unless its value is empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::manifest::problem::messages::object as messages;
use crate::manifest::problem::{ObjectRef, Problem};

/// All fields of a map that the other fields of a struct do not read; use it with `#[serde(flatten)]`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct UnknownFields(BTreeMap<String, Value>);

impl UnknownFields {
    /// The names of the fields that have a value and are not in `ignored`, sorted.
    pub fn except<'r>(&'r self, ignored: &[&str]) -> impl Iterator<Item = &'r str> {
        let fields = self
            .0
            .iter()
            .filter(|(field, value)| !ignored.contains(&field.as_str()) && !is_empty(value));
        fields.map(|(field, _)| field.as_str())
    }

    /// An error for the first field that has a value. `path` is the path of the map that the fields stand in.
    pub fn reject(&self, object: &ObjectRef, path: &str) -> Result<(), Problem> {
        match self.except(&[]).next() {
            None => Ok(()),
            Some(field) => {
                Err(object.problem(format!("{path}.{field}"), messages::unknown_field(field)))
            }
        }
    }
}

/// An error if the list at `path` has more than `limit` entries. Lists within lists multiply, so every list is bounded.
pub fn at_most<T>(list: &[T], limit: usize, object: &ObjectRef, path: &str) -> Result<(), Problem> {
    if list.len() <= limit {
        return Ok(());
    }
    Err(object.problem(path, messages::too_many_entries(list.len(), limit)))
}

/// Whether a field with this value means the same as no field: null, an empty text, an empty list, or a map in which
/// all values are empty.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
