//! Tests gRPC with a real client on one HTTP/2 connection.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Request, Response};
use bytes::{Buf, BufMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use weir_tests::fault::{Behaviour, FakePlane, document};
use weir_tests::{Bootstrap, Connection, Envoy, shares, shipped};

/// A codec for raw messages, because the test needs no protobuf.
#[derive(Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// Starts a gRPC server that answers every call with `name`. It answers the message [`SLOW`] after three seconds.
async fn greeter(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = move |request: Request<Incoming>| async move {
        assert!(!request.headers().contains_key("x-weir-cluster"));
        let body = request.into_body().collect().await;
        if body.is_ok_and(|body| body.to_bytes().ends_with(SLOW)) {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let mut message = vec![0];
        message.extend(u32::try_from(name.len()).expect("a length").to_be_bytes());
        message.extend(name.as_bytes());
        let trailers = HeaderMap::from_iter([(
            "grpc-status".parse().expect("a name"),
            "0".parse().expect("a value"),
        )]);
        let body = Full::new(Bytes::from(message));
        let body = body.with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
        let answer = Response::builder().header("content-type", "application/grpc");
        Ok::<_, Infallible>(answer.body(body).expect("an answer"))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}

/// Returns a client that calls the host `web` on one connection to this address.
async fn client(address: SocketAddr) -> Grpc<Channel> {
    client_of(address, "http://web").await
}

async fn client_of(address: SocketAddr, origin: &'static str) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
    let endpoint = endpoint.origin(Uri::from_static(origin));
    Grpc::new(endpoint.connect().await.expect("a connection"))
}

const SLOW: &[u8] = b"take your time";

/// Calls the method, and returns the name of the backend that answered.
async fn call(client: &mut Grpc<Channel>, method: &'static str) -> Result<String, Status> {
    call_with(client, method, b"who?").await
}

async fn call_with(
    client: &mut Grpc<Channel>,
    method: &'static str,
    message: &'static [u8],
) -> Result<String, Status> {
    client.ready().await.expect("a connection that is open");
    let request = tonic::Request::new(Bytes::from_static(message));
    let path = PathAndQuery::from_static(method);
    let answer = client.unary(request, path, Plain).await?;
    Ok(String::from_utf8_lossy(answer.get_ref()).into_owned())
}

const HELLO: &str = "/greeter.Greeter/Hello";

/// Starts an Envoy with the listener `outbound`. `document` is the filter's configuration, and `more` has more keys for
/// the plugin configuration.
async fn proxy(document: Value, more: Value) -> Envoy {
    let mut plugin = json!({ "namespace": "default", "initial": document });
    for (key, value) in more.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    let mut bootstrap = Bootstrap::default();
    for name in ["v1", "v2"] {
        let cluster = format!("web-{name}.default.svc.cluster.local:80");
        bootstrap = bootstrap.http2_cluster(&cluster, greeter(name).await);
    }
    let bootstrap = bootstrap.listener("outbound", &plugin.to_string(), None);
    Envoy::start(&bootstrap.build(), 1).await
}

/// Returns a filter configuration that splits the calls of the method [`HELLO`].
fn calls(weights: [u64; 2]) -> Value {
    let mut document = document(weights);
    document["hosts"][0]["matches"] = json!([{ "path": { "exact": HELLO }, "rule": "web" }]);
    document["hosts"][0]["unmatched"] = json!("not_found");
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_one_connection_are_split() {
    let envoy = proxy(calls([90, 10]), json!({})).await;
    let mut client = client(envoy.listener("outbound")).await;
    let mut counted = BTreeMap::new();
    for _ in 0..100 {
        let who = call(&mut client, HELLO).await.expect("an answer");
        *counted.entry(who).or_insert(0) += 1;
    }
    assert_eq!(counted, shares([("v1", 90), ("v2", 10)]));

    // Send concurrent calls.
    let calls = (0..100).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { call(&mut client, HELLO).await.expect("an answer") })
    });
    let mut counted = BTreeMap::new();
    for call in calls.collect::<Vec<_>>() {
        *counted.entry(call.await.expect("a call")).or_insert(0) += 1;
    }
    assert_eq!(counted, shares([("v1", 90), ("v2", 10)]));
    assert_eq!(envoy.stat("http.outbound.downstream_cx_total").await, 1);
    envoy.assert_no_traps().await;
}

/// If the filter itself answers a gRPC client, the answer must be a gRPC status.
#[tokio::test(flavor = "multi_thread")]
async fn filter_answers_are_grpc_statuses() {
    let mut broken = calls([1, 1]);
    broken["rules"]["web"]["backends"][1]["to"] = json!({ "status": 503 });
    let mut denied = calls([1, 1]);
    denied["rules"]["web"]["backends"][0]["accounts"] = json!(["default/web"]);
    denied["rules"]["web"]["backends"][1]["accounts"] = json!(["default/web"]);
    denied["access"] = json!({ "grants": {} });
    for (document, more, method, code, words) in [
        (
            calls([1, 1]),
            json!({}),
            "/greeter.Greeter/Bye",
            Code::Unimplemented,
            "no rule",
        ),
        (
            broken,
            json!({}),
            HELLO,
            Code::Unavailable,
            "the backend that was picked",
        ),
        (
            denied,
            json!({ "service_account": "me" }),
            HELLO,
            Code::PermissionDenied,
            "no TrafficTarget",
        ),
    ] {
        let envoy = proxy(document, more).await;
        let mut client = client(envoy.listener("outbound")).await;
        // In the case `broken`, one of two calls goes to the broken backend.
        let mut codes = Vec::new();
        for _ in 0..2 {
            codes.extend(call(&mut client, method).await.err());
        }
        assert!(!codes.is_empty(), "{code:?}");
        assert!(
            codes.iter().all(|status| status.code() == code),
            "{codes:?}"
        );
        let words = format!("weir: {words}");
        assert!(
            codes
                .iter()
                .all(|status| status.message().starts_with(&words)),
            "{codes:?}"
        );
        envoy.assert_no_traps().await;
    }
}

/// Runs `envoy-config/grpc.yaml` with the backends and the control plane of this test.
async fn shipped_proxy(weights: [u64; 2]) -> Envoy {
    let text = calls(weights).to_string();
    let text = text
        .replace("\"web", "\"inventory")
        .replace("default\"", "bookstore\"");
    let fake = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body: text.replace("80", "50051"),
    })
    .await;
    let config = shipped(
        "grpc.yaml",
        &[
            ("weir", fake.address),
            (
                "inventory.bookstore.svc.cluster.local:50051",
                greeter("ordinary").await,
            ),
            (
                "inventory-v1.bookstore.svc.cluster.local:50051",
                greeter("v1").await,
            ),
            (
                "inventory-v2.bookstore.svc.cluster.local:50051",
                greeter("v2").await,
            ),
        ],
    );
    let envoy = Envoy::start(&config, 1).await;
    envoy.wait_for_updates(1).await;
    envoy
}

