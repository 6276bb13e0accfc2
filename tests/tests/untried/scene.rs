//! A bookstore behind its proxy, and clients that connect to that proxy with TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_tests::tls::{Authority, Certificate};
use weir_tests::{Answer, Bootstrap, Echo, Envoy, Greeter};

const SERVER: &str = "spiffe://cluster.local/ns/bookstore/sa/bookstore";
pub const BUYER: &str = "spiffe://cluster.local/ns/bookbuyer/sa/bookbuyer";
pub const THIEF: &str = "spiffe://cluster.local/ns/bookthief/sa/bookthief";
/// The DNS name of the server. The clients check this name in the TLS handshake, because they cannot check a SPIFFE ID.
const NAME: &str = "bookstore.example";

pub struct Scene {
    authority: Authority,
    pub envoy: Envoy,
    _echo: Echo,
    _greeter: Greeter,
}

fn grants() -> Value {
    let exact = |name: &str, value: &str| json!({ "name": name, "value": { "exact": value } });
    json!({ "bookstore/bookstore": [{
        "by": "bookstore/bookbuyer",
        "sources": ["bookbuyer/bookbuyer"],
        "requests": [
            { "path": { "regex": "/shop.Store/Get.*" }, "methods": ["POST"] },
            { "path": { "regex": "/admin" }, "headers": [exact("x-role", "admin")] },
            { "path": { "regex": "/hosted" }, "headers": [exact("host", "bookstore.bookstore")] },
        ],
        "ports": [14002],
    }] })
}

/// The plugin configuration of the bookstore with additional keys.
pub fn inbound(more: &Value) -> String {
    let mut plugin = json!({
        "direction": "inbound", "namespace": "bookstore", "service_account": "bookstore", "trust_domain": "cluster.local",
    });
    for (key, value) in more.as_object().expect("keys") {
        plugin[key] = value.clone();
    }
    plugin.to_string()
}

impl Scene {
    pub async fn start() -> Scene {
        let authority = Authority::new();
        let own = authority.sign(&[SERVER, NAME]);
        let echo = Echo::start("bookstore").await;
        let greeter = Greeter::start("bookstore").await;
        let document = json!({ "version": 1, "access": { "grants": grants() } });
        let tcp = |port: u16| {
            inbound(&json!({
                "protocol": "tcp", "root": format!("bookstore.bookstore:{port}"), "initial": document,
            }))
        };
        let bootstrap = Bootstrap::default()
            .cluster("workload", echo.address)
            .cluster("workload-tcp", greeter.address)
            .listener(
                "http",
                &inbound(&json!({ "initial": document })),
                Some("workload"),
            )
            .mutual_tls(&own)
            .tcp_listener("tcp", &tcp(14002), "workload-tcp")
            .mutual_tls(&own)
            .tcp_listener("tcp-other", &tcp(14003), "workload-tcp")
            .mutual_tls(&own);
        Scene {
            authority,
            envoy: Envoy::start(&bootstrap.build(), 1).await,
            _echo: echo,
            _greeter: greeter,
        }
    }

    pub fn client(&self, names: &[&str]) -> Client<'_> {
        Client {
            certificate: self.authority.sign(names),
            envoy: &self.envoy,
        }
    }
}

pub struct Client<'a> {
    certificate: Certificate,
    envoy: &'a Envoy,
}

impl Client<'_> {
    async fn connect(&self, listener: &str) -> TlsStream<TcpStream> {
        let pem = |text: &str| -> Vec<CertificateDer<'static>> {
            let read = CertificateDer::pem_slice_iter(text.as_bytes());
            read.map(|it| it.expect("PEM")).collect()
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(pem(&self.certificate.authority));
        let key = PrivateKeyDer::from_pem_slice(self.certificate.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(pem(&self.certificate.pem), key)
            .expect("a pair");
        let address: SocketAddr = self.envoy.listener(listener);
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.expect("a handshake")
    }

    /// Returns the first line that the client receives on a new connection; None if the connection ends before.
    pub async fn line(&self, listener: &str) -> Option<String> {
        let mut stream = self.connect(listener).await;
        let talk = async {
            let _ = stream.write_all(b"word\n").await;
            let mut line = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                if byte == b'\n' {
                    break;
                }
                line.push(byte);
            }
            line
        };
        let line = tokio::time::timeout(Duration::from_secs(10), talk).await;
        let line = String::from_utf8(line.expect("a line or an end")).expect("text");
        (!line.is_empty()).then_some(line)
    }

    /// Sends these bytes, and returns everything that the proxy sends back.
    pub async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect("http").await;
        let exchange = async {
            let _ = stream.write_all(bytes).await;
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            read
        };
        let read = tokio::time::timeout(Duration::from_secs(10), exchange).await;
        String::from_utf8_lossy(&read.expect("an answer")).into_owned()
    }

    pub async fn http2(&self) -> Http2 {
        let stream = TokioIo::new(self.connect("http").await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        Http2(sender)
    }
}

pub struct Http2(SendRequest<Channel<Bytes>>);

impl Http2 {
    /// `authority` is the pseudo-header `:authority`; `headers` may have a `host` as well.
    pub async fn ask(
        &mut self,
        method: &str,
        authority: &str,
        path: &str,
        headers: &[(&str, &str)],
        trailers: &[(&str, &str)],
    ) -> Answer {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{authority}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut sender, body) = Channel::new(2);
        let answer = self.0.send_request(request.body(body).expect("a request"));
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        if !map.is_empty() {
            let _ = sender.send_data(Bytes::from_static(b"body")).await;
            let _ = sender.send_trailers(map).await;
        }
        drop(sender);
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        let (head, body) = answer.expect("in time").expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }
}

/// The values of `host` in the request that the workload received.
pub fn hosts(text: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(text).expect("JSON");
    let headers = body["headers"].as_array().expect("headers").iter();
    let hosts = headers.filter(|header| header[0] == "host");
    hosts
        .map(|header| header[1].as_str().expect("a value").to_owned())
        .collect()
}
