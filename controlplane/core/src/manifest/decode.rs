//! A part of an object -> a typed form of it, with errors in the words of the object's author.
//!
//! serde's own errors speak of Rust (`expected u16`, `invalid type: map`). This deserializer knows for each value
//! the path to it, the shape that its field has to have, and what was found instead.

mod error;
mod value;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manifest::problem::{ObjectRef, Problem};

/// Decodes `value`, which stands at `path` of `object` (empty for the whole document). The path of the problem
/// leads from the object's top to the wrong value.
pub fn decode_at<T: DeserializeOwned>(
    object: &ObjectRef,
    path: &str,
    value: &Value,
) -> Result<T, Problem> {
    T::deserialize(value::Part(value)).map_err(|error| error.problem(object, path))
}

#[cfg(test)]
mod tests;
