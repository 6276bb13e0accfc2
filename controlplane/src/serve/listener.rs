//! Connections in: accepted within bounds, from loopback alone or with TLS, and ended when the process ends.
//!
//! Of HTTP/1.1 a connection may use what a poll needs: a head of limited size within a limited time, and no body.

pub mod expiry;
mod places;
mod seat;
pub mod tls;

use std::convert::Infallible;
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
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use seat::Hall;
pub use seat::{Limits, Seat};
use tls::{Certificates, Names};
use weir_core::metrics::Metrics;

/// Open files that are not connections from outside.
const OTHER_FILES: usize = 256;
/// Connections to the listener for operators.
const OPERATORS: usize = 64;
/// Connections of clients that have not said who they are.
const STRANGERS: usize = 512;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Time from the beginning of a connection until the client must have shown a good token or certificate.
const STRANGE: Duration = Duration::from_secs(10);
/// For a request's head, and until the next one begins. A poll follows the one before within a second or two.
const HEAD: Duration = Duration::from_secs(15);
/// After this time a TLS connection ends with its next answer, because a client's certificate is checked only when the
/// client connects.
const TLS_TERM: Duration = Duration::from_secs(600);
/// Most bytes of a request's head. A token has about 1,500 bytes, and a watermark of whole clusters about 1,000.
const HEAD_BYTES: usize = 8 << 10;
/// Bytes more for each namespace of `--namespaces`, because a watermark has a part for each of them.
const HEAD_OF_NAMESPACE: usize = 1 << 10;
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Milliseconds until a peer that takes no more bytes, or does not answer at all, is given up.
const SILENCE: u32 = 30_000;
/// Pause after an error of `accept`, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// How those who connect are told apart.
pub enum Transport {
    /// Not at all.
    Plain,
    /// Not at all, and others than loopback are turned away.
    Loopback,
    Tls(Arc<Certificates>),
}

/// Who is at the other end of a connection, as far as it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Of the client's certificate, which has been verified.
    pub certificate: Option<Names>,
}

/// Lets this process have as many open files as it may.
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

/// Returns when it is true.
pub async fn until(it: &mut watch::Receiver<bool>) {
    // Fails when the other end is gone, which is an end as well.
    drop(it.wait_for(|it| *it).await);
}

/// Says that the connection ends with this answer, which makes it so.
pub fn say_last(response: &mut Response) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}

/// For proxies and for operators: together they leave `OTHER_FILES` of the files that this process may have open.
/// `known` is how many proxies may be connected at a time, `namespaces` how many are watched by themselves.
pub fn limits(known: usize, namespaces: usize) -> [Limits; 2] {
    let files = getrlimit(Resource::Nofile).current;
    let files = files.and_then(|files| usize::try_from(files).ok());
    let files = files.unwrap_or(usize::MAX);
    let free = files.saturating_sub(OTHER_FILES.saturating_add(OPERATORS));
    let strangers = STRANGERS.min(free / 4).max(1);
    let wanted = known;
    let known = known.min(free.saturating_sub(strangers)).max(1);
    if known < wanted {
        tracing::warn!(
            "of --max-connections {wanted} only {known} are possible, because this process may have {files} files open: \
             raise that limit (ulimit -n), or write a lower number"
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

/// Answers until `ending` is true, and returns when the last connection has ended. Once `leaving` is true a connection
/// ends with its next answer: whoever asks again does so where it is led to.
pub async fn serve(
    socket: TcpListener,
    transport: Transport,
    router: Router,
    limits: Limits,
    leaving: watch::Receiver<bool>,
    mut ending: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) {
    let hall = Hall::new(&limits);
    let server = Arc::new(Server {
        transport,
        router,
        limits,
        leaving,
        ending: ending.clone(),
        metrics,
    });
    // Closed when the last connection has dropped its end.
    let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = until(&mut ending) => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Of one connection that is gone already, or of all.
                tracing::debug!("accept: {error}");
                sleep(BREATH).await;
                continue;
            }
        };
        let Some(seat) = hall.enter(address.ip()) else {
            server.metrics.turned_away("full");
            continue;
        };
        let asks_who = hall.asks_who();
        let (server, open) = (server.clone(), open.clone());
        tokio::spawn(async move {
            let strange = async {
                sleep(STRANGE).await;
                if !asks_who || !seat.is_stranger() {
                    pending().await
                }
            };
            tokio::select! {
                () = server.connected(stream, address, &seat) => {}
                () = seat.given_up() => server.metrics.turned_away("full"),
                () = strange => server.metrics.turned_away("unknown"),
            }
            drop(open);
        });
    }
    drop((socket, open));
    all_closed.recv().await;
}

struct Server {
    transport: Transport,
    router: Router,
    limits: Limits,
    leaving: watch::Receiver<bool>,
    ending: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Server {
    async fn connected(&self, stream: TcpStream, address: SocketAddr, seat: &Arc<Seat>) {
        // Where one of them is refused, connections are as they are without it.
        let _ = stream.set_nodelay(true);
        let _ = set_socket_keepalive(&stream, true);
        let _ = set_tcp_user_timeout(&stream, SILENCE);
        match &self.transport {
            Transport::Plain => {
                self.answer(stream, seat, Peer::default(), pending()).await;
            }
            Transport::Loopback if address.ip().to_canonical().is_loopback() => {
                self.answer(stream, seat, Peer::default(), pending()).await;
            }
            Transport::Loopback => self.metrics.turned_away("plain"),
            Transport::Tls(certificates) => {
                let (acceptor, mut certificates) = certificates.acceptor();
                let handshake = async {
                    let stream = acceptor.accept(stream).await?;
                    let certificate = Names::shown(stream.get_ref().1)?;
                    Ok::<_, io::Error>((stream, Peer { certificate }))
                };
                match timeout(HANDSHAKE, handshake).await {
                    Ok(Ok((stream, peer))) => {
                        // It ends early where they, or who vouches for clients, have changed.
                        let worn = async { drop(timeout(TLS_TERM, certificates.changed()).await) };
                        self.answer(stream, seat, peer, worn).await;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%address, "no TLS: {error}");
                        self.metrics.turned_away("handshake");
                    }
                    Err(_) => self.metrics.turned_away("handshake"),
                }
            }
        }
    }

    /// Once it is `worn` a connection ends with the answer that is under way or else with the next one. To close it
    /// between two answers would lose a request that is on its way.
    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        seat: &Arc<Seat>,
        peer: Peer,
        worn: impl Future<Output = ()>,
    ) {
        let is_last = Arc::new(AtomicBool::new(false));
        let says_so = is_last.clone();
        let closed = map_response(move |mut response: Response| {
            if says_so.load(Relaxed) {
                say_last(&mut response);
            }
            ready(response)
        });
        let router = self.router.clone().layer(Extension(peer));
        let router = router.layer(Extension(seat.clone())).layer(closed);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(self.limits.head)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(connection);
        let (mut leaving, mut ending) = (self.leaving.clone(), self.ending.clone());
        let over = async {
            tokio::select! {
                () = until(&mut leaving) => {}
                () = until(&mut ending) => {}
                () = worn => {}
            }
            is_last.store(true, Relaxed);
            until(&mut ending).await;
        };
        let served = tokio::select! {
            // First, so that an answer of the same moment knows that it is the last one.
            biased;
            () = over => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            served = &mut connection => served,
        };
        if let Err(error) = served {
            tracing::debug!("a connection has failed: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
