use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use tokio::time::Instant;
use tower::ServiceExt;

use super::*;
use weir_split::wire::headers::MAX_INSTANCE;
use weir_split::wire::{self, Config};

use crate::publish::{Published, Publisher, Snapshot};
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;
use weir_core::translate::translate;
use weir_core::world::World;

/// A control plane without sockets.
struct Plane {
    publisher: Publisher,
    ending: CancellationToken,
    metrics: Arc<Metrics>,
    proxies: Arc<Proxies>,
    server: Server,
    app: Router,
}

fn server(publisher: &Publisher, end: CancellationToken, metrics: Arc<Metrics>) -> Server {
    Server::new(
        publisher,
        ClusterVersions::default(),
        Authentication::Anyone,
        end,
        metrics,
    )
}

impl Plane {
    fn new() -> Plane {
        Plane::with_policy(Policy::Unstated)
    }

    fn with_policy(policy: Policy) -> Plane {
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), policy);
        let ending = CancellationToken::new();
        let server = server(&publisher, ending.clone(), metrics.clone());
        Plane {
            proxies: server.proxies(),
            server: server.clone(),
            app: server.router(),
            publisher,
            ending,
            metrics,
        }
    }

    fn published(weight: u64) -> Plane {
        let mut plane = Plane::new();
        plane.publish(weight);
        plane
    }

    /// Publishes a split with `weight` for v1 and weight 1 for v2.
    fn publish(&mut self, weight: u64) {
        self.publish_with(weight, Watermark::default());
    }

    fn publish_with(&mut self, weight: u64, watermark: Watermark) {
        let mut text = format!(
            "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {{name: web, namespace: shop}}
spec: {{service: web, backends: [{{service: v1, weight: {weight}}}, {{service: v2, weight: 1}}]}}
"
        );
        for name in ["web", "v1", "v2"] {
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
        let manifests = object::read("test.yaml", &text).unwrap();
        self.publisher.publish(Snapshot {
            watermark,
            ..manifests.into()
        });
    }

    fn publish_text(&mut self, text: &str) {
        let manifests = object::read("test.yaml", text).unwrap();
        self.publisher.publish(manifests.into());
    }

    fn get(&self, query: &str, headers: &[(&str, &str)]) -> impl Future<Output = Response> + use<> {
        let mut request = Request::get(format!("/v1/config{query}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self
            .app
            .clone()
            .oneshot(request.body(Body::empty()).unwrap());
        async { answer.await.unwrap() }
    }

    async fn revision(&self) -> String {
        revision(&self.get("", &[]).await)
    }
}

fn revision(response: &Response) -> String {
    let etag = response.headers()[ETAG].to_str().unwrap();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    etag.to_owned()
}

async fn json(response: Response) -> serde_json::Value {
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Polls the future once, and asserts that there is no answer yet.
async fn begin(poll: &mut (impl Future<Output = Response> + Unpin)) {
    tokio::task::yield_now().await;
    std::future::poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *poll).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// DNS rebinding: the host name of a web page resolves to 127.0.0.1, and the page requests the configuration.
#[tokio::test]
async fn page_of_other_host_is_forbidden() {
    let plane = Plane::published(9);
    for path in ["/v1/config", "/v1/config?namespace=shop", "/v1/proxies"] {
        for (host, status) in [
            ("rebind.example.com:9900", StatusCode::FORBIDDEN),
            ("127.0.0.1:9900", StatusCode::OK),
        ] {
            let request = Request::get(path).header("host", host);
            let request = request.body(Body::empty()).unwrap();
            let response = plane.app.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{host} {path}");
            let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_told = text.contains("TrafficSplit") || text.contains("\"replica\"");
            assert_eq!(is_told, status == StatusCode::OK, "{text}");
        }
    }
}

#[tokio::test]
async fn nothing_published_is_503_with_reason() {
    let mut plane = Plane::new();
    plane.publisher.hold_back("dir/a.yaml is broken", &[]);
    let response = plane.get("", &[]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    let error = json(response).await["error"].to_string();
    assert!(error.contains("dir/a.yaml is broken"), "{error}");
}

#[tokio::test]
async fn known_revision_gets_304() {
    let plane = Plane::published(9);
    let response = plane.get("?namespace=shop&later=1", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let revision = revision(&response);
    assert_eq!(json(response).await["version"], wire::VERSION);

    for tags in ["TAG", "W/TAG", "\"x\", TAG", "*"] {
        let tags = tags.replace("TAG", &revision);
        let query = "?namespace=shop";
        let response = plane.get(query, &[("if-none-match", &tags)]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{tags}");
        assert_eq!(response.headers()[ETAG], revision);
    }
    let response = plane.get("", &[("if-none-match", "\"x\"")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(
        plane
            .metrics
            .text()
            .contains("weir_polls_total{code=\"304\"} 4")
    );
}

#[tokio::test]
async fn answer_counts_rules_of_other_scopes() {
    let plane = Plane::published(9);
    for (query, expected) in [
        ("?namespace=shop", "0"),
        ("?namespace=*", "0"),
        ("?gateway=shop/edge", "1"),
    ] {
        let response = plane.get(query, &[]).await;
        assert_eq!(response.headers()["weir-elsewhere"], expected, "{query}");
        let held = [("if-none-match", revision(&response))];
        let held = held.each_ref().map(|(name, value)| (*name, value.as_str()));
        let response = plane.get(query, &held).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{query}");
        assert_eq!(response.headers()["weir-elsewhere"], expected, "{query}");
    }
}

#[tokio::test]
async fn invalid_scope_is_400() {
    let plane = Plane::published(9);
    for bad in [
        "?namespace=a&gateway=b/c",
        "?namespace=a&namespace=b",
        "?namespace=",
        "?namespace=A_b",
        "?gateway=a",
        "?gateway=a/b/c",
        "?gateway=/b",
        "?namespace=%ff",
        "?namespace=**",
        "?namespace=*&gateway=b/c",
    ] {
        let response = plane.get(bad, &[]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{bad}");
        assert!(json(response).await["error"].is_string());
    }
    for good in [
        "",
        "?",
        "?x",
        "?gateway=a/b.c",
        "?namespace=a%2Db",
        "?namespace=*",
    ] {
        assert_eq!(
            plane.get(good, &[]).await.status(),
            StatusCode::OK,
            "{good}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn held_poll_times_out_with_304() {
    let plane = Plane::published(9);
    let tag = plane.revision().await;
    let start = Instant::now();
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=600")];
    let response = plane.get("", &headers).await;
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.headers()["preference-applied"], "wait");
    assert_eq!(start.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn new_revision_ends_held_poll() {
    let mut plane = Plane::published(9);
    let tag = plane.revision().await;
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=20")];
    let mut poll = Box::pin(plane.get("", &headers));
    begin(&mut poll).await;
    assert!(plane.metrics.text().contains("weir_polls_held 1"));

    plane.publish(9);
    begin(&mut poll).await;

    let start = Instant::now();
    plane.publish(8);
    let response = poll.await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(response.status(), StatusCode::OK);
    assert_ne!(revision(&response), tag);
    assert!(plane.metrics.text().contains("weir_polls_held 0"));
}

#[tokio::test(start_paused = true)]
async fn waiting_proxy_gets_first_revision() {
    let mut plane = Plane::new();
    let mut poll = Box::pin(plane.get("", &[("prefer", "wait=20")]));
    begin(&mut poll).await;
    plane.publish(9);
    assert_eq!(poll.await.status(), StatusCode::OK);

    let plane = Plane::new();
    let response = plane.get("", &[("prefer", "wait=20")]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn poll_without_revision_is_immediate() {
    let plane = Plane::published(9);
    let start = Instant::now();
    assert_eq!(plane.get("", &[("prefer", "wait=20")]).await.status(), 200);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn newer_poll_ends_older_one() {
    let plane = Plane::published(9);
    let tag = plane.revision().await;
    let poll = |query: &str, instance: &str| {
        let headers = [
            ("if-none-match", if query.is_empty() { &tag } else { "*" }),
            ("prefer", "wait=20"),
            ("weir-instance", instance),
        ];
        Box::pin(plane.get(query, &headers))
    };
    let long = "x".repeat(MAX_INSTANCE + 1);
    let mut others = [
        poll("", "b"),
        poll("?gateway=a/b", "a"),
        poll("", ""),
        poll("", ""),
        poll("", &long),
        poll("", &long),
    ];
    for other in &mut others {
        begin(other).await;
    }
    let mut older = poll("", "a");
    begin(&mut older).await;
    let mut newer = poll("", "a");
    begin(&mut newer).await;
    assert_eq!(older.await.status(), StatusCode::NOT_MODIFIED);
    begin(&mut newer).await;
    for other in &mut others {
        begin(other).await;
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_answers_held_polls() {
    let plane = Plane::published(9);
    let tag = plane.revision().await;
    let headers = [("if-none-match", tag.as_str()), ("prefer", "wait=20")];
    let mut poll = Box::pin(plane.get("", &headers));
    begin(&mut poll).await;
    plane.ending.cancel();
    let start = Instant::now();
    assert_eq!(poll.await.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(
        plane.get("", &headers).await.status(),
        StatusCode::NOT_MODIFIED
    );
    // The server holds both polls for a moment, because a proxy counts an immediate 304 as a failure.
    let held = start.elapsed();
    assert!(
        held >= Duration::from_millis(600) && held < Duration::from_secs(1),
        "{held:?}"
    );
}

#[tokio::test]
async fn inexpressible_rules_are_never_left_out() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: paths}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules: [{matches: [{path: {value: PATH}}], backendRefs: [{name: web, port: 80}]}]
";
    // In this test paths need document version 2.
    let features_after = |config: &Config, version| {
        let matches = config.hosts.iter().flat_map(|set| &set.matches);
        let newer = matches.filter(|wanted| version < 2 && wanted.path.is_some());
        newer.map(|wanted| wanted.rule.clone()).collect()
    };
    for (path, expected) in [("/", StatusCode::OK), ("/a", StatusCode::NOT_ACCEPTABLE)] {
        let objects = object::read("test.yaml", &text.replace("PATH", path))
            .unwrap()
            .objects;
        let (world, _) = World::from_objects(objects);
        let plan = translate(&world, Policy::Unstated).0;
        let published = Published::compile(plan, features_after).unwrap();
        let end = CancellationToken::new();
        let publisher = Publisher::new(Arc::default(), Policy::Unstated);
        let mut server = server(&publisher, end, Arc::default());
        let current = watch::Sender::new(Current::Plan(Arc::new(published)));
        server.current = current.subscribe();
        let app = server.router();
        let request = Request::get("/v1/config")
            .header("weir-version", "1")
            .body(Body::empty());
        let response = app.oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        match expected {
            StatusCode::OK => assert!(body.starts_with("{\"version\":1,"), "{body}"),
            _ => assert!(
                body.contains(
                    "version 1 of the configuration format cannot express HTTPRoute/default/paths"
                ),
                "{body}"
            ),
        }
    }
}

#[tokio::test]
async fn refusals_of_proxies_are_counted() {
    let mut plane = Plane::published(1);
    let first = plane.revision().await;
    let old = format!("\"{first}\"");
    let poll = [("weir-instance", "a"), ("weir-applied", old.as_str())];
    plane.get("", &poll).await;
    plane.publish(2);
    let second = format!("\"{}\"", plane.revision().await);
    plane
        .get(
            "",
            &[
                ("weir-instance", "b"),
                ("weir-refused", "\"x\" for a reason"),
            ],
        )
        .await;
    plane
        .get("", &[("weir-instance", "a"), ("weir-applied", &second)])
        .await;
    let text = plane.metrics.text();
    for line in [
        "weir_proxies 2",
        "weir_proxies_refusing 1",
        "weir_propagation_seconds_count 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
    }
}

mod clusters;
mod delta_streams;
mod watermarks;
