//! Text -> objects, and what is wrong where in them. Knows no kind of object but by its name.

pub mod decode;
pub mod field_path;
pub mod hostname;
pub mod object;
pub mod patterns;
pub mod problem;
pub mod spelling;
pub mod unknown_fields;
