//! Clients that attack: they try to keep other clients from being served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rcgen::KeyPair;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::client::{Clients, ask, head};
use crate::jwt;

/// The number of connections that never send a token.
pub const STRANGERS: u32 = 16_000;
/// Time after which a client closes its connection, if the server has not closed it.
const STAY: Duration = Duration::from_secs(15);

/// Returns the last two bytes of one of 250 addresses.
fn address(network: u8, number: u32) -> [u8; 2] {
    let low = u8::try_from(number % 250).expect("a byte");
    [network, low.saturating_add(1)]
}

/// Opens connections that never send a token. Six of eight send nothing, one sends the start of a TLS handshake, and
/// one sends the head of a request slowly.
pub async fn strangers(clients: Clients, during: Duration) {
    let mut crowd = JoinSet::new();
    let each = during / (STRANGERS / 20);
    let mut pace = interval(each);
    for number in 0..STRANGERS {
        if number % 20 == 0 {
            pace.tick().await;
        }
        let clients = clients.clone();
        crowd.spawn(async move {
            let from = address(7, number);
            match number % 8 {
                0 => {
                    let Ok(mut stream) = clients.tls(from).await else {
                        return;
                    };
                    for byte in b"GET /v1/config HTTP/1.1\r\n" {
                        if stream.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                        sleep(Duration::from_secs(1)).await;
                    }
                }
                kind => {
                    let Ok(mut stream) = clients.tcp(from).await else {
                        return;
                    };
                    if kind == 1 {
                        let _ = stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]).await;
                    }
                    sleep(STAY).await;
                }
            }
        });
        while crowd.try_join_next().is_some() {}
    }
    crowd.shutdown().await;
}

/// Sends forged tokens. Each token has its own connection, because the server closes the connection after the answer
/// 401. Seven of eight tokens name the key of the API server, so the control plane checks their signature at once. The
/// eighth token names no key, so the control plane reads the keys again before it answers.
pub async fn forgers(
    clients: Clients,
    good: String,
    during: Duration,
    second: u32,
    tried: Arc<AtomicU64>,
) {
    let key = KeyPair::generate().expect("a key");
    let account = ["shop", "buyer", "0"];
    let keyless = jwt::signed(&key, &jwt::claims(account, "weir.dev", 3600, 0));
    let mut forgeries = [&good; 8];
    forgeries[0] = &keyless;
    let forgeries = forgeries.map(|token| token.rsplit_once('.').expect("a signature"));
    let start = Instant::now();
    let mut crowd = JoinSet::new();
    let mut pace = interval(Duration::from_millis(20));
    let mut number = 0_u32;
    while start.elapsed() < during {
        pace.tick().await;
        for (signed, signature) in forgeries.iter().cycle().take(second as usize / 50) {
            number += 1;
            if crowd.len() > 1_000 {
                // More connections at the same time would overload the machine.
                crowd.join_next().await;
            }
            let (clients, tried) = (clients.clone(), tried.clone());
            // Each token is different, so the server has no cached answer for it. Each signature has the right length,
            // so the server has to check it.
            let token = format!("{signed}.{number:08}{}", &signature[8..]);
            crowd.spawn(async move {
                // Use other addresses than `strangers`, which opens all connections that its addresses may have.
                let Ok(mut stream) = clients.tls(address(10, number)).await else {
                    return;
                };
                if let Ok(status) = ask(&mut stream, &head(&token, "", "")).await {
                    assert_eq!(status, 401);
                    tried.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while crowd.try_join_next().is_some() {}
    }
    crowd.shutdown().await;
}

/// Polls with one token for many instances. Each poll has a large head. Returns how many polls were answered.
pub async fn instances(clients: Clients, token: String, count: u32) -> u32 {
    let names: String = (0..800).map(|number| format!("{number:x}=1,")).collect();
    let names = &names[..names.len().min(4_000)];
    let names = names.rsplit_once(',').expect("a comma").0;
    let mut answered = 0;
    let mut stream = None;
    for number in 0..count {
        let more = format!(
            "weir-instance: i{number}\r\nif-none-match: \"r{number}\"\r\nweir-applied: \"r{number}\"\r\n\
             weir-node: {number}\r\nweir-watermark: {names}\r\nweir-refused: \"r\" {}\r\n",
            "x".repeat(500)
        );
        if stream.is_none() {
            stream = clients.tls([8, 8]).await.ok();
        }
        let Some(open) = &mut stream else { continue };
        match ask(open, &head(&token, "?namespace=crowd0", &more)).await {
            Ok(200) => answered += 1,
            // The account has its maximum number of connections. The server closes one of them for a new client only if
            // that connection is at least one second old.
            Ok(503) => {
                stream = None;
                sleep(Duration::from_millis(100)).await;
            }
            Ok(other) => panic!("{other}"),
            Err(_) => stream = None,
        }
    }
    answered
}

/// Opens connections and sends a long poll on each. Returns the connections, which stay open until they are dropped.
pub async fn held(
    clients: Clients,
    token: String,
    scope: String,
    count: u32,
) -> Vec<tokio_rustls::client::TlsStream<tokio::net::TcpStream>> {
    let mut open = Vec::new();
    let filler = "x".repeat(5_000);
    for number in 0..count {
        let Ok(mut stream) = clients.tls([9, 9]).await else {
            continue;
        };
        let more = format!(
            "weir-instance: h{number}\r\nif-none-match: *\r\nprefer: wait=25\r\nx-filler: {filler}\r\n"
        );
        let head = head(&token, &scope, &more);
        if stream.write_all(head.as_bytes()).await.is_ok() {
            open.push(stream);
        }
    }
    open
}
