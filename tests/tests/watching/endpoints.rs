//! EndpointSlices reach the catalog without a translation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use weir::publish::Publisher;
use weir::source::kubernetes::Cluster;
use weir_cluster::server::{ADMIN, client};
use weir_core::api::smi::traffic_target::Policy;
use weir_core::metrics::Metrics;

use crate::scene::{SHOP, server, split};

fn slice(address: &str) -> String {
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-v1-a, labels: {{kubernetes.io/service-name: web-v1}}}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints: [{{addresses: [{address}]}}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoint_changes_need_no_translation() {
    let server = server();
    server.apply(SHOP);
    server.apply(&split("web", 1));
    server.apply(&slice("10.1.0.1"));
    let client = client(&server.kubeconfig(ADMIN)).await.expect("a client");
    let cluster = Cluster::of(client, &[], Policy::Unstated);
    let metrics = Arc::new(Metrics::default());
    let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
    let catalog = publisher.catalog();
    let mut current = publisher.subscribe();
    let mut changes = catalog.changed_endpoints();
    tokio::spawn(cluster.feed(publisher));
    let limit = Duration::from_secs(20);
    timeout(limit, current.changed())
        .await
        .expect("a publication in time")
        .expect("a publication");
    let name = "web-v1.default.svc.cluster.local:80";
    let has = |address: &str| {
        let body = catalog.endpoints(name).expect("endpoints").body;
        body.windows(address.len())
            .any(|it| it == address.as_bytes())
    };
    // The first publication waits for the EndpointSlices.
    assert!(catalog.clusters().borrow().contains_key(name) && has("10.1.0.1"));
    while changes.try_recv().is_ok() {}
    let start = Instant::now();
    server.apply(&slice("10.1.0.2"));
    let changed = timeout(limit, changes.recv()).await.expect("a change");
    println!("apply to catalog: {:?}", start.elapsed());
    assert_eq!(&*changed.expect("a change"), name);
    assert!(has("10.1.0.2") && !has("10.1.0.1"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(metrics.revisions_published.get(), 1);
}
