//! Tests filters, timeouts and retries of a rule on a real Envoy.

mod url;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_tests::fault::{Web, document, raw, raw_request};
use weir_tests::{Answer, Bootstrap, Connection, Echo, Envoy};

use url::edge_plugin;

/// Returns a plugin configuration with this document (a filter configuration) and without a control plane.
fn plugin(document: Value) -> String {
    json!({ "namespace": "default", "initial": document }).to_string()
}

/// Returns a document that sends all requests for `web` to `v1`. `change` edits its rule.
fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut document = document([1, 0]);
    change(&mut document["rules"]["web"]);
    document
}

/// Returns the values of a header that the backend received.
fn received(answer: &Answer, name: &str) -> Vec<String> {
    let body = answer.json();
    let headers = body["headers"].as_array().expect("headers").iter();
    headers
        .filter(|header| header[0] == name)
        .map(|header| header[1].as_str().expect("a value").to_owned())
        .collect()
}

/// Returns a document that sends nine of ten requests for `web` to `v1`. The filters of `v2` must edit only the
/// requests and responses of `v2`.
fn canary() -> Value {
    let mut document = document([9, 1]);
    document["rules"]["web"]["filters"] = json!({
        "request_headers": { "set": [{ "name": "x-rule", "value": "web" }] },
    });
    document["rules"]["web"]["backends"][1]["filters"] = json!({
        "request_headers": {
            "set": [{ "name": "x-canary", "value": "yes" }],
            "add": [{ "name": "x-seen", "value": "weir" }],
            "remove": ["x-secret"],
        },
        "response_headers": {
            "set": [{ "name": "x-answered-by", "value": "canary" }],
            "add": [{ "name": "identity", "value": "added" }],
            "remove": ["content-type"],
        },
    });
    document
}

/// Headers of each request. The filters of `v2` edit them.
const SENT: [(&str, &str); 3] = [
    ("x-canary", "forged"),
    ("x-seen", "client"),
    ("x-secret", "1"),
];

