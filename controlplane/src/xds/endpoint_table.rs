//! The EndpointSlices of all Services, and the encoded endpoints of the clusters that a stream has asked for.
//!
//! A change of an EndpointSlice goes from here directly to the streams. It needs no translation, so proxies get it
//! within milliseconds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::encoded_resource::Resource;
use super::endpoints_message::endpoints_resource;
use super::lazy_cluster::Clusters;
use weir_core::api::endpoint_slice::EndpointSlice;
use weir_core::upstream::PortSelection;
use weir_core::upstream::endpoints::endpoints;

/// How long the table keeps the endpoints of a cluster that the newest plan does not name. They do not change in this
/// time.
const FROZEN: Duration = Duration::from_secs(60);
/// How long the endpoints of a Service without EndpointSlices stay. A Service, its EndpointSlices and the rule that names
/// it may be removed together, and the plan without the rule arrives later than the change of the EndpointSlices.
const GRACE: Duration = Duration::from_secs(5);

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
    /// True if EndpointSlices arrive apart from the plan.
    is_fed: bool,
    /// The number of clusters with `emptying_since`.
    emptying: usize,
    /// The number of clusters with `frozen_since`.
    frozen: usize,
}

struct Encoded {
    service: Key,
    selection: PortSelection,
    resource: Resource,
    /// Since when the newest plan does not name the cluster. None if the plan names it.
    frozen_since: Option<Instant>,
    /// Since when the EndpointSlices do not say which endpoints the cluster has.
    emptying_since: Option<Instant>,
}

