//! Tests with CRDs that appear, disappear or change their served versions, and objects that Weir cannot read.

use std::time::Duration;

use serde_json::Value;
use weir_cluster::programs::{gateway_api_crds, linkerd_crds};
use weir_tests::root;

use crate::scene::{AT_ONCE, SHOP, Scene, rules, server, split, weights};

fn has_rules(count: usize) -> impl Fn(&Value) -> bool {
    move |config| rules(config) == count
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_crds_are_followed() {
    let scene = Scene::start().await;
    let kubectl = scene.server.kubectl_client();
    let route = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{group: '', kind: Service, name: web, port: 80}]
  rules: [{name: all, backendRefs: [{name: web-v1, port: 80, weight: 3}]}]
";
    let is_routed = |config: &Value| rules(config) == 1 && weights(config).is_empty();
    for _ in 0..2 {
        scene.server.crds(&[&gateway_api_crds("standard")]);
        scene.server.apply(route);
        scene.until("the route", AT_ONCE, is_routed).await;
        kubectl.run(&["delete", "crd", "httproutes.gateway.networking.k8s.io"]);
        scene
            .until("the split again", AT_ONCE, |config| {
                weights(config) == [50, 1]
            })
            .await;
    }
    // Deleting a CRD deletes its objects. The control plane then watches the new CRD.
    for weight in 2..4 {
        kubectl.run(&["delete", "crd", "trafficsplits.split.smi-spec.io"]);
        scene.until("no split", AT_ONCE, has_rules(0)).await;
        scene.server.crds(&[&root().join("deploy/crds")]);
        scene.follows(weight).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn object_is_read_at_one_version() {
    let server = server();
    server.apply(SHOP);
    server.apply(&split("web", 1).replace("v1alpha4", "v1alpha2"));
    let scene = Scene::of(server, &[]).await;
    scene.serves(1).await;
    assert_eq!(
        scene.metric(r#"weir_problems{severity="error"}"#).await,
        0.0,
        "{}",
        scene.plane.log()
    );
    assert_eq!(
        scene.metric(r#"weir_objects{kind="TrafficSplit"}"#).await,
        1.0
    );

    // The API server stops serving the watched version. Weir reads another version, and its configuration does not
    // change.
    let kubectl = scene.server.kubectl_client();
    let name = "trafficsplits.split.smi-spec.io";
    let patch = r#"[{"op":"replace","path":"/spec/versions/0/served","value":false}]"#;
    kubectl.run(&["patch", "crd", name, "--type=json", "-p", patch]);
    scene.stays(Duration::from_secs(5)).await;
    scene
        .server
        .apply(&split("web", 7).replace("v1alpha4", "v1alpha3"));
    scene.serves(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_object_stops_no_other_object() {
    let server = server();
    server.crds(&[&linkerd_crds()]);
    let service = |number: usize| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{port: 80}}]}}\n---\n"
        )
    };
    let route = |number: usize, of_path: &str| {
        format!(
            "apiVersion: policy.linkerd.io/v1beta3\nkind: HTTPRoute\nmetadata: {{name: r{number}}}\n\
             spec: {{parentRefs: [{{group: core, kind: Service, name: s{number}, port: 80}}], \
             rules: [{{name: all, matches: [{{path: {of_path}}}], backendRefs: [{{name: s{number}, port: 80}}]}}]}}\n---\n"
        )
    };
    let good = "{type: PathPrefix, value: /}";
    let services: String = (0..=101).map(service).collect();
    let routes: String = (0..100).map(|number| route(number, good)).collect();
    server.apply(&services);
    server.apply(&routes);
    server.apply(&route(100, "{type: Wildcard, value: /}"));
    // The API server accepts this depth. With `create --raw` kubectl does not parse the object.
    let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    let deep = format!(
        r#"{{"apiVersion":"policy.linkerd.io/v1beta3","kind":"HTTPRoute","metadata":{{"name":"deep","namespace":"default"}},"spec":{{"deep":{deep}}}}}"#
    );
    let path = "/apis/policy.linkerd.io/v1beta3/namespaces/default/httproutes";
    let create = ["create", "--raw", path, "-f", "-"];
    server.kubectl_client().with_input(&create, &deep);

    let scene = Scene::of(server, &[]).await;
    let config = scene.config().await.expect("a configuration");
    assert_eq!(rules(&config), 100);
    let log = scene.plane.log();
    for name in ["default/r100", "default/deep"] {
        let line = log.lines().find(|line| line.contains(name));
        assert!(
            line.is_some_and(|it| it.contains("problem: HTTPRoute.policy")),
            "{log}"
        );
    }
    // An object that becomes unreadable later stops no other object either.
    scene.server.apply(&route(3, "{type: Wildcard, value: /}"));
    scene.until("one less", AT_ONCE, has_rules(99)).await;
    scene.server.apply(&route(4, "{type: Exact, value: /x}"));
    scene.server.apply(&route(3, good));
    scene.until("all again", AT_ONCE, has_rules(100)).await;
}
