//! An HTTP/1.1 client with one connection. The test sets the Host header.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub struct Connection(SendRequest<Empty<Bytes>>);

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        Connection(sender)
    }

    /// Opens an HTTP connection. Returns None if the peer closes the connection at once.
    pub async fn over(stream: TcpStream) -> Option<Connection> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        Some(Connection(sender))
    }

    /// False if the peer has closed the connection.
    pub async fn is_open(&mut self) -> bool {
        self.0.ready().await.is_ok()
    }

    /// Returns None if the connection ends before the answer.
    pub async fn try_get(&mut self, host: &str, path: &str) -> Option<Answer> {
        let request = Request::get(path).header("host", host);
        let request = request.body(Empty::new()).expect("a request");
        self.0.ready().await.ok()?;
        Answer::read(self.0.send_request(request).await.ok()?)
            .await
            .ok()
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.get_with(host, path, &[]).await
    }

    pub async fn get_with(&mut self, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", host, path, headers).await
    }

    /// Sends a request with any method. Headers with equal names become several lines.
    pub async fn ask(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let mut request = request.header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Empty::new()).expect("a request"))
            .await
    }

    /// Sends this number of requests and counts the answers by backend. Panics if an answer is not 200.
    pub async fn shares(
        &mut self,
        host: &str,
        path: &str,
        requests: usize,
    ) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for _ in 0..requests {
            let answer = self.get(host, path).await;
            assert_eq!(answer.status, 200, "{host}{path}: {answer:?}");
            *shares
                .entry(answer.header("identity").to_owned())
                .or_default() += 1;
        }
        shares
    }

    pub async fn post(&mut self, host: &str, path: &str) -> Answer {
        let request = Request::post(path).header("host", host);
        self.send(request.body(Empty::new()).expect("a request"))
            .await
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        self.0.ready().await.expect("the connection is open");
        let answer = self.0.send_request(request).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        Answer::read(answer).await.expect("the whole body")
    }
}

impl Answer {
    async fn read(answer: Response<Incoming>) -> hyper::Result<Answer> {
        let (head, body) = answer.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str());
        value.unwrap_or(Ok("")).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Returns an expected result of [`Connection::shares`].
pub fn shares<const N: usize>(shares: [(&str, usize); N]) -> BTreeMap<String, usize> {
    shares
        .map(|(backend, count)| (backend.to_owned(), count))
        .into()
}

/// Returns the value of a metric in the Prometheus text format. `name` includes the labels.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line?.trim().parse().ok()
}
