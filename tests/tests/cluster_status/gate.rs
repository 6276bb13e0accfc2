//! Tests the gate (`/gate` of the admin listener) and `weir wait`, with proxies at two replicas of the control plane.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use weir_tests::{Plane, dist};

use super::replicas::{leader, live, pair, proxy, signal};
use super::scene::Scene;

/// Sends a request to the admin listener with curl. Returns the status and the text.
fn ask(admin: SocketAddr, path: &str, body: Option<&str>) -> (u16, String) {
    let url = format!("http://{admin}/gate/{path}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "%{http_code}", &url]);
    if let Some(body) = body {
        curl.args(["-H", "content-type: application/json", "-d", body]);
    }
    let output = curl.output().expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (text, status) = text.split_at(text.len() - 3);
    (status.parse().expect("a status"), text.to_owned())
}

/// Repeats the request until the gate answers with this status. Panics after ten seconds.
fn until(plane: &Plane, path: &str, status: u16) -> String {
    let start = Instant::now();
    loop {
        let (found, text) = ask(plane.admin, path, None);
        if found == status {
            return text;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{found} {text}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn weir_wait(scene: &Scene, args: &[&str]) -> Output {
    let mut weir = Command::new(dist("weir"));
    weir.arg("wait").args(args).args(["-n", "shop"]);
    weir.env("KUBECONFIG", scene.kubeconfig("admin"));
    weir.output().expect("weir wait")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gate_opens_when_generation_is_live() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1", "v2"]);
    scene.split("web", "[{ service: v1, weight: 1 }]");
    let planes = pair(&scene);
    let leader = leader(&planes).await;
    // The other replica does not write status. Each replica has one of the two proxies.
    let other = &planes[1 - leader];
    let (_first, second) = (proxy(&planes[leader]).await, proxy(other).await);
    const SPLIT: &str = "trafficsplit/shop/web";
    for plane in &planes {
        let text = until(plane, SPLIT, 200);
        assert!(
            text.contains("generation 1 of TrafficSplit shop/web is live: on 2 of 2 proxies"),
            "{text}"
        );
    }
    let canary = r#"{"name":"web","namespace":"shop","phase":"Progressing","checksum":"1","metadata":{"a":"b"}}"#;
    assert_eq!(ask(other.admin, "trafficsplit", Some(canary)).0, 200);
    let nowhere = canary.replace("shop", "other");
    for (path, body, status, says) in [
        (
            "trafficsplit",
            Some(nowhere.as_str()),
            404,
            "Weir has read no TrafficSplit other/web",
        ),
        ("trafficsplit", Some("{}"), 400, "missing field `name`"),
        ("service", Some(canary), 400, "objects of kind service"),
        (
            "httproute/shop/web",
            None,
            404,
            "Weir has read no HTTPRoute shop/web",
        ),
    ] {
        let (found, text) = ask(other.admin, path, body);
        assert!(found == status && text.contains(says), "{found} {text}");
    }

    signal(&second, "STOP");
    scene.split(
        "web",
        "[{ service: v1, weight: 1 }, { service: v2, weight: 1 }]",
    );
    for plane in &planes {
        // The answer is correct at once, even if the replica has not read the edit yet.
        let (status, text) = ask(plane.admin, SPLIT, None);
        assert_eq!(status, 409, "{text}");
        std::thread::sleep(Duration::from_secs(1));
        let (status, text) = ask(plane.admin, SPLIT, None);
        let says = "generation 2: the condition weir.dev/Live is False (Pending): on 1 of 2 proxies: waiting for node buyer";
        assert!(status == 409 && text.contains(says), "{status} {text}");
    }
    let missing = weir_wait(&scene, &["trafficsplit/web", "--timeout", "2s"]);
    let said = text(&missing);
    assert_eq!(missing.status.code(), Some(1), "{said}");
    assert!(
        said.contains("TrafficSplit shop/web is not live after 2s"),
        "{said}"
    );
    assert!(said.contains("waiting for node buyer"), "{said}");
    signal(&second, "CONT");
    let waited = weir_wait(&scene, &["ts/web"]);
    assert_eq!(
        text(&waited),
        "TrafficSplit shop/web is live: on 2 of 2 proxies\n"
    );
    assert_eq!(waited.status.code(), Some(0));
    until(other, SPLIT, 200);

    // If the other replica does not answer, its proxies are unknown.
    signal_plane(&planes[leader], "STOP");
    let text = until(other, SPLIT, 503);
    assert!(
        text.contains("the proxies of another replica are unknown"),
        "{text}"
    );
    signal_plane(&planes[leader], "CONT");
    until(other, SPLIT, 200);
}

fn signal_plane(plane: &Plane, signal: &str) {
    let id = plane.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &id]).status();
    assert!(sent.expect("kill").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wait_needs_every_parent() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "shop", "v1"]);
    let plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    let _proxy = proxy(&plane).await;
    let route = |second: &str| {
        format!(
            "{{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{ name: web, namespace: shop }}, spec: {{
  parentRefs: [{{ group: '', kind: Service, name: web, port: 80 }}, {{ group: '', kind: Service, name: {second}, port: 80 }}],
  rules: [{{ backendRefs: [{{ name: v1, port: 80 }}] }}] }} }}"
        )
    };
    scene.apply(&route("shop"));
    let waited = weir_wait(&scene, &["httproute/web"]);
    let said = text(&waited);
    assert!(waited.status.success(), "{said}");
    assert!(
        said.contains("Service shop/web port 80: on 1 of 1 proxies; Service shop/shop port 80: on 1 of 1 proxies"),
        "{said}"
    );
    scene.apply(&route("gone"));
    let missing = weir_wait(&scene, &["httproute/web", "--timeout=3s"]);
    let said = text(&missing);
    assert_eq!(missing.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "Service shop/gone port 80: the condition Accepted is False (NoMatchingParent)"
        ),
        "{said}"
    );
    let absent = weir_wait(&scene, &["grpcroute/web"]);
    assert_eq!(text(&absent), "weir wait: there is no GRPCRoute shop/web\n");
    assert_eq!(absent.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_proxy_is_forgotten_soon() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1"]);
    scene.split("web", "[{ service: v1, weight: 1 }]");
    let planes = pair(&scene);
    let leader = leader(&planes).await;
    let other = &planes[1 - leader];
    let (_stays, ends) = (proxy(&planes[leader]).await, proxy(other).await);
    scene.until("trafficsplit", "web", live("True", "on 2 of 2 proxies"));
    let start = Instant::now();
    drop(ends);
    scene.until("trafficsplit", "web", live("True", "on 1 of 1 proxies"));
    println!("forgotten after {:?}", start.elapsed());
    assert!(start.elapsed() > Duration::from_secs(3), "too early");
    for name in ["weir_proxies", "weir_proxies_behind"] {
        assert_eq!(other.metric(name).await, 0.0, "{name}");
    }
}
