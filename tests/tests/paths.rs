//! A workload may decode a path in another way than the filter that checks permissions. The test sends such paths to
//! `envoy-config/inbound-mtls.yaml` on a real Envoy, with a grant for `/books/.*`. Four models show how different
//! workloads decode a path.

use std::net::SocketAddr;

use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::fault::{Behaviour, FakePlane, raw, raw_request};
use weir_tests::tls::Authority;
use weir_tests::{Bootstrap, Envoy, shipped};

const SERVER: &str = "spiffe://cluster.local/ns/bookstore/sa/bookstore";
const BUYER: &str = "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer";

/// Paths that leave `/books/` in at least one of the four models.
const OUT: [&str; 60] = [
    "/books/../admin",
    "/books/./../admin",
    "/books/x/../../admin",
    "/books//../admin",
    "/books/..//admin",
    "/books/%2e%2e/admin",
    "/books/.%2e/admin",
    "/books/%2E./admin",
    "/books/%2e/%2e%2e/admin",
    "/books/x/%2e%2e/%2e%2e/admin",
    "/books/..%2fadmin",
    "/books/..%2Fadmin",
    "/books%2f..%2fadmin/books/x",
    "/books/x%2f..%2f..%2fadmin",
    "/books/%2e%2e%2fadmin",
    "/books/%2f../../admin",
    "/books/..;/admin",
    "/books/..;x=1/admin",
    "/books/..;a;b=c/admin",
    "/books/;/..;/../admin",
    "/books/.;/..;/admin",
    "/books/%2e%2e;/admin",
    "/books/.%2e;jsessionid=1/admin",
    "/books/x;y/..;/..;/admin",
    "/books/..;%2fx/admin",
    "/books/..;/..;/books/../admin",
    "/books/..;",
    "/books/..%3b/admin",
    "/books/..%3Bx/admin",
    "/books/%2e%2e%3b/admin",
    "/books/..%253b/admin",
    "/books/%252e%252e/admin",
    "/books/.%252e/admin",
    "/books/%252E%252E/admin",
    "/books/%25%32%65%25%32%65/admin",
    "/books/%%32%65%%32%65/admin",
    "/books/..%252fadmin",
    "/books/..%252Fadmin",
    "/books/x%252f..%252f..%252fadmin",
    "/books/%252e%252e%252fadmin",
    "/books/..%25%32%66admin",
    "/books/%252e%252e;/admin",
    "/books/%252e./%2561dmin",
    "/books/..\\admin",
    "/books\\..\\admin\\..\\admin",
    "/books/x\\..\\..\\admin",
    "/books/..%5cadmin",
    "/books/..%5Cadmin",
    "/books/%2e%2e%5cadmin",
    "/books/x%5c..%5c..%5cadmin",
    "/books/%5c..%5c../admin",
    "/books/..\\/admin",
    "/books/..%255cadmin",
    "/books/%c0%ae%c0%ae/admin",
    "/books/.%c0%ae/admin",
    "/books/..%c0%afadmin",
    "/books/x%c0%af..%c0%af..%c0%afadmin",
    "/books/%e0%80%ae%e0%80%ae/admin",
    "/books/..%c1%9cadmin",
    "/books/%25c0%25ae./admin",
];

/// Paths that reach the workload unchanged.
const GOOD: [&str; 14] = [
    "/books/1",
    "/books/",
    "/books/100%25",
    "/books/x;jsessionid=1",
    "/books/;x",
    "/books/...",
    "/books/.well-known/x",
    "/books/a..b/c..",
    "/books/a%20b",
    "/books/caf%C3%A9",
    "/books/a%252Fb",
    "/books/1?up=/../..;/",
    "/books/a%3Bb",
    "/books/~x/$&'()*+,=:@!",
];

/// Decodes each `%XX` once.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        let digits = path.get(at + 1..at + 3);
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.filter(|_| *byte == b'%') {
            Some(value) => {
                plain.push(value);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    plain
}

/// Removes dot segments (RFC 3986, 5.2.4) and empty segments.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    [b"/".as_slice(), &kept.join(&b'/')].concat()
}

fn replace(path: &[u8], from: &[u8], to: u8) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(from) {
            replaced.push(to);
            rest = after;
        } else {
            replaced.push(*first);
            rest = tail;
        }
    }
    replaced
}

