//! Serves the requests of one HTTP/2 connection.
//!
//! Polls and streams share the connection. When the connection has to end, the server sends GOAWAY, ends the streams,
//! and answers the polls in progress.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, HOST};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ConnectionServer, ConnectionSlot, HEAD, Peer};

/// Maximum number of requests in progress on one connection. An Envoy needs one for each scope, and one for the stream.
const MAX_REQUESTS: u32 = 32;
/// Number of bytes that a client may send before the server has read them: on one stream, and on the connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Number of bytes of an answer that wait for the client.
const SEND_BUFFER: usize = 64 << 10;
/// Time between two pings, and the time limit for the answer to a ping.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);
/// Time from GOAWAY until the server closes the connection. A poll ends within 25 seconds.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// Time from GOAWAY until the server closes a connection without requests.
const GOODBYE: Duration = Duration::from_secs(1);

/// An HTTP/2 connection, as a request handler sees it.
#[derive(Default)]
pub struct Http2Connection {
    ending: CancellationToken,
    broken: CancellationToken,
    requests: watch::Sender<usize>,
}

/// Keeps the connection open until this value is dropped.
pub struct OpenRequest(Arc<Http2Connection>);

impl Http2Connection {
    /// Waits until the client has to connect again. A stream must end then.
    pub async fn ending(&self) {
        self.ending.cancelled().await;
    }

    /// Closes the connection at once, also if the client reads nothing.
    pub fn close(&self) {
        self.broken.cancel();
    }

    /// Keeps the connection open. Without open requests the connection ends after `HEAD`.
    pub fn open_request(self: &Arc<Self>) -> OpenRequest {
        self.requests
            .send_modify(|count| *count = count.saturating_add(1));
        OpenRequest(self.clone())
    }

    /// Waits until there was no request for [`HEAD`].
    async fn idle(&self) {
        let mut requests = self.requests.subscribe();
        loop {
            // An error is impossible, because `self` has the sender.
            let _ = requests.wait_for(|count| *count == 0).await;
            tokio::select! {
                _ = requests.changed() => {}
                () = sleep(HEAD) => return,
            }
        }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0
            .requests
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl ConnectionServer {
    pub(super) async fn answer_http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        slot: &Arc<ConnectionSlot>,
        peer: Peer,
        term_over: impl Future<Output = ()>,
    ) -> Result<(), hyper::Error> {
        let connection = Arc::new(Http2Connection::default());
        let (router, slot, own) = (&self.router, slot.clone(), connection.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            name_host(&mut request);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(slot.clone());
            request.extensions_mut().insert(own.clone());
            let open = own.open_request();
            let answer = TowerToHyperService::new(router.clone()).call(request);
            async move {
                let mut response: Response = answer.await?;
                if response.headers_mut().remove(CONNECTION).is_some() {
                    open.0.ending.cancel();
                }
                drop(open);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let head = u32::try_from(self.limits.head).unwrap_or(u32::MAX);
        let served = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_REQUESTS)
            .max_header_list_size(head)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(served);
        let over = async {
            tokio::select! {
                () = self.leaving.cancelled() => LAST_ANSWERS,
                () = self.ending.cancelled() => LAST_ANSWERS,
                () = connection.ending.cancelled() => LAST_ANSWERS,
                () = term_over => LAST_ANSWERS,
                () = connection.idle() => GOODBYE,
            }
        };
        let time_left = tokio::select! {
            served = &mut served => return served,
            () = connection.broken.cancelled() => return Ok(()),
            time_left = over => time_left,
        };
        connection.ending.cancel();
        served.as_mut().graceful_shutdown();
        tokio::select! {
            served = &mut served => served,
            () = connection.broken.cancelled() => Ok(()),
            () = sleep(time_left) => Ok(()),
        }
    }
}

/// Copies the authority of the request into the header Host, which HTTP/2 does not need.
fn name_host<B>(request: &mut Request<B>) {
    let authority = request.uri().authority();
    let host = authority.and_then(|it| HeaderValue::try_from(it.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
}
