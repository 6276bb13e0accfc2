//! Accepts connections. Their number is limited. A connection from a proxy uses TLS or comes from loopback.
//!
//! A connection serves HTTP/1.1 or HTTP/2. The head of a request is the request line and the headers. The size of the
//! head and the time to receive the head are limited.
//!
//! A stranger is a client that has not yet shown a valid token or certificate.

pub mod certificate_expiry;
mod connection_slot;
mod failure_log;
mod http2;
mod preface;
pub(super) mod slot_pool;
pub mod tls;

use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_user_timeout};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use connection_slot::ConnectionSlots;
pub use connection_slot::{ConnectionSlot, Limits};
use failure_log::FailureLog;
pub use http2::Http2Connection;
use preface::Version;
use tls::{CertificateNames, Certificates};
use weir_core::metrics::Metrics;

/// Number of open files that are reserved for other uses than incoming connections.
const OTHER_FILES: usize = 256;
/// Maximum number of connections to the listener for operators.
const OPERATORS: usize = 64;
/// Maximum number of connections from strangers.
const STRANGERS: usize = 512;
/// Time limit of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time from the beginning of a connection until the client must have shown a valid token or certificate.
const AUTHENTICATION: Duration = Duration::from_secs(10);
/// Time limit for a request's head, and for the pause between two requests. A proxy polls again within two seconds.
const HEAD: Duration = Duration::from_secs(15);
/// Maximum age of a TLS connection. An older connection ends with its next answer, because the server checks the
/// client's certificate only at the beginning of a connection.
const TLS_TERM: Duration = Duration::from_secs(600);
/// Maximum size of a request's head. A token has about 1,500 bytes, and a watermark of all namespaces about 1,000.
const HEAD_BYTES: usize = 8 << 10;
/// Number of additional bytes of a head for each namespace of `--namespaces`, because a watermark contains a part for
/// each namespace.
const HEAD_OF_NAMESPACE: usize = 1 << 10;
/// Maximum size of a head with the additional bytes.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Milliseconds after which a connection ends if the client acknowledges no data.
const TCP_USER_TIMEOUT: u32 = 30_000;
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a connection is secured.
pub enum Transport {
    /// Plain HTTP from every address.
    Plain,
    /// Plain HTTP from loopback; connections from other addresses are closed.
    Loopback,
    Tls(Arc<Certificates>),
}

/// The client of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The names in the client's verified certificate.
    pub certificate: Option<CertificateNames>,
}

/// Raises the soft limit of open files of this process to its hard limit (`RLIMIT_NOFILE`).
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(
            "the limit of open files stays at {:?}: {error}",
            limit.current
        );
    }
}

/// Sets `connection: close`, so that hyper closes the connection after this answer.
pub fn set_connection_close(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

/// Returns the limits for proxies and for operators. Of the files that this process may open, `OTHER_FILES` stay free
/// for other uses. `max_connections` is `--max-connections`, and `namespaces` is the number of `--namespaces`.
pub fn limits(max_connections: usize, namespaces: usize) -> [Limits; 2] {
    let files = getrlimit(Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok());
    let files = files.unwrap_or(usize::MAX);
    let free = files.saturating_sub(OTHER_FILES.saturating_add(OPERATORS));
    let strangers = STRANGERS.min(free / 4).max(1);
    let known = max_connections.min(free.saturating_sub(strangers)).max(1);
    if known < max_connections {
        tracing::warn!(
            "--max-connections is {max_connections}, but this process may open only {files} files, which are enough \
             for {known} connections: raise the limit of open files (ulimit -n), or lower --max-connections"
        );
    }
    let more = HEAD_OF_NAMESPACE.saturating_mul(namespaces);
    let proxies = Limits {
        strangers,
        known: Some(known),
        head: HEAD_BYTES.saturating_add(more).min(MAX_HEAD_BYTES),
    };
    let operators = Limits {
        strangers: OPERATORS,
        known: None,
        head: HEAD_BYTES,
    };
    [proxies, operators]
}

/// Accepts and serves connections until `ending` is cancelled, and returns when the last connection has ended. After
/// `leaving` is cancelled, each connection ends with its next answer, so that its client connects to another replica.
pub async fn serve(
    socket: TcpListener,
    transport: Transport,
    router: Router,
    limits: Limits,
    leaving: CancellationToken,
    ending: CancellationToken,
    metrics: Arc<Metrics>,
) {
    let slots = ConnectionSlots::new(&limits);
    let server = Arc::new(ConnectionServer {
        transport,
        router,
        limits,
        leaving,
        ending: ending.clone(),
        metrics,
        failures: FailureLog::default(),
    });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // The client has closed this connection, or the process has too many open files.
                tracing::debug!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = slots.enter(address.ip()) else {
            server.metrics.count_refused_connection("full");
            continue;
        };
        let must_authenticate = slots.must_authenticate();
        let server = server.clone();
        connections.spawn(async move {
            let is_unauthenticated = async {
                sleep(AUTHENTICATION).await;
                if !must_authenticate || !slot.is_stranger() {
                    pending().await
                }
            };
            tokio::select! {
                () = server.serve(stream, address, &slot) => {}
                () = slot.reassigned() => server.metrics.count_refused_connection("full"),
                () = is_unauthenticated => server.metrics.count_refused_connection("unknown"),
            }
        });
    }
    drop(socket);
    connections.close();
    connections.wait().await;
}

