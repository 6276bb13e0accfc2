//! Tests outages of the API server or of etcd, and a token that expires.

use std::time::{Duration, Instant};

use weir_cluster::ApiServer;

use crate::scene::{SHOP, Scene, read_everything, server, split};

const AWAY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn api_server_is_followed_after_outage() {
    let mut scene = Scene::start().await;
    scene.server.kill_apiserver("KILL");
    scene.stays(AWAY).await;
    scene.server.compact_etcd();
    scene.server.start_apiserver();
    scene.follows(7).await;
    // The API server shuts down gracefully, and etcd is compacted before the control plane reads the change.
    scene.server.kill_apiserver("TERM");
    scene.server.start_apiserver();
    scene.server.apply(&split("web", 8));
    scene.server.compact_etcd();
    scene.serves(8).await;
    let log = scene.plane.log();
    let lines = log.lines().filter(|line| line.contains("services"));
    // Each outage has one line for the failure and one for the recovery.
    assert!(lines.count() <= 4, "more lines than outages:\n{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_followed_after_outage() {
    let mut scene = Scene::start().await;
    scene.server.kill_etcd("KILL");
    scene.stays(Duration::from_secs(15)).await;
    scene.server.start_etcd();
    ready(&scene.server);
    scene.follows(7).await;
}

/// Waits until the API server has connected to etcd again.
fn ready(server: &ApiServer) {
    let start = Instant::now();
    let kubectl = server.kubectl_client();
    while !kubectl.output(&["get", "--raw=/readyz"]).status.success() {
        assert!(start.elapsed() < AWAY, "the API server is not ready again");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The test replaces the token in a file before the token expires, as a kubelet does. A minute later the old token
/// becomes invalid: it is bound to a Secret, and the test deletes this Secret. The test cannot wait until the token
/// expires, because a token lives for at least ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn expiring_token_is_replaced_in_time() {
    let server = server();
    server.apply(SHOP);
    server.apply(&split("web", 1));
    server.apply(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: weir}
---
apiVersion: v1
kind: Secret
metadata: {name: first}
",
    );
    read_everything(&server, "system:serviceaccount:default:weir");
    let bound = ["create", "token", "weir", "--bound-object-kind=Secret"];
    let first = [&bound[..], &["--bound-object-name=first"]].concat();
    let kubectl = server.kubectl_client();
    let (first, second) = (kubectl.run(&first), kubectl.run(&bound[..3]));
    let file = server.folder().join("token");
    std::fs::write(&file, first.trim()).expect("a token");
    let kubeconfig = server.kubeconfig("");
    let by_file = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
    let place = format!(r#""tokenFile":"{}""#, file.display());
    let by_file = by_file.replace(r#""token":"""#, &place);
    assert!(by_file.contains(&place), "{by_file}");
    std::fs::write(&kubeconfig, by_file).expect("a kubeconfig");

    let mut scene = Scene::with(server, &kubeconfig, &[]).await;
    let new = file.with_extension("new");
    std::fs::write(&new, second.trim()).expect("a token");
    std::fs::rename(new, file).expect("renamed");
    // The client reads the file again each minute.
    scene.stays(Duration::from_secs(61)).await;
    scene
        .server
        .kubectl_client()
        .run(&["delete", "secret", "first"]);
    scene.server.kill_apiserver("KILL");
    scene.server.start_apiserver();
    let as_first = scene.server.kubectl_as(first.trim());
    let refused = as_first.output(&["get", "--raw=/apis"]);
    assert!(!refused.status.success(), "the first token is still good");
    scene.follows(7).await;
}
