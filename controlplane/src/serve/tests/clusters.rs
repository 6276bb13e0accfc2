//! Tests polls of proxies that get their clusters from Weir.

use weir_split::wire::Target;

use super::*;
use crate::xds::stream_table::{ClusterState, Node, OpenStream};

const WAIT: (&str, &str) = ("prefer", "wait=25");

/// Publishes splits. Each split has a root and a list of backends such as `v1 9, v2 1`.
fn publish(plane: &mut Plane, splits: &[(&str, &str)]) {
    publish_at(plane, splits, 7);
}

/// Like [`publish`], with a watermark that contains `version` for Services.
fn publish_at(plane: &mut Plane, splits: &[(&str, &str)], version: u64) {
    let mut text = String::new();
    for name in ["web", "api", "v1", "v2", "v3"] {
        text += &format!(
            "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{ports: [{{port: 80}}]}}
"
        );
    }
    for (root, backends) in splits {
        let backends = backends.split(", ").map(|it| {
            let (service, weight) = it.split_once(' ').unwrap();
            format!("{{service: {service}, weight: {weight}}}")
        });
        let backends = backends.collect::<Vec<_>>().join(", ");
        text += &format!(
            "
---
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {{name: {root}, namespace: shop}}
spec: {{service: {root}, backends: [{backends}]}}
"
        );
    }
    let manifests = object::read("test.yaml", &text).unwrap();
    let watermark = format!("services={version}").parse().unwrap();
    plane.publisher.publish(Snapshot {
        watermark,
        ..manifests.into()
    });
}

fn plane(splits: &[(&str, &str)]) -> Plane {
    let mut plane = Plane::new();
    publish(&mut plane, splits);
    plane
}

fn open(plane: &Plane) -> OpenStream {
    let node = Node::new(Arc::default(), "sidecar");
    plane.server.streams().open(node)
}

fn set(stream: &OpenStream, services: &str, state: &ClusterState) {
    let name = |service: &str| format!("{service}.shop.svc.cluster.local:80").into();
    stream.record(
        services
            .split(' ')
            .map(|it| (name(it), Some(state.clone()))),
    );
}

fn accept(stream: &OpenStream, services: &str) {
    set(stream, services, &ClusterState::Accepted);
}

/// Polls as instance `a` of node `sidecar`. `tag` is the present revision in quotes, or empty.
fn poll(plane: &Plane, tag: &str) -> impl Future<Output = Response> + Unpin + use<> {
    let mut headers = vec![
        WAIT,
        ("weir-clusters", "weir"),
        ("weir-node", "sidecar"),
        ("weir-instance", "a"),
    ];
    if !tag.is_empty() {
        headers.extend([("if-none-match", tag), ("weir-applied", tag)]);
    }
    Box::pin(plane.get("?namespace=shop", &headers))
}

/// Returns the rules of a document, such as `web = 9 v1, 1 500`.
async fn rules(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let config: Config = serde_json::from_value(json(response).await).unwrap();
    let mut lines = Vec::new();
    for set in &config.hosts {
        let wire::Hosts::Root(root) = &set.hosts else {
            panic!("{set:?}");
        };
        let mut backends = Vec::new();
        for entry in &set.matches {
            for backend in &config.rules[&entry.rule].backends {
                let to = match &backend.to {
                    Target::Service(service) => service.name.clone(),
                    Target::Status(status) => status.to_string(),
                };
                backends.push(format!("{} {to}", backend.weight));
            }
        }
        lines.push(format!("{} = {}", root.service, backends.join(", ")));
    }
    lines.join("; ")
}

#[tokio::test(start_paused = true)]
async fn document_waits_for_acceptance() {
    let mut plane = plane(&[("web", "v1 9, v2 1")]);
    let stream = open(&plane);
    let mut first = poll(&plane, "");
    begin(&mut first).await;
    accept(&stream, "v1");
    begin(&mut first).await;
    let start = Instant::now();
    accept(&stream, "v2");
    let response = first.await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(response.headers()["weir-watermark"], "services=7");
    let tag = revision(&response);
    assert_eq!(rules(response).await, "web = 9 v1, 1 v2");

    // New weights need no new cluster, so the stream may even be away.
    drop(stream);
    publish(&mut plane, &[("web", "v1 8, v2 1")]);
    let response = poll(&plane, &tag).await;
    let tag = revision(&response);
    assert_eq!(rules(response).await, "web = 8 v1, 1 v2");

    let stream = open(&plane);
    accept(&stream, "v1 v2");
    let mut held = poll(&plane, &tag);
    begin(&mut held).await;
    publish(&mut plane, &[("web", "v1 8, v2 1, v3 1")]);
    begin(&mut held).await;
    accept(&stream, "v3");
    assert_eq!(rules(held.await).await, "web = 8 v1, 1 v2, 1 v3");
}

