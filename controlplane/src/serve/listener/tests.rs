use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::*;

fn few() -> Limits {
    Limits {
        strangers: 4,
        known: Some(4),
        head: HEAD_BYTES,
    }
}

fn slot() -> Arc<ConnectionSlot> {
    let address = [127, 0, 0, 1].into();
    ConnectionSlots::new(&few()).enter(address).unwrap()
}

/// Behind a NAT gateway all clients have one address. So the slot of an authenticated client does not count for its
/// address.
#[tokio::test(start_paused = true)]
async fn authenticated_client_frees_stranger_slot() {
    use weir_core::owner::Owner;
    let slots = ConnectionSlots::new(&few());
    let enter = || slots.enter([10, 0, 0, 1].into());
    let owner = |pod: &str| Arc::new(Owner::of_pod("shop", pod));
    let known: Vec<_> = (0..4).map(|_| enter().unwrap()).collect();
    assert!(enter().is_none(), "all strangers have just connected");
    for slot in &known {
        assert!(slot.assign_owner(&owner("a")) && !slot.is_stranger());
    }
    let strangers: Vec<_> = (0..4).map(|_| enter().unwrap()).collect();
    assert!(
        !strangers[0].assign_owner(&owner("b")),
        "no slot of the namespace is old enough to be lost"
    );
    let other = Arc::new(Owner::of_pod("other", "c"));
    assert!(
        strangers[0].assign_owner(&other),
        "another namespace gets a slot at once"
    );
    timeout(Duration::from_millis(1), known[0].reassigned())
        .await
        .expect("the namespace with the most slots loses its oldest slot");
    assert!(strangers[0].assign_owner(&other) && enter().is_some());
}

/// Returns how long a client keeps its connection with these bytes, and the bytes that it reads.
async fn time_with(limits: Limits, sent: &[u8], metrics: &Arc<Metrics>) -> (Duration, Vec<u8>) {
    let ending = CancellationToken::new();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(serve(
        socket,
        Transport::Loopback,
        Router::new().route("/", get(async || "content")),
        limits,
        ending.clone(),
        ending,
        metrics.clone(),
    ));
    let start = Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(sent).await.unwrap();
    let mut read = Vec::new();
    let _ = client.read_to_end(&mut read).await;
    (start.elapsed(), read)
}

/// The preface of HTTP/2, and an empty SETTINGS frame.
const BEGIN_HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The beginning of a HEADERS frame with 256 bytes.
const BEGIN_HEADERS: &[u8] = b"\0\x01\0\x01\x04\0\0\0\x01\x82";

#[tokio::test(start_paused = true)]
async fn client_without_token_is_disconnected() {
    // The first request needs no token, and its answer does not authenticate the client.
    let http2 = [BEGIN_HTTP2, BEGIN_HEADERS].concat();
    for sent in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"",
        b"PRI",
        BEGIN_HTTP2,
        &http2,
    ] {
        let metrics = Arc::new(Metrics::default());
        let (time, _) = time_with(few(), sent, &metrics).await;
        assert!(time >= AUTHENTICATION && time < HEAD, "{sent:?} {time:?}");
        let counted = "weir_connections_refused_total{reason=\"unknown\"} 1";
        assert!(metrics.text().contains(counted), "{sent:?}");
    }
}

/// At the listener for operators no client must authenticate.
#[tokio::test(start_paused = true)]
async fn idle_connection_ends() {
    let http2 = [BEGIN_HTTP2, BEGIN_HEADERS].concat();
    for sent in [&b""[..], b"PRI", b"GET / ", BEGIN_HTTP2, &http2] {
        let limits = Limits {
            known: None,
            ..few()
        };
        let (time, _) = time_with(limits, sent, &Arc::default()).await;
        let most = HEAD + Duration::from_secs(2);
        assert!(time >= HEAD && time < most, "{sent:?} {time:?}");
    }
}

