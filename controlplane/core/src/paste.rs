//! The lines that make an Envoy get its filter, clusters and endpoints from `weir serve`, for `weir bootstrap`.
//!
//! ```text
//! PasteOptions --whole_file--> a complete configuration with one listener
//! ```
//!
//! The functions are pure: the caller reads and writes files.

mod fragments;
mod options;
mod whole_file;

pub use options::{ModuleSource, PasteOptions, ServerAddress};
pub use whole_file::whole_file;
