//! In a cluster, the CRDs of `deploy/crds` and the policies of `deploy/admission` refuse broken edits. So every replica
//! serves the same configuration.

use std::time::Duration;

use weir_cluster::ApiServer;
use weir_tests::{Plane, root};

use super::edits::{Admission, EDITS, FILES, SPLIT, Serves, text};
use super::scene::Scene;

/// Long enough for the control plane to receive and serve an edit that the API server accepted.
const SETTLED: Duration = Duration::from_millis(250);

/// Starts an API server with all CRDs and the admission policies, and enables the policies for the namespace `default`.
fn server() -> ApiServer {
    let server = ApiServer::start();
    server.route_crds();
    server.crds(&[&root().join("deploy/crds")]);
    let kubectl = server.kubectl_client();
    let folder = root().join("deploy/admission");
    kubectl.run(&["apply", "-k", &folder.display().to_string()]);
    kubectl.run(&[
        "label",
        "namespace",
        "default",
        "weir.dev/admission=enabled",
    ]);
    for (_, text) in FILES {
        server.apply(text);
    }
    server
}

/// Waits until the policies refuse an invalid route. A policy takes effect a moment after its creation.
async fn wait_for_policy(server: &ApiServer) {
    let probe = text("route.yaml").replace(
        "request: 10s",
        "request: 10s\n    sessionPersistence: { type: Cookie }",
    );
    for _ in 0..100 {
        let args = ["apply", "--dry-run=server", "-f", "-"];
        if server
            .kubectl_client()
            .try_with_input(&args, &probe)
            .is_err()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the policy has no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_edit_in_cluster_is_refused() {
    let server = server();
    wait_for_policy(&server).await;
    let kubectl = server.kubectl_client();
    let admin = server.kubeconfig(weir_cluster::server::ADMIN);
    let plane = Plane::of_cluster(&admin, &[]);
    plane.wait_until_ready().await;
    let scene = Scene::start(plane.listen).await;
    let mut requests = scene.hold(SETTLED).await;
    let mut wrong = Vec::new();
    for edit in &EDITS {
        println!("{}", edit.name);
        match (edit.admission, edit.text()) {
            (Admission::NoSuchEdit, _) => continue,
            (Admission::Refused(words), Some(text)) => {
                let refused = kubectl.try_with_input(&["apply", "-f", "-"], &text);
                let message = refused.err().unwrap_or_else(|| "it was accepted".into());
                if !message.contains(words) {
                    wrong.push(format!("{}: no {words:?} in {message}", edit.name));
                }
                requests += scene.hold(SETTLED).await;
            }
            (Admission::Taken, Some(text)) => {
                kubectl.apply(&text, &[]);
                requests += scene.hold(SETTLED).await;
                // The edit with a new name created a second object, and the first object still exists.
                kubectl.with_input(&["delete", "-f", "-"], &text);
                kubectl.apply(self::text(edit.file), &[]);
            }
            (Admission::Moves, text) => {
                match text {
                    Some(text) => drop(kubectl.apply(&text, &[])),
                    None => drop(kubectl.with_input(&["delete", "-f", "-"], self::text(edit.file))),
                }
                let Serves::Moved { host, to } = edit.serves else {
                    panic!("{}: no expected backend", edit.name);
                };
                scene.until(host, to).await;
                kubectl.apply(self::text(edit.file), &[]);
                scene.until(host, "v2").await;
            }
            (_, None) => panic!("{}: a deletion must move traffic", edit.name),
        }
    }
    // A valid edit moves the traffic.
    let turned = SPLIT
        .replace("weight: 0 }", "weight: 1 }")
        .replace("weight: 100", "weight: 0");
    kubectl.apply(&turned, &[]);
    scene.until("web", "v1").await;
    println!(
        "{} edits, {requests} requests, 0 to a wrong backend",
        EDITS.len()
    );
    scene.stop().await;
}