#[tokio::test(flavor = "multi_thread")]
async fn backend_filters_apply_to_own_requests() {
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(web.v1.address)
        .listener("outbound", &plugin(canary()), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    let mut counted = [0, 0];
    for _ in 0..200 {
        let answer = connection.get_with("web", "/", &SENT).await;
        assert_eq!(answer.status, 200);
        assert_eq!(received(&answer, "x-rule"), ["web"]);
        let identity: Vec<_> = answer.headers.get_all("identity").iter().collect();
        if answer.header("x-cluster").starts_with("web-v2") {
            counted[1] += 1;
            assert_eq!(identity, ["v2", "added"]);
            assert_eq!(answer.header("x-answered-by"), "canary");
            assert!(!answer.headers.contains_key("content-type"), "{answer:?}");
            assert_eq!(received(&answer, "x-canary"), ["yes"]);
            assert_eq!(received(&answer, "x-seen"), ["client", "weir"]);
            assert_eq!(received(&answer, "x-secret"), [""; 0]);
        } else {
            counted[0] += 1;
            assert_eq!(identity, ["v1"]);
            assert!(!answer.headers.contains_key("x-answered-by"), "{answer:?}");
            assert!(answer.headers.contains_key("content-type"), "{answer:?}");
            assert_eq!(received(&answer, "x-canary"), ["forged"]);
            assert_eq!(received(&answer, "x-seen"), ["client"]);
            assert_eq!(received(&answer, "x-secret"), ["1"]);
        }
    }
    assert_eq!(counted, [180, 20]);
    envoy.assert_no_traps().await;
}

/// The filter must also edit replies that Envoy itself generates, even the reply to an upgrade request.
#[tokio::test(flavor = "multi_thread")]
async fn local_replies_are_edited() {
    let document = changed(|rule| {
        rule["filters"] = json!({
            "response_headers": { "set": [{ "name": "x-edited", "value": "yes" }] },
        });
    });
    let bootstrap = Bootstrap::default().listener("outbound", &plugin(document), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let address = envoy.listener("outbound");
    // Envoy has no cluster for the backend.
    let answer = Connection::open(address).await.get("web", "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("x-edited"), "yes");
    // The host has no rule.
    let answer = Connection::open(address).await.get("other", "/").await;
    assert_eq!(answer.text(), "ordinary");
    assert_eq!(answer.header("x-edited"), "");
    let upgrade: [&[u8]; 2] = [b"connection: Upgrade", b"upgrade: websocket"];
    let answer = raw(address, &raw_request(b"web", b"/", &upgrade)).await;
    assert_eq!(answer.header("x-edited"), "yes", "{answer:?}");
    envoy.assert_no_traps().await;
}

/// Answers `/sleep/N` after N milliseconds, and `/flaky/STATUS/N` with STATUS for the first N requests, then
/// with 200.
async fn moody() -> Echo {
    async fn sleep(Path(milliseconds): Path<u64>) -> &'static str {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        "slept"
    }
    async fn flaky(
        State(seen): State<Arc<AtomicUsize>>,
        Path((status, times)): Path<(u16, usize)>,
    ) -> (StatusCode, [(&'static str, String); 1]) {
        let before = seen.fetch_add(1, Ordering::SeqCst);
        let status = if before < times {
            StatusCode::from_u16(status).expect("a status")
        } else {
            StatusCode::OK
        };
        (status, [("tries", (before + 1).to_string())])
    }
    let app = Router::new()
        .route("/sleep/{milliseconds}", get(sleep))
        .route("/flaky/{status}/{times}", get(flaky))
        .with_state(Arc::default());
    Echo::serve(app).await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_backend_gets_504() {
    let moody = moody().await;
    let limit = |timeouts: Value| plugin(changed(|rule| rule["timeouts"] = timeouts));
    let bootstrap = Bootstrap::default()
        .cluster("web-v1.default.svc.cluster.local:80", moody.address)
        .listener("request", &limit(json!({ "request": 300 })), None)
        .listener("backend", &limit(json!({ "backend_request": 300 })), None)
        .listener("none", &limit(json!({ "request": 0 })), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    for listener in ["request", "backend"] {
        let mut connection = Connection::open(envoy.listener(listener)).await;
        let answer = connection.get("web", "/sleep/0").await;
        assert_eq!(answer.text(), "slept", "{listener}");
        // Timeout headers of the client must have no effect.
        let wish = [
            ("x-envoy-upstream-rq-timeout-ms", "30000"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "30000"),
        ];
        let start = Instant::now();
        let answer = connection.get_with("web", "/sleep/20000", &wish).await;
        assert_eq!(answer.status, 504, "{listener}: {answer:?}");
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(15), "{listener}: {elapsed:?}");
        // Envoy's timers start at the last clock reading of its event loop, so Envoy may wait less than 300 ms.
        let least = Duration::from_millis(100);
        assert!(elapsed >= least, "{listener}: {elapsed:?}");
    }
    let mut connection = Connection::open(envoy.listener("none")).await;
    let answer = connection.get("web", "/sleep/1000").await;
    assert_eq!(answer.text(), "slept");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_requests_are_retried() {
    let rule = |retry: Value| plugin(changed(|rule| rule["retry"] = retry));
    for (retry, path, status, tries) in [
        (
            json!({ "attempts": 2, "codes": [503] }),
            "/flaky/503/2",
            200,
            "3",
        ),
        (
            json!({ "attempts": 2, "codes": [503] }),
            "/flaky/503/5",
            503,
            "3",
        ),
        (
            json!({ "attempts": 1, "codes": [500, 503] }),
            "/flaky/500/1",
            200,
            "2",
        ),
        (
            json!({ "attempts": 2, "codes": [503] }),
            "/flaky/500/1",
            500,
            "1",
        ),
        (json!({ "attempts": 2 }), "/flaky/503/1", 503, "1"),
    ] {
        let moody = moody().await;
        let bootstrap = Bootstrap::default()
            .cluster("web-v1.default.svc.cluster.local:80", moody.address)
            .listener("outbound", &rule(retry.clone()), None);
        let envoy = Envoy::start(&bootstrap.build(), 1).await;
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        let answer = connection.get("web", path).await;
        let got = (answer.status.as_u16(), answer.header("tries"));
        assert_eq!(got, (status, tries), "{retry} {path}");
    }
}

/// Header lines with equal names match like one value, joined by commas. Values may have any bytes.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_header_lines_match_as_one() {
    let mut document = document([1, 0]);
    document["rules"]["two"] = document["rules"]["web"].clone();
    document["rules"]["two"]["backends"][0]["weight"] = json!(0);
    document["rules"]["two"]["backends"][1]["weight"] = json!(1);
    let exact = |name: &str, value: &str| json!({ "name": name, "value": { "exact": value } });
    document["hosts"][0]["matches"] = json!([
        { "headers": [exact("x-two", "a,b")], "rule": "two" },
        { "headers": [exact("x-empty", "")], "rule": "two" },
        { "headers": [{ "name": "x-bytes", "value": { "regex": "\\xff+" } }], "rule": "two" },
        { "rule": "web" },
    ]);
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(web.v1.address)
        .listener("outbound", &plugin(document), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let address = envoy.listener("outbound");
    let cases: [(&[&[u8]], &str); 8] = [
        (&[b"x-two: a", b"X-Two:  b "], "v2"),
        (&[b"x-two: a,b"], "v2"),
        (&[b"x-two: a"], "v1"),
        (&[b"x-two: a,b", b"x-two: c"], "v1"),
        (&[b"x-empty:"], "v2"),
        (&[b"x-empty: a"], "v1"),
        (&[b"x-bytes: \xff\xff"], "v2"),
        (&[b"x-bytes: \xff\xfe"], "v1"),
    ];
    for (lines, expected) in cases {
        let answer = raw(address, &raw_request(b"web", b"/", lines)).await;
        let shown: Vec<_> = lines.iter().map(|line| line.escape_ascii()).collect();
        assert_eq!(answer.header("identity"), expected, "{shown:?}");
    }
    envoy.assert_no_traps().await;
}

/// Starts a server that accepts one upgrade and echoes the first four bytes.
async fn websocket() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("more of the head"));
        }
        let accepted = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        stream.write_all(accepted).await.expect("sent");
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.expect("a word");
        stream.write_all(&word).await.expect("sent");
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_survives_response_edits() {
    let document = changed(|rule| {
        rule["filters"] = json!({
            "response_headers": { "add": [{ "name": "x-edited", "value": "yes" }] },
        });
    });
    let bootstrap = Bootstrap::default()
        .cluster("web-v1.default.svc.cluster.local:80", websocket().await)
        .listener("outbound", &plugin(document), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let address = envoy.listener("outbound");
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request =
        "GET / HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("more of the head"));
    }
    let head = String::from_utf8(head).expect("text");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("x-edited: yes"), "{head}");
    stream.write_all(b"word").await.expect("sent");
    let mut word = [0; 4];
    stream.read_exact(&mut word).await.expect("an echo");
    assert_eq!(&word, b"word");
    envoy.assert_no_traps().await;
}

/// Lua script that runs before the filter. It copies the header `x-as-path` into the path, because Envoy rejects some
/// bytes in a client's path.
const ALTER: &str = r#"
function envoy_on_request(handle)
  local path = handle:headers():get("x-as-path")
  if path then handle:headers():replace(":path", path) end
end
"#;

/// No byte of a path must trap the filter. The result of an edit must be one valid header.
#[tokio::test(flavor = "multi_thread")]
async fn no_path_traps_the_filter() {
    let edit = json!({ "prefix": { "prefix": "/a", "replacement": "/b" } });
    let mut denied = changed(|rule| rule["backends"][0]["accounts"] = json!(["default/web"]));
    denied["access"] = json!({ "grants": {} });
    let denied = json!({ "namespace": "default", "service_account": "me", "initial": denied });
    let web = Web::start().await;
    let redirect = json!({ "redirect": { "path": edit, "port": 80, "status": 302 } });
    let rewrite = json!({ "rewrite": { "path": edit } });
    let bootstrap = web
        .bootstrap(web.v1.address)
        .lua(ALTER)
        .listener("redirect", &edge_plugin(&redirect), None)
        .listener("rewrite", &edge_plugin(&rewrite), None)
        .listener("denied", &denied.to_string(), None);
    let envoy = Envoy::start(&bootstrap.build(), 1).await;
    let long = [b"/a/".to_vec(), vec![b'x'; 900 << 10]].concat();
    let ugly: [&[u8]; 8] = [
        b"/a/\xff\xfe",
        b"/a/%00?%zz",
        b"/a\xe2\x82\xac",
        b"a/b",
        b"*",
        b"?",
        b"/a//..//../b",
        b"/a/\x80?\xff=\xff#\xff",
    ];
    for listener in ["redirect", "rewrite", "denied"] {
        let address = envoy.listener(listener);
        for path in ugly {
            let line = [b"x-as-path: ", path].concat();
            let answer = raw(address, &raw_request(b"web", b"/", &[&line])).await;
            let shown = format!("{listener} {} {answer:?}", path.escape_ascii());
            let location = answer.header("location");
            if listener == "redirect" {
                assert_eq!(answer.status, 302, "{shown}");
                assert!(location.starts_with("http://web/"), "{shown}");
                assert!(
                    location.bytes().all(|byte| byte.is_ascii_graphic()),
                    "{shown}"
                );
            } else if listener == "denied" {
                assert_eq!(answer.status, 403, "{shown}");
                assert_ne!(answer.header("x-weir-denied"), "", "{shown}");
            }
        }
        raw(address, &raw_request(b"web", &long, &[])).await;
        envoy.assert_no_traps().await;
    }
    assert!(!envoy.log().contains("[critical]"), "{}", envoy.log());
}
