//! Tests the status with proxies at two replicas of the control plane, and with replicas that stop.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use weir_tests::{Bootstrap, Envoy, Plane};

use super::scene::{LIVE, Scene, condition, split};

const LEASE: [&str; 2] = ["--lease", "shop/weir"];

/// Starts an Envoy. All these Envoys have the same node id, like the pods of one Deployment.
pub async fn proxy(plane: &Plane) -> Envoy {
    started(bootstrap(plane, "buyer")).await
}

fn bootstrap(plane: &Plane, node: &str) -> Bootstrap {
    const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "shop" }"#;
    let bootstrap = Bootstrap::default().node(node);
    let bootstrap = bootstrap.cluster("weir", plane.listen);
    bootstrap.listener("outbound", PLUGIN, None)
}

async fn started(bootstrap: Bootstrap) -> Envoy {
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    envoy
}

pub fn signal(envoy: &Envoy, signal: &str) {
    let id = envoy.process.id().to_string();
    let sent = Command::new("kill").args(["-s", signal, &id]).status();
    assert!(sent.expect("kill").success());
}

/// Returns a check for [`Scene::until`]. The condition Live must have this status, a message with these words, and the
/// generation of the object.
pub fn live(status: &'static str, message: &'static str) -> impl Fn(&Value) -> Option<Value> {
    move |object| {
        let found = condition(object, LIVE)?;
        let says = found["message"].as_str()?.contains(message);
        let is_new = found["observedGeneration"] == object["metadata"]["generation"];
        (found["status"] == status && says && is_new).then_some(found)
    }
}

/// Starts two replicas of the control plane. Each has the other as its peer.
pub fn pair(scene: &Scene) -> [Plane; 2] {
    let kubeconfig = scene.kubeconfig("admin");
    let mut first = Plane::of_cluster(&kubeconfig, &LEASE);
    let mut second = Plane::of_cluster(&kubeconfig, &LEASE);
    let listen = [first.listen.to_string(), second.listen.to_string()];
    first.restart_with(&[&LEASE[..], &["--peers", &listen[1]]].concat());
    second.restart_with(&[&LEASE[..], &["--peers", &listen[0]]].concat());
    [first, second]
}

/// Waits until one replica holds the Lease, and returns the index of this replica.
pub async fn leader(planes: &[Plane; 2]) -> usize {
    let start = Instant::now();
    loop {
        let leads = [
            planes[0].metric("weir_leader").await,
            planes[1].metric("weir_leader").await,
        ];
        if let Some(leader) = leads.iter().position(|it| *it == 1.0) {
            assert_eq!(leads.iter().sum::<f64>(), 1.0, "two leaders");
            return leader;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "no leader");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_leader_knows_earlier_proxies() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1", "v2"]);
    scene.split("web", "[{ service: v1, weight: 1 }]");
    let mut planes = pair(&scene);
    let leader = leader(&planes).await;
    let next = &planes[1 - leader];
    let stopped = proxy(&planes[leader]).await;
    let following = [proxy(next).await, proxy(next).await];
    scene.until("trafficsplit", "web", live("True", "on 3 of 3 proxies"));

    signal(&stopped, "STOP");
    scene.split(
        "web",
        "[{ service: v1, weight: 1 }, { service: v2, weight: 1 }]",
    );
    scene.until("trafficsplit", "web", live("False", "on 2 of 3 proxies"));
    // A killed replica cannot answer its peer. A terminated replica would answer for five more seconds.
    planes[leader].kill();
    scene.split("web", "[{ service: v2, weight: 1 }]");
    let expected = live("False", "on 2 of 3 proxies");
    scene.until_within(Duration::from_secs(20), "trafficsplit", "web", expected);
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        scene.until_within(
            Duration::ZERO,
            "trafficsplit",
            "web",
            live("False", "on 2 of 3 proxies"),
        );
    }
    signal(&stopped, "CONT");
    following[0].assert_no_traps().await;
}

