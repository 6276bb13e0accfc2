//! An Envoy whose only cluster is the control plane gets the clusters and endpoints of backends from `weir serve`.

mod fourth_version;
mod named_clusters;
mod plane_away;
mod pod_rollouts;
mod pods;
mod restarts;
mod revocations;
mod two_replicas;
