//! Where objects come from: a folder of manifests, or a cluster.

pub mod folder;
pub mod kubernetes;
