//! Reads manifests: returns objects, and problems with the path of the wrong field. This module reads only the kind and
//! the metadata of an object.

pub mod decode;
pub mod field_path;
pub mod hostname;
pub mod object;
pub mod patterns;
pub mod problem;
pub mod spelling;
pub mod unknown_fields;