/// `weir-lean.wasm` cannot edit responses, so a route with such edits is not live on a proxy with this filter. The
/// proxy polls the replica that is not the leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn response_edits_need_full_filter() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "other", "v1", "v2"]);
    scene.split("other", "[{ service: v1, weight: 1 }]");
    let edits = |weight: u32| {
        format!(
            "[{{ name: v1, port: 80, weight: 9 }}, {{ name: v2, port: 80, weight: {weight}, filters: [{{ \
             type: ResponseHeaderModifier, responseHeaderModifier: {{ set: [{{ name: x-edited, value: by-weir }}] }} }}] }}]"
        )
    };
    scene.route("web", &edits(1));
    let planes = pair(&scene);
    let leader = leader(&planes).await;
    let _whole = proxy(&planes[leader]).await;
    let lean = bootstrap(&planes[1 - leader], "thin").lean();
    let _lean = started(lean).await;
    let found = scene.until("httproute", "web", live("False", "on 1 of 2 proxies"));
    assert_eq!(found["reason"], "Unsupported");
    let message = found["message"].as_str().expect("a message");
    for part in [
        "node thin (instance ",
        "for backend v2.shop:80 are answered 500",
        "load weir.wasm instead of weir-lean.wasm",
    ] {
        assert!(message.contains(part), "{message}");
    }
    scene.until("trafficsplit", "other", live("True", "on 2 of 2 proxies"));

    // A backend with weight 0 has no responses to edit.
    scene.route("web", &edits(0));
    scene.until("httproute", "web", live("True", "on 2 of 2 proxies"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_waits_for_every_proxy() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1", "v2", "other"]);
    scene.split("web", "[{ service: v1, weight: 1 }]");
    scene.route("route", "[{ name: v1, port: 80 }]");
    scene.kubectl(&["delete", "httproute", "route"]);
    let [first, second] = pair(&scene);
    scene.until_within(
        Duration::from_secs(20),
        "trafficsplit",
        "web",
        live("False", "on 0 of 0 proxies"),
    );
    let proxies = [
        proxy(&first).await,
        proxy(&first).await,
        proxy(&second).await,
    ];
    scene.until("trafficsplit", "web", live("True", "on 3 of 3 proxies"));
    let [running, _, stopped] = &proxies;

    signal(stopped, "STOP");
    scene.split(
        "web",
        "[{ service: v1, weight: 1 }, { service: v2, weight: 1 }]",
    );
    scene.until("trafficsplit", "web", live("False", ""));
    let time = scene.status_delay("trafficsplits", "web");
    println!("Live is False after {time:?}");
    assert!(time < Duration::from_secs(3), "{time:?}");
    let found = scene.until("trafficsplit", "web", live("False", "on 2 of 3 proxies"));
    let message = found["message"].as_str().expect("a message").to_owned();
    assert!(
        message.contains("node buyer") && message.contains("namespace shop"),
        "{message}"
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.until("trafficsplit", "web", live("False", "on 2 of 3 proxies"));

    signal(stopped, "CONT");
    let went_on = Instant::now();
    scene.kubectl(&[
        "wait",
        "--for=condition=weir.dev/Live",
        "trafficsplit/web",
        "--timeout=20s",
    ]);
    println!(
        "Live is True {:?} after the stopped proxy continued",
        went_on.elapsed()
    );

    // A change of other objects must not write the status of this object.
    let version = |of: &Value| of["metadata"]["resourceVersion"].clone();
    let before = version(&scene.get("trafficsplit", "web"));
    let (start, began) = (Instant::now(), Timestamp::now());
    for round in 0..10 {
        let many: Vec<String> = (0..100)
            .map(|at| {
                split(
                    "other",
                    &format!("[{{ service: v1, weight: {} }}]", round * 100 + at + 1),
                )
                .replace("name: other", &format!("name: other-{at}"))
            })
            .collect();
        scene.apply(&many.join("---\n"));
    }
    let last = scene.get("trafficsplit", "other-0")["metadata"]["generation"].clone();
    scene.until_within(
        Duration::from_secs(30),
        "trafficsplit",
        "other-0",
        live("True", "3 of 3"),
    );
    println!(
        "1,000 changes and their status: {:?}, generation {last}",
        start.elapsed()
    );
    assert_eq!(
        version(&scene.get("trafficsplit", "web")),
        before,
        "a status write without a change of the object"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = scene.status_writes("trafficsplits", began);
    assert!(writes.iter().any(|name| name == "other-0"), "{writes:?}");
    assert!(!writes.iter().any(|name| name == "web"), "{writes:?}");

    // The conditions of a route are in the entries of its parents.
    scene.services(&["routed"]);
    scene.apply(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: route, namespace: shop }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: routed, port: 80 }]
  rules: [{ backendRefs: [{ name: v1, port: 80 }] }]
",
    );
    let waiting = scene.documented("httproute/web");
    scene.wait(&waiting.replace("httproute/web", "httproute/route"));

    // The control plane forgets a proxy that sends no request for a minute.
    signal(stopped, "STOP");
    let silent = Instant::now();
    scene.split("web", "[{ service: v2, weight: 1 }]");
    scene.until("trafficsplit", "web", live("False", "on 2 of 3 proxies"));
    let found = scene.until_within(
        Duration::from_secs(75),
        "trafficsplit",
        "web",
        live("True", ""),
    );
    assert_eq!(found["message"], "on 2 of 2 proxies");
    println!(
        "forgotten {:?} after the stop of the proxy",
        silent.elapsed()
    );
    assert!(silent.elapsed() > Duration::from_secs(45), "too early");
    signal(stopped, "CONT");
    running.assert_no_traps().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_change_loses_and_repeats_nothing() {
    const ROUTES: usize = 100;
    let users = ["weir-a", "weir-b"];
    let scene = Scene::new(&users);
    scene.services(&["web", "v1"]);
    let mut planes = users.map(|user| Plane::of_cluster(&scene.kubeconfig(user), &LEASE));
    let leader = leader(&planes).await;
    let names: Vec<String> = (0..ROUTES).map(|at| format!("r{at}")).collect();
    let mut killed = None;
    for (at, name) in names.iter().enumerate() {
        scene.route(name, "[{ name: v1, port: 80 }]");
        if at == ROUTES / 2 {
            planes[leader].kill();
            killed = Some(Timestamp::now());
        }
    }
    let killed = killed.expect("the leader was killed");
    for name in &names {
        scene.until_within(Duration::from_secs(20), "httproute", name, |route| {
            condition(route, "Accepted").filter(|it| it["observedGeneration"] == 1)
        });
    }
    // For each route, the users that wrote its status, from the audit log.
    let mut writers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut cut_off = BTreeSet::new();
    let mut taken_over = None;
    for request in scene.audit("httproutes") {
        if request.is_status_write() {
            if request.at > killed && request.user == users[1 - leader] {
                taken_over.get_or_insert(request.at.duration_since(killed).unsigned_abs());
            }
            writers.entry(request.name).or_default().push(request.user);
        } else if request.subresource == "status" && request.code == 504 {
            // The killed leader ended before this answer. Either the write was stored, or the next leader repeats it.
            assert_eq!(
                request.user, users[leader],
                "only the killed leader has writes without an answer"
            );
            cut_off.insert(request.name);
        }
    }
    let all: BTreeSet<&String> = writers.values().flatten().collect();
    let lost = |name: &&String| !writers.contains_key(*name) && !cut_off.contains(*name);
    let lost: Vec<_> = names.iter().filter(lost).collect();
    assert!(lost.is_empty(), "{lost:?} of {writers:?}");
    let twice: Vec<_> = writers.iter().filter(|(_, by)| by.len() != 1).collect();
    assert!(twice.is_empty(), "written twice: {twice:?}");
    assert_eq!(all.len(), 2, "both wrote: {all:?}");
    let taken_over = taken_over.expect("writes of the next leader");
    println!("the next leader wrote {taken_over:?} after the kill");
    assert!(taken_over < Duration::from_secs(15), "{taken_over:?}");

    // A terminated leader releases the Lease, so the next leader does not wait until the Lease ends.
    let mut again = Plane::of_cluster(&scene.kubeconfig(users[leader]), &LEASE);
    let survivor = &mut planes[1 - leader];
    survivor.terminate();
    let start = Instant::now();
    while again.metric("weir_leader").await != 1.0 {
        assert!(start.elapsed() < Duration::from_secs(8), "{}", again.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!(
        "the next leader has the Lease {:?} after SIGTERM",
        start.elapsed()
    );
    again.kill();
}
