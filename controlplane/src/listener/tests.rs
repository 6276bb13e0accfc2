use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;

/// What a GET is answered to somebody who seems to be at this address.
async fn answer_to(address: &str) -> String {
    let (_end, ending) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let server = Server {
        transport: Transport::Loopback,
        router: Router::new().route("/", get(async || "content")),
        ending,
        metrics: metrics.clone(),
    };
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(socket.local_addr().unwrap())
        .await
        .unwrap();
    let (stream, _) = socket.accept().await.unwrap();
    let served = server.connected(stream, address.parse().unwrap());
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

/// As connections with TLS are after their term, and when the certificates were read again.
#[tokio::test(start_paused = true)]
async fn a_worn_connection_ends_with_the_answer_that_is_under_way() {
    for is_held in [false, true] {
        let (_end, ending) = watch::channel(false);
        let (go, held) = watch::channel(false);
        let (wear, mut worn) = watch::channel(false);
        let poll = async move || {
            until(&mut held.clone()).await;
            "held"
        };
        let server = Server {
            transport: Transport::Plain,
            router: Router::new()
                .route("/", get(async || "content"))
                .route("/held", get(poll)),
            ending,
            metrics: Arc::default(),
        };
        let (mut client, stream) = tokio::io::duplex(4096);
        let served = server.answer(stream, Peer::default(), until(&mut worn));
        let asked = async {
            let head = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            client.write_all(head("/").as_bytes()).await.unwrap();
            let mut first = vec![0; 4096];
            let size = client.read(&mut first).await.unwrap();
            assert!(first[..size].ends_with(b"content"));
            if is_held {
                client.write_all(head("/held").as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            wear.send_replace(true);
            tokio::time::sleep(Duration::from_secs(1)).await;
            go.send_replace(true);
            let mut rest = String::new();
            client.read_to_string(&mut rest).await.unwrap();
            rest
        };
        let start = Instant::now();
        let ((), rest) = tokio::join!(served, asked);
        assert!(start.elapsed() < HEAD, "it ended by its silence");
        assert_eq!(rest.ends_with("held"), is_held, "{rest}");
        assert_eq!(rest.contains("connection: close"), is_held, "{rest}");
    }
}
