//! Brings EndpointSlices from their watches into the catalog.
//!
//! EndpointSlices change with each pod, and need no translation. So they have a feed of their own, which waits for no
//! translation. The object store learns only whether each source of EndpointSlices was listed once, because nothing is
//! published before all sources were listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::interval;

use super::object_store::SourceEvent;
use super::read_object::{Key, ReadObject};
use crate::xds::catalog::Catalog;
use weir_core::api::endpoint_slice::EndpointSlice;

/// Runs until all senders of events are gone. `objects` leads to the object store.
///
/// A source that fails or is gone keeps its EndpointSlices.
pub async fn feed_endpoints(
    mut events: mpsc::Receiver<SourceEvent>,
    catalog: Arc<Catalog>,
    objects: mpsc::Sender<SourceEvent>,
) {
    let mut listed: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = seconds.tick() => {
                catalog.expire();
                continue;
            }
        };
        let Some(event) = event else {
            return;
        };
        let for_store = match event {
            SourceEvent::Applied(_, key, object, _) => {
                apply(&catalog, &key, &object);
                None
            }
            SourceEvent::Deleted(_, (namespace, name), _) => {
                catalog.remove_slice(&namespace, &name);
                None
            }
            SourceEvent::Listed(id, objects, ..) => {
                let slices = objects.values().filter_map(endpoint_slice).cloned();
                catalog.replace_slices(slices.collect(), namespace_of(&id));
                let is_first = listed.insert(id.clone());
                is_first.then(|| SourceEvent::Listed(id, BTreeMap::new(), 0, 0))
            }
            SourceEvent::Failing(id, why) => {
                let is_unread = !listed.contains(&id);
                is_unread.then_some(SourceEvent::Failing(id, why))
            }
            SourceEvent::Gone(id) => {
                listed.remove(&id);
                Some(SourceEvent::Gone(id))
            }
            SourceEvent::Begun(_) | SourceEvent::Reached(..) | SourceEvent::Discovered(_) => None,
        };
        if let Some(event) = for_store
            && objects.send(event).await.is_err()
        {
            return;
        }
    }
}

/// If the object has no EndpointSlice, it belongs to no Service, or is too large to keep.
fn apply(catalog: &Catalog, (namespace, name): &Key, object: &ReadObject) {
    let entry = object.entry.as_deref();
    for problem in entry.iter().flat_map(|it| it.problems()) {
        tracing::debug!("{problem}");
    }
    match endpoint_slice(object) {
        Some(slice) => catalog.set_slice(slice.clone()),
        None => catalog.remove_slice(namespace, name),
    }
}

fn endpoint_slice(object: &ReadObject) -> Option<&Arc<EndpointSlice>> {
    object.entry.as_deref()?.endpoint_slice()
}

/// Returns the namespace in the id of a source; None for a source of all namespaces.
fn namespace_of(id: &str) -> Option<&str> {
    Some(id.split_once('/')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::manifest::object::read;
    use weir_core::translate::budget::Limits;
    use weir_core::translate::translate_objects;
    use weir_core::world::Entry;

    use crate::source::kubernetes::read_object::Head;
    use crate::source::kubernetes::resource::{ApiResource, Served};

    fn object(address: &str) -> (Key, ReadObject) {
        let text = format!(
            r#"{{"metadata":{{"name":"a-1","namespace":"shop","labels":{{"kubernetes.io/service-name":"a"}}}},
                "addressType":"IPv4","ports":[{{"name":"","port":80}}],"endpoints":[{{"addresses":["{address}"]}}]}}"#
        );
        let text = RawValue::from_string(text).unwrap();
        let resource = ApiResource::all(Policy::Unstated)
            .find(|it| it.name == "EndpointSlice")
            .unwrap();
        let served = Served {
            version: "v1",
            has_status: false,
        };
        let head = Head::of(&text);
        let kept = ReadObject::of(&text, &head, &resource, served, "endpointslices");
        (head.key, kept)
    }

    #[tokio::test(start_paused = true)]
    async fn slices_reach_catalog_without_translation() {
        let catalog = Arc::new(Catalog::default());
        let manifests = "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop}, spec: {ports: [{port: 80}]}}\n\
             ---\n{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {name: a, namespace: shop}, \
             spec: {service: a, backends: [{service: a, weight: 1}]}}\n";
        let objects = read("a.yaml", manifests).unwrap().objects;
        let entries: Vec<Entry> = objects.iter().map(Entry::of).collect();
        let translation = translate_objects(&entries, Policy::Unstated, &Limits::default());
        catalog.replace(translation.clusters, None);
        let name = "a.shop.svc.cluster.local:80";
        let version = || catalog.endpoints(name).unwrap().version;
        let (to, events) = mpsc::channel(10);
        let (objects, mut store) = mpsc::channel(10);
        tokio::spawn(feed_endpoints(events, catalog.clone(), objects));
        let id: Arc<str> = "endpointslices.discovery.k8s.io".into();
        let none = version();
        to.send(SourceEvent::Failing(id.clone(), "403".into()))
            .await
            .unwrap();
        assert!(matches!(store.recv().await, Some(SourceEvent::Failing(..))));
        let (key, first) = object("10.0.0.1");
        let list = BTreeMap::from([(key.clone(), first)]);
        to.send(SourceEvent::Listed(id.clone(), list, 5, 5))
            .await
            .unwrap();
        let Some(SourceEvent::Listed(_, empty, 0, 0)) = store.recv().await else {
            panic!("the object store learns that the source was listed");
        };
        assert!(empty.is_empty());
        let one = version();
        assert_ne!(none, one);
        let mut changes = catalog.changed_endpoints();
        let applied = SourceEvent::Applied(id.clone(), key.clone(), object("10.0.0.2").1, 6);
        to.send(applied).await.unwrap();
        changes.recv().await.unwrap();
        assert_ne!(one, version());
        // A failure keeps the endpoints, and does not reach the store any more.
        to.send(SourceEvent::Failing(id.clone(), "403".into()))
            .await
            .unwrap();
        to.send(SourceEvent::Deleted(id, key, 7)).await.unwrap();
        changes.recv().await.unwrap();
        assert_eq!(none, version());
        assert!(store.try_recv().is_err());
    }
}
