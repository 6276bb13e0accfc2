//! Clusters and endpoints for proxies, as resources of Envoy's xDS protocol.
//!
//! A resource is a named message of the protocol. The catalog has the newest resources. The table of streams has what
//! each connected proxy has accepted.

pub mod catalog;
mod cluster_message;
pub mod endpoint_table;
mod endpoints_message;
pub mod stream_table;
pub mod upstreams;
