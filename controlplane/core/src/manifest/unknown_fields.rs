//! Finds the fields of a manifest that Weir does not know.
//!
//! If Weir ignored an unknown field of a split or a route, traffic could go to a backend that the user did not choose.
//! So Weir refuses the object, unless the value of the unknown field is empty.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::manifest::problem::messages::object as messages;
use crate::manifest::problem::{ObjectRef, Problem};

/// The fields of a map that a struct does not define. Use this type with `#[serde(flatten)]`.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct UnknownFields(BTreeMap<String, Value>);

impl UnknownFields {
    /// Returns the sorted names of the fields that have a value and are not in `ignored`.
    pub fn except<'r>(&'r self, ignored: &[&str]) -> impl Iterator<Item = &'r str> {
        let fields = self
            .0
            .iter()
            .filter(|(field, value)| !ignored.contains(&field.as_str()) && !is_empty(value));
        fields.map(|(field, _)| field.as_str())
    }

    /// Returns an error for the first field that has a value. `path` is the path of the map with these fields.
    pub fn reject(&self, object: &ObjectRef, path: &str) -> Result<(), Problem> {
        match self.except(&[]).next() {
            None => Ok(()),
            Some(field) => {
                Err(object.problem(format!("{path}.{field}"), messages::unknown_field(field)))
            }
        }
    }
}

/// Returns an error if the list at `path` has more than `limit` entries. Every list has a limit, because the lengths of
/// nested lists multiply.
pub fn at_most<T>(list: &[T], limit: usize, object: &ObjectRef, path: &str) -> Result<(), Problem> {
    if list.len() <= limit {
        return Ok(());
    }
    Err(object.problem(path, messages::too_many_entries(list.len(), limit)))
}

/// True if a field with this value means the same as an absent field. Such a value is null, an empty text, an empty
/// list, or a map in which all values are empty.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
