//! Clusters and endpoints for proxies, as resources of Envoy's xDS protocol.
//!
//! A resource is a named message of the protocol. The catalog has the newest resources. A delta stream sends a proxy
//! the resources that it needs. The table of streams has what each connected proxy has accepted.

pub mod catalog;
mod cluster_message;
pub mod delta;
pub mod encoded_resource;
mod endpoint_table;
mod endpoints_message;
mod extension_message;
pub mod extensions;
pub mod filter_request;
pub mod lazy_cluster;
pub mod message;
pub mod module_file;
pub mod module_slots;
pub mod module_table;
pub mod stream_table;
