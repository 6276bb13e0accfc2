//! A Kubernetes of real parts for tests, without a container engine: `ApiServer` is etcd and kube-apiserver alone.
//!
//! programs (built once from Go modules) -> child processes -> API server

pub mod certificates;
pub mod child;
pub mod kubectl;
pub mod programs;
pub mod server;

pub use kubectl::Kubectl;
pub use server::ApiServer;
