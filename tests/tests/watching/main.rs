//! Tests `weir serve --kubernetes` with a real API server. Outages of the API server do not change the served
//! configuration. The control plane follows later changes at once.

mod endpoints;
mod kinds;
mod outages;
mod permissions;
mod proxy;
mod restored_cluster;
mod scene;
