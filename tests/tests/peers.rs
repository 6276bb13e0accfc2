//! Replicas query each other over TLS. A replica accepts only peers with a valid certificate and a valid answer.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use weir::report::peers::Peers;
use weir_tests::tls::{Authority, Certificate};

const PROXIES: &str = r#"{"replica":"other","proxies":[{"instance":"i","owner":{"namespace":"shop","name":"pod 1"},"node":"n","scope":{"namespace":"shop"},"applied":"r","watermark":"services=7","refused":"","is_lean":true,"behind":2,"silent":3,"unpolled":0,"traps":0}],"modules":[]}"#;

/// Starts a replica with TLS that answers every request with `PROXIES`.
async fn replica(own: &Certificate) -> SocketAddr {
    let chain = CertificateDer::from_pem_slice(own.pem.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                assert!(head.starts_with(b"GET /v1/proxies HTTP/1.1\r\nhost: localhost:"));
                let length = PROXIES.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{PROXIES}");
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

/// Starts a replica without TLS that answers every request with these bytes.
async fn broken_replica(bytes: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            });
        }
    });
    address
}

fn peers(address: SocketAddr, authority: PathBuf) -> Peers {
    Peers {
        name: format!("localhost:{}", address.port()),
        authority: Some(authority),
    }
}

#[tokio::test]
async fn replica_is_trusted_by_certificate() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let own = authority.sign(&["localhost"]);
    let address = replica(&own).await;
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    };
    let trusted = peers(address, file("ca.crt", &own.authority));
    let answer = trusted.ask("own").await;
    let [other] = answer.replicas.as_slice() else {
        panic!("{answer:?}");
    };
    assert!(answer.failures.is_empty(), "{answer:?}");
    assert_eq!(other.replica, "other");
    assert_eq!(serde_json::to_string(other).expect("JSON"), PROXIES);
    assert_eq!(trusted.ask("other").await.replicas, [], "its own answer");

    let another = foreign.sign(&["localhost"]).authority;
    let misnamed = replica(&authority.sign(&["elsewhere.example"])).await;
    for (wrong, says) in [
        (
            peers(address, file("other.crt", &another)),
            "invalid peer certificate",
        ),
        (
            peers(misnamed, folder.path().join("ca.crt")),
            "not valid for name",
        ),
        (peers(address, folder.path().join("none")), "none: "),
    ] {
        let answer = wrong.ask("own").await;
        assert_eq!(answer.replicas, []);
        let failures: Vec<_> = answer.failures.into_iter().collect();
        assert!(failures.join("\n").contains(says), "{failures:?}");
    }
}

/// A replica ignores an invalid answer within a few seconds, and uses a valid answer.
#[tokio::test]
async fn invalid_peer_answers_are_left_out() {
    let answer = |status: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let deep = [br#"{"replica":"#.as_slice(), &[b'['; 1 << 20]].concat();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b' '; 65 << 20]].concat();
    for (what, bytes) in [
        ("no HTTP", b"\x16\x03\x01garbage".to_vec()),
        ("no bytes", Vec::new()),
        ("an error", answer("500 x", b"{}")),
        ("a refusal", answer("403 x", PROXIES.as_bytes())),
        ("no JSON", answer("200 OK", b"\x00\xff")),
        (
            "another shape",
            answer("200 OK", br#"[{"replica":"other"}]"#),
        ),
        (
            "half of the JSON",
            answer("200 OK", &PROXIES.as_bytes()[..70]),
        ),
        (
            "less than announced",
            b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}".to_vec(),
        ),
        ("deeply nested JSON", answer("200 OK", &deep)),
        ("65 MiB", endless),
    ] {
        let start = Instant::now();
        let mut peers = peers(broken_replica(bytes).await, PathBuf::new());
        peers.authority = None;
        let answer = peers.ask("own").await;
        assert_eq!(answer.replicas, [], "{what}");
        assert_eq!(answer.failures.len(), 1, "{what}: {:?}", answer.failures);
        assert!(start.elapsed() < Duration::from_secs(4), "{what}");
    }
    let mut peers = peers(
        broken_replica(answer("200 OK", PROXIES.as_bytes())).await,
        PathBuf::new(),
    );
    peers.authority = None;
    assert_eq!(peers.ask("own").await.replicas.len(), 1);
}
