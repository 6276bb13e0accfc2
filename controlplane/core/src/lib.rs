//! The pure part of the control plane: objects in; a plan, problems and status out.
//!
//! Nothing here reads a file, a socket or a clock, and nothing waits: `Cargo.toml` has no crate that could, and
//! `clippy.toml` forbids the types of the standard library that could. Each module uses only modules below it:
//!
//! ```text
//! translate   world -> plan and problems
//! status      problems and proxies -> conditions and Events
//! world       a snapshot of all objects
//! envoy       an Envoy's configuration dump -> findings
//! api         one module for each kind of object: manifest -> checked form
//! plan        what all proxies need; the part for one proxy; that part as a document
//! manifest    text -> object, and what is wrong where
//! metrics, owner, watermark, digest
//! ```
#![expect(
    clippy::result_large_err,
    reason = "a Problem is the outcome of reading a manifest, never of a hot path"
)]

pub mod api;
pub mod digest;
pub mod envoy;
pub mod manifest;
pub mod metrics;
pub mod owner;
pub mod plan;
pub mod status;
pub mod translate;
pub mod watermark;
pub mod world;
