//! A TCP proxy in front of an API server. It can hold back data, or hide that a connection ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use weir_cluster::ApiServer;
use weir_cluster::server::{ADMIN, write_kubeconfig};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// Holds back data in both directions until the mode changes.
    Hold,
    /// Keeps the client's connection open when the server's connection ends.
    Hide,
}

pub struct Proxy {
    mode: watch::Sender<Mode>,
    address: SocketAddr,
}

impl Proxy {
    pub async fn start(server: &ApiServer) -> Proxy {
        let behind = server.url().trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (mode, receiver) = watch::channel(Mode::Pass);
        tokio::spawn(async move {
            while let Ok((before, _)) = listener.accept().await {
                tokio::spawn(pass(before, behind.clone(), receiver.clone()));
            }
        });
        Proxy { mode, address }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The administrator's kubeconfig for the address of this proxy.
    pub fn kubeconfig(&self, server: &ApiServer) -> PathBuf {
        let original = write_kubeconfig(server.folder(), &server.url(), ADMIN);
        let text = std::fs::read_to_string(original).expect("a kubeconfig");
        let text = text.replace(&server.url(), &format!("https://{}", self.address));
        // KUBECONFIG is a list of paths with colons between them, so the name must not contain a colon.
        let name = format!("kubeconfig-by-{}", self.address.port());
        let path = server.folder().join(name);
        std::fs::write(&path, text).expect("a kubeconfig");
        path
    }
}

async fn pass(before: TcpStream, behind: String, mode: watch::Receiver<Mode>) {
    // Without an API server, the client's connection ends at once.
    let Ok(behind) = TcpStream::connect(behind).await else {
        return;
    };
    let (from_before, to_before) = before.into_split();
    let (from_behind, to_behind) = behind.into_split();
    let there = tokio::spawn(flow(from_before, to_behind, mode.clone()));
    flow(from_behind, to_before, mode).await;
    there.abort();
}

async fn flow(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        if mode.wait_for(|mode| *mode != Mode::Hold).await.is_err() {
            return;
        }
        let is_over = read == 0 || to.write_all(&buffer[..read]).await.is_err();
        if is_over {
            if *mode.borrow() == Mode::Hide {
                tokio::time::sleep(Duration::from_secs(600)).await;
            }
            return;
        }
    }
}
