//! The clusters of the newest plan. Most of them are never encoded, because no stream needs them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::cluster_message::cluster_resource;
use super::encoded_resource::Resource;
use weir_core::upstream::PlannedCluster;

/// The clusters of a plan, by name.
pub type Clusters = BTreeMap<Arc<str>, Arc<LazyCluster>>;

/// A cluster of the newest plan. It is encoded when the first stream needs it.
pub struct LazyCluster {
    planned: PlannedCluster,
    encoded: OnceLock<Box<Resource>>,
}

impl LazyCluster {
    pub fn new(planned: PlannedCluster) -> LazyCluster {
        LazyCluster {
            planned,
            encoded: OnceLock::new(),
        }
    }

    pub fn planned(&self) -> &PlannedCluster {
        &self.planned
    }

    fn resource(&self, name: &Arc<str>) -> Option<Resource> {
        if let Some(encoded) = self.encoded.get() {
            return Some((**encoded).clone());
        }
        let settings = self.planned.settings()?;
        let encoded = self
            .encoded
            .get_or_init(|| cluster_resource(name, &settings).into());
        Some((**encoded).clone())
    }
}

/// Returns the encoded cluster with this name.
pub fn cluster_in(clusters: &Clusters, name: &str) -> Option<Resource> {
    let (name, cluster) = clusters.get_key_value(name)?;
    cluster.resource(name)
}
