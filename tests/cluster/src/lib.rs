//! A Kubernetes of real parts for tests, without a container engine. `ApiServer` is etcd and kube-apiserver alone, on
//! loopback; `Cluster` is all of it, with pods, in namespaces of its own.
//!
//! programs (built once from Go modules) -> server -> node (network, proxy, DNS) -> kubelet -> enter (a container)

pub mod certificates;
pub mod child;
pub mod cluster;
mod control;
pub mod enter;
mod forward;
pub mod images;
pub mod inside;
pub mod kubectl;
mod kubelet;
mod network;
pub mod node;
pub mod programs;
pub mod server;
mod temporary;

pub use cluster::Cluster;
pub use images::Images;
pub use inside::Inside;
pub use kubectl::Kubectl;
pub use server::ApiServer;
