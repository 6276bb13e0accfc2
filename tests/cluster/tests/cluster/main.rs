//! Tests the test cluster itself: pods can use its kubelet, kube-proxy and DNS, and nothing remains after its end.

mod containers;
mod lifecycle;
mod namespace;
mod restarts;
mod workloads;