impl EndpointTable {
    /// Returns the endpoints of a cluster. Returns None if the cluster has no endpoints by this protocol.
    pub fn endpoints(&mut self, name: &str, clusters: &Clusters) -> Option<Resource> {
        let named = clusters.get_key_value(name);
        let selection = named.map(|(_, cluster)| cluster.planned().selection());
        // The endpoints are a part of the cluster now.
        if let Some(None) = selection {
            return None;
        }
        if let Some(encoded) = self.encoded.get(name) {
            return Some(encoded.resource.clone());
        }
        let (name, cluster) = named?;
        let selection = selection.flatten()?;
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
            emptying_since: None,
        };
        self.encoded.insert(name.clone(), encoded);
        Some(resource)
    }

    /// Adds or replaces an EndpointSlice. Returns the names of the clusters whose endpoints have changed.
    pub fn set(&mut self, slice: Arc<EndpointSlice>) -> Vec<Arc<str>> {
        self.is_fed = true;
        let mut services = BTreeSet::new();
        self.store(slice, &mut services);
        self.update(services)
    }

    /// Removes the EndpointSlice with this namespace and name. Returns the names of the clusters whose endpoints have
    /// changed.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Vec<Arc<str>> {
        self.is_fed = true;
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
        self.is_fed = true;
        let services = self.store_all(slices, namespace);
        self.update(services)
    }

    /// Learns the clusters of a new plan, and with `slices` all EndpointSlices that were read together with the plan.
    /// Returns the names of the clusters whose endpoints have changed.
    ///
    /// The endpoints of a cluster that the plan does not name stay as they are for a minute. They are forgotten at the
    /// next change.
    pub fn adapt(
        &mut self,
        clusters: &Clusters,
        slices: Option<Vec<Arc<EndpointSlice>>>,
    ) -> Vec<Arc<str>> {
        let mut services = match slices {
            Some(slices) => self.store_all(slices, None),
            None => BTreeSet::new(),
        };
        let now = Instant::now();
        for (name, encoded) in &mut self.encoded {
            let planned = clusters.get(name).map(|it| it.planned());
            let Some(selection) = planned.and_then(|it| it.selection()) else {
                if encoded.frozen_since.is_none() {
                    encoded.frozen_since = Some(now);
                    self.frozen = self.frozen.saturating_add(1);
                }
                continue;
            };
            let frozen_since = encoded.frozen_since.take();
            if frozen_since.is_some() {
                self.frozen = self.frozen.saturating_sub(1);
                // The endpoints are as old as the freeze, so their time of grace began with it.
                if encoded.emptying_since.is_none() {
                    encoded.emptying_since = frozen_since;
                    self.emptying = self.emptying.saturating_add(1);
                }
            }
            if frozen_since.is_some() || encoded.selection != selection {
                encoded.selection = selection;
                services.insert(encoded.service.clone());
            }
        }
        self.update(services)
    }

    /// Ends the time of grace of Services without EndpointSlices. Returns the names of the clusters whose endpoints have
    /// changed.
    pub fn expire(&mut self) -> Vec<Arc<str>> {
        let is_emptying = |it: &&Encoded| it.emptying_since.is_some() && it.frozen_since.is_none();
        let services = match self.emptying {
            0 => BTreeSet::new(),
            _ => {
                let emptying = self.encoded.values().filter(is_emptying);
                emptying.map(|it| it.service.clone()).collect()
            }
        };
        self.update(services)
    }

    /// Stores the EndpointSlices of one namespace, or all. Returns the Services whose endpoints may have changed.
    fn store_all(
        &mut self,
        slices: Vec<Arc<EndpointSlice>>,
        namespace: Option<&str>,
    ) -> BTreeSet<Key> {
        let present: HashSet<Key> = slices.iter().map(|it| key_of(it)).collect();
        let of_namespace = |key: &&Key| namespace.is_none_or(|it| *key.0 == *it);
        let known = self.slices.keys().filter(of_namespace);
        let gone: Vec<Key> = known
            .filter(|key| !present.contains(*key))
            .cloned()
            .collect();
        let mut services = BTreeSet::new();
        for slice in slices {
            self.store(slice, &mut services);
        }
        services.extend(gone.iter().filter_map(|key| self.take(key)));
        services
    }

    /// Stores an EndpointSlice, and adds the Services whose endpoints may have changed.
    fn store(&mut self, slice: Arc<EndpointSlice>, services: &mut BTreeSet<Key>) {
        let key = key_of(&slice);
        if self.slices.get(&key).is_some_and(|it| *it == slice) {
            return;
        }
        // The slice may have belonged to another Service.
        services.extend(self.take(&key));
        let service = service_of(&slice);
        let of_service = self.of_services.entry(service.clone()).or_default();
        of_service.push(slice.clone());
        self.slices.insert(key, slice);
        services.insert(service);
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
    fn update(&mut self, services: BTreeSet<Key>) -> Vec<Arc<str>> {
        self.forget_old();
        let mut changed = Vec::new();
        for service in services {
            let names = self.encoded_of_services.get(&service);
            for name in names.cloned().unwrap_or_default() {
                if self.update_cluster(&name, &service) {
                    changed.push(name);
                }
            }
        }
        changed
    }

    /// Returns true if the endpoints of the cluster have changed.
    fn update_cluster(&mut self, name: &Arc<str>, service: &Key) -> bool {
        let selection = match self.encoded.get(name) {
            Some(it) if it.frozen_since.is_none() => it.selection.clone(),
            _ => return false,
        };
        let is_unknown = self.is_fed && !self.says_endpoints(service, &selection);
        let resource = self.encode(name, service, &selection);
        let Some(encoded) = self.encoded.get_mut(name) else {
            return false;
        };
        let is_changed = encoded.resource.version != resource.version;
        let since = encoded.emptying_since.take();
        if since.is_some() {
            self.emptying = self.emptying.saturating_sub(1);
        }
        if is_unknown && is_changed {
            let since = since.unwrap_or_else(Instant::now);
            if since.elapsed() < GRACE {
                encoded.emptying_since = Some(since);
                self.emptying = self.emptying.saturating_add(1);
                return false;
            }
        }
        encoded.resource = resource;
        is_changed
    }

    /// False if the Service has no EndpointSlice, or if its EndpointSlices have endpoints but not this port. Kubernetes
    /// removes the EndpointSlices of a deleted Service, and renames a port in a Service before it does in EndpointSlices.
    fn says_endpoints(&self, service: &Key, selection: &PortSelection) -> bool {
        let slices = || self.of_services.get(service).into_iter().flatten();
        let has_port = slices().any(|it| it.port(&selection.port_name).is_some());
        has_port
            || (slices().next().is_some() && slices().all(|it| it.endpoints().next().is_none()))
    }

    fn encode(&self, name: &Arc<str>, service: &Key, selection: &PortSelection) -> Resource {
        let slices = self.of_services.get(service).into_iter().flatten();
        let endpoints = endpoints(slices.map(Arc::as_ref), selection);
        endpoints_resource(name, &endpoints)
    }

    fn forget_old(&mut self) {
        if self.frozen == 0 {
            return;
        }
        let is_old = |it: &Encoded| it.frozen_since.is_some_and(|it| it.elapsed() >= FROZEN);
        let old: BTreeMap<_, _> = self.encoded.extract_if(|_, it| is_old(it)).collect();
        self.frozen = self.frozen.saturating_sub(old.len());
        for (name, encoded) in old {
            if encoded.emptying_since.is_some() {
                self.emptying = self.emptying.saturating_sub(1);
            }
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

    /// Makes the time of grace of a cluster end now.
    pub fn end_grace(&mut self, cluster: &str) {
        let encoded = self.encoded.get_mut(cluster).expect("the cluster");
        encoded.emptying_since = Instant::now().checked_sub(GRACE);
    }
}
