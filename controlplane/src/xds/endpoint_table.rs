//! The EndpointSlices of all Services, and the encoded endpoints of the clusters that a stream has asked for.
//!
//! A change of an EndpointSlice goes from here directly to the streams. It needs no translation, so proxies get it
//! within milliseconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::encoded_resource::Resource;
use super::endpoints_message::endpoints_resource;
use super::lazy_cluster::Clusters;
use weir_core::api::endpoint_slice::EndpointSlice;
use weir_core::upstream::PortSelection;
use weir_core::upstream::endpoints::endpoints;

/// How long the table keeps the endpoints of a cluster that the newest plan does not name. They do not change in this
/// time.
const FROZEN: Duration = Duration::from_secs(60);

/// A namespace, and the name of a Service or of an EndpointSlice in it.
type Key = (Box<str>, Box<str>);

#[derive(Default)]
pub struct EndpointTable {
    slices: HashMap<Key, Arc<EndpointSlice>>,
    /// The EndpointSlices of each Service.
    of_services: HashMap<Key, Vec<Arc<EndpointSlice>>>,
    /// The endpoints of clusters that a stream has asked for, by name of the cluster.
    encoded: HashMap<Arc<str>, Encoded>,
    /// The names in `encoded`, by Service.
    encoded_of_services: HashMap<Key, Vec<Arc<str>>>,
}

struct Encoded {
    service: Key,
    selection: PortSelection,
    resource: Resource,
    /// Since when the newest plan does not name the cluster. None if the plan names it.
    frozen_since: Option<Instant>,
}

impl EndpointTable {
    /// Returns the endpoints of a cluster. Returns None if the cluster has no endpoints by this protocol.
    pub fn endpoints(&mut self, name: &str, clusters: &Clusters) -> Option<Resource> {
        if let Some(encoded) = self.encoded.get(name) {
            return Some(encoded.resource.clone());
        }
        let (name, cluster) = clusters.get_key_value(name)?;
        let selection = cluster.planned().selection()?;
        let object = &cluster.planned().service().object;
        let service: Key = (
            object.namespace.as_str().into(),
            object.name.as_str().into(),
        );
        let resource = self.encode(name, &service, &selection);
        let names = self.encoded_of_services.entry(service.clone()).or_default();
        names.push(name.clone());
        let encoded = Encoded {
            service,
            selection,
            resource: resource.clone(),
            frozen_since: None,
        };
        self.encoded.insert(name.clone(), encoded);
        Some(resource)
    }

    /// Adds or replaces an EndpointSlice. Returns the names of the clusters whose endpoints have changed.
    pub fn set(&mut self, slice: Arc<EndpointSlice>) -> Vec<Arc<str>> {
        let services = self.store(slice);
        self.update(services)
    }

