//! A fake control plane. A test can change its behaviour while it runs, and read all polls that it received.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The answer to polls.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Forwards polls to the control plane at this address.
    Forward(SocketAddr),
    /// Answers with this configuration. If a poll names the revision of this configuration, holds the poll for the time
    /// in the poll's header `prefer`.
    Serve { revision: String, body: String },
    /// Never answers.
    Hang,
    /// Answers every poll with these bytes at once.
    Bytes(Vec<u8>),
    /// Answers with these bytes at once. Each answer has a new revision in place of `REVISION`.
    NewRevisions(String),
    /// Sends one of these bytes a second.
    Drip(Vec<u8>),
}

/// A whole HTTP/1.1 answer. Without a revision it has no ETag.
pub fn answer(status: u16, revision: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    if !revision.is_empty() {
        head += &format!("etag: \"{revision}\"\r\n");
    }
    // 204 and 304 have no body (RFC 9110, 15.3.5 and 15.4.5).
    if !matches!(status, 204 | 304) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A received poll.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The path and the query. The query names the namespace or Gateway of the proxy.
    pub path: String,
    /// Names (in lower case) and values.
    pub headers: Vec<(String, String)>,
    pub received: Instant,
    /// The time of the answer or of the lost connection; None while the poll is held.
    pub ended: Option<Instant>,
    /// The status of the answer; None while the poll is held and after a lost connection.
    pub status: Option<u16>,
}

impl Poll {
    /// Returns the value of a header. Returns None if the poll does not have the header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(head: &[u8]) -> Poll {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let path = lines.next().and_then(|line| line.split(' ').nth(1));
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Poll {
            path: path.unwrap_or_default().to_owned(),
            headers: headers.collect(),
            received: Instant::now(),
            ended: None,
            status: None,
        }
    }

    fn wait(&self) -> Duration {
        let seconds = self
            .header("prefer")
            .and_then(|it| it.strip_prefix("wait="));
        Duration::from_secs(seconds.and_then(|it| it.parse().ok()).unwrap_or(0))
    }
}

/// A running fake control plane. When it is dropped, it closes its port and all connections, like a crash.
pub struct FakePlane {
    pub address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    behaviour: watch::Sender<Behaviour>,
    polls: Arc<Mutex<Vec<Poll>>>,
}

impl FakePlane {
    pub async fn start(behaviour: Behaviour) -> FakePlane {
        FakePlane::start_at("127.0.0.1:0".parse().expect("an address"), behaviour).await
    }

    pub async fn start_at(address: SocketAddr, behaviour: Behaviour) -> FakePlane {
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            behaviour: watch::Sender::new(behaviour),
            polls: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, shared.clone()));
        FakePlane {
            address,
            shared,
            task,
        }
    }

    /// Changes the behaviour. A held poll is answered 304, and an unfinished answer is cut off.
    pub fn switch(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// All polls so far, in the order of arrival.
    pub fn polls(&self) -> Vec<Poll> {
        self.shared.polls().clone()
    }

    /// Returns the number of polls so far.
    pub fn poll_count(&self) -> usize {
        self.shared.polls().len()
    }

    /// Waits for a poll for which `is_it` returns true. Ignores the first `skip` polls. Panics after ten seconds.
    pub async fn wait_for_poll(
        &self,
        skip: usize,
        what: &str,
        is_it: impl Fn(&Poll) -> bool,
    ) -> Poll {
        for _ in 0..2000 {
            let found = self.polls().into_iter().skip(skip).find(&is_it);
            if let Some(poll) = found {
                return poll;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no poll {what} in {:#?}", self.polls());
    }
}

impl Drop for FakePlane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(shared.clone().converse(stream));
        while connections.try_join_next().is_some() {}
    }
}

/// The end of a poll.
struct Outcome {
    status: Option<u16>,
    /// True if the connection may serve another poll.
    keep_open: bool,
}

const CUT_OFF: Outcome = Outcome {
    status: None,
    keep_open: false,
};

impl Shared {
    fn polls(&self) -> MutexGuard<'_, Vec<Poll>> {
        self.polls.lock().expect("polls")
    }

    async fn converse(self, stream: TcpStream) {
        let (mut read, mut write) = stream.into_split();
        let mut behaviour = self.behaviour.subscribe();
        while let Ok(head) = read_head(&mut read).await {
            let poll = Poll::read(&head);
            let number = self.enter(poll.clone());
            let now = behaviour.borrow_and_update().clone();
            let is_held = matches!(now, Behaviour::Forward(_) | Behaviour::Serve { .. });
            let mut more = [0];
            // Check for a change first, so that the old behaviour sends no answer after the change.
            let outcome = tokio::select! {
                biased;
                _ = behaviour.changed() => match write.write_all(&answer(304, "", b"")).await {
                    Ok(()) if is_held => Outcome { status: Some(304), keep_open: true },
                    _ => CUT_OFF,
                },
                outcome = act(&now, &poll, &head, &mut write, number) => outcome.unwrap_or(CUT_OFF),
                // The filter never pipelines requests, so more bytes mean the end of the connection.
                _ = read.read(&mut more) => CUT_OFF,
            };
            let mut polls = self.polls();
            polls[number].ended = Some(Instant::now());
            polls[number].status = outcome.status;
            if !outcome.keep_open {
                return;
            }
        }
    }

    fn enter(&self, poll: Poll) -> usize {
        let mut polls = self.polls();
        polls.push(poll);
        polls.len() - 1
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

async fn act(
    behaviour: &Behaviour,
    poll: &Poll,
    head: &[u8],
    to: &mut OwnedWriteHalf,
    number: usize,
) -> io::Result<Outcome> {
    let bytes = match behaviour {
        Behaviour::Forward(plane) => return relay(*plane, head, to).await,
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Serve { revision, body } => {
            let held = poll.header("if-none-match").unwrap_or_default();
            if held.contains(&format!("\"{revision}\"")) {
                tokio::time::sleep(poll.wait()).await;
                answer(304, revision, b"")
            } else {
                answer(200, revision, body.as_bytes())
            }
        }
        Behaviour::Bytes(bytes) => bytes.clone(),
        Behaviour::NewRevisions(text) => {
            text.replace("REVISION", &format!("r{number}")).into_bytes()
        }
        Behaviour::Drip(bytes) => {
            for byte in bytes {
                to.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Vec::new()
        }
    };
    to.write_all(&bytes).await?;
    Ok(Outcome {
        status: status_of(&bytes),
        keep_open: true,
    })
}

/// Sends the request to the real control plane on a new connection, and returns the answer.
async fn relay(plane: SocketAddr, head: &[u8], to: &mut OwnedWriteHalf) -> io::Result<Outcome> {
    let mut stream = TcpStream::connect(plane).await?;
    let fields = head.strip_suffix(b"\r\n").unwrap_or(head);
    stream.write_all(fields).await?;
    stream.write_all(b"connection: close\r\n\r\n").await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    to.write_all(&bytes).await?;
    Ok(Outcome {
        status: status_of(&bytes),
        keep_open: false,
    })
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}
