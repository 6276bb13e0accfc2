//! Tests the cluster of the tests: its kubelet, kube-proxy and DNS work for pods, and nothing remains after its end.

mod containers;
mod lifecycle;
mod namespace;
mod restarts;
mod sidecars;
mod workloads;
