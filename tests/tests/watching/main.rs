//! `weir serve --kubernetes` on a real kube-apiserver. Outages of the API server do not change the served
//! configuration. The control plane follows later changes at once.

mod kinds;
mod outages;
mod permissions;
mod proxy;
mod restored_cluster;
mod scene;
