//! One namespace fills every limit, next to a hundred small namespaces. Changes of the small ones take effect within the
//! usual time. The control plane stays within the memory limit of its Deployment, and Envoy takes no more memory than
//! README.md says.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::programs::gateway_api_crds;
use weir_cluster::server::ADMIN;
use weir_tests::{Bootstrap, Connection, Echo, Envoy, Plane};

#[allow(dead_code, reason = "the tests of `watching` need more of it")]
#[path = "watching/scene.rs"]
mod scene;

use scene::{AT_ONCE, Scene, server, weights_of};

/// KiB that `deploy/weir/deployment.yaml` gives the control plane.
const SHIPPED: u64 = 256 << 10;
/// KiB that one namespace may cost an Envoy with two workers.
const OF_ENVOY: u64 = 25 << 10;
const NEIGHBOURS: usize = 100;

fn service(namespace: &str, name: &str, ports: std::ops::RangeInclusive<u16>) -> Value {
    let ports: Vec<Value> = ports
        .map(|it| json!({ "port": it, "name": format!("p{it}") }))
        .collect();
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "namespace": namespace, "name": name },
        "spec": { "ports": ports } })
}

fn split(namespace: &str, name: &str, root: &str, backends: &[(&str, u64)]) -> Value {
    let backends = backends
        .iter()
        .map(|(service, weight)| json!({ "service": service, "weight": weight }));
    json!({ "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": { "namespace": namespace, "name": name },
        "spec": { "service": root, "backends": backends.collect::<Vec<_>>() } })
}

fn route(name: &str, root: &str, matches: &[Value]) -> Value {
    json!({ "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "namespace": "evil", "name": name },
        "spec": { "parentRefs": [{ "group": "", "kind": "Service", "name": root, "port": 80 }],
            "rules": [{ "matches": matches, "backendRefs": [{ "name": "v1", "port": 80 }] }] } })
}

/// The objects of the neighbours. Each neighbour has a split whose second backend has this weight.
fn neighbours(weight: u64) -> Vec<Value> {
    let of = |number: usize| {
        let namespace = format!("team-{number}");
        let services = ["web", "v1", "v2"].map(|name| service(&namespace, name, 80..=80));
        let split = split(&namespace, "web", "web", &[("v1", 90), ("v2", weight)]);
        services.into_iter().chain([split]).collect::<Vec<_>>()
    };
    (0..NEIGHBOURS).flat_map(of).collect()
}

/// Two splits of a Service with 1,000 ports: one backend 1,000 times, and 1,000 different backends.
fn bombs() -> Vec<Value> {
    let names: Vec<String> = (0..1_000).map(|it| format!("b{it}")).collect();
    let others: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    vec![
        service("evil", "wide", 1..=1_000),
        split("evil", "a-bomb", "wide", &[("wide", 1); 1_000]),
        split("evil", "another-bomb", "wide", &others),
    ]
}

/// Objects that fill the budgets of a namespace: first regular expressions, then splits.
fn fill() -> Vec<Value> {
    let mut objects = vec![service("evil", "v1", 80..=80)];
    for number in 0..8 {
        let root = format!("re-{number}");
        let wanted = (0..50).map(|it| {
            let value = format!("(a|b)*a(a|b){{10}}{number}-{it}");
            json!({ "headers": [{ "name": "x", "type": "RegularExpression", "value": value }] })
        });
        objects.push(service("evil", &root, 80..=80));
        objects.push(route(
            &format!("a{number}"),
            &root,
            &wanted.collect::<Vec<_>>(),
        ));
    }
    for number in 0..4_000 {
        let root = format!("s{number}");
        objects.push(service("evil", &root, 80..=80));
        objects.push(split("evil", &root, &root, &[("v1", 1), (&root, 1)]));
    }
    objects
}

fn yaml(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        writeln!(text, "{object}\n---").expect("text");
    }
    text
}

