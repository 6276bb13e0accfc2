use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;

use super::*;
use crate::xds::lazy_cluster::cluster_in;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object::read;
use weir_core::translate::budget::Limits;
use weir_core::translate::translate_objects;
use weir_core::world::Entry;

fn entries(text: &str) -> Vec<Arc<Entry>> {
    let objects = read("a.yaml", text).unwrap().objects;
    objects.iter().map(|it| Arc::new(Entry::of(it))).collect()
}

/// Returns a Service with port 80.
fn service(name: &str, port: &str) -> Arc<Entry> {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{ports: [{{port: 80{port}}}]}}}}"
    );
    entries(&text).remove(0)
}

/// Returns the clusters of a split with these Services as backends.
fn clusters_of(services: &[Arc<Entry>]) -> BTreeMap<Arc<str>, PlannedCluster> {
    let backends: Vec<_> = services
        .iter()
        .map(|it| format!("{{service: {}, weight: 1}}", it.name()))
        .collect();
    let mut all = entries(&format!(
        "{{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {{name: s}}, \
         spec: {{service: a, backends: [{}]}}}}",
        backends.join(", ")
    ));
    all.extend(services.iter().cloned());
    translate_objects(&all, Policy::Unstated, &Limits::default()).clusters
}

fn slice(name: &str, service: &str, address: &str) -> Arc<EndpointSlice> {
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}, {{name: other, port: 81}}]\nendpoints: [{{addresses: [{address}]}}]\n"
    );
    entries(&text)[0].endpoint_slice().unwrap().clone()
}

fn cluster(service: &str) -> String {
    format!("{service}.default.svc.cluster.local:80")
}

/// Returns the number of endpoints of a Service in the catalog; None if the catalog has no endpoints of it.
fn count(catalog: &Catalog, service: &str) -> Option<usize> {
    let message = message(catalog, service)?;
    let localities = message.endpoints.iter();
    Some(localities.map(|it| it.lb_endpoints.len()).sum())
}

fn message(catalog: &Catalog, service: &str) -> Option<ClusterLoadAssignment> {
    let resource = catalog.endpoints(&cluster(service))?;
    Some(ClusterLoadAssignment::decode(resource.body).unwrap())
}

#[test]
fn slices_reach_named_clusters() {
    let catalog = Catalog::default();
    let counts = || ["a", "b"].map(|it| count(&catalog, it));
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    assert_eq!(counts(), [None, None]);
    catalog.replace(clusters_of(&["a", "b"].map(|it| service(it, ""))), None);
    assert_eq!(counts(), [Some(1), Some(0)]);
    let mut changed = catalog.changed_endpoints();
    catalog.set_slice(slice("a-2", "a", "10.0.0.2"));
    catalog.set_slice(slice("a-2", "a", "10.0.0.2"));
    assert_eq!(changed.len(), 1);
    assert_eq!(*changed.try_recv().unwrap(), *cluster("a"));
    assert_eq!(counts(), [Some(2), Some(0)]);
    // The slice moves to another Service.
    catalog.set_slice(slice("a-2", "b", "10.0.0.2"));
    assert_eq!(counts(), [Some(1), Some(1)]);
    catalog.remove_slice("other", "a-1");
    catalog.remove_slice("default", "a-1");
    assert_eq!(counts(), [Some(1), Some(1)]);
    catalog.lock().end_grace(&cluster("a"));
    catalog.expire();
    assert_eq!(counts(), [Some(0), Some(1)]);
    catalog.replace_slices(vec![slice("a-3", "a", "10.0.0.3")], Some("other"));
    assert_eq!(counts(), [Some(1), Some(1)]);
    catalog.replace_slices(vec![slice("a-3", "a", "10.0.0.3")], None);
    catalog.lock().end_grace(&cluster("b"));
    catalog.expire();
    assert_eq!(counts(), [Some(1), Some(0)]);
}

