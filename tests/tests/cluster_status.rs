//! Tests the status of objects in a cluster, with a real API server, `weir serve --kubernetes` and real Envoys.

mod cluster_status {
    mod cases;
    mod gate;
    pub mod replicas;
    pub mod routes;
    pub mod scene;
}

use std::time::{Duration, Instant};

use cluster_status::scene::{LIVE, Scene, condition};
use jiff::Timestamp;
use serde_json::Value;
use weir_tests::Plane;

/// A status with the entry of another controller. The message of this entry has characters that a careless rewrite
/// would change.
const FOREIGN: &str = r#"{"status":{"parents":[{"parentRef":{"group":"","kind":"Service","name":"web","port":80},"controllerName":"example.com/other","conditions":[{"type":"Accepted","status":"True","reason":"Accepted","message":"\u00fc \"quoted\"  twice","observedGeneration":7,"lastTransitionTime":"2020-01-01T00:00:00Z"}]}]}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_follows_changes_within_seconds() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1", "v2"]);
    scene.route("web", "[{ name: v1, port: 80 }]");
    let patched = scene.kubectl(&[
        "patch",
        "httproute",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        FOREIGN,
    ]);
    assert!(patched.contains("patched"), "{patched}");
    let foreign = |raw: &str| {
        let start = raw.find(r#"{"conditions":[{"lastTransitionTime":"2020"#);
        let start = start.unwrap_or_else(|| panic!("no foreign entry: {raw}"));
        let end = raw[start..].find(r#""port":80}}"#).expect("its end") + r#""port":80}}"#.len();
        raw[start..start + end].to_owned()
    };
    let before = foreign(&scene.raw("web"));

    let _plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    let has_condition =
        |generation: i64, kind: &'static str, status: &'static str, reason: &'static str| {
            move |route: &Value| {
                let found = condition(route, kind)?;
                if found["status"] != status || found["reason"] != reason {
                    return None;
                }
                assert_eq!(found["observedGeneration"], generation);
                assert_eq!(route["metadata"]["generation"], generation);
                Some(found)
            }
        };
    scene.until(
        "httproute",
        "web",
        has_condition(1, "Accepted", "True", "Accepted"),
    );
    scene.until(
        "httproute",
        "web",
        has_condition(1, "ResolvedRefs", "True", "ResolvedRefs"),
    );
    scene.until(
        "httproute",
        "web",
        has_condition(1, LIVE, "False", "NoProxies"),
    );

    scene.route("web", "[{ name: v1, port: 80 }, { name: v3, port: 80 }]");
    let broken = has_condition(2, "ResolvedRefs", "False", "BackendNotFound");
    let found = scene.until("httproute", "web", broken);
    let time = scene.status_delay("httproutes", "web");
    println!("from a change to its status: {time:?}");
    assert!(time < Duration::from_secs(3), "{time:?}");
    let message = found["message"].as_str().expect("a message");
    assert!(message.contains("shop/v3"), "{message}");

    // The route is unchanged, but its backend exists now.
    scene.services(&["v3"]);
    scene.until(
        "httproute",
        "web",
        has_condition(2, "ResolvedRefs", "True", "ResolvedRefs"),
    );

    // Write labels between Weir's status writes. The last status must be for the last generation.
    for weight in 1..=20 {
        scene.route(
            "web",
            &format!("[{{ name: v1, port: 80, weight: {weight} }}]"),
        );
        scene.kubectl(&[
            "label",
            "--overwrite",
            "httproute",
            "web",
            &format!("n={weight}"),
        ]);
    }
    let last = scene.until("httproute", "web", |route| {
        let found = condition(route, "Accepted")?;
        (found["observedGeneration"] == route["metadata"]["generation"]).then_some(found)
    });
    assert_eq!(last["observedGeneration"], 22);
    assert_eq!(
        foreign(&scene.raw("web")),
        before,
        "the foreign entry changed"
    );

    // The parents of this route do not exist. Weir writes an entry for the Service only, because the Gateway may belong
    // to another controller.
    scene.apply(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: lost, namespace: shop }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: none }, { name: no-gateway }]
  rules: [{ backendRefs: [{ name: v1, port: 80 }] }]