struct ConnectionServer {
    transport: Transport,
    router: Router,
    limits: Limits,
    leaving: CancellationToken,
    ending: CancellationToken,
    metrics: Arc<Metrics>,
    failures: FailureLog,
}

impl ConnectionServer {
    async fn serve(&self, stream: TcpStream, address: SocketAddr, slot: &Arc<ConnectionSlot>) {
        // Ignores errors, because a connection also works without these options.
        let _ = stream.set_nodelay(true);
        let _ = set_socket_keepalive(&stream, true);
        let _ = set_tcp_user_timeout(&stream, TCP_USER_TIMEOUT);
        match &self.transport {
            Transport::Plain => {
                let peer = Peer::default();
                self.answer(stream, address, slot, peer, pending()).await;
            }
            Transport::Loopback if address.ip().to_canonical().is_loopback() => {
                let peer = Peer::default();
                self.answer(stream, address, slot, peer, pending()).await;
            }
            Transport::Loopback => self.metrics.count_refused_connection("plain"),
            Transport::Tls(certificates) => {
                let (acceptor, mut certificates) = certificates.acceptor();
                let handshake = async {
                    let stream = acceptor.accept(stream).await?;
                    let certificate = CertificateNames::of_client(stream.get_ref().1)?;
                    Ok::<_, io::Error>((stream, Peer { certificate }))
                };
                // Boxes keep the memory of a connection small after this phase.
                match Box::pin(timeout(HANDSHAKE, handshake)).await {
                    Ok(Ok((stream, peer))) => {
                        let stream = Box::new(stream);
                        // A reload of the server certificate or of the bundle of --client-ca also ends the term.
                        let term_over =
                            async { drop(timeout(TLS_TERM, certificates.changed()).await) };
                        self.answer(stream, address, slot, peer, term_over).await;
                    }
                    Ok(Err(error)) => {
                        self.failures.handshake(address, &error);
                        self.metrics.count_refused_connection("handshake");
                    }
                    Err(_) => self.metrics.count_refused_connection("handshake"),
                }
            }
        }
    }

    /// Serves the requests of one connection until it ends or `ending` is cancelled.
    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        address: SocketAddr,
        slot: &Arc<ConnectionSlot>,
        peer: Peer,
        term_over: impl Future<Output = ()>,
    ) {
        let detected = tokio::select! {
            detected = timeout(HEAD, preface::detect(stream)) => detected,
            () = self.ending.cancelled() => return,
        };
        let served = match detected {
            Ok(Ok((Version::Http1, stream))) => {
                Box::pin(self.answer_http1(stream, slot, peer, term_over)).await
            }
            Ok(Ok((Version::Http2, stream))) => {
                Box::pin(self.answer_http2(stream, slot, peer, term_over)).await
            }
            Ok(Err(error)) => return tracing::debug!(%address, "a connection has failed: {error}"),
            Err(_) => return,
        };
        if let Err(error) = served {
            self.failures.request(address, &error);
            tracing::debug!(%address, "a connection has failed: {error}");
        }
    }

    /// After `term_over` the connection ends with the answer that is in progress, or with the next answer. The server
    /// does not close the connection between two answers, because a request that the client is sending would be lost.
    async fn answer_http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        slot: &Arc<ConnectionSlot>,
        peer: Peer,
        term_over: impl Future<Output = ()>,
    ) -> Result<(), hyper::Error> {
        let is_last = Arc::new(AtomicBool::new(false));
        let must_close = is_last.clone();
        let close_layer = map_response(move |mut response: Response| {
            if must_close.load(Relaxed) {
                set_connection_close(&mut response);
            }
            ready(response)
        });
        let router = self.router.clone().layer(Extension(peer));
        let router = router.layer(Extension(slot.clone())).layer(close_layer);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(self.limits.head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let over = async {
            tokio::select! {
                () = self.leaving.cancelled() => {}
                () = self.ending.cancelled() => {}
                () = term_over => {}
            }
            is_last.store(true, Relaxed);
            self.ending.cancelled().await;
        };
        tokio::select! {
            // `over` is polled first, so that an answer at the same moment gets `connection: close`.
            biased;
            () = over => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            served = &mut connection => served,
        }
    }
}

#[cfg(test)]
mod tests;
