//! Clients that connect from different addresses.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub const NAME: &str = "weir.weir-system.svc";
/// A client gives up after this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts every server certificate, which saves more than half of the work of a handshake.
#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

#[derive(Clone)]
pub struct Clients {
    server: SocketAddr,
    tls: TlsConnector,
}

impl Clients {
    /// Returns clients of the server at this address.
    pub fn new(server: SocketAddr) -> Clients {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Careless))
            .with_no_client_auth();
        Clients {
            server,
            tls: Arc::new(config).into(),
        }
    }

    /// Opens a connection from the address 127.0.`from`.
    pub async fn tcp(&self, from: [u8; 2]) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let address = Ipv4Addr::new(127, 0, from[0], from[1]);
        socket.bind(SocketAddr::from((address, 0)))?;
        timeout(PATIENCE, socket.connect(self.server)).await?
    }

    pub async fn tls(&self, from: [u8; 2]) -> io::Result<TlsStream<TcpStream>> {
        let stream = self.tcp(from).await?;
        let name = NAME.try_into().expect("a name");
        timeout(PATIENCE, self.tls.connect(name, stream)).await?
    }
}

/// Returns the head of a request for a configuration, with this token.
pub fn head(token: &str, scope: &str, more: &str) -> String {
    format!(
        "GET /v1/config{scope} HTTP/1.1\r\nhost: weir\r\nauthorization: Bearer {token}\r\n{more}\r\n"
    )
}

/// Sends a request and reads the whole answer. Returns the status.
pub async fn ask(stream: &mut TlsStream<TcpStream>, head: &str) -> io::Result<u16> {
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            if let Some((status, length)) = answer(&read)
                && read.len() >= length
            {
                return Ok(status);
            }
            let mut part = [0; 4096];
            match stream.read(&mut part).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                size => read.extend_from_slice(&part[..size]),
            }
        }
    };
    timeout(PATIENCE, exchange).await?
}

/// Returns the status and the length of the whole answer; None while its head is incomplete.
fn answer(read: &[u8]) -> Option<(u16, usize)> {
    let text = String::from_utf8_lossy(read);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse::<usize>().ok())?
    });
    Some((status, head.len() + 4 + length.unwrap_or_default()))
}
