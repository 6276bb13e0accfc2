//! The newest cluster and the newest endpoints of each backend, encoded for the wire.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use prost::Message;
use tokio::sync::{broadcast, watch};
use weir_core::digest::sha256;

/// Number of changes of endpoints that a receiver may have unread. A receiver with more unread changes must compare all
/// endpoints.
const CHANGES: usize = 1_024;

/// A message of the xDS protocol with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The name of the cluster, also for endpoints.
    pub name: Arc<str>,
    /// The hash of the body, in hexadecimal digits. It is equal on every replica.
    pub version: Arc<str>,
    /// The encoded message, without the `Any` around it.
    pub body: Bytes,
}

impl Resource {
    /// Encodes a message. Equal messages must have equal bytes, so a map of the message may have at most one entry: the
    /// order of its entries is random.
    pub fn of(name: Arc<str>, message: &impl Message) -> Resource {
        let body = message.encode_to_vec();
        let mut version = sha256(&body);
        version.truncate(32);
        Resource {
            name,
            version: version.into(),
            body: body.into(),
        }
    }
}

/// The resources of all backends that the plan names. One writer replaces them; every stream reads them.
pub struct Catalog {
    clusters: watch::Sender<Arc<BTreeMap<Arc<str>, Resource>>>,
    endpoints: RwLock<HashMap<Arc<str>, Resource>>,
    changed_endpoints: broadcast::Sender<Arc<str>>,
}

impl Default for Catalog {
    fn default() -> Catalog {
        Catalog {
            clusters: watch::Sender::default(),
            endpoints: RwLock::default(),
            changed_endpoints: broadcast::Sender::new(CHANGES),
        }
    }
}

impl Catalog {
    /// Replaces all clusters. The caller must call this before it publishes a plan that names new clusters.
    pub fn replace_clusters(&self, clusters: BTreeMap<Arc<str>, Resource>) {
        self.clusters.send_if_modified(|before| {
            let is_new = **before != clusters;
            if is_new {
                *before = Arc::new(clusters);
            }
            is_new
        });
    }

    /// Returns a receiver of the clusters of all backends, by name.
    pub fn clusters(&self) -> watch::Receiver<Arc<BTreeMap<Arc<str>, Resource>>> {
        self.clusters.subscribe()
    }

    /// Stores the endpoints of one cluster. Does nothing if they are equal to the stored endpoints.
    pub fn set_endpoints(&self, endpoints: Resource) {
        let name = endpoints.name.clone();
        let mut all = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if all
            .get(&name)
            .is_some_and(|it| it.version == endpoints.version)
        {
            return;
        }
        all.insert(name.clone(), endpoints);
        drop(all);
        // An error means that no stream is open.
        let _ = self.changed_endpoints.send(name);
    }

    /// Removes the endpoints of clusters for which `is_in_use` is false.
    pub fn retain_endpoints(&self, is_in_use: impl Fn(&str) -> bool) {
        let mut all = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, _| is_in_use(name));
    }

    /// Returns the endpoints of a cluster. Returns None if the cluster has no endpoints by this protocol.
    pub fn endpoints(&self, cluster: &str) -> Option<Resource> {
        let all = self
            .endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(cluster).cloned()
    }

    /// Returns a receiver of the names of clusters whose endpoints have changed.
    pub fn changed_endpoints(&self) -> broadcast::Receiver<Arc<str>> {
        self.changed_endpoints.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(name: &str, version: &str) -> Resource {
        Resource {
            name: name.into(),
            version: version.into(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn only_changes_are_announced() {
        let catalog = Catalog::default();
        let mut changed = catalog.changed_endpoints();
        catalog.set_endpoints(resource("a", "1"));
        catalog.set_endpoints(resource("a", "1"));
        catalog.set_endpoints(resource("b", "1"));
        catalog.set_endpoints(resource("a", "2"));
        let mut names = Vec::new();
        while let Ok(name) = changed.try_recv() {
            names.push(name.to_string());
        }
        assert_eq!(names, ["a", "b", "a"]);
        let mut clusters = catalog.clusters();
        let all = || BTreeMap::from([("a".into(), resource("a", "1"))]);
        catalog.replace_clusters(all());
        assert!(clusters.has_changed().unwrap());
        clusters.borrow_and_update();
        catalog.replace_clusters(all());
        assert!(!clusters.has_changed().unwrap());
    }
}
