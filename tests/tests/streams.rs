//! Tests WebSockets and gRPC streams that stay open while weights change. An open stream stays at its backend, and a
//! new stream follows the new weights.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::fault::{Behaviour, FakePlane, document};
use weir_tests::{Bootstrap, Envoy};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;
const BACKENDS: [&str; 2] = ["v1", "v2"];

fn serve(revision: &str, weights: [u64; 2]) -> Behaviour {
    Behaviour::Serve {
        revision: revision.into(),
        body: document(weights).to_string(),
    }
}

fn cluster(backend: &str) -> String {
    format!("web-{backend}.default.svc.cluster.local:80")
}

/// Starts an Envoy that gets its configuration from `fake`, and waits for the first configuration.
async fn envoy(fake: &FakePlane, bootstrap: Bootstrap) -> Envoy {
    let bootstrap = bootstrap
        .cluster("weir", fake.address)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 2).await;
    envoy.wait_for_updates(1).await;
    envoy
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("more of the head"));
    }
    String::from_utf8(head).expect("text")
}

/// Starts a backend that accepts every upgrade. It writes its name before all bytes that it echoes.
async fn websocket_backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let head = read_head(&mut stream).await.to_lowercase();
                assert!(head.contains("upgrade: websocket"), "{head}");
                assert!(!head.contains("x-weir-cluster"), "{head}");
                let accepted = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                     connection: upgrade\r\nidentity: {name}\r\n\r\n"
                );
                stream.write_all(accepted.as_bytes()).await.expect("sent");
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let echo = [name.as_bytes(), b":", &buffer[..length]].concat();
                    stream.write_all(&echo).await.expect("sent");
                }
            });
        }
    });
    address
}

struct WebSocket {
    stream: TcpStream,
    backend: String,
}

impl WebSocket {
    async fn open(address: SocketAddr) -> WebSocket {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let backend = head
            .lines()
            .find_map(|line| line.strip_prefix("identity: "));
        WebSocket {
            stream,
            backend: backend.expect("an identity").to_owned(),
        }
    }

    async fn say(&mut self, word: &str) {
        self.stream.write_all(word.as_bytes()).await.expect("sent");
        let mut echo = vec![0; self.backend.len() + 1 + word.len()];
        self.stream.read_exact(&mut echo).await.expect("an echo");
        let expected = format!("{}:{word}", self.backend);
        assert_eq!(String::from_utf8_lossy(&echo), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_stays_where_it_began() {
    let fake = FakePlane::start(serve("r1", [100, 0])).await;
    let mut bootstrap = Bootstrap::default();
    for name in BACKENDS {
        bootstrap = bootstrap.cluster(&cluster(name), websocket_backend(name).await);
    }
    let envoy = envoy(&fake, bootstrap).await;
    let address = envoy.listener("outbound");
    let mut old = WebSocket::open(address).await;
    assert_eq!(old.backend, "v1");
    old.say("before").await;

    fake.switch(serve("r2", [0, 100]));
    envoy.wait_for_updates(2).await;
    old.say("after").await;
    let mut new = WebSocket::open(address).await;
    assert_eq!(new.backend, "v2");
    new.say("hello").await;

    fake.switch(serve("r3", [50, 50]));
    envoy.wait_for_updates(3).await;
    for socket in [&mut old, &mut new] {
        socket.say("still").await;
    }
    let mut more = BTreeSet::new();
    // Each of the two workers has its own sequence of picks. One worker gets at least two of the four connections, and
    // these two reach both backends.
    for _ in 0..4 {
        more.insert(WebSocket::open(address).await.backend);
    }
    assert_eq!(more.len(), 2, "{more:?}");
    envoy.assert_no_traps().await;
}

/// Starts a gRPC backend. It echoes every message, with its own name in front. At the end it echoes the
/// trailers.
async fn grpc_backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = move |request: Request<Incoming>| async move {
        assert!(!request.headers().contains_key("x-weir-cluster"));
        let echo = request.into_body().map_frame(move |frame| {
            frame.map_data(|data| Bytes::from([name.as_bytes(), b":", &data].concat()))
        });
        let answer = Response::builder()
            .header("content-type", "application/grpc")
            .header("identity", name)
            .body(echo);
        Ok::<_, Infallible>(answer.expect("an answer"))
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}

struct Stream {
    to: Sender<Bytes>,
    from: Incoming,
    backend: String,
}

impl Stream {
    async fn open(connection: &mut SendRequest<Channel<Bytes>>) -> Stream {
        let (to, body) = Channel::new(1);
        let request = Request::post("http://web/chat.Chat/Talk")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .expect("a request");
        let answer = connection.send_request(request).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let backend = answer.headers()["identity"].to_str().expect("a name");
        Stream {
            to,
            backend: backend.to_owned(),
            from: answer.into_body(),
        }
    }

    async fn say(&mut self, word: &str) {
        let message = Bytes::copy_from_slice(word.as_bytes());
        self.to.send_data(message).await.expect("sent");
        let frame = self.from.frame().await.expect("a frame");
        let data = frame.expect("whole").into_data().expect("data");
        let expected = format!("{}:{word}", self.backend);
        assert_eq!(String::from_utf8_lossy(&data), expected);
    }

    /// Ends the stream and checks the trailers of the answer.
    async fn end(mut self) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        self.to.send_trailers(trailers).await.expect("sent");
        let rest = self.from.collect().await.expect("an orderly end");
        let trailers = rest.trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_stream_stays_where_it_began() {
    let fake = FakePlane::start(serve("r1", [100, 0])).await;
    let mut bootstrap = Bootstrap::default();
    for name in BACKENDS {
        bootstrap = bootstrap.http2_cluster(&cluster(name), grpc_backend(name).await);
    }
    let envoy = envoy(&fake, bootstrap).await;
    let stream = TcpStream::connect(envoy.listener("outbound"))
        .await
        .expect("a connection");
    // All streams share one connection, because the filter picks a backend for each stream.
    let (mut connection, task) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(task);

    let mut old = Stream::open(&mut connection).await;
    assert_eq!(old.backend, "v1");
    old.say("before").await;

    fake.switch(serve("r2", [0, 100]));
    envoy.wait_for_updates(2).await;
    old.say("after").await;
    let mut new = Stream::open(&mut connection).await;
    assert_eq!(new.backend, "v2");
    new.say("hello").await;

    fake.switch(serve("r3", [100, 0]));
    envoy.wait_for_updates(3).await;
    for stream in [&mut old, &mut new] {
        stream.say("still").await;
    }
    old.end().await;
    new.say("and on").await;
    new.end().await;
    envoy.assert_no_traps().await;
}
