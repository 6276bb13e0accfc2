//! One module for each kind of object. A module turns a manifest into a checked Rust type.
//!
//! [`crate::translate`] resolves references to other objects.

pub mod backend_tls_policy;
pub mod endpoint_slice;
pub mod gateway;
pub mod known_fields;
pub mod reference_grant;
pub mod route;
pub mod service;
pub mod smi;
pub mod workload;
