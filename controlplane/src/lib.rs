//! The shell of the control plane: objects from a folder or a cluster, the filter's configuration to proxies, status back.
//!
//! Each module uses only modules below it, and all of them use the pure crate `weir_core`:
//!
//! ```text
//! report    status, Events, the Lease, what other replicas know
//! serve     HTTP for proxies and operators
//! source    a folder or a cluster
//! publish   objects -> what is in force -> rendered documents
//! ```

pub mod publish;
pub mod report;
pub mod serve;
pub mod source;
