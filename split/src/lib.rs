//! The configuration that the control plane writes and the filter reads, and the choice of a backend for each
//! request.
//!
//! ```text
//! wire::Config --Table::compile(Site)--> Table --Live::install--> Live --decide, connect, admit--> Decided
//! ```
//!
//! A module uses only the modules below it in this list:
//!
//! ```text
//! live           the current table, and the sequence of picks of each rule
//! table          compiled hosts, matches and rules
//! rule           a rule and its backends
//! access, connections
//! edit           changes of requests and responses
//! matching       conditions on a request
//! plugin, decision
//! wire, identity, sampler, refusal
//! ```
//!
//! The crate has no asynchronous code, does not know Kubernetes or a proxy, reads no clock and does not panic. All
//! random numbers come from a seed that the caller gives.
//!
//! ```
//! use weir_split::{Decision, Live, Site, Table, UntilConfigured, wire};
//!
//! let config: wire::Config = serde_json::from_str(
//!     r#"{ "version": 1,
//!          "hosts": [{ "hosts": { "literal": { "name": "shop.example.com", "port": 80, "default_port": true } },
//!                      "matches": [{ "rule": "shop" }] }],
//!          "rules": { "shop": { "backends": [
//!              { "weight": 1, "to": { "service": { "name": "shop-v1", "namespace": "shop", "port": 80 } } }] } } }"#,
//! )
//! .unwrap();
//! let table = Table::compile(&config, &Site::default()).unwrap();
//! let mut live = Live::new(7, UntilConfigured::Pass);
//! live.install(table);
//! let decided = live.decide(b"shop.example.com", || None, |_name| None);
//! assert_eq!(decided.decision, Decision::Cluster("shop-v1.shop.svc.cluster.local:80"));
//! ```
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used
)]

mod access;
mod connections;
mod decision;
mod edit;
mod identity;
mod live;
mod matching;
pub mod module;
mod plugin;
mod refusal;
mod rule;
mod sampler;
mod table;
pub mod wire;

pub use decision::{Decided, Decision, Edit, MIRROR_HEADERS, UnknownListener};
pub use edit::filters::{is_framing_header, is_mirror_header};
pub use identity::{IdentityDomains, is_trust_domain, peer_identity};
pub use live::{Live, RuleStates};
pub use matching::pattern::{Pattern, PatternError};
pub use plugin::{
    ClustersFrom, Direction, EVERY_NAMESPACE, Listeners, Naming, PLUGIN_EFFECT, PLUGIN_MESSAGES,
    Plugin, PluginError, PluginMessage, Protocol, Site, UntilConfigured,
};
pub use refusal::Refusal;
pub use sampler::{MAX_TOTAL, Sampler};
pub use table::Table;
