//! Sends HTTP/1.1 requests over a connection (RFC 9112).
//!
//! The client of hyper-util keeps a pool of connections. This module needs no pool, because each caller has its own
//! connection.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use tokio::task::AbortHandle;

#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// The connection failed during the read of the body, or the body is larger than `max_bytes`.
    #[error("{0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// A connection for requests one after another.
pub struct Connection {
    sender: http1::SendRequest<Body>,
    driver: AbortHandle,
}

impl Connection {
    pub async fn open<S>(stream: S) -> Result<Connection, hyper::Error>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(stream).await?;
        let driver = tokio::spawn(connection).abort_handle();
        Ok(Connection { sender, driver })
    }

    /// Sends a request, and reads the answer. Returns the status and the body.
    pub async fn exchange(
        &mut self,
        request: Request<Body>,
        max_bytes: usize,
    ) -> Result<(StatusCode, Bytes), ExchangeError> {
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), max_bytes).collect().await;
        let body = body.map_err(ExchangeError::Body)?;
        Ok((status, body.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
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
    let mut connection = Connection::open(stream).await?;
    connection.exchange(request, max_bytes).await
}
