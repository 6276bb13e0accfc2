//! Sends one HTTP/1.1 request over a connection (RFC 9112).
//!
//! The client of hyper-util keeps a pool of connections. This module needs no pool, because Weir sends only one request
//! over each connection.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The connection failed during the read of the body, or the body is larger than `max_bytes`.
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Sends `request` over `stream`, reads the answer, and closes the connection. Returns the status and the body.
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
