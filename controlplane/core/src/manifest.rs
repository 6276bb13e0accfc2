//! Text -> objects, and problems with their paths. This module knows of an object only its kind and its metadata.

pub mod decode;
pub mod field_path;
pub mod hostname;
pub mod object;
pub mod patterns;
pub mod problem;
pub mod spelling;
pub mod unknown_fields;
