//! `weir serve --kubernetes` on a real kube-apiserver: outages of the API server do not change the served
//! configuration, and later changes are followed at once.

mod kinds;
mod outages;
mod permissions;
mod proxy;
mod restored_cluster;
mod scene;
