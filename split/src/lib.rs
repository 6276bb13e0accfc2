//! What the control plane and the filter agree on, and the choice itself.
//!
//! ```text
//! wire::Config --Table::compile(Site)--> Table --Live::install--> Live --decide(host, path)--> Decision
//! ```
//!
//! Imports run `wire <- plugin, host, path <- table <- live -> sampler`. Nothing here is asynchronous,
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

mod host;
mod live;
mod path;
mod plugin;
mod sampler;
mod table;
pub mod wire;

pub use live::{Decided, Decision, Edit, Live};
pub use plugin::{Direction, Naming, Plugin, PluginError, Protocol, Site, UntilConfigured};
pub use sampler::{MAX_TOTAL, Sampler};
pub use table::{Refusal, Table};