async fn weights(plane: &Plane, namespace: &str) -> Vec<u64> {
    let mut connection = Connection::open(plane.listen).await;
    let answer = connection
        .get("weir", &format!("/v1/config?namespace={namespace}"))
        .await;
    weights_of(
        &answer.json(),
        &format!("TrafficSplit/{namespace}/web:80/http"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_namespace_costs_an_envoy_no_more_than_is_promised() {
    let plane = Plane::start(&[("neighbours.yaml", &yaml(&neighbours(1)))]);
    plane.wait_until_ready().await;
    let backend = Echo::start("v1").await;
    let plugin = r#"{ "control_plane": "weir", "namespace": "team-7" }"#;
    let bootstrap = Bootstrap::default()
        .cluster("weir", plane.listen)
        .cluster("ordinary", backend.address)
        .listener("sidecar", plugin, Some("ordinary"));
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = envoy.process.memory();

    plane.rename_into_place("fill.yaml", &yaml(&fill()));
    plane.rename_into_place("bombs.yaml", &yaml(&bombs()));
    while plane.metric("weir_problems").await < 2.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    for weight in 2..5 {
        let start = Instant::now();
        plane.rename_into_place("neighbours.yaml", &yaml(&neighbours(weight)));
        while weights(&plane, "team-7").await != [90, weight] {
            assert!(start.elapsed() < AT_ONCE, "{}", plane.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("a neighbour's weight: {:?}", start.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = envoy.process.memory();
    let path = "/v1/config?namespace=team-7";
    let config = Connection::open(plane.listen)
        .await
        .get("weir", path)
        .await
        .text();
    let splits = config.matches("\"TrafficSplit/evil/s").count() / 2;
    println!(
        "Envoy {before} KiB, {after} KiB with the full namespace; document {} bytes, {splits} splits; control plane {} KiB",
        config.len(),
        plane.peak_memory()
    );
    assert!(splits > 100, "{splits}");
    assert!(after < before + OF_ENVOY, "{before} KiB, {after} KiB");
    assert!(plane.peak_memory() < SHIPPED, "{} KiB", plane.peak_memory());
    envoy.assert_no_traps().await;
}

fn key(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let folder = match object["kind"].as_str().unwrap_or_default() {
        "Service" => "services/specs",
        "TrafficSplit" => "split.smi-spec.io/trafficsplits",
        "HTTPRoute" => "gateway.networking.k8s.io/httproutes",
        "HTTPRouteGroup" => "specs.smi-spec.io/httproutegroups",
        kind => panic!("no key of {kind}"),
    };
    format!("/registry/{folder}/{}/{}", text("namespace"), text("name"))
}

/// An object and its key in etcd, as the API server keeps them.
fn kept(number: usize, mut object: Value) -> (String, Value) {
    let metadata = &mut object["metadata"];
    metadata["uid"] = json!(format!("00000000-0000-4000-8000-{number:012}"));
    metadata["creationTimestamp"] = json!("2026-01-31T12:00:00Z");
    metadata["generation"] = json!(1);
    (key(&object), object)
}

/// 10,000 objects of several kinds: small objects, objects that fill limits, and objects of the largest size that the
/// API server accepts.
fn ten_thousand() -> Vec<Value> {
    let mut objects = fill();
    objects.extend(bombs());
    let value = "v".repeat(600);
    for number in 0..600 {
        let wanted =
            (0..64).map(|it| json!({ "headers": [{ "name": format!("h{it}"), "value": value }] }));
        objects.push(route(
            &format!("large-{number}"),
            "v1",
            &wanted.collect::<Vec<_>>(),
        ));
        let wanted = (0..256).map(
            |it| json!({ "name": format!("m{it}"), "methods": ["GET"], "headers": { "x": value } }),
        );
        objects.push(json!({ "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
            "metadata": { "namespace": "evil", "name": format!("g{number}") }, "spec": { "matches": wanted.collect::<Vec<_>>() } }));
        objects.push(service("evil", &format!("wide-{number}"), 1..=1_000));
    }
    for number in 0..40 {
        let mut huge = split("evil", &format!("huge-{number}"), "v1", &[("v1", 1)]);
        huge["metadata"]["annotations"] = json!({ "x": "x".repeat(1_300_000) });
        objects.push(huge);
    }
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_objects_of_one_namespace_stay_inside_the_shipped_memory() {
    let server = server();
    server.crds(&[&gateway_api_crds("standard")]);
    server.apply("{apiVersion: v1, kind: Namespace, metadata: {name: team-7}}");
    let objects: Vec<(String, Value)> = neighbours(1)
        .into_iter()
        .chain(ten_thousand())
        .enumerate()
        .map(|(number, object)| kept(number, object))
        .collect();
    // etcd accepts at most 1.5 MiB in one request.
    let sizes = objects.iter().map(|(_, object)| object.to_string().len());
    let total: usize = sizes.sum();
    println!("{} objects, {} MB", objects.len(), total / 1_000_000);
    let mut rest = objects.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fitting = rest.iter().take(100).take_while(|(_, object)| {
            bytes += object.to_string().len();
            bytes < 800_000
        });
        let (now, later) = rest.split_at(fitting.count().max(1));
        server.keep(now);
        rest = later;
    }
    let kubeconfig = server.kubeconfig(ADMIN);
    let start = Instant::now();
    let plane = Plane::of_cluster(&kubeconfig, &[]);
    let scene = Scene { server, plane };
    scene
        .until("the first publication", AT_ONCE * 12, |_| true)
        .await;
    println!("a new replica: {:?}", start.elapsed());
    for weight in 2..5 {
        let patch =
            format!(r#"[{{"op":"replace","path":"/spec/backends/1/weight","value":{weight}}}]"#);
        let args = [
            "patch",
            "trafficsplit",
            "web",
            "-n",
            "team-7",
            "--type=json",
            "-p",
            &patch,
        ];
        scene.server.kubectl_client().run(&args);
        scene
            .until("a neighbour's weight", AT_ONCE, |config| {
                weights_of(config, "TrafficSplit/team-7/web:80/http") == [90, weight]
            })
            .await;
    }
    let peak = scene.plane.peak_memory();
    println!(
        "control plane {} KiB, at most {peak} KiB",
        scene.plane.memory()
    );
    assert!(peak < SHIPPED, "{peak} KiB");
}
