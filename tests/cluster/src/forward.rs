//! Forwards connections from the machine's network into a cluster's network.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use nix::sched::{CloneFlags, setns};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// A thread in the cluster's network namespace. A socket stays in the network namespace in which it was created. So
/// this thread can accept connections from the machine's network, if the listener was created in that network.
pub struct Forwards(mpsc::UnboundedSender<(TcpListener, SocketAddr)>);

impl Forwards {
    /// Starts the thread. `network` is the file of the network namespace.
    pub fn start(network: &Path) -> Forwards {
        let network = File::open(network).expect("a network namespace");
        let (sender, mut receiver) = mpsc::unbounded_channel::<(TcpListener, SocketAddr)>();
        std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).expect("root may enter a network namespace");
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_io().build().expect("a runtime");
            runtime.block_on(async {
                while let Some((listener, target)) = receiver.recv().await {
                    tokio::spawn(forward(listener, target));
                }
            });
        });
        Forwards(sender)
    }

    /// Returns a new loopback address that forwards to this address in the cluster.
    pub fn forward(&self, ip: IpAddr, port: u16) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        listener.set_nonblocking(true).expect("a listener");
        self.0
            .send((listener, (ip, port).into()))
            .expect("the thread of forwards");
        address
    }
}

async fn forward(listener: TcpListener, target: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            // If the target refuses the connection, the client's connection is closed.
            if let Ok(mut server) = TcpStream::connect(target).await {
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
