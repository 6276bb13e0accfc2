//! The newest cluster and the newest endpoints of each backend.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use super::encoded_resource::Resource;
use super::endpoint_table::EndpointTable;
use super::lazy_cluster::{Clusters, LazyCluster};
use weir_core::api::endpoint_slice::EndpointSlice;
use weir_core::upstream::PlannedCluster;

/// Number of changes of endpoints that a receiver may have unread. A receiver with more unread changes must compare all
/// endpoints.
const CHANGES: usize = 1_024;

/// The clusters and endpoints of all backends that the plan names. The publisher replaces the clusters, the source of
/// the EndpointSlices replaces the endpoints, and every stream reads both.
pub struct Catalog {
    /// Locked before `clusters` is read or replaced, so that the endpoints always fit the clusters.
    endpoints: Mutex<EndpointTable>,
    clusters: watch::Sender<Arc<Clusters>>,
    changed_endpoints: broadcast::Sender<Arc<str>>,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            endpoints: Mutex::default(),
            clusters: watch::Sender::default(),
            changed_endpoints: broadcast::Sender::new(CHANGES),
        }
    }
}

impl Catalog {
    /// Replaces all clusters, and with `slices` also all EndpointSlices. The caller must call this before it publishes a
    /// plan that names new clusters.
    ///
    /// The catalog has no cluster of an older plan. A stream that has sent such a cluster keeps what it needs.
    pub fn replace(
        &self,
        clusters: BTreeMap<Arc<str>, PlannedCluster>,
        slices: Option<Vec<Arc<EndpointSlice>>>,
    ) {
        let before = self.clusters.borrow().clone();
        let mut pairs = clusters.iter().zip(&*before);
        let is_same = clusters.len() == before.len()
            && pairs
                .all(|((name, planned), (other, lazy))| name == other && planned == lazy.planned());
        if is_same {
            if let Some(slices) = slices {
                self.keep_clusters(slices);
            }
            return;
        }
        // An unchanged cluster is not encoded again.
        let clusters =
            clusters
                .into_iter()
                .map(|(name, planned)| match before.get_key_value(&name) {
                    Some((name, lazy)) if *lazy.planned() == planned => {
                        (name.clone(), lazy.clone())
                    }
                    _ => (name, Arc::new(LazyCluster::new(planned))),
                });
        let clusters = Arc::new(clusters.collect());
        self.change(|endpoints| {
            let changed = endpoints.adapt(&clusters, slices);
            self.clusters.send_replace(clusters);
            changed
        });
    }

    /// Returns a receiver of the clusters of all backends.
    pub fn clusters(&self) -> watch::Receiver<Arc<Clusters>> {
        self.clusters.subscribe()
    }

    /// Returns the endpoints of a cluster. Returns None if the cluster has no endpoints by this protocol.
    pub fn endpoints(&self, cluster: &str) -> Option<Resource> {
        let mut endpoints = self.lock();
        let clusters = self.clusters.borrow();
        endpoints.endpoints(cluster, &clusters)
    }

    /// Replaces all EndpointSlices, if they were read together with a plan that proxies refuse.
    pub fn keep_clusters(&self, slices: Vec<Arc<EndpointSlice>>) {
        let clusters = self.clusters.borrow().clone();
        self.change(|endpoints| endpoints.adapt(&clusters, Some(slices)));
    }

    /// Empties the clusters of Services whose EndpointSlices have been gone for five seconds. A source that writes
    /// EndpointSlices apart from the plan must call this every second.
    pub fn expire(&self) {
        self.change(EndpointTable::expire);
    }

    /// Adds or replaces an EndpointSlice.
    pub fn set_slice(&self, slice: Arc<EndpointSlice>) {
        self.change(|endpoints| endpoints.set(slice));
    }

    /// Removes the EndpointSlice with this namespace and name.
    pub fn remove_slice(&self, namespace: &str, name: &str) {
        self.change(|endpoints| endpoints.remove(namespace, name));
    }

    /// Replaces the EndpointSlices of one namespace. Without `namespace`, replaces all EndpointSlices.
    pub fn replace_slices(&self, slices: Vec<Arc<EndpointSlice>>, namespace: Option<&str>) {
        self.change(|endpoints| endpoints.replace(slices, namespace));
    }

    /// Returns a receiver of the names of clusters whose endpoints have changed.
    pub fn changed_endpoints(&self) -> broadcast::Receiver<Arc<str>> {
        self.changed_endpoints.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut EndpointTable) -> Vec<Arc<str>>) {
        let changed = change(&mut self.lock());
        for name in changed {
            // An error means that no stream is open.
            let _ = self.changed_endpoints.send(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, EndpointTable> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
