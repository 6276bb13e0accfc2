//! The conditions of a match on a request.

pub(crate) mod condition;
pub(crate) mod host;
pub(crate) mod path;
pub mod pattern;
pub(crate) mod request_view;
