//! A client for one HTTP/1.1 request over one connection (RFC 9112).
//!
//! The pooled client of hyper-util with hyper-rustls is not used. A pool has no use for one request per connection, and
//! each replica would need a resolver of its own, because all replicas have one name and one certificate name.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The connection failed while the body was read, or the body has more than `max_bytes` bytes.
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends `request` over `stream`, and returns the status and the body of the answer. Then closes the connection.
pub async fn exchange<S>(
    stream: S,
    request: Request<Body>,
    max_bytes: usize,
) -> Result<(StatusCode, Bytes), ExchangeError>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), max_bytes).collect().await;
    connection.abort();
    let body = body.map_err(ExchangeError::Body)?;
    Ok((status, body.to_bytes()))
}