/// Returns the path as each kind of workload decodes it.
fn readings(path: &str) -> [(&'static str, Vec<u8>); 4] {
    let path = path.split('?').next().unwrap_or_default().as_bytes();
    let segments = path.split(|byte| *byte == b'/');
    let cut: Vec<_> = segments
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .collect();
    let servlet = decode(&cut.join(&b'/'));
    // Some servlet containers decode the path and then remove parameters a second time.
    let cut_again: Vec<_> = servlet
        .split(|byte| *byte == b'/')
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .collect();
    let mut twice = decode(&decode(path));
    for (long, short) in [
        (b"\xc0\xae".as_slice(), b'.'),
        (b"\xe0\x80\xae", b'.'),
        (b"\xc0\xaf", b'/'),
        (b"\xc1\x9c", b'\\'),
        (b"\\", b'/'),
    ] {
        twice = replace(&twice, long, short);
    }
    let parameters_gone: Vec<_> = twice
        .split(|byte| *byte == b'/')
        .map(|segment| {
            segment
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default()
        })
        .collect();
    [
        ("RFC 3986", without_dots(&decode(path))),
        ("servlet", without_dots(&cut_again.join(&b'/'))),
        ("decoded twice", without_dots(&parameters_gone.join(&b'/'))),
        (
            "backslash",
            without_dots(&replace(&decode(path), b"\\", b'/')),
        ),
    ]
}

fn is_outside(reading: &[u8]) -> bool {
    reading != b"/books" && !reading.starts_with(b"/books/")
}

/// Answers each request with the received path, byte for byte.
async fn workload() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_each(stream));
        }
    });
    address
}

async fn answer_each(mut stream: TcpStream) {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|more| more > 0) {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let length = path.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nidentity: bookstore\r\ncontent-length: {length}\r\n\r\n"
            );
            if stream
                .write_all(&[head.as_bytes(), path].concat())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// The bookstore's Envoy with the shipped configuration, and the bookbuyer's Envoy, which sends requests to it.
async fn start(folder: &TempDir) -> (Envoy, Envoy) {
    let authority = Authority::new();
    let own = authority.sign(&[SERVER]);
    for (name, text) in [
        ("tls.crt", &own.pem),
        ("tls.key", &own.key),
        ("ca.crt", &own.authority),
    ] {
        std::fs::write(folder.path().join(name), text).expect("a certificate");
    }
    let document = json!({
        "version": 1,
        "access": { "grants": { "bookstore/bookstore": [{
            "by": "bookstore/bookbuyer",
            "sources": ["bookbuyer/bookbuyer"],
            "requests": [{ "path": { "regex": "/books/.*" } }],
        }] } },
    });
    let fake = FakePlane::start(Behaviour::Serve {
        revision: "r1".into(),
        body: document.to_string(),
    })
    .await;
    let config = shipped(
        "inbound-mtls.yaml",
        &[("weir", fake.address), ("workload", workload().await)],
    );
    let config = config.replace("certs/", &format!("{}/", folder.path().display()));
    let server = Envoy::start(&config, 1).await;
    server.wait_for_updates(1).await;
    let plugin = json!({ "initial": { "version": 1 } }).to_string();
    let buyer = authority.sign(&[BUYER]);
    let client = Bootstrap::default()
        .tls_cluster("http", server.listener("inbound"), &authority, Some(&buyer))
        .listener("http", &plugin, Some("http"));
    (server, Envoy::start(&client.build(), 1).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_spelling_escapes_a_grant() {
    for path in OUT {
        let out = readings(path)
            .into_iter()
            .filter(|(_, reading)| is_outside(reading));
        assert!(out.count() > 0, "in all models {path} stays in /books");
    }
    let folder = TempDir::new().expect("a folder");
    let (server, client) = start(&folder).await;
    let get = async |path: &str, lines: &[&[u8]]| {
        let request = raw_request(b"bookstore.bookstore", path.as_bytes(), lines);
        raw(client.listener("http"), &request).await
    };
    let mut led_out = Vec::new();
    let mut by_filter = 0;
    for path in OUT {
        let answer = get(path, &[]).await;
        if answer.header("identity") == "bookstore" {
            let received = answer.text();
            let readings = readings(&received);
            let out = readings.iter().find(|(_, reading)| is_outside(reading));
            led_out.extend(
                out.map(|(kind, _)| format!("{path} reached a workload ({kind}) as {received}")),
            );
            continue;
        }
        let status = answer.status.as_u16();
        assert!([400, 403].contains(&status), "{path}: {answer:?}");
        by_filter += usize::from(
            answer
                .text()
                .starts_with("weir: a segment of the path is . or .."),
        );
    }
    assert!(led_out.is_empty(), "{led_out:#?}");
    assert!(by_filter >= 20, "{by_filter}");
    for path in GOOD {
        let answer = get(path, &[]).await;
        assert_eq!(answer.text(), path, "{answer:?}");
    }
    // Some workloads read X_ROLE as x-role, and a permission may require x-role.
    let underscore = get("/books/1", &[b"X_ROLE: admin"]).await;
    assert_eq!(underscore.status, 400, "{underscore:?}");
    server.assert_no_traps().await;
}
