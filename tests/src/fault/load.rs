//! Clients that send requests during a fault and record every answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::Connection;

/// One answer.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The index of the connection.
    pub connection: usize,
    pub sent: Instant,
    /// Time from the request to the whole answer.
    pub took: Duration,
    pub status: u16,
    /// The backend that answered, or the body if no backend answered.
    pub by: String,
}

pub struct Load {
    samples: Arc<Mutex<Vec<Sample>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts this number of connections. Each sends one request at a time, with pauses of two milliseconds.
    pub async fn start(address: SocketAddr, host: &'static str, connections: usize) -> Load {
        Load::start_with(address, host, &[], connections).await
    }

    /// Like [`Load::start`], with these headers in each request.
    pub async fn start_with(
        address: SocketAddr,
        host: &'static str,
        headers: &'static [(&'static str, &'static str)],
        connections: usize,
    ) -> Load {
        let samples = Arc::<Mutex<Vec<Sample>>>::default();
        let mut clients = Vec::new();
        for connection in 0..connections {
            let samples = samples.clone();
            let mut client = Connection::open(address).await;
            clients.push(tokio::spawn(async move {
                loop {
                    let sent = Instant::now();
                    let answer = client.get_with(host, "/", headers).await;
                    let by = match answer.header("identity") {
                        "" => answer.text(),
                        backend => backend.to_owned(),
                    };
                    samples.lock().expect("samples").push(Sample {
                        connection,
                        sent,
                        took: sent.elapsed(),
                        status: answer.status.as_u16(),
                        by,
                    });
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }));
        }
        Load { samples, clients }
    }

    /// Returns the answers since the last call.
    pub fn take(&self) -> Vec<Sample> {
        std::mem::take(&mut *self.samples.lock().expect("samples"))
    }

    /// Stops all clients and returns the remaining answers. Panics if a request got no answer.
    pub async fn stop(mut self) -> Vec<Sample> {
        for client in std::mem::take(&mut self.clients) {
            assert!(!client.is_finished(), "{:?}", client.await);
            client.abort();
        }
        self.take()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for client in &self.clients {
            client.abort();
        }
    }
}
