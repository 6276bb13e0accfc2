//! Calls to other services by name, like a program in a mesh.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{HOST, USER_AGENT};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A call without an answer after this time has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The user agent that the demo's HTTPRouteGroup matches.
const AGENT: &str = "Go-http-client/1.1";

/// A client with its own connections.
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    through: Option<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not a request: {0}")]
    Request(#[from] axum::http::Error),
    #[error("{}", cause(.0))]
    Call(#[from] hyper_util::client::legacy::Error),
    #[error("the answer ended too early: {0}")]
    Body(#[from] hyper::Error),
    #[error("no answer for {PATIENCE:?}")]
    Late,
}

/// Returns the innermost error, because a text such as "connection refused" is there and not in the outer errors.
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => cause(source),
        None => error.to_string(),
    }
}

/// One call to a service.
pub struct Call<'a> {
    pub method: Method,
    /// Name and port of the service.
    pub authority: &'a str,
    /// The Host header, which may differ from the authority.
    pub host: &'a str,
    pub path: &'a str,
    /// The caller's name in the header `client-app`.
    pub app: &'a str,
    pub body: &'static str,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl<'a> Call<'a> {
    pub fn get(host: &'a str, path: &'a str, app: &'a str) -> Call<'a> {
        Call {
            method: Method::GET,
            authority: host,
            host,
            path,
            app,
            body: "",
        }
    }
}

impl Answer {
    /// The name of the bookstore; None if something else answered, such as a proxy.
    pub fn identity(&self) -> Option<&str> {
        self.headers.get("identity")?.to_str().ok()
    }
}

impl Caller {
    /// `through` is the address for all calls. With None each name is resolved, as in a mesh that redirects the traffic
    /// of its workloads.
    pub fn new(through: Option<SocketAddr>) -> Caller {
        Caller {
            client: Client::builder(TokioExecutor::new()).build_http(),
            through,
        }
    }

    pub async fn call(&self, call: Call<'_>) -> Result<Answer, Error> {
        let to = self
            .through
            .map_or_else(|| call.authority.to_owned(), |address| address.to_string());
        let request = Request::builder()
            .method(call.method)
            .uri(format!("http://{to}{}", call.path))
            .header(HOST, call.host)
            .header(USER_AGENT, AGENT)
            .header("client-app", call.app)
            .body(Full::from(call.body))?;
        let answer = async {
            let (head, body) = self.client.request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .unwrap_or(Err(Error::Late))
    }
}
