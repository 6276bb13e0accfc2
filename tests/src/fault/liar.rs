//! A control plane whose manner can be changed while it runs, and that remembers how it was polled.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// How polls are answered.
#[derive(Clone, Debug)]
pub enum Manner {
    /// By the control plane at this address, and as it says.
    Honest(SocketAddr),
    /// With this document, and a poll that names its revision is held for as long as it wishes.
    Serve { revision: String, body: String },
    /// Never.
    Hang,
    /// With these bytes, at once, whatever was asked.
    Bytes(Vec<u8>),
    /// With these bytes and a revision that is new each time: `REVISION` in them is replaced.
    EverNew(String),
    /// With these bytes, one a second.
    Drip(Vec<u8>),
}

/// A whole HTTP/1.1 answer. An empty revision gives no ETag.
pub fn answer(status: u16, revision: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} x\r\n");
    if !revision.is_empty() {
        head += &format!("etag: \"{revision}\"\r\n");
    }
    // These two have no body (RFC 9110, 15.3.5 and 15.4.5).
    if !matches!(status, 204 | 304) {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Poll {
    /// With the scope in its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub came: Instant,
    /// When it was answered or given up; None while it is held.
    pub ended: Option<Instant>,
    /// None while it is held, and where it ended without an answer.
    pub status: Option<u16>,
}

impl Poll {
    /// The header's value; None where it was not sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
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
            came: Instant::now(),
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

/// Dropping it closes its port and all connections, as a crash would.
pub struct Liar {
    pub address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    manner: watch::Sender<Manner>,
    polls: Arc<Mutex<Vec<Poll>>>,
}

impl Liar {
    pub async fn start(manner: Manner) -> Liar {
        Liar::start_at("127.0.0.1:0".parse().expect("an address"), manner).await
    }

    pub async fn start_at(address: SocketAddr, manner: Manner) -> Liar {
        let listener = TcpListener::bind(address)
            .await
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().expect("an address");
        let shared = Shared {
            manner: watch::Sender::new(manner),
            polls: Arc::default(),
        };
        let task = tokio::spawn(accept(listener, shared.clone()));
        Liar {
            address,
            shared,
            task,
        }
    }

    /// From now on. What is held is ended with 304, and what is half answered is cut off.
    pub fn switch(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// All polls so far, in the order in which they came.
    pub fn polls(&self) -> Vec<Poll> {
        self.shared.polls().clone()
    }

    /// The first poll from the `skip`-th on of which this is true.
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

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Shared) {
    // Its connections end with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connections.spawn(shared.clone().converse(stream));
        while connections.try_join_next().is_some() {}
    }
}

/// What became of a poll.
struct Outcome {
    status: Option<u16>,
    /// False where the connection is of no more use.
    goes_on: bool,
}

const CUT_OFF: Outcome = Outcome {
    status: None,
    goes_on: false,
};

impl Shared {
    fn polls(&self) -> MutexGuard<'_, Vec<Poll>> {
        self.polls.lock().expect("polls")
    }

    async fn converse(self, stream: TcpStream) {
        let (mut read, mut write) = stream.into_split();
        let mut manner = self.manner.subscribe();
        while let Ok(head) = read_head(&mut read).await {
            let poll = Poll::read(&head);
            let number = self.enter(poll.clone());
            let now = manner.borrow_and_update().clone();
            let is_held = matches!(now, Manner::Honest(_) | Manner::Serve { .. });
            let mut more = [0];
            let outcome = tokio::select! {
                outcome = act(&now, &poll, &head, &mut write, number) => outcome.unwrap_or(CUT_OFF),
                // Nobody sends two requests at once, so this is the end.
                _ = read.read(&mut more) => CUT_OFF,
                _ = manner.changed() => match write.write_all(&answer(304, "", b"")).await {
                    Ok(()) if is_held => Outcome { status: Some(304), goes_on: true },
                    _ => CUT_OFF,
                },
            };
            let mut polls = self.polls();
            polls[number].ended = Some(Instant::now());
            polls[number].status = outcome.status;
            if !outcome.goes_on {
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
    manner: &Manner,
    poll: &Poll,
    head: &[u8],
    to: &mut OwnedWriteHalf,
    number: usize,
) -> io::Result<Outcome> {
    let bytes = match manner {
        Manner::Honest(plane) => return relay(*plane, head, to).await,
        Manner::Hang => std::future::pending().await,
        Manner::Serve { revision, body } => {
            let held = poll.header("if-none-match").unwrap_or_default();
            if held.contains(&format!("\"{revision}\"")) {
                tokio::time::sleep(poll.wait()).await;
                answer(304, revision, b"")
            } else {
                answer(200, revision, body.as_bytes())
            }
        }
        Manner::Bytes(bytes) => bytes.clone(),
        Manner::EverNew(text) => text.replace("REVISION", &format!("r{number}")).into_bytes(),
        Manner::Drip(bytes) => {
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
        goes_on: true,
    })
}

/// Sends the request on, and the answer back, on a connection of its own.
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
        goes_on: false,
    })
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}
