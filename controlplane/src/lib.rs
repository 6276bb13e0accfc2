//! The shell of the control plane: it reads objects from a folder or a cluster, serves the filter's configuration to
//! proxies, and writes status.
//!
//! Each module uses only modules below it, and all of them use the pure crate `weir_core`:
//!
//! ```text
//! report         status, Events, the Lease, the proxies of other replicas
//! serve          HTTP for proxies and operators
//! source         a folder or a cluster
//! publish        objects -> the plan in force -> rendered documents
//! http1_client   one HTTP/1.1 request
//! ```

pub mod http1_client;
pub mod publish;
pub mod report;
pub mod serve;
pub mod source;
