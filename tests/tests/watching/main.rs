//! `weir serve --kubernetes` on a real kube-apiserver: whatever becomes of the API server, nothing that is served goes
//! wrong, and what changed is followed at once.

mod kinds;
mod outages;
mod past;
mod permissions;
mod proxy;
mod scene;
