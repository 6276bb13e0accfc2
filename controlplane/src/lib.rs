//! The control plane of Weir: objects in, the filter's configuration out.
//!
//! ```text
//! folder, kubernetes --objects--> World --translate--> (Plan, problems) --scope--> Config --publish--> serve
//!     ^                                                      |                                       |
//!     '---- status, Events ---- verdict <--------------------+------------ what each proxy runs -----'
//! ```
//!
//! Everything up to [`verdict`] is pure: no clock, no file, no socket, no task. The modules after
//! it are the shell that reads objects, answers proxies and writes status.
#![expect(
    clippy::result_large_err,
    reason = "a Problem is the outcome of reading a manifest, never of a hot path"
)]

pub mod problem;

pub mod object;

pub mod world;

pub mod access;
pub mod cluster;
pub mod decode;
pub mod fields;
pub mod gateway;
pub mod grpcroute;
pub mod httproute;
pub mod route;
pub mod shape;
pub mod smi;
pub mod specs;
pub mod spelling;
pub mod tcproute;
pub mod weight;
pub mod workload;

pub mod attachment;
pub mod hostname;
pub mod path;
pub mod root;

pub mod budget;
pub mod plan;
pub mod precedence;
pub mod translate;

pub mod revision;

pub mod owner;
pub mod proxy;
pub mod subject;
pub mod verdict;
pub mod watermark;

pub mod envoy;

pub mod admin;
pub mod filters;
pub mod folder;
pub mod kubernetes;
pub mod listener;
pub mod metrics;
pub mod publish;
pub mod serve;
