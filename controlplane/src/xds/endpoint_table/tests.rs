use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use prost::Message;

use super::*;
use weir_core::manifest::object::read;
use weir_core::world::Entry;

fn slice(name: &str, service: &str, address: &str) -> Arc<EndpointSlice> {
    let text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nports: [{{port: 80}}]\nendpoints: [{{addresses: [{address}]}}]\n"
    );
    let objects = read("a.yaml", &text).unwrap().objects;
    Entry::of(&objects[0]).endpoint_slice().unwrap().clone()
}

fn needed(service: &str) -> NeededEndpoints {
    NeededEndpoints {
        namespace: "shop".into(),
        service: service.into(),
        cluster: service.into(),
        selection: PortSelection {
            port_name: "".into(),
            prefers_ipv6: false,
        },
    }
}

/// Returns the number of endpoints of a cluster in the catalog; None if the catalog has no endpoints of it.
fn count(catalog: &Catalog, cluster: &str) -> Option<usize> {
    let resource = catalog.endpoints(cluster)?;
    let message = ClusterLoadAssignment::decode(resource.body).unwrap();
    let localities = message.endpoints.iter();
    Some(localities.map(|it| it.lb_endpoints.len()).sum())
}

#[test]
fn slices_reach_needed_clusters() {
    let catalog = Arc::new(Catalog::default());
    let table = EndpointTable::new(catalog.clone());
    table.set(slice("a-1", "a", "10.0.0.1"));
    assert_eq!(count(&catalog, "a"), None);
    table.need(vec![needed("a"), needed("b")]);
    assert_eq!(
        (count(&catalog, "a"), count(&catalog, "b")),
        (Some(1), Some(0))
    );
    let mut changed = catalog.changed_endpoints();
    table.set(slice("a-2", "a", "10.0.0.2"));
    table.set(slice("a-2", "a", "10.0.0.2"));
    assert_eq!((changed.len(), count(&catalog, "a")), (1, Some(2)));
    changed.try_recv().unwrap();
    // The slice moves to another Service.
    table.set(slice("a-2", "b", "10.0.0.2"));
    assert_eq!(
        (count(&catalog, "a"), count(&catalog, "b")),
        (Some(1), Some(1))
    );
    table.remove("other", "a-1");
    table.remove("shop", "a-1");
    assert_eq!(count(&catalog, "a"), Some(0));
    table.replace(vec![slice("a-3", "a", "10.0.0.3")], Some("other"));
    assert_eq!(
        (count(&catalog, "a"), count(&catalog, "b")),
        (Some(1), Some(1))
    );
    table.replace(vec![slice("a-3", "a", "10.0.0.3")], None);
    assert_eq!(
        (count(&catalog, "a"), count(&catalog, "b")),
        (Some(1), Some(0))
    );
}

#[test]
fn endpoints_freeze_and_are_forgotten() {
    let catalog = Arc::new(Catalog::default());
    let table = EndpointTable::new(catalog.clone());
    table.set(slice("a-1", "a", "10.0.0.1"));
    table.need(vec![needed("a")]);
    table.need(vec![]);
    table.remove("shop", "a-1");
    assert_eq!(count(&catalog, "a"), Some(1));
    let long_ago = Instant::now().checked_sub(FROZEN).unwrap();
    table.lock().frozen.insert("a".into(), long_ago);
    table.need(vec![]);
    assert_eq!(count(&catalog, "a"), None);
    table.need(vec![needed("a")]);
    assert_eq!(count(&catalog, "a"), Some(0));
    assert!(table.lock().frozen.is_empty());
}
