//! The EndpointSlices of all Services, and the clusters whose endpoints the catalog has.
//!
//! A change of an EndpointSlice goes from here directly into the catalog. It needs no translation, so proxies get it
//! within milliseconds. The table encodes only the endpoints of clusters that the newest plan names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::catalog::Catalog;
use super::endpoints_message::endpoints_resource;
use weir_core::api::endpoint_slice::EndpointSlice;
use weir_core::upstream::PortSelection;
use weir_core::upstream::endpoints::endpoints;

/// How long the catalog keeps the endpoints of a cluster that the newest plan does not name. They do not change in this
/// time.
const FROZEN: Duration = Duration::from_secs(60);

pub struct EndpointTable {
    catalog: Arc<Catalog>,
    state: Mutex<State>,
}

/// A namespace, and the name of a Service or of an EndpointSlice in it.
type Key = (Box<str>, Box<str>);

/// The clusters of a Service that need endpoints, by name of the cluster.
type Selections = BTreeMap<Arc<str>, PortSelection>;

#[derive(Default)]
struct State {
    slices: HashMap<Key, Arc<EndpointSlice>>,
    services: HashMap<Key, ServiceEndpoints>,
    /// Services of which the catalog may have older endpoints.
    changed: BTreeSet<Key>,
    /// Clusters that the newest plan does not name, and since when.
    frozen: HashMap<Arc<str>, Instant>,
}

#[derive(Default)]
struct ServiceEndpoints {
    /// The EndpointSlices of the Service, by name.
    slices: BTreeMap<Box<str>, Arc<EndpointSlice>>,
    clusters: Selections,
}

/// A cluster that needs endpoints.
pub struct NeededEndpoints {
    pub namespace: Box<str>,
    pub service: Box<str>,
    /// The name of the cluster.
    pub cluster: Arc<str>,
    pub selection: PortSelection,
}

impl EndpointTable {
    pub fn new(catalog: Arc<Catalog>) -> EndpointTable {
        EndpointTable {
            catalog,
            state: Mutex::default(),
        }
    }

    /// Adds or replaces an EndpointSlice.
    pub fn set(&self, slice: Arc<EndpointSlice>) {
        let mut state = self.lock();
        state.set(slice);
        self.update(&mut state);
    }

    /// Removes the EndpointSlice with this namespace and name.
    pub fn remove(&self, namespace: &str, name: &str) {
        let mut state = self.lock();
        state.remove(&(namespace.into(), name.into()));
        self.update(&mut state);
    }

    /// Replaces the EndpointSlices of one namespace. Without `namespace`, replaces all EndpointSlices.
    pub fn replace(&self, slices: Vec<Arc<EndpointSlice>>, namespace: Option<&str>) {
        let mut state = self.lock();
        let mut gone = state.slices.clone();
        gone.retain(|key, _| namespace.is_none_or(|it| *key.0 == *it));
        for slice in slices {
            gone.remove(&key_of(&slice));
            state.set(slice);
        }
        for key in gone.keys() {
            state.remove(key);
        }
        self.update(&mut state);
    }

    /// Replaces the clusters that need endpoints. The endpoints of each new cluster are in the catalog when this
    /// function returns. The endpoints of a cluster that is no longer needed stay as they are for a minute, and are
    /// forgotten at the next change.
    pub fn need(&self, clusters: Vec<NeededEndpoints>) {
        let mut state = self.lock();
        state.need(clusters);
        self.update(&mut state);
    }

    /// Puts the endpoints of changed Services into the catalog.
    fn update(&self, state: &mut State) {
        for key in std::mem::take(&mut state.changed) {
            let Some(service) = state.services.get(&key) else {
                continue;
            };
            for (cluster, selection) in &service.clusters {
                let slices = service.slices.values().map(Arc::as_ref);
                let endpoints = endpoints(slices, selection);
                self.catalog
                    .set_endpoints(endpoints_resource(cluster, &endpoints));
            }
            if service.slices.is_empty() && service.clusters.is_empty() {
                state.services.remove(&key);
            }
        }
        let count = state.frozen.len();
        let old = state
            .frozen
            .extract_if(|_, since| since.elapsed() >= FROZEN);
        let forgotten: HashMap<_, _> = old.collect();
        if state.frozen.len() < count {
            self.catalog
                .retain_endpoints(|cluster| !forgotten.contains_key(cluster));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set(&mut self, slice: Arc<EndpointSlice>) {
        let key = key_of(&slice);
        match self.slices.get(&key) {
            Some(before) if *before == slice => return,
            // The slice may have belonged to another Service.
            Some(_) => self.remove(&key),
            None => {}
        }
        let service = self.services.entry(service_of(&slice)).or_default();
        service.slices.insert(slice.name.clone(), slice.clone());
        self.changed.insert(service_of(&slice));
        self.slices.insert(key, slice);
    }

    fn remove(&mut self, key: &Key) {
        let Some(slice) = self.slices.remove(key) else {
            return;
        };
        if let Some(service) = self.services.get_mut(&service_of(&slice)) {
            service.slices.remove(&slice.name);
            self.changed.insert(service_of(&slice));
        }
    }

    fn need(&mut self, clusters: Vec<NeededEndpoints>) {
        let mut needed: HashMap<Key, Selections> = HashMap::new();
        for it in clusters {
            let service = needed.entry((it.namespace, it.service)).or_default();
            service.insert(it.cluster, it.selection);
        }
        for key in needed.keys() {
            if !self.services.contains_key(key) {
                self.services
                    .insert(key.clone(), ServiceEndpoints::default());
            }
        }
        let now = Instant::now();
        for (key, service) in &mut self.services {
            let new = needed.remove(key).unwrap_or_default();
            if service.clusters == new {
                continue;
            }
            let gone = service.clusters.keys();
            let gone = gone.filter(|it| !new.contains_key(*it));
            self.frozen.extend(gone.map(|it| (it.clone(), now)));
            for cluster in new.keys() {
                self.frozen.remove(cluster);
            }
            service.clusters = new;
            self.changed.insert(key.clone());
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
mod tests;
