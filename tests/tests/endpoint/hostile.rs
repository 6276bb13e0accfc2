//! Sends malformed requests and handshakes. The control plane must still serve other clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_tests::fault::{manifest, raw};
use weir_tests::tls::Authority;
use weir_tests::{Connection, Plane};

use crate::scene::{Ask, Files, NAME, serve_tls};

const REQUESTS: u64 = 10_000;
/// Number of concurrent clients. Each sends the same number of requests.
const CLIENTS: u64 = 50;

/// A valid request head, which the test corrupts.
const HEAD: &[u8] = b"GET /v1/config?namespace=default HTTP/1.1\r\nhost: weir\r\nweir-instance: a\r\n\
    if-none-match: \"0\"\r\nweir-watermark: services=7\r\nprefer: wait=1\r\ncontent-length: 0\r\n\r\n";

/// Generates pseudorandom numbers, the same in each run.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        // The algorithm is xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next(256)).expect("a byte")
    }

    fn request(&mut self) -> Vec<u8> {
        let mut head = HEAD.to_vec();
        let place = self.next(head.len());
        match self.next(8) {
            0 => (0..self.next(2000)).map(|_| self.byte()).collect(),
            1 => {
                head.truncate(place);
                head
            }
            2 => {
                for _ in 0..=self.next(20) {
                    let place = self.next(head.len());
                    head[place] = self.byte();
                }
                head
            }
            3 => {
                let junk: Vec<u8> = (0..self.next(64)).map(|_| self.byte()).collect();
                head.splice(place..place, junk);
                head
            }
            4 => {
                let long = vec![b'x'; 8_000 + self.next(60_000)];
                let line = [b"x-long: ", &*long, b"\r\n\r\n"].concat();
                head.truncate(head.len() - 2);
                [head, line].concat()
            }
            5 => {
                head.truncate(head.len() - 2);
                for number in 0..self.next(500) {
                    head.extend_from_slice(format!("x-{number}: y\r\n").as_bytes());
                }
                head.extend_from_slice(b"\r\n");
                head
            }
            6 => b"POST /v1/config HTTP/1.1\r\nhost: weir\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
            _ => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00".to_vec(),
        }
    }
}

/// Sends the bytes, and waits a moment for an answer. In half of the calls it closes the write side before it reads.
async fn send(address: SocketAddr, bytes: &[u8], chance: &mut Chance) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(bytes).await?;
        if chance.next(2) == 0 {
            stream.shutdown().await?;
        }
        let mut read = [0; 4096];
        stream.read(&mut read).await
    };
    // Any result is right here. The test checks only the other clients.
    let _ = tokio::time::timeout(Duration::from_millis(30), exchange).await;
}

/// Sends valid requests until `done`. Returns the number of answers and the time of the slowest answer.
async fn honest_client(
    address: SocketAddr,
    mut done: tokio::sync::oneshot::Receiver<()>,
) -> (u32, Duration) {
    let (mut served, mut longest) = (0, Duration::ZERO);
    while done.try_recv().is_err() {
        let start = Instant::now();
        let mut connection = Connection::open(address).await;
        let answer = connection.get("weir", "/v1/config?namespace=default").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().contains("\"rules\""), "{answer:?}");
        longest = longest.max(start.elapsed());
        served += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (served, longest)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_do_not_stop_service() {
    let plane = Plane::start(&[("web.yaml", &manifest([1, 1]))]);
    plane.wait_until_ready().await;
    let address = plane.listen;
    let (done, until) = tokio::sync::oneshot::channel();
    let honest = tokio::spawn(honest_client(address, until));
    let start = Instant::now();

    // Each slow client sends a byte a second until the server closes the connection.
    let lorises: Vec<_> = (0..200)
        .map(|_| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                let begun = Instant::now();
                for byte in HEAD {
                    tokio::select! {
                        // The server closes the connection, with or without an error answer.
                        _ = async { while stream.read_u8().await.is_ok() {} } => break,
                        () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    }
                    if stream.write_all(&[*byte]).await.is_err() {
                        break;
                    }
                }
                begun.elapsed()
            })
        })
        .collect();
    for length in ["1073741824", "99999999999999999999999", "-1"] {
        let begun = Instant::now();
        let head =
            format!("GET /v1/config HTTP/1.1\r\nhost: weir\r\ncontent-length: {length}\r\n\r\nx");
        let answer = raw(address, head.as_bytes()).await;
        assert!(matches!(answer.status.as_u16(), 400 | 413), "{answer:?}");
        assert!(!answer.text().contains("rules"), "{answer:?}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{length}");
    }
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|client| {
            tokio::spawn(async move {
                let mut chance = Chance(client.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                for _ in 0..REQUESTS / CLIENTS {
                    let request = chance.request();
                    send(address, &request, &mut chance).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client");
    }
    let requests = start.elapsed();
    for loris in lorises {
        let let_in = loris.await.expect("a client");
        assert!(let_in < Duration::from_secs(20), "{let_in:?}");
    }
    done.send(()).expect("the honest client runs");
    let (served, longest) = honest.await.expect("the honest client got answers");
    println!(
        "{REQUESTS} malformed requests in {requests:?}; {served} valid ones, the slowest in {longest:?}"
    );
    assert!(served > 100, "{served}");
    // The limit is high, because the machine may be busy.
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let memory = plane.memory();
    assert!(memory < 80 << 10, "{memory} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_handshakes_do_not_stop_service() {
    let authority = Authority::new();
    let client = authority.sign(&["edge.example.com"]);
    let files = Files::new(&authority.sign(&[NAME]), Some(&client));
    let plane = serve_tls(&files).await;
    let mut chance = Chance(7);
    let mut silent = Vec::new();
    for number in 0..1_000 {
        if number % 10 == 0 {
            silent.push(
                TcpStream::connect(plane.listen)
                    .await
                    .expect("a connection"),
            );
        }
        let mut bytes = chance.request();
        if number % 2 == 0 {
            // The first bytes of a TLS handshake.
            bytes.splice(0..0, [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        }
        send(plane.listen, &bytes, &mut chance).await;
    }
    let ask = Ask::new(plane.listen, &authority);
    let answer = ask.with(Some(&client), "", "").await.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    // The server closes a connection after ten seconds without a handshake.
    let begun = Instant::now();
    for mut stream in silent {
        let ended = tokio::time::timeout(Duration::from_secs(12), stream.read_u8()).await;
        assert!(ended.expect("it ends").is_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(12));
}
