//! A control plane that has more to say than the filter reads, on a real Envoy, in a made-up world: paths come
//! with the version of the document after the one that the filter reads.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use weir::access::Policy;
use weir::object;
use weir::publish::{Current, Published};
use weir::serve;
use weir::translate::translate;
use weir::world::World;
use weir_split::wire;
use weir_tests::fault::{Web, manifest};
use weir_tests::{Connection, Envoy};

/// The Service `web` with a route to this version below this path.
fn published(path: &str, version: &str) -> Current {
    let route = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: paths }}\nspec:\n  \
         parentRefs: [{{ group: '', kind: Service, name: web }}]\n  \
         rules: [{{ matches: [{{ path: {{ value: {path} }} }}], backendRefs: [{{ name: web-{version}, port: 80 }}] }}]\n"
    );
    let read = object::read("", &(manifest([1, 1]) + &route)).expect("manifests");
    let plan = translate(&World::from_objects(read.objects).0, Policy::Permissive).0;
    let beyond = |config: &wire::Config, version| {
        let matches = config.hosts.iter().flat_map(|set| &set.matches);
        let beyond = matches.filter(|wanted| version <= wire::VERSION && wanted.path.is_some());
        beyond.map(|wanted| wanted.rule.clone()).collect()
    };
    Current::Plan(Arc::new(
        Published::compile(plan, beyond).expect("compiles"),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_in_the_filters_version_or_406_with_the_names() {
    let current = watch::Sender::new(published("/", "v1"));
    let (_ending, end) = watch::channel(false);
    let app = serve::app(current.subscribe(), end, Arc::default());
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

    // Its version cannot say this: nothing is left out, and the last good one stays in force.
    current.send_replace(published("/a", "v2"));
    let names = "version 2 of the configuration cannot say HTTPRoute/default/paths";
    for _ in 0..300 {
        if envoy.log().contains(names) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(envoy.log().contains(names), "{}", envoy.log());
    assert_eq!(connection.get("web", "/a").await.header("identity"), "v1");
    assert_eq!(connection.get("web", "/").await.header("identity"), "v1");

    // What it can say is followed again.
    current.send_replace(published("/", "v2"));
    envoy.wait_for_updates(2).await;
    assert_eq!(connection.get("web", "/a").await.header("identity"), "v2");
}
