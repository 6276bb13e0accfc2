//! Brings the clusters of the newest plan into the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::{Catalog, Resource};
use super::cluster_message::cluster_resource;
use super::endpoint_table::{EndpointTable, NeededEndpoints};
use weir_core::upstream::{Cluster, Discovery};

/// The clusters of the newest plan. It is the only writer of the catalog's clusters.
pub struct Upstreams {
    catalog: Arc<Catalog>,
    endpoints: Arc<EndpointTable>,
    /// The clusters in the catalog, by name. An unchanged cluster is not encoded again.
    encoded: BTreeMap<Arc<str>, (Cluster, Resource)>,
}

impl Default for Upstreams {
    fn default() -> Upstreams {
        let catalog = Arc::new(Catalog::default());
        Upstreams {
            endpoints: Arc::new(EndpointTable::new(catalog.clone())),
            catalog,
            encoded: BTreeMap::new(),
        }
    }
}

impl Upstreams {
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    pub fn endpoints(&self) -> Arc<EndpointTable> {
        self.endpoints.clone()
    }

    /// Replaces the clusters in the catalog. First the endpoints of new clusters reach the catalog, so a proxy never
    /// sees a new cluster without them.
    ///
    /// The catalog has no cluster of an older plan. A stream that has sent such a cluster keeps what it needs.
    pub fn replace(&mut self, clusters: BTreeMap<Arc<str>, Cluster>) {
        let is_same = clusters.len() == self.encoded.len()
            && clusters.iter().zip(&self.encoded).all(
                |((name, cluster), (other, (encoded, _)))| name == other && cluster == encoded,
            );
        if is_same {
            return;
        }
        let needed = clusters
            .iter()
            .filter_map(|(name, cluster)| match &cluster.discovery {
                Discovery::Slices(selection) => Some(NeededEndpoints {
                    namespace: cluster.service.namespace.as_str().into(),
                    service: cluster.service.name.as_str().into(),
                    cluster: name.clone(),
                    selection: selection.clone(),
                }),
                Discovery::Addresses(_) | Discovery::Names(_) => None,
            });
        self.endpoints.need(needed.collect());
        let mut before = std::mem::take(&mut self.encoded);
        let encoded = clusters.into_iter().map(|(name, cluster)| {
            let known = before.remove(&name);
            let resource = match known.filter(|(known, _)| *known == cluster) {
                Some((_, resource)) => resource,
                None => cluster_resource(&name, &cluster),
            };
            (name, (cluster, resource))
        });
        self.encoded = encoded.collect();
        let resources = self.encoded.iter();
        let resources = resources.map(|(name, (_, resource))| (name.clone(), resource.clone()));
        self.catalog.replace_clusters(resources.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::manifest::object::read;
    use weir_core::translate::budget::Limits;
    use weir_core::translate::translate_objects;
    use weir_core::world::Entry;

    /// Returns the clusters of a split with these Services as backends.
    fn clusters_of(services: &[(&str, &str)]) -> BTreeMap<Arc<str>, Cluster> {
        let mut text = String::from(
            "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: s}, spec: {service: a, backends: [",
        );
        for (name, _) in services {
            text += &format!("{{service: {name}, weight: 1}}, ");
        }
        text += "]}}\n";
        for (name, protocol) in services {
            text += &format!(
                "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80, appProtocol: {protocol}}}]}}}}\n"
            );
        }
        let objects = read("a.yaml", &text).unwrap().objects;
        let entries: Vec<Entry> = objects.iter().map(Entry::of).collect();
        translate_objects(&entries, Policy::Unstated, &Limits::default()).clusters
    }

    #[test]
    fn unchanged_clusters_are_not_encoded_again() {
        let mut upstreams = Upstreams::default();
        let mut receiver = upstreams.catalog().clusters();
        let mut current = || receiver.borrow_and_update().clone();
        upstreams.replace(clusters_of(&[("a", "http"), ("b", "http")]));
        let before = current();
        assert_eq!(before.len(), 2);
        let [a, b] = ["a", "b"].map(|it| format!("{it}.default.svc.cluster.local:80"));
        assert!(upstreams.catalog().endpoints(&a).is_some());
        upstreams.replace(clusters_of(&[("a", "http"), ("b", "grpc")]));
        let after = current();
        assert_eq!(before[&*a].body.as_ptr(), after[&*a].body.as_ptr());
        assert_ne!(before[&*b].version, after[&*b].version);
        upstreams.replace(clusters_of(&[("a", "http")]));
        assert_eq!(current().len(), 1);
        // The endpoints of the other cluster stay for a while.
        assert!(upstreams.catalog().endpoints(&b).is_some());
    }
}
