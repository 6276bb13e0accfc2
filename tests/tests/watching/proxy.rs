//! A TCP proxy in front of an API server, that can hold back what it sends, or hide that it is gone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use weir_cluster::ApiServer;
use weir_cluster::server::{ADMIN, write_kubeconfig};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    Pass,
    /// Nothing gets through, either way, until it is set to pass again.
    Hold,
    /// Connections that end behind it do not end before it.
    Hide,
}

pub struct Proxy {
    manner: watch::Sender<Manner>,
    address: SocketAddr,
}

impl Proxy {
    pub async fn start(server: &ApiServer) -> Proxy {
        let behind = server.url().trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (manner, told) = watch::channel(Manner::Pass);
        tokio::spawn(async move {
            while let Ok((before, _)) = listener.accept().await {
                tokio::spawn(pass(before, behind.clone(), told.clone()));
            }
        });
        Proxy { manner, address }
    }

    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// The administrator's, through this proxy.
    pub fn kubeconfig(&self, server: &ApiServer) -> PathBuf {
        let written = write_kubeconfig(server.folder(), &server.url(), ADMIN);
        let text = std::fs::read_to_string(written).expect("a kubeconfig");
        let text = text.replace(&server.url(), &format!("https://{}", self.address));
        // KUBECONFIG is a list, with colons between its paths.
        let name = format!("kubeconfig-by-{}", self.address.port());
        let path = server.folder().join(name);
        std::fs::write(&path, text).expect("a kubeconfig");
        path
    }
}

async fn pass(before: TcpStream, behind: String, manner: watch::Receiver<Manner>) {
    // One that is refused ends at once.
    let Ok(behind) = TcpStream::connect(behind).await else {
        return;
    };
    let (from_before, to_before) = before.into_split();
    let (from_behind, to_behind) = behind.into_split();
    let there = tokio::spawn(flow(from_before, to_behind, manner.clone()));
    flow(from_behind, to_before, manner).await;
    there.abort();
}

async fn flow(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut manner: watch::Receiver<Manner>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or_default();
        if manner
            .wait_for(|manner| *manner != Manner::Hold)
            .await
            .is_err()
        {
            return;
        }
        let is_over = read == 0 || to.write_all(&buffer[..read]).await.is_err();
        if is_over {
            if *manner.borrow() == Manner::Hide {
                tokio::time::sleep(Duration::from_secs(600)).await;
            }
            return;
        }
    }
}
