//! Reads the text of manifests: returns objects, and problems with the path of the wrong field. Of each object this
//! module reads only the kind and the metadata.

pub mod decode;
pub mod field_path;
pub mod hostname;
pub mod object;
pub mod patterns;
pub mod problem;
pub mod spelling;
pub mod unknown_fields;
