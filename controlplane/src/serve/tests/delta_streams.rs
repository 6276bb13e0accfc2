//! Opens streams over HTTP/2, as an Envoy does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::config::core::v3::Node as EnvoyNode;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Request as GrpcRequest, Status, Streaming};

use super::*;
use crate::serve::listener::{self, Limits, Transport};
use crate::xds::message::ResourceType;
use crate::xds::stream_table::{ClusterNames, Node};
use weir_core::api::endpoint_slice::EndpointSlice;
use weir_core::owner::Owner;
use weir_core::world::Entry;

mod limits;

const CDS: ResourceType = ResourceType::Clusters;
const EDS: ResourceType = ResourceType::Endpoints;
const V1: &str = "v1.shop.svc.cluster.local:80";
const V2: &str = "v2.shop.svc.cluster.local:80";
/// A cluster that only the scope of another namespace names.
const SECRET: &str = "secret.other.svc.cluster.local:80";
const CONSUMER_ROUTE: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: other}
spec:
  parentRefs: [{group: '', kind: Service, name: web, namespace: shop}]
  rules: [{backendRefs: [{name: secret, port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: secret, namespace: other}
spec: {ports: [{port: 80}]}
";

/// A control plane with a socket. Its plan has a split of `web.shop` between v1 and v2.
struct Streams {
    plane: Plane,
    catalog: Arc<Catalog>,
    table: Arc<StreamTable>,
    address: SocketAddr,
    leaving: CancellationToken,
}

/// The client's side of a stream.
struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

/// Returns manifests with a split of the Service `root` in this namespace, and with all Services.
fn split(namespace: &str, root: &str, backends: &[&str]) -> String {
    let weighted: Vec<_> = backends
        .iter()
        .map(|it| format!("{{service: {it}, weight: 1}}"))
        .collect();
    let mut text = format!(
        "---
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {{name: {root}, namespace: {namespace}}}
spec: {{service: {root}, backends: [{}]}}
",
        weighted.join(", ")
    );
    for name in backends.iter().chain([&root]) {
        text += &format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{ports: [{{port: 80}}]}}
"
        );
    }
    text
}

fn slice(namespace: &str, service: &str) -> Arc<EndpointSlice> {
    let text = format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: a, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
ports: [{{port: 80}}]
endpoints: [{{addresses: [10.0.0.1]}}]
"
    );
    let objects = object::read("test.yaml", &text).unwrap().objects;
    Entry::of(&objects[0]).endpoint_slice().unwrap().clone()
}

fn limits() -> Limits {
    Limits {
        strangers: 100,
        known: Some(20_000),
        head: 8 << 10,
    }
}

impl Streams {
    async fn start() -> Streams {
        Streams::with(Authentication::Anyone).await
    }

