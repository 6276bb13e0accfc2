//! A value of a manifest -> a Rust type, with errors that the author of the manifest understands.
//!
//! serde's own errors name types of Rust (`expected u16`, `invalid type: map`). This deserializer knows for each value
//! its path, the shape that its field requires, and the value that the manifest has instead.

mod error;
mod value;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manifest::problem::{ObjectRef, Problem};

/// Decodes `value`, which stands at `path` of `object` (empty for the whole document). The path of an error is the full
/// path of the wrong value.
pub fn decode_at<T: DeserializeOwned>(
    object: &ObjectRef,
    path: &str,
    value: &Value,
) -> Result<T, Problem> {
    T::deserialize(value::ValueDeserializer(value)).map_err(|error| error.problem(object, path))
}

#[cfg(test)]
mod tests;
