//! The cluster itself: what a kubelet, kube-proxy and cluster DNS do for pods, and that nothing of it stays.

mod containers;
mod lives;
mod space;
mod whole;
mod workloads;