    async fn with(authentication: Authentication) -> Streams {
        let mut plane = Plane::new();
        plane.publish_text(&(split("shop", "web", &["v1", "v2"]) + CONSUMER_ROUTE));
        let (catalog, table) = (plane.server.catalog.clone(), plane.server.streams.clone());
        let server = Server {
            authentication,
            ..plane.server.clone()
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let leaving = CancellationToken::new();
        tokio::spawn(listener::serve(
            socket,
            Transport::Plain,
            server.router(),
            limits(),
            leaving.clone(),
            plane.ending.clone(),
            plane.metrics.clone(),
        ));
        Streams {
            plane,
            catalog,
            table,
            address,
            leaving,
        }
    }

    async fn connect(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    async fn open(&self) -> Stream {
        let headers = [("weir-filters", r#"{"weir": {"namespace": "shop"}}"#)];
        Stream::open(self.connect().await, &headers).await.unwrap()
    }

    /// Waits until the metrics have this line.
    async fn wait_for_metric(&self, line: &str) {
        for _ in 0..200 {
            if self.plane.metrics.text().lines().any(|it| it == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{line} not in\n{}", self.plane.metrics.text());
    }
}

impl Stream {
    async fn open(channel: Channel, headers: &[(&'static str, &str)]) -> Result<Stream, Status> {
        let (requests, mut receiver) = mpsc::channel(100);
        let sent = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        let mut request = GrpcRequest::new(sent);
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.delta_aggregated_resources(request).await?;
        Ok(Stream {
            requests,
            responses: responses.into_inner(),
        })
    }

    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    async fn subscribe(&self, kind: ResourceType, names: &[&str]) {
        self.send(DeltaDiscoveryRequest {
            resource_names_subscribe: names.iter().map(|it| (*it).to_owned()).collect(),
            ..request(kind)
        })
        .await;
    }

    /// Returns the names in the next response.
    async fn names(&mut self) -> Vec<String> {
        let response = self.next().await.unwrap();
        let names = response.resources.into_iter().map(|it| it.name);
        let removed = response.removed_resources.into_iter();
        names
            .chain(removed.map(|name| format!("-{name}")))
            .collect()
    }

    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let next = timeout(Duration::from_secs(60), self.responses.message()).await;
        let next = next.expect("a response")?;
        next.ok_or_else(|| Status::ok("ended"))
    }

    async fn answer(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let error_detail = error.map(|message| RpcStatus {
            message: message.into(),
            ..RpcStatus::default()
        });
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }
}

fn request(kind: ResourceType) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(EnvoyNode {
            id: "envoy-1".into(),
            ..EnvoyNode::default()
        }),
        type_url: kind.url().into(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn stream_gets_what_its_scope_names() {
    let streams = Streams::start().await;
    let mut stream = streams.open().await;
    stream.subscribe(CDS, &[]).await;
    let clusters = stream.next().await.unwrap();
    let names: Vec<_> = clusters.resources.iter().map(|it| &it.name).collect();
    assert_eq!(names, [V1, V2]);
    stream.subscribe(EDS, &[V1, SECRET]).await;
    assert_eq!(stream.names().await, [SECRET, V1]);
    let node = Node {
        owner: Arc::new(Owner::default()),
        id: "envoy-1".into(),
    };
    let needed = ClusterNames::from([V1.into(), V2.into()]);
    let mut changes = streams.table.changes(&node);
    assert_eq!(streams.table.progress(&node, &needed).missing.len(), 2);
    stream.answer(&clusters, None).await;
    while !streams.table.progress(&node, &needed).missing.is_empty() {
        changes.changed().await;
    }
    streams.catalog.set_slice(slice("other", "secret"));
    streams.catalog.set_slice(slice("shop", "v1"));
    assert_eq!(stream.names().await, [V1]);
    streams.wait_for_metric("weir_ads_streams 1").await;
    streams
        .wait_for_metric("weir_ads_pushes_total{type=\"eds\"} 2")
        .await;
    drop(stream);
    streams.wait_for_metric("weir_ads_streams 0").await;
    assert!(!streams.table.progress(&node, &needed).has_stream);
}

#[tokio::test]
async fn new_plan_brings_new_cluster() {
    let mut streams = Streams::start().await;
    let mut stream = streams.open().await;
    stream.subscribe(CDS, &[]).await;
    assert_eq!(stream.names().await, [V1, V2]);
    let name = "secret.shop.svc.cluster.local:80";
    streams
        .plane
        .publish_text(&split("shop", "web", &["secret"]));
    assert_eq!(stream.names().await, [name]);
}

#[tokio::test]
async fn stream_waits_for_first_plan() {
    let streams = Streams::start().await;
    let current = watch::Sender::new(Current::Nothing { why: "wait".into() });
    let server = Server {
        current: current.subscribe(),
        ..streams.plane.server.clone()
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let end = CancellationToken::new();
    tokio::spawn(listener::serve(
        socket,
        Transport::Plain,
        server.router(),
        limits(),
        end.clone(),
        end,
        Arc::default(),
    ));
    let waiting = Streams { address, ..streams };
    let mut stream = waiting.open().await;
    stream.subscribe(CDS, &[]).await;
    let early = timeout(Duration::from_millis(100), stream.responses.message()).await;
    assert!(early.is_err(), "{early:?}");
    let Current::Plan(published) = &*waiting.plane.server.current.borrow() else {
        panic!("a plan");
    };
    current.send_replace(Current::Plan(published.clone()));
    assert_eq!(stream.names().await, [V1, V2]);
}

/// Polls and streams use one connection.
#[tokio::test]
async fn poll_works_over_http2() {
    let streams = Streams::start().await;
    let stream = tokio::net::TcpStream::connect(streams.address)
        .await
        .unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (host, path, expected) in [
        ("weir", "/v1/config?namespace=shop", StatusCode::OK),
        ("rebind.example.com", "/v1/config", StatusCode::FORBIDDEN),
        ("weir", "/other", StatusCode::NOT_FOUND),
        ("weir", ads::PATH, StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let request = Request::get(format!("http://{host}{path}"));
        let request = request.body(Body::empty()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{host}{path}");
    }
    let post = Request::post("http://weir/v1/config").body(Body::from("body"));
    let response = sender.send_request(post.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn stream_needs_http2() {
    let streams = Streams::start().await;
    let request = Request::post(ads::PATH).header("content-type", "application/grpc");
    let request = request.body(Body::from("body")).unwrap();
    let response = streams.plane.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
}

/// An API server that knows the tokens of the ServiceAccount `buyer` in the namespace `shop`.
fn tokens(is_known: Arc<AtomicBool>) -> Arc<Tokens> {
    let api_server = tower::service_fn(move |request: Request<kube::client::Body>| {
        let is_review = request.uri().path().ends_with("/tokenreviews");
        let is_known = is_known.load(Ordering::SeqCst);
        async move {
            let status = json!({ "status": {
                "authenticated": is_known,
                "audiences": [AUDIENCE],
                "user": { "username": "system:serviceaccount:shop:buyer" },
            }, "spec": { "token": "" } });
            let code = if is_review { 201 } else { 404 };
            let body = kube::client::Body::from(status.to_string().into_bytes());
            axum::http::Response::builder().status(code).body(body)
        }
    });
    let client = kube::Client::new(api_server, "default");
    let own = std::path::Path::new("/nowhere");
    Arc::new(Tokens::new(client, own, Arc::default()))
}

fn required(tokens: Arc<Tokens>) -> Authentication {
    Authentication::Required {
        certificates: Arc::new(CertificateRules {
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".into(),
            operators: Vec::new(),
        }),
        tokens: Some(tokens),
    }
}

/// Returns a token that expires in `seconds`.
fn token(audience: &str, seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ends = i64::try_from(now.unwrap().as_secs()).unwrap() + seconds;
    let claims =
        json!({ "sub": "system:serviceaccount:shop:buyer", "aud": [audience], "exp": ends });
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(json!({ "alg": "RS256" })), part(claims))
}

#[tokio::test]
async fn stream_needs_a_right_token() {
    let is_known = Arc::new(AtomicBool::new(true));
    let streams = Streams::with(required(tokens(is_known.clone()))).await;
    let good = token(AUDIENCE, 600);
    let shop = r#"{"weir": {"namespace": "shop"}}"#;
    let both = r#"{"weir": {"namespace": "shop"}, "other": {"gateway": "other/edge"}}"#;
    let filters = |value: &'static str| ("weir-filters", value.to_owned());
    let bearer = |token: &str| ("authorization", format!("Bearer {token}"));
    let plain = |token: &str| ("x-weir-token", token.to_owned());
    for (headers, expected, says) in [
        (
            vec![filters(shop)],
            Code::Unauthenticated,
            "neither a certificate nor a token",
        ),
        (
            vec![filters(shop), bearer(&token("other", 600))],
            Code::Unauthenticated,
            "not for the audience",
        ),
        (
            vec![filters(shop), plain(&token(AUDIENCE, -120))],
            Code::Unauthenticated,
            "has expired",
        ),
        (
            vec![filters(shop), plain("x")],
            Code::Unauthenticated,
            "not the token",
        ),
        (
            vec![filters(r#"{"weir": {"namespace": "other"}}"#), plain(&good)],
            Code::PermissionDenied,
            "of namespace shop",
        ),
        (
            vec![filters(both), plain(&good)],
            Code::PermissionDenied,
            "of namespace shop",
        ),
        (
            vec![filters(r#"{"weir": {"namespace": "*"}}"#), plain(&good)],
            Code::PermissionDenied,
            "every namespace",
        ),
        (vec![plain(&good)], Code::InvalidArgument, "weir-filters"),
        (
            vec![filters("{"), plain(&good)],
            Code::InvalidArgument,
            "weir-filters",
        ),
        (vec![filters(shop), plain(&good)], Code::Ok, ""),
        (
            vec![filters(shop), plain(&format!("Bearer {good}"))],
            Code::Ok,
            "",
        ),
        (vec![filters(shop), bearer(&good)], Code::Ok, ""),
    ] {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let opened = Stream::open(streams.connect().await, &headers).await;
        match opened {
            Ok(mut stream) => {
                assert_eq!(expected, Code::Ok, "{headers:?}");
                stream.subscribe(CDS, &[]).await;
                assert_eq!(stream.names().await, [V1, V2]);
            }
            Err(status) => {
                assert_eq!(status.code(), expected, "{headers:?}: {status}");
                assert!(status.message().contains(says), "{status}");
            }
        }
    }
    is_known.store(false, Ordering::SeqCst);
    let fresh = token(AUDIENCE, 601);
    let headers = [("weir-filters", shop), ("x-weir-token", fresh.as_str())];
    let refused = Stream::open(streams.connect().await, &headers).await;
    assert_eq!(refused.err().unwrap().code(), Code::Unauthenticated);
}