#[test]
fn limits_leave_files_for_other_uses() {
    for known in [1, 2_048, usize::MAX] {
        let [proxies, operators] = limits(known, 0);
        let all = proxies.strangers + proxies.known.unwrap() + operators.strangers;
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(u64::try_from(all + OTHER_FILES).unwrap() <= files);
        assert!(proxies.known <= Some(known));
    }
    assert_eq!(limits(1, 0)[0].head, 8 << 10);
    assert_eq!(limits(1, 100)[0].head, 32 << 10);
}

/// Returns the answer to a GET from a client with this address.
async fn answer_to(address: &str) -> String {
    let ending = CancellationToken::new();
    let metrics = Arc::new(Metrics::default());
    let server = ConnectionServer {
        transport: Transport::Loopback,
        router: Router::new().route("/", get(async || "content")),
        limits: few(),
        leaving: ending.clone(),
        ending,
        metrics: metrics.clone(),
        failures: FailureLog::default(),
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(socket.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = socket.accept().await.unwrap();
    let slot = slot();
    let served = server.serve(stream, address.parse().unwrap(), &slot);
    let request = async {
        let _ = client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        let mut read = Vec::new();
        let _ = client.read_to_end(&mut read).await;
        String::from_utf8(read).unwrap()
    };
    let ((), answer) = tokio::join!(served, request);
    let refused = "weir_connections_refused_total{reason=\"plain\"} 1";
    assert_eq!(metrics.text().contains(refused), answer.is_empty());
    answer
}

/// On a node with the sysctl `route_localnet`, clients on other machines can reach a listener on loopback.
#[tokio::test]
async fn plain_http_only_serves_loopback() {
    for near in [
        "127.0.0.1:1",
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(answer_to(near).await.ends_with("content"), "{near}");
    }
    for far in ["10.0.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1"] {
        assert_eq!(answer_to(far).await, "", "{far}");
    }
}

/// The tokens that end the connection, or that end the wait at the path `/held`.
#[derive(Clone, Default)]
struct Controls {
    end_term: CancellationToken,
    leave: CancellationToken,
    end: CancellationToken,
    go: CancellationToken,
}

/// Returns a connection to a server. The server answers `/` at once, and `/held` when `go` is cancelled.
fn connected() -> (Controls, DuplexStream, impl Future<Output = ()>) {
    let controls = Controls::default();
    let Controls {
        end_term,
        leave,
        end,
        go,
    } = controls.clone();
    let poll = async move || {
        go.cancelled().await;
        "held"
    };
    let server = ConnectionServer {
        transport: Transport::Plain,
        router: Router::new()
            .route("/", get(async || "content"))
            .route("/held", get(poll)),
        limits: few(),
        leaving: leave,
        ending: end,
        metrics: Arc::default(),
        failures: FailureLog::default(),
    };
    let (client, stream) = tokio::io::duplex(4096);
    let served = async move {
        let peer = Peer::default();
        let term_over = end_term.cancelled();
        let address = ([10, 0, 0, 1], 1).into();
        server
            .answer(stream, address, &slot(), peer, term_over)
            .await;
    };
    (controls, client, served)
}

async fn ask(client: &mut DuplexStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
}

/// Returns all bytes until the connection ends.
async fn rest(mut client: DuplexStream) -> String {
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    rest
}

/// Tests two causes: the term of a TLS connection is over, or the process is no longer ready.
#[tokio::test(start_paused = true)]
async fn expired_connection_ends_with_next_answer() {
    for (leaves, is_held) in [(false, false), (false, true), (true, false), (true, true)] {
        let (controls, mut client, served) = connected();
        let request = async {
            ask(&mut client, "/").await;
            let mut first = vec![0; 4096];
            let size = client.read(&mut first).await.unwrap();
            let first = String::from_utf8_lossy(&first[..size]);
            assert!(first.ends_with("content") && !first.contains("close"));
            if is_held {
                ask(&mut client, "/held").await;
            }
            sleep(Duration::from_secs(1)).await;
            let sender = if leaves {
                &controls.leave
            } else {
                &controls.end_term
            };
            sender.cancel();
            sleep(Duration::from_secs(1)).await;
            if is_held {
                controls.go.cancel();
            } else {
                // This request is sent after the term is over.
                ask(&mut client, "/").await;
            }
            rest(client).await
        };
        let start = Instant::now();
        let ((), rest) = tokio::join!(served, request);
        assert!(
            start.elapsed() < HEAD,
            "the time limit has ended the connection"
        );
        let last = if is_held { "held" } else { "content" };
        assert!(rest.ends_with(last), "{rest}");
        assert!(rest.contains("connection: close"), "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn last_answer_has_connection_close() {
    // The order of two events at the same moment may be random.
    for _ in 0..32 {
        let (controls, mut client, served) = connected();
        let request = async {
            ask(&mut client, "/held").await;
            sleep(Duration::from_secs(1)).await;
            controls.end.cancel();
            controls.go.cancel();
            rest(client).await
        };
        let ((), rest) = tokio::join!(served, request);
        assert!(rest.contains("connection: close"), "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_closes_idle_connection() {
    let (controls, client, served) = connected();
    let ended = async {
        sleep(Duration::from_secs(1)).await;
        controls.end.cancel();
        rest(client).await
    };
    let start = Instant::now();
    let ((), rest) = tokio::join!(served, ended);
    assert_eq!(rest, "");
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// Returns a request on an HTTP/2 connection.
fn get_http2(path: &str) -> hyper::Request<axum::body::Body> {
    let request = hyper::Request::get(format!("http://x{path}"));
    request.body(axum::body::Body::empty()).unwrap()
}

/// Tests two causes: the term of a TLS connection is over, or the process is no longer ready.
#[tokio::test(start_paused = true)]
async fn expired_http2_connection_answers_polls() {
    for leaves in [false, true] {
        let (controls, client, served) = connected();
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = TokioIo::new(client);
        let request = async {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
                .await
                .unwrap();
            let connection = tokio::spawn(connection);
            let answer = sender.send_request(get_http2("/")).await.unwrap();
            assert_eq!(answer.status(), 200);
            let held = tokio::spawn(sender.send_request(get_http2("/held")));
            sleep(Duration::from_secs(1)).await;
            let cause = if leaves {
                &controls.leave
            } else {
                &controls.end_term
            };
            cause.cancel();
            sleep(Duration::from_secs(20)).await;
            // After GOAWAY the client sends no further request.
            assert!(sender.send_request(get_http2("/")).await.is_err());
            controls.go.cancel();
            assert_eq!(held.await.unwrap().unwrap().status(), 200);
            drop(sender);
            connection.await.unwrap().unwrap();
        };
        let start = Instant::now();
        tokio::join!(served, request);
        assert!(start.elapsed() < Duration::from_secs(25));
    }
}

/// A client that does not answer pings is gone.
#[tokio::test(start_paused = true)]
async fn silent_http2_client_is_disconnected() {
    let (_controls, mut client, served) = connected();
    // The request of the path `/held`, without Huffman coding, keeps the connection from being idle.
    let headers = b"\x82\x86\x04\x05/held\x41\x01x";
    let size = u8::try_from(headers.len()).unwrap();
    let frame = [&[0, 0, size, 1, 5, 0, 0, 0, 1][..], headers].concat();
    let request = async {
        let begin = [BEGIN_HTTP2, &frame].concat();
        client.write_all(&begin).await.unwrap();
        let mut read = Vec::new();
        let _ = client.read_to_end(&mut read).await;
    };
    let start = Instant::now();
    tokio::join!(served, request);
    let time = start.elapsed();
    assert!(time > HEAD && time <= Duration::from_secs(46), "{time:?}");
}
