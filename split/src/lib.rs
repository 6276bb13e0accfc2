//! What the control plane and the filter agree on, and the choice itself.
//!
//! ```text
//! wire::Config --Table::compile(Site)--> Table --Live::install--> Live --decide, connect, admit--> Decided
//! ```
//!
//! Imports run `wire, host, pattern <- asked, path, url <- condition, filters <- access, connections
//! <- rule <- table <- live -> sampler`. Nothing here is asynchronous,
//! knows Kubernetes or a proxy, reads a clock or panics; what is random is drawn from a seed
//! that the caller gives.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod access;
mod asked;
mod condition;
mod connections;
mod filters;
mod host;
mod identity;
mod live;
pub mod module;
mod path;
mod pattern;
mod plugin;
mod refusal;
mod rule;
mod sampler;
mod table;
mod url;
pub mod wire;

pub use filters::is_framing_header;
pub use identity::{IdentityDomains, is_trust_domain, peer_identity};
pub use live::{Decided, Decision, Edit, Live};
pub use pattern::{Pattern, PatternError};
pub use plugin::{
    Direction, EVERY_NAMESPACE, Listeners, Naming, PLUGIN_EFFECT, PLUGIN_MESSAGES, Plugin,
    PluginError, PluginMessage, Protocol, Site, UntilConfigured,
};
pub use refusal::Refusal;
pub use sampler::{MAX_TOTAL, Sampler};
pub use table::{Table, UnknownListener};
