//! Tests a control plane that is newer than the filter, on a real Envoy. In this test, matches by path need a newer
//! configuration format than the filter has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use weir::publish::{Publisher, Snapshot};
use weir::serve::{Authentication, Server};
use weir::source::kubernetes::cluster_versions::ClusterVersions;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_split::wire;
use weir_tests::fault::{Web, manifest};
use weir_tests::{Connection, Envoy};

/// Returns the Service `web`, and a route from `path` to the Service `web-VERSION`.
fn route(path: &str, version: &str) -> Snapshot {
    let route = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: paths }}\nspec:\n  \
         parentRefs: [{{ group: '', kind: Service, name: web }}]\n  \
         rules: [{{ matches: [{{ path: {{ value: {path} }} }}], backendRefs: [{{ name: web-{version}, port: 80 }}] }}]\n"
    );
    object::read("", &(manifest([1, 1]) + &route))
        .expect("manifests")
        .into()
}

fn features_after(config: &wire::Config, version: u32) -> BTreeSet<String> {
    let matches = config.hosts.iter().flat_map(|set| &set.matches);
    let newer = matches.filter(|wanted| version <= wire::VERSION && wanted.path.is_some());
    newer.map(|wanted| wanted.rule.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_use_filter_version_or_406() {
    let metrics = Arc::default();
    let mut publisher = Publisher::with(metrics, Policy::Unstated, features_after);
    publisher.publish(route("/", "v1"));
    let versions = ClusterVersions::default();
    let server = Server::new(
        &publisher,
        versions,
        Authentication::Anyone,
        Default::default(),
        Arc::default(),
    );
    let app = server.router();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });

    let web = Web::start().await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "default" }"#;
    let bootstrap = web.bootstrap(address).listener("outbound", plugin, None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    assert_eq!(connection.get("web", "/a").await.header("identity"), "v1");

    // The filter's version cannot express the route, so the filter keeps its last configuration.
    publisher.publish(route("/a", "v2"));
    let version = wire::VERSION;
    let names = &format!(
        "version {version} of the configuration format cannot express HTTPRoute/default/paths"
    );
    for _ in 0..300 {
        if envoy.log().contains(names) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(envoy.log().contains(names), "{}", envoy.log());
    assert_eq!(connection.get("web", "/a").await.header("identity"), "v1");
    assert_eq!(connection.get("web", "/").await.header("identity"), "v1");

    // The filter follows the next configuration that its version can express.
    publisher.publish(route("/", "v2"));
    envoy.wait_for_updates(2).await;
    assert_eq!(connection.get("web", "/a").await.header("identity"), "v2");
}
