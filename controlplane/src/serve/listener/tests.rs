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

fn seat() -> Arc<Seat> {
    let address = [127, 0, 0, 1].into();
    Hall::new(&few()).enter(address).unwrap()
}

/// Behind a masquerading proxy all clients have one address, so a client with an owner is not counted by its address.
#[tokio::test(start_paused = true)]
async fn a_known_client_is_no_stranger_any_more() {
    use weir_core::owner::Owner;
    let hall = Hall::new(&few());
    let enter = || hall.enter([10, 0, 0, 1].into());
    let owner = |pod: &str| Arc::new(Owner::of_pod("shop", pod));
    let known: Vec<_> = (0..4).map(|_| enter().unwrap()).collect();
    assert!(enter().is_none(), "all strangers have come just now");
    for seat in &known {
        assert!(seat.know(&owner("a")) && !seat.is_stranger());
    }
    let strangers: Vec<_> = (0..4).map(|_| enter().unwrap()).collect();
    assert!(
        !strangers[0].know(&owner("b")),
        "all of the namespace's own"
    );
    let other = Arc::new(Owner::of_pod("other", "c"));
    assert!(strangers[0].know(&other), "another namespace has its share");
    timeout(Duration::from_millis(1), known[0].given_up())
        .await
        .expect("the oldest place of the namespace with most");
    assert!(strangers[0].know(&other) && enter().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_shows_no_token_is_disconnected() {
    let (_end, ending) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(serve(
        socket,
        Transport::Loopback,
        Router::new().route("/", get(async || "content")),
        few(),
        ending.clone(),
        ending,
        metrics.clone(),
    ));
    let start = Instant::now();
    let mut client = TcpStream::connect(address).await.unwrap();
    // This request needs no token. Its answer does not make the client known.
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let _ = client.read_to_end(&mut Vec::new()).await;
    assert!(start.elapsed() >= STRANGE && start.elapsed() < HEAD);
    let counted = "weir_connections_refused_total{reason=\"unknown\"} 1";
    assert!(metrics.text().contains(counted));
}

#[test]
fn both_listeners_leave_files_to_the_rest() {
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

/// What a GET is answered to somebody who seems to be at this address.
async fn answer_to(address: &str) -> String {
    let (_end, ending) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let server = Server {
        transport: Transport::Loopback,
        router: Router::new().route("/", get(async || "content")),
        limits: few(),
        leaving: ending.clone(),
        ending,
        metrics: metrics.clone(),
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(socket.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = socket.accept().await.unwrap();
    let seat = seat();
    let served = server.connected(stream, address.parse().unwrap(), &seat);
    let asked = async {
        let _ = client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        let mut read = Vec::new();
        let _ = client.read_to_end(&mut read).await;
        String::from_utf8(read).unwrap()
    };
    let ((), answer) = tokio::join!(served, asked);
    let refused = "weir_connections_refused_total{reason=\"plain\"} 1";
    assert_eq!(metrics.text().contains(refused), answer.is_empty());
    answer
}

/// A node that leads other addresses to loopback (`route_localnet`) makes them come to a listener there.
#[tokio::test]
async fn plain_http_is_for_peers_on_loopback() {
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

/// What ends a connection, and what a poll is held for.
struct Scene {
    wear: watch::Sender<bool>,
    leave: watch::Sender<bool>,
    end: watch::Sender<bool>,
    go: watch::Sender<bool>,
}

/// A connection of a server with `/`, and with `/held` which is answered on `go`.
fn connected() -> (Scene, DuplexStream, impl Future<Output = ()>) {
    let (wear, mut worn) = watch::channel(false);
    let (leave, leaving) = watch::channel(false);
    let (end, ending) = watch::channel(false);
    let (go, held) = watch::channel(false);
    let poll = async move || {
        until(&mut held.clone()).await;
        "held"
    };
    let server = Server {
        transport: Transport::Plain,
        router: Router::new()
            .route("/", get(async || "content"))
            .route("/held", get(poll)),
        limits: few(),
        leaving,
        ending,
        metrics: Arc::default(),
    };
    let (client, stream) = tokio::io::duplex(4096);
    let served = async move {
        let worn = async { until(&mut worn).await };
        server.answer(stream, &seat(), Peer::default(), worn).await;
    };
    let scene = Scene {
        wear,
        leave,
        end,
        go,
    };
    (scene, client, served)
}

async fn ask(client: &mut DuplexStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
}

/// What is answered until the connection ends.
async fn rest(mut client: DuplexStream) -> String {
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    rest
}

/// As connections with TLS are after their term, and when the certificates were read again; and as all are when the
/// process leaves.
#[tokio::test(start_paused = true)]
async fn a_worn_connection_ends_with_an_answer_that_says_so() {
    for (leaves, is_held) in [(false, false), (false, true), (true, false), (true, true)] {
        let (scene, mut client, served) = connected();
        let asked = async {
            ask(&mut client, "/").await;
            let mut first = vec![0; 4096];
            let size = client.read(&mut first).await.unwrap();
            let first = String::from_utf8_lossy(&first[..size]);
            assert!(first.ends_with("content") && !first.contains("close"));
            if is_held {
                ask(&mut client, "/held").await;
            }
            sleep(Duration::from_secs(1)).await;
            let worn = if leaves { &scene.leave } else { &scene.wear };
            worn.send_replace(true);
            sleep(Duration::from_secs(1)).await;
            if is_held {
                scene.go.send_replace(true);
            } else {
                // On its way as the connection became so.
                ask(&mut client, "/").await;
            }
            rest(client).await
        };
        let start = Instant::now();
        let ((), rest) = tokio::join!(served, asked);
        assert!(start.elapsed() < HEAD, "it ended by its silence");
        let last = if is_held { "held" } else { "content" };
        assert!(rest.ends_with(last), "{rest}");
        assert!(rest.contains("connection: close"), "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_at_the_end_is_said_to_be_the_last() {
    // What of two things is seen first may be chance.
    for _ in 0..32 {
        let (scene, mut client, served) = connected();
        let asked = async {
            ask(&mut client, "/held").await;
            sleep(Duration::from_secs(1)).await;
            scene.end.send_replace(true);
            scene.go.send_replace(true);
            rest(client).await
        };
        let ((), rest) = tokio::join!(served, asked);
        assert!(rest.contains("connection: close"), "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_end_nothing_is_waited_for_on_an_idle_connection() {
    let (scene, client, served) = connected();
    let ended = async {
        sleep(Duration::from_secs(1)).await;
        scene.end.send_replace(true);
        rest(client).await
    };
    let start = Instant::now();
    let ((), rest) = tokio::join!(served, ended);
    assert_eq!(rest, "");
    assert!(start.elapsed() < Duration::from_secs(2));
}
