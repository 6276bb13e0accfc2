//! The lines that make an Envoy get its filter, clusters and endpoints from `weir serve`, for `weir bootstrap`.
//!
//! ```text
//! PasteOptions --whole_file--> a complete configuration with one listener
//! PasteOptions, a configuration --edit--> the configuration with the lines, the difference, and remarks
//! ```
//!
//! The functions are pure: the caller reads and writes files.

mod edit;
mod fragments;
mod options;
mod text_draft;
mod unified_diff;
mod whole_file;
mod yaml_tree;
mod yaml_value;

pub use edit::{EditedConfiguration, Remark, edit};
pub use options::{ModuleSource, PasteOptions, ServerAddress};
pub use whole_file::whole_file;
