//! The input and output of the control plane: it reads objects from a folder or a cluster, serves the filter's
//! configuration to proxies, and writes status.
//!
//! Each module in this list uses only modules below it. All modules use the crate `weir_core`, which has the logic:
//!
//! ```text
//! report         writes status and Events
//! serve          HTTP for proxies and operators
//! source         reads a folder or a cluster
//! publish        translates objects into a plan, and the plan into JSON
//! xds            clusters and endpoints of backends, for proxies
//! http1_client   sends HTTP/1.1 requests
//! ```

pub mod http1_client;
pub mod publish;
pub mod report;
pub mod serve;
pub mod source;
pub mod xds;
