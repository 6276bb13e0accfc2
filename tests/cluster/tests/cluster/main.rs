//! The test cluster itself: its kubelet, kube-proxy and DNS serve pods, and it leaves nothing behind.

mod containers;
mod lifecycle;
mod namespace;
mod restarts;
mod workloads;