#[tokio::test(start_paused = true)]
async fn missing_cluster_holds_only_its_rule() {
    let mut plane = plane(&[("web", "v1 9, v2 1"), ("api", "v1 1")]);
    let stream = open(&plane);
    accept(&stream, "v1 v2");
    let tag = revision(&poll(&plane, "").await);
    publish(&mut plane, &[("web", "v1 5, v3 5"), ("api", "v1 1, v2 1")]);
    let start = Instant::now();
    let response = poll(&plane, &tag).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    let tag = revision(&response);
    assert_eq!(rules(response).await, "api = 1 v1, 1 v2; web = 9 v1, 1 v2");
    let response = poll(&plane, &tag).await;
    assert_eq!(start.elapsed().as_secs(), 15);
    let tag = revision(&response);
    assert_eq!(rules(response).await, "api = 1 v1, 1 v2; web = 5 v1, 5 500");
    let mut held = poll(&plane, &tag);
    begin(&mut held).await;
    accept(&stream, "v3");
    assert_eq!(
        rules(held.await).await,
        "api = 1 v1, 1 v2; web = 5 v1, 5 v3"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_cluster_is_broken_at_once() {
    let mut plane = plane(&[("web", "v1 1")]);
    let stream = open(&plane);
    accept(&stream, "v1");
    let tag = revision(&poll(&plane, "").await);
    let mut held = poll(&plane, &tag);
    begin(&mut held).await;
    publish(&mut plane, &[("web", "v1 1, v2 1")]);
    begin(&mut held).await;
    set(&stream, "v2", &ClusterState::Refused("bad".into()));
    let start = Instant::now();
    assert_eq!(rules(held.await).await, "web = 1 v1, 1 500");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn first_document_leaves_rules_out() {
    let plane = plane(&[("web", "v1 1, v2 1"), ("api", "v1 1")]);
    let stream = open(&plane);
    accept(&stream, "v1");
    let start = Instant::now();
    let response = poll(&plane, "").await;
    assert_eq!(start.elapsed().as_secs(), 1);
    let tag = revision(&response);
    assert_eq!(rules(response).await, "api = 1 v1; web = ");
    let response = poll(&plane, &tag).await;
    assert_eq!(start.elapsed().as_secs(), 15);
    assert_eq!(rules(response).await, "api = 1 v1; web = 1 v1, 1 500");
}

#[tokio::test(start_paused = true)]
async fn proxy_without_stream_keeps_document() {
    let mut plane = plane(&[("web", "v1 1")]);
    let start = Instant::now();
    let response = poll(&plane, "").await;
    assert_eq!(start.elapsed().as_secs(), 25);
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let error = json(response).await["error"].to_string();
    assert!(error.contains("node sidecar has no open stream"), "{error}");

    let stream = open(&plane);
    accept(&stream, "v1");
    let tag = revision(&poll(&plane, "").await);
    drop(stream);
    publish(&mut plane, &[("web", "v1 1, v2 1")]);
    let start = Instant::now();
    let response = poll(&plane, &tag).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(start.elapsed().as_secs(), 25);
    let response = poll(&plane, "\"other\"").await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert!(!response.headers().contains_key("weir-watermark"));
    // A change that needs no new cluster is in force after a second.
    publish(&mut plane, &[("web", "v1 1, v2 1"), ("api", "v1 1")]);
    let start = Instant::now();
    let response = poll(&plane, &tag).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    assert_eq!(rules(response).await, "api = 1 v1; web = 1 v1");
    // A proxy with its own clusters waits for nothing.
    let response = plane.get("?namespace=shop", &[WAIT]).await;
    assert_eq!(rules(response).await, "api = 1 v1; web = 1 v1, 1 v2");
}

#[tokio::test(start_paused = true)]
async fn unknown_document_is_kept() {
    let splits = [("web", "v1 1, v2 1"), ("api", "v1 1")];
    for (seconds, expected) in [
        (None, "api = 1 v1; web = 1 v1, 1 500"),
        (Some(4), "api = 1 v1; web = 1 v1, 1 v2"),
    ] {
        let plane = plane(&splits);
        let stream = open(&plane);
        accept(&stream, "v1");
        let start = Instant::now();
        let mut held = poll(&plane, "\"other\"");
        begin(&mut held).await;
        if let Some(seconds) = seconds {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            begin(&mut held).await;
            accept(&stream, "v2");
        }
        assert_eq!(rules(held.await).await, expected);
        assert_eq!(start.elapsed().as_secs(), seconds.unwrap_or(15));
    }
}

/// The new document may revoke a grant of the document that this replica does not know.
#[tokio::test(start_paused = true)]
async fn possible_revocation_waits_two_seconds() {
    for (has_stream, milliseconds, expected) in [
        (true, 1_000, "api = 1 v1; web = 1 v1, 1 500"),
        (false, 2_000, "api = 1 v1; web = 1 v1, 1 v2"),
    ] {
        let mut plane = Plane::with_policy(Policy::Smi);
        publish(&mut plane, &[("web", "v1 1, v2 1"), ("api", "v1 1")]);
        let stream = has_stream.then(|| open(&plane));
        if let Some(stream) = &stream {
            accept(stream, "v1");
        }
        let start = Instant::now();
        let response = poll(&plane, "\"other\"").await;
        assert_eq!(start.elapsed().as_millis(), milliseconds);
        assert_eq!(rules(response).await, expected);
    }
}

/// A proxy that connects again has clusters of an earlier version.
#[tokio::test(start_paused = true)]
async fn unknown_document_uses_changed_clusters() {
    let plane = plane(&[("web", "v1 1")]);
    let stream = open(&plane);
    set(&stream, "v1", &ClusterState::Changed);
    let start = Instant::now();
    let response = poll(&plane, "\"other\"").await;
    assert_eq!(rules(response).await, "web = 1 v1");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn polls_report_clusters_in_use() {
    let mut plane = plane(&[("web", "v1 1, v2 0")]);
    let stream = open(&plane);
    accept(&stream, "v1");
    let node = Node::new(Arc::default(), "sidecar");
    let streams = plane.server.streams();
    let in_use = || {
        let names = streams.names_in_use(&node)?;
        let names = names
            .iter()
            .map(|it| it.split('.').next().unwrap().to_owned());
        Some(names.collect::<Vec<_>>().join(" "))
    };
    let tag = revision(&poll(&plane, "").await);
    for _ in 0..3 {
        poll(&plane, &tag).await;
    }
    assert_eq!(in_use().as_deref(), Some("v1 v2"));
    publish(&mut plane, &[("web", "v1 1")]);
    let newest = revision(&poll(&plane, &tag).await);
    assert_eq!(in_use().as_deref(), Some("v1 v2"));
    poll(&plane, &newest).await;
    assert_eq!(in_use().as_deref(), Some("v1"));
    poll(&plane, "\"other\"").await;
    assert_eq!(in_use(), None);
}

/// Returns the watermark and the gaps of the only proxy.
fn status(plane: &Plane) -> (String, String) {
    let proxies = plane.proxies.list().proxies;
    let [proxy] = proxies.as_slice() else {
        panic!("{proxies:?}");
    };
    let gaps = serde_json::to_string(&proxy.gaps).unwrap();
    (proxy.watermark.clone(), gaps)
}

#[tokio::test(start_paused = true)]
async fn missing_cluster_is_in_the_list() {
    const NAME: &str = "v3.shop.svc.cluster.local:80";
    let mut plane = plane(&[("web", "v1 1")]);
    let stream = open(&plane);
    accept(&stream, "v1");
    let first = revision(&poll(&plane, "").await);
    publish_at(&mut plane, &[("web", "v1 1, v3 1"), ("api", "v1 1")], 8);
    let mut held = poll(&plane, &first);
    begin(&mut held).await;
    let gap = |gap: &str| format!("{{\"clusters\":{{\"{NAME}\":{gap}}}}}");
    assert_eq!(status(&plane), ("services=7".into(), gap("\"awaited\"")));

    // The partial document has every change, except in the rule that waits.
    let partial = revision(&held.await);
    let mut held = poll(&plane, &partial);
    begin(&mut held).await;
    assert_eq!(status(&plane), ("services=8".into(), gap("\"awaited\"")));
    plane.proxies.set_metrics();
    let text = plane.metrics.text();
    assert!(text.contains("weir_proxies_without_cluster 1"), "{text}");
    assert!(text.contains("weir_proxies_behind 0"), "{text}");
    set(&stream, "v3", &ClusterState::Refused("bad".into()));
    let broken = revision(&held.await);
    let mut held = poll(&plane, &broken);
    begin(&mut held).await;
    let refused = gap("{\"refused\":\"bad\"}");
    assert_eq!(status(&plane), ("services=8".into(), refused.clone()));

    // The gap stays in the list until the proxy runs the whole document.
    accept(&stream, "v3");
    let whole = revision(&held.await);
    poll(&plane, &broken).await;
    assert_eq!(status(&plane).1, refused);
    let mut held = poll(&plane, &whole);
    begin(&mut held).await;
    assert_eq!(
        status(&plane),
        ("services=8".into(), "{\"clusters\":{}}".into())
    );
}

#[tokio::test(start_paused = true)]
async fn missing_stream_is_in_the_list() {
    let mut plane = plane(&[("web", "v1 1")]);
    let stream = open(&plane);
    accept(&stream, "v1");
    let tag = revision(&poll(&plane, "").await);
    let mut held = poll(&plane, &tag);
    begin(&mut held).await;
    drop(stream);
    publish_at(&mut plane, &[("web", "v1 1, v3 1")], 8);
    begin(&mut held).await;
    let (watermark, gaps) = status(&plane);
    assert_eq!(watermark, "services=7");
    assert!(gaps.contains("\"no_stream\""), "{gaps}");
    publish_at(&mut plane, &[("web", "v1 1")], 9);
    begin(&mut held).await;
    assert_eq!(
        status(&plane),
        ("services=9".into(), "{\"clusters\":{}}".into())
    );
}
