//! The pure part of the control plane: it turns objects into a plan, problems and status.
//!
//! The crate reads no file, socket or clock, and never waits. `Cargo.toml` has no crate for these tasks, and
//! `clippy.toml` forbids the parts of the standard library that do them. Each module uses only modules below it:
//!
//! ```text
//! translate   world -> plan and problems
//! rollout     what proxies run -> which proxies get a new module
//! status      problems and proxies -> conditions and Events
//! upstream    world and plan -> the clusters of the backends, and their endpoints
//! world       a snapshot of all objects
//! paste       an Envoy's configuration file -> the file with the lines for Weir
//! envoy       an Envoy's configuration dump -> findings
//! api         one module for each kind of object: manifest -> checked form
//! plan        the rules of all proxies, and the part for one proxy as JSON
//! manifest    text -> object, and problems with their places
//! metrics, owner, watermark, digest
//! ```
#![expect(
    clippy::result_large_err,
    reason = "a Problem is the error of reading a manifest, which is not a hot path"
)]

pub mod api;
pub mod digest;
pub mod envoy;
pub mod manifest;
pub mod metrics;
pub mod owner;
pub mod paste;
pub mod plan;
pub mod rollout;
pub mod status;
pub mod translate;
pub mod upstream;
pub mod watermark;
pub mod world;
