//! If the control plane loses the permission to read objects, it keeps its configuration. With `--namespaces` it reads
//! only the namespaces in this flag.

use std::time::Duration;

use weir_cluster::ApiServer;
use weir_cluster::server::token;
use weir_tests::{Connection, Plane, root};

use crate::scene::{SHOP, Scene, read_everything, rules, split};

const READER: &str = "reader";

fn server() -> ApiServer {
    let server = ApiServer::start_with(&[(READER, &[])]);
    server.crds(&[&root().join("deploy/crds")]);
    server.apply(SHOP);
    server.apply(&split("web", 1));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_stay_when_permission_ends() {
    let server = server();
    read_everything(&server, READER);
    let kubeconfig = server.kubeconfig(&token(READER));
    let mut scene = Scene::with(server, &kubeconfig, &[]).await;
    let kubectl = scene.server.kubectl_client().clone();
    kubectl.run(&["delete", "clusterrolebinding", READER]);
    // The API server checks the permission when a watch begins.
    scene.server.kill_apiserver("KILL");
    scene.server.start_apiserver();
    scene.server.apply(&split("web", 7));
    scene.stays(Duration::from_secs(6)).await;
    let errors = r#"weir_watch_errors_total{resource="services"}"#;
    // `apply` worked, so the API server is up, and the missing permission causes these errors.
    assert!(scene.metric(errors).await > 0.0);
    read_everything(&scene.server, READER);
    scene.serves(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_permission_publishes_nothing() {
    let server = server();
    let kubeconfig = server.kubeconfig(&token(READER));
    let plane = Plane::of_cluster(&kubeconfig, &[]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut admin = Connection::open(plane.admin).await;
    let answer = admin.get("admin", "/readyz").await;
    assert_eq!(answer.status, 503);
    let why = answer.text();
    assert!(why.contains("services (403 Forbidden"), "{why}");
    read_everything(&server, READER);
    let scene = Scene { server, plane };
    scene.serves(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_namespaces_are_read() {
    let server = server();
    let kubectl = server.kubectl_client();
    for namespace in ["shop", "far"] {
        kubectl.run(&["create", "namespace", namespace]);
        kubectl.apply(SHOP, &["-n", namespace]);
        kubectl.apply(&split("web", 1), &["-n", namespace]);
    }
    // These roles allow the control plane to read all that it needs.
    server.apply(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: within}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: within, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: within}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: cluster-wide}
rules:
- {apiGroups: [''], resources: [namespaces], resourceNames: [shop], verbs: [get, list, watch]}
- {apiGroups: [gateway.networking.k8s.io], resources: [gatewayclasses], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: cluster-wide}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-wide}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
",
    );
    let kubeconfig = server.kubeconfig(&token(READER));
    let scene = Scene::with(server, &kubeconfig, &["--namespaces", "shop"]).await;
    let config = scene.config().await.expect("a configuration");
    assert_eq!(rules(&config), 1, "{config:#}");
    assert!(config["rules"]["TrafficSplit/shop/web:80/http"].is_object());
    assert_eq!(scene.metric(r#"weir_objects{kind="Namespace"}"#).await, 1.0);
    assert!(!scene.plane.log().contains("WARN"), "{}", scene.plane.log());
}