#[test]
fn endpoints_outlast_a_removed_service() {
    let catalog = Catalog::default();
    let a = [service("a", "")];
    let slices = || vec![slice("a-1", "a", "10.0.0.1")];
    // In a folder the Service, its EndpointSlice and the rule go together.
    catalog.replace(clusters_of(&a), Some(slices()));
    assert_eq!(count(&catalog, "a"), Some(1));
    let changed = catalog.changed_endpoints();
    catalog.replace(BTreeMap::new(), Some(Vec::new()));
    assert_eq!((changed.len(), count(&catalog, "a")), (0, Some(1)));
    // If the rule stays, the change of the folder counts at once.
    catalog.replace(clusters_of(&a), Some(slices()));
    catalog.replace(clusters_of(&a), Some(Vec::new()));
    assert_eq!(count(&catalog, "a"), Some(0));

    // In a cluster the EndpointSlice goes before the rule.
    let catalog = Catalog::default();
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    catalog.replace(clusters_of(&a), None);
    assert_eq!(count(&catalog, "a"), Some(1));
    catalog.remove_slice("default", "a-1");
    catalog.expire();
    assert_eq!(count(&catalog, "a"), Some(1));
    catalog.replace(BTreeMap::new(), None);
    catalog.expire();
    assert_eq!(count(&catalog, "a"), Some(1));
}

#[test]
fn emptied_slice_counts_at_once() {
    let catalog = Catalog::default();
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    catalog.replace(clusters_of(&[service("a", "")]), None);
    assert_eq!(count(&catalog, "a"), Some(1));
    let empty = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}\n\
                 addressType: IPv4\nports: []\nendpoints: []\n";
    let empty = entries(empty)[0].endpoint_slice().unwrap().clone();
    catalog.set_slice(empty);
    assert_eq!(count(&catalog, "a"), Some(0));
}

#[test]
fn endpoints_outlast_a_renamed_port() {
    let catalog = Catalog::default();
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    catalog.replace(clusters_of(&[service("a", "")]), None);
    assert_eq!(count(&catalog, "a"), Some(1));
    let renamed = [service("a", ", name: new")];
    catalog.replace(clusters_of(&renamed), None);
    assert_eq!(count(&catalog, "a"), Some(1));
    catalog.lock().end_grace(&cluster("a"));
    catalog.expire();
    assert_eq!(count(&catalog, "a"), Some(0));
}

#[test]
fn endpoints_freeze_and_are_forgotten() {
    let catalog = Catalog::default();
    let a = [service("a", "")];
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    catalog.replace(clusters_of(&a), None);
    assert_eq!(count(&catalog, "a"), Some(1));
    catalog.replace(BTreeMap::new(), None);
    catalog.set_slice(slice("a-2", "a", "10.0.0.2"));
    assert_eq!(count(&catalog, "a"), Some(1));
    // The plan names the cluster again.
    let mut changed = catalog.changed_endpoints();
    catalog.replace(clusters_of(&a), None);
    assert_eq!(*changed.try_recv().unwrap(), *cluster("a"));
    assert_eq!(count(&catalog, "a"), Some(2));
    catalog.replace(BTreeMap::new(), None);
    catalog.lock().age(&cluster("a"));
    catalog.remove_slice("default", "none");
    assert_eq!(count(&catalog, "a"), None);
}

#[test]
fn endpoints_follow_ports() {
    let catalog = Catalog::default();
    catalog.set_slice(slice("a-1", "a", "10.0.0.1"));
    catalog.replace(clusters_of(&[service("a", "")]), None);
    let before = message(&catalog, "a");
    let mut changed = catalog.changed_endpoints();
    catalog.replace(clusters_of(&[service("a", ", name: other")]), None);
    assert_eq!(changed.len(), 1);
    changed.try_recv().unwrap();
    assert_ne!(message(&catalog, "a"), before);
    assert_eq!(count(&catalog, "a"), Some(1));
}

#[test]
fn unchanged_clusters_are_not_encoded_again() {
    let catalog = Catalog::default();
    let mut receiver = catalog.clusters();
    let mut current = || receiver.borrow_and_update().clone();
    let a = service("a", "");
    catalog.replace(clusters_of(&[a.clone(), service("b", "")]), None);
    let before = current();
    let of = |clusters: &Clusters, service: &str| cluster_in(clusters, &cluster(service)).unwrap();
    let (a_before, b_before) = (of(&before, "a"), of(&before, "b"));
    let b = service("b", ", appProtocol: grpc");
    catalog.replace(clusters_of(&[a.clone(), b.clone()]), None);
    let after = current();
    assert_eq!(a_before.body.as_ptr(), of(&after, "a").body.as_ptr());
    assert_ne!(b_before.version, of(&after, "b").version);
    let receiver = catalog.clusters();
    catalog.replace(clusters_of(&[a, b]), None);
    assert!(!receiver.has_changed().unwrap());
}
