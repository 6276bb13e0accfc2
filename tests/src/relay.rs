//! A TCP relay between clients and servers. It does the work of a Service with endpoints, and can hold back traffic.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    targets: Mutex<Targets>,
    /// A change ends all connections.
    turn: watch::Sender<u64>,
    is_stalled: watch::Sender<bool>,
}

struct Targets {
    servers: Vec<SocketAddr>,
    taken: Vec<SocketAddr>,
}

impl Relay {
    /// Listens on a free loopback port.
    pub async fn start(servers: &[SocketAddr]) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let targets = Targets {
            servers: servers.to_vec(),
            taken: Vec::new(),
        };
        let shared = Arc::new(Shared {
            targets: Mutex::new(targets),
            turn: watch::Sender::new(0),
            is_stalled: watch::Sender::new(false),
        });
        let accepting = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().relay(client));
            }
        });
        Relay {
            address,
            shared,
            task,
        }
    }

    /// Sends new connections to these servers, in turn.
    pub fn lead_to(&self, servers: &[SocketAddr]) {
        self.shared.targets().servers = servers.to_vec();
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.shared.turn.send_modify(|turn| *turn += 1);
    }

    /// Holds back all data from servers while `is_stalled`.
    pub fn stall(&self, is_stalled: bool) {
        self.shared.is_stalled.send_replace(is_stalled);
    }

    /// Returns the number of connections to a server so far.
    pub fn taken(&self, server: SocketAddr) -> usize {
        let targets = self.shared.targets();
        targets.taken.iter().filter(|it| **it == server).count()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Shared {
    fn targets(&self) -> std::sync::MutexGuard<'_, Targets> {
        self.targets.lock().expect("targets")
    }

    async fn relay(self: Arc<Shared>, client: TcpStream) {
        let mut turn = self.turn.subscribe();
        let server = {
            let mut targets = self.targets();
            let next = targets.taken.len();
            let Some(server) = targets.servers.get(next % targets.servers.len().max(1)) else {
                return;
            };
            let server = *server;
            targets.taken.push(server);
            server
        };
        let Ok(server) = TcpStream::connect(server).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut client_read, mut client_write) = client.into_split();
        let (mut server_read, mut server_write) = server.into_split();
        let requests = async {
            let _ = copy(&mut client_read, &mut server_write).await;
            let _ = server_write.shutdown().await;
        };
        let mut stalled = self.is_stalled.subscribe();
        let responses = async {
            let mut bytes = vec![0; 1 << 16];
            while let Ok(count @ 1..) = server_read.read(&mut bytes).await {
                let _ = stalled.wait_for(|it| !*it).await;
                if client_write.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
            let _ = client_write.shutdown().await;
        };
        tokio::select! {
            _ = async { tokio::join!(requests, responses) } => {}
            _ = turn.changed() => {}
        }
    }
}