/// A Service may select other pods while a connection is open, and a connection stays at its pod.
#[tokio::test(flavor = "multi_thread")]
async fn calls_outlive_the_connection_limit() {
    let envoy = shipped_proxy([1, 0]).await;
    let mut client = client_of(envoy.listener("outbound"), "http://inventory:50051").await;
    let mut other = client.clone();
    let slow = tokio::spawn(async move { call_with(&mut other, HELLO, SLOW).await });
    for _ in 0..30 {
        assert_eq!(call(&mut client, HELLO).await.expect("an answer"), "v1");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(slow.await.expect("a task").expect("an answer"), "v1");
    let cluster = "cluster.inventory-v1.bookstore.svc.cluster.local_50051";
    let ended = format!("{cluster}.upstream_cx_max_duration_reached");
    assert!(envoy.stat(&ended).await >= 1);
    let connections = format!("{cluster}.upstream_cx_total");
    assert!(envoy.stat(&connections).await >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_configuration_has_a_kill_switch() {
    let envoy = shipped_proxy([3, 1]).await;
    let address = envoy.listener("outbound");
    let mut client = client_of(address, "http://inventory:50051").await;
    let mut admin = Connection::open(envoy.admin).await;
    let split = shares([("v1", 15), ("v2", 5)]);
    for (percent, expected) in [
        ("100", &split),
        ("0", &shares([("ordinary", 20)])),
        ("100", &split),
    ] {
        let switch = format!("/runtime_modify?weir.enabled={percent}");
        assert_eq!(admin.post("admin", &switch).await.status, 200);
        let mut counted = BTreeMap::new();
        for _ in 0..20 {
            let who = call(&mut client, HELLO).await.expect("an answer");
            *counted.entry(who).or_insert(0) += 1;
        }
        assert_eq!(counted, *expected, "{percent} %");
    }
    let status = call(&mut client, "/greeter.Greeter/Bye")
        .await
        .expect_err("no rule");
    assert_eq!(status.code(), Code::Unimplemented);
}
