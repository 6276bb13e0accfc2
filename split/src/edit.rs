//! Edits of requests and responses.

pub mod filters;
pub(crate) mod url;
