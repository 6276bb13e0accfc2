//! Decodes a value of a manifest into a Rust type. The errors are written for the author of the manifest.
//!
//! The errors of serde contain Rust types (`expected u16`, `invalid type: map`). The errors of this deserializer have
//! the path of the wrong value, the type that the field requires, and the value in the manifest.

mod error;
mod value;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manifest::problem::{ObjectRef, Problem};

/// Decodes `value`, which is at `path` in `object`. `path` is empty for the whole document. The path of an error is the
/// full path of the wrong value.
pub fn decode_at<T: DeserializeOwned>(
    object: &ObjectRef,
    path: &str,
    value: &Value,
) -> Result<T, Problem> {
    T::deserialize(value::ValueDeserializer(value)).map_err(|error| error.problem(object, path))
}

#[cfg(test)]
mod tests;
