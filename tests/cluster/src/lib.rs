//! A real Kubernetes for tests, without a container engine. `ApiServer` is etcd and kube-apiserver on loopback.
//! `Cluster` also has pods, in its own namespaces.
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