",
    );
    scene.until(
        "httproute",
        "lost",
        has_condition(1, "Accepted", "False", "NoMatchingParent"),
    );
    scene.until(
        "httproute",
        "lost",
        has_condition(1, LIVE, "False", "NotInForce"),
    );
    let lost = scene.get("httproute", "lost");
    assert_eq!(
        lost["status"]["parents"].as_array().map(Vec::len),
        Some(1),
        "{lost}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_gets_a_status() {
    let scene = Scene::new(&[]);
    scene.services(&["http", "linkerd", "grpc", "tcp", "split", "v1"]);
    let _plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    let kinds = [
        (
            "httproutes.gateway.networking.k8s.io",
            "gateway.networking.k8s.io/v1, kind: HTTPRoute",
            "http",
        ),
        (
            "httproutes.policy.linkerd.io",
            "policy.linkerd.io/v1beta3, kind: HTTPRoute",
            "linkerd",
        ),
        (
            "grpcroutes.gateway.networking.k8s.io",
            "gateway.networking.k8s.io/v1, kind: GRPCRoute",
            "grpc",
        ),
        (
            "tcproutes.gateway.networking.k8s.io",
            "gateway.networking.k8s.io/v1alpha2, kind: TCPRoute",
            "tcp",
        ),
    ];
    // Each route has one backend that exists, and one backend that does not exist.
    for (_, kind, name) in kinds {
        let group = if name == "linkerd" { "core" } else { "''" };
        scene.apply(&format!(
            "{{ apiVersion: {kind}, metadata: {{ name: {name}, namespace: shop }}, spec: {{
  parentRefs: [{{ group: {group}, kind: Service, name: {name}, port: 80 }}],
  rules: [{{ backendRefs: [{{ name: v1, port: 80 }}, {{ name: gone, port: 80 }}] }}] }} }}"
        ));
    }
    scene.split(
        "split",
        "[{ service: v1, weight: 1 }, { service: gone, weight: 1 }]",
    );
    let of_split = ("trafficsplits.split.smi-spec.io", "", "split");
    for (resource, _, name) in kinds.into_iter().chain([of_split]) {
        for (kind, status, reason) in [
            ("Accepted", "True", "Accepted"),
            ("ResolvedRefs", "False", "BackendNotFound"),
            (LIVE, "False", "NoProxies"),
        ] {
            scene.until(resource, name, |object| {
                let found = condition(object, kind)?;
                let is_new = found["observedGeneration"] == object["metadata"]["generation"];
                (found["status"] == status && found["reason"] == reason && is_new).then_some(())
            });
        }
    }
}

/// The CRD of this test has no field for conditions, so the API server drops the conditions that Weir writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_status_is_not_rewritten_endlessly() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1"]);
    let dropped = |version: usize| {
        let status = "schema/openAPIV3Schema/properties/status/properties/conditions";
        format!(r#"{{"op":"remove","path":"/spec/versions/{version}/{status}"}}"#)
    };
    let patch = format!("[{}]", (0..4).map(dropped).collect::<Vec<_>>().join(","));
    let definition = "trafficsplits.split.smi-spec.io";
    scene.kubectl(&["patch", "crd", definition, "--type=json", "-p", &patch]);
    // The API server applies the changed CRD a moment later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Timestamp::now();
    let plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    scene.split("web", "[{ service: v1, weight: 1 }]");
    let start = Instant::now();
    while plane.metric("weir_status_writes_total").await < 1.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", plane.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.status_writes("trafficsplits", began), ["web"]);
    let log = plane.log();
    assert_eq!(log.matches("lacks these fields").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn split_gets_conditions_and_events() {
    let scene = Scene::new(&[]);
    scene.services(&["web", "v1"]);
    scene.split(
        "web",
        "[{ service: v1, weight: 1 }, { service: v2, weight: 1 }]",
    );
    let plane = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    scene.until("trafficsplit", "web", |split| {
        let found = condition(split, "ResolvedRefs")?;
        (found["reason"] == "BackendNotFound").then_some(())
    });
    let events = |reason: &str| {
        let all: Value =
            serde_json::from_str(&scene.kubectl(&["get", "events.events.k8s.io", "-o", "json"]))
                .expect("Events");
        let all = all["items"].as_array().cloned().unwrap_or_default();
        let of_reason = all.into_iter().filter(|it| it["reason"] == reason);
        of_reason.collect::<Vec<_>>()
    };
    let seen = |reason: &'static str, count: usize| {
        let start = Instant::now();
        loop {
            let found = events(reason);
            if found.len() == count {
                return found;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{reason}: {found:?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let found = seen("BackendNotFound", 1);
    let [event] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["regarding"]["name"], "web");
    assert_eq!(event["reportingController"], "weir.dev/gateway-controller");
    let described = scene.kubectl(&["describe", "trafficsplit", "web"]);
    assert!(
        described.contains("there is no Service shop/v2"),
        "{described}"
    );

    scene.services(&["v2"]);
    let found = seen("Resolved", 1);
    assert_eq!(found[0]["type"], "Normal");

    // If a problem returns, the control plane updates the problem's Event. A new control plane must not report the same
    // problem again.
    scene.kubectl(&["delete", "service", "v2"]);
    let start = Instant::now();
    while events("BackendNotFound")[0]["series"]["count"] != 2 {
        assert!(start.elapsed() < Duration::from_secs(10), "no series");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(plane);
    let began = Timestamp::now();
    let again = Plane::of_cluster(&scene.kubeconfig("admin"), &[]);
    scene.services(&["late"]);
    scene.split(
        "late",
        "[{ service: v1, weight: 1 }, { service: v3, weight: 1 }]",
    );
    scene.until("trafficsplit", "late", |split| {
        condition(split, "ResolvedRefs").filter(|it| it["reason"] == "BackendNotFound")
    });
    // Wait until all other writes are done.
    seen("BackendNotFound", 2);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(scene.status_writes("trafficsplits", began), ["late"]);
    assert_eq!(again.metric("weir_status_writes_total").await, 1.0);
    assert_eq!(again.metric("weir_events_total").await, 1.0);
    let found = events("BackendNotFound");
    let of_web = found.iter().find(|it| it["regarding"]["name"] == "web");
    assert_eq!(
        of_web.expect("of web")["series"]["count"],
        2,
        "reported again"
    );
    assert_eq!(events("Resolved").len(), 1);
    assert_eq!(again.metric("weir_leader").await, 1.0);
}
