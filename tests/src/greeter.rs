//! A TCP backend that sends bytes before its client does.

use std::net::SocketAddr;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Greeter {
    pub address: SocketAddr,
    received: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Greeter {
    /// Sends every client its name and a line end, and then echoes all bytes.
    pub async fn start(name: &str) -> Greeter {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let greeting = format!("{name}\n");
        let received = Arc::new(AtomicUsize::new(0));
        let counter = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, greeting.clone(), counter.clone()));
            }
        });
        Greeter {
            address,
            received,
            task,
        }
    }

    /// The number of bytes received from all clients.
    pub fn received_bytes(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn talk(mut stream: TcpStream, greeting: String, received: Arc<AtomicUsize>) {
    let _ = stream.write_all(greeting.as_bytes()).await;
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        received.fetch_add(length, Ordering::SeqCst);
        let _ = stream.write_all(&buffer[..length]).await;
    }
}

/// A TCP connection of a client, directly to a [`Greeter`] or through a proxy.
pub struct TcpClient(TcpStream);

impl TcpClient {
    pub async fn open(address: SocketAddr) -> TcpClient {
        let stream = TcpStream::connect(address).await;
        TcpClient(stream.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    /// Sends the text. Ignores a closed connection.
    pub async fn say(&mut self, words: &str) {
        let _ = self.0.write_all(words.as_bytes()).await;
    }

    /// Returns the next line without its end. Returns None if the connection ends first.
    pub async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            match self.0.read_u8().await {
                Ok(b'\n') => return Some(String::from_utf8_lossy(&line).into_owned()),
                Ok(byte) => line.push(byte),
                Err(_) => {
                    assert!(line.is_empty(), "half a line: {}", line.escape_ascii());
                    return None;
                }
            }
        }
    }
}