    /// Removes the EndpointSlice with this namespace and name. Returns the names of the clusters whose endpoints have
    /// changed.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Vec<Arc<str>> {
        let service = self.take(&(namespace.into(), name.into()));
        self.update(service.into_iter().collect())
    }

    /// Replaces the EndpointSlices of one namespace. Without `namespace`, replaces all EndpointSlices. Returns the names
    /// of the clusters whose endpoints have changed.
    pub fn replace(
        &mut self,
        slices: Vec<Arc<EndpointSlice>>,
        namespace: Option<&str>,
    ) -> Vec<Arc<str>> {
        let mut gone = self.slices.clone();
        gone.retain(|key, _| namespace.is_none_or(|it| *key.0 == *it));
        let mut services = Vec::new();
        for slice in slices {
            gone.remove(&key_of(&slice));
            services.extend(self.store(slice));
        }
        services.extend(gone.keys().filter_map(|key| self.take(key)));
        self.update(services)
    }

    /// Learns the clusters of a new plan. Returns the names of the clusters whose endpoints have changed.
    ///
    /// The endpoints of a cluster that the plan does not name stay as they are for a minute. They are forgotten at the
    /// next change.
    pub fn adapt(&mut self, clusters: &Clusters) -> Vec<Arc<str>> {
        let now = Instant::now();
        let mut changed = Vec::new();
        for (name, encoded) in &mut self.encoded {
            let planned = clusters.get(name).map(|it| it.planned());
            let Some(selection) = planned.and_then(|it| it.selection()) else {
                encoded.frozen_since.get_or_insert(now);
                continue;
            };
            let was_frozen = encoded.frozen_since.take().is_some();
            if was_frozen || encoded.selection != selection {
                encoded.selection = selection;
                changed.push(encoded.service.clone());
            }
        }
        self.update(changed)
    }

    /// Stores an EndpointSlice. Returns the Services whose endpoints may have changed.
    fn store(&mut self, slice: Arc<EndpointSlice>) -> Vec<Key> {
        let key = key_of(&slice);
        if self.slices.get(&key).is_some_and(|it| *it == slice) {
            return Vec::new();
        }
        // The slice may have belonged to another Service.
        let mut services = Vec::from_iter(self.take(&key));
        let service = service_of(&slice);
        let of_service = self.of_services.entry(service.clone()).or_default();
        of_service.push(slice.clone());
        self.slices.insert(key, slice);
        services.push(service);
        services
    }

    /// Removes an EndpointSlice. Returns its Service.
    fn take(&mut self, key: &Key) -> Option<Key> {
        let slice = self.slices.remove(key)?;
        let service = service_of(&slice);
        if let Some(of_service) = self.of_services.get_mut(&service) {
            of_service.retain(|it| it.name != slice.name);
            if of_service.is_empty() {
                self.of_services.remove(&service);
            }
        }
        Some(service)
    }

    /// Encodes the endpoints of these Services again.
    fn update(&mut self, services: Vec<Key>) -> Vec<Arc<str>> {
        self.forget_old();
        let mut changed = Vec::new();
        for service in services {
            let names = self.encoded_of_services.get(&service);
            for name in names.cloned().unwrap_or_default() {
                let Some(encoded) = self.encoded.get(&name) else {
                    continue;
                };
                let resource = self.encode(&name, &service, &encoded.selection);
                if let Some(encoded) = self.encoded.get_mut(&name)
                    && encoded.frozen_since.is_none()
                    && encoded.resource.version != resource.version
                {
                    encoded.resource = resource;
                    changed.push(name);
                }
            }
        }
        changed
    }

    fn encode(&self, name: &Arc<str>, service: &Key, selection: &PortSelection) -> Resource {
        let slices = self.of_services.get(service).into_iter().flatten();
        let endpoints = endpoints(slices.map(Arc::as_ref), selection);
        endpoints_resource(name, &endpoints)
    }

    fn forget_old(&mut self) {
        let is_old = |it: &Encoded| it.frozen_since.is_some_and(|it| it.elapsed() >= FROZEN);
        let old: BTreeMap<_, _> = self.encoded.extract_if(|_, it| is_old(it)).collect();
        for (name, encoded) in old {
            if let Some(names) = self.encoded_of_services.get_mut(&encoded.service) {
                names.retain(|it| *it != name);
                if names.is_empty() {
                    self.encoded_of_services.remove(&encoded.service);
                }
            }
        }
    }
}

fn key_of(slice: &EndpointSlice) -> Key {
    (slice.namespace.clone(), slice.name.clone())
}

fn service_of(slice: &EndpointSlice) -> Key {
    (slice.namespace.clone(), slice.service.clone())
}

#[cfg(test)]
impl EndpointTable {
    /// Makes a frozen cluster old enough to be forgotten.
    pub fn age(&mut self, cluster: &str) {
        let encoded = self.encoded.get_mut(cluster).expect("the cluster");
        encoded.frozen_since = Instant::now().checked_sub(FROZEN);
    }
}
