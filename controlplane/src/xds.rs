//! Clusters and endpoints for proxies, as resources of Envoy's xDS protocol.
//!
//! A resource is a named message of the protocol. The catalog has the newest resources. The table of streams has what
//! each connected proxy has accepted.

pub mod catalog;
pub mod stream_table;
