//! A control plane that has more to say than the filter reads, on a real Envoy, in a made-up world: paths came
//! with version 2 of the document, and the filter reads version 1.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use weir::object;
use weir::publish::{Current, Published};
use weir::serve;
use weir::translate::translate;
use weir::world::World;
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
    let plan = translate(&World::from_objects(read.objects).0).0;
    let since = |wanted: &weir_split::wire::Match| if wanted.path.is_some() { 2 } else { 1 };
    Current::Plan(Arc::new(Published::compile(plan, since).expect("compiles")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_in_version_1_or_406_with_the_names() {
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

    // Version 1 cannot say this: nothing is left out, and the last good one stays in force.
    current.send_replace(published("/a", "v2"));
    let names = "version 1 of the configuration cannot say HTTPRoute/default/paths";
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
