//! Starts `weir serve` with TLS, and sends requests with any client certificate or token.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir_tests::fault::{manifest, parse};
use weir_tests::tls::{Authority, Certificate};
use weir_tests::{Answer, Plane};

pub const NAME: &str = "weir.weir-system.svc";

/// The files `tls.crt`, `tls.key` and `ca.crt` (the client CA), like in a mounted Secret: each file is a link into
/// `..data`, and `..data` is a link to a folder.
pub struct Files {
    folder: TempDir,
    has_authority: bool,
}

impl Files {
    pub fn new(own: &Certificate, client: Option<&Certificate>) -> Files {
        let folder = TempDir::new().expect("a folder");
        let files = Files {
            folder,
            has_authority: client.is_some(),
        };
        let authority = client.map_or("", |client| &client.authority);
        files.turn(own, authority);
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            let inside = PathBuf::from("..data").join(name);
            symlink(inside, files.path(name)).expect("a link");
        }
        files
    }

    /// Replaces all files at once, like an update of a mounted Secret.
    pub fn project(&self, own: &Certificate, client: &Certificate) {
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            let inside = PathBuf::from("..data").join(name);
            std::fs::remove_file(self.path(name)).expect("removed");
            symlink(inside, self.path(name)).expect("a link");
        }
        self.turn(own, &client.authority);
    }

    /// Writes the files into a new folder, and makes `..data` a link to this folder.
    fn turn(&self, own: &Certificate, authority: &str) {
        let turn = TempDir::new_in(self.folder.path())
            .expect("a folder")
            .keep();
        for (name, text) in [
            ("tls.crt", &*own.pem),
            ("tls.key", &own.key),
            ("ca.crt", authority),
        ] {
            std::fs::write(turn.join(name), text).expect("a file");
        }
        let link = self.path("..new");
        symlink(turn, &link).expect("a link");
        std::fs::rename(link, self.path("..data")).expect("renamed");
    }

    /// Overwrites one file.
    pub fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn arguments_without_authority(&self) -> Vec<&str> {
        let path = |name: &str| self.path(name).display().to_string().leak() as &str;
        vec!["--tls-cert", path("tls.crt"), "--tls-key", path("tls.key")]
    }

    pub fn arguments(&self) -> Vec<&str> {
        let mut arguments = self.arguments_without_authority();
        if self.has_authority {
            arguments.extend([
                "--client-ca",
                self.path("ca.crt").display().to_string().leak(),
                "--operator-certificate=edge.example.com",
            ]);
        }
        arguments
    }
}

/// Serves a split of the namespace `default`, with the certificates in `files`.
pub async fn serve_tls(files: &Files) -> Plane {
    let plane = Plane::start_with(&files.arguments(), &[("web.yaml", &manifest([1, 1]))]);
    plane.wait_until_ready().await;
    plane
}

/// A client that sends each GET request on a new TLS connection and trusts `authority`.
pub struct Ask {
    address: SocketAddr,
    authority: String,
    path: &'static str,
}

impl Ask {
    pub fn new(address: SocketAddr, authority: &Authority) -> Ask {
        Ask {
            address,
            authority: authority.sign(&[]).authority,
            path: "/v1/config",
        }
    }

    pub fn path(self, path: &'static str) -> Ask {
        Ask { path, ..self }
    }

    /// Sends the request with this certificate, and with this token if it is not empty. Returns an error if the server
    /// sends no HTTP answer.
    pub async fn with(
        &self,
        certificate: Option<&Certificate>,
        query: &str,
        token: &str,
    ) -> io::Result<Answer> {
        let token = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let path = self.path;
        let head =
            format!("GET {path}{query} HTTP/1.1\r\nhost: weir\r\n{token}connection: close\r\n\r\n");
        self.send(certificate, head.as_bytes()).await
    }

    pub async fn send(
        &self,
        certificate: Option<&Certificate>,
        bytes: &[u8],
    ) -> io::Result<Answer> {
        let exchange = async {
            let mut stream = self.connect(certificate).await?;
            stream.write_all(bytes).await?;
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await?;
            parse(&read).ok_or_else(|| io::Error::other(String::from_utf8_lossy(&read)))
        };
        tokio::time::timeout(Duration::from_secs(10), exchange).await?
    }

    pub async fn connect(
        &self,
        certificate: Option<&Certificate>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.authority.as_bytes()) {
            roots.add(root.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(certificate) => {
                let chain = CertificateDer::pem_slice_iter(certificate.pem.as_bytes());
                let chain = chain.map(|it| it.expect("PEM")).collect();
                let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes());
                config
                    .with_client_auth_cert(chain, key.expect("a key"))
                    .expect("a pair")
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        let name = NAME.try_into().expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

/// Sends a request without TLS. Returns all bytes that the server sends until it closes the connection.
pub async fn plain(address: SocketAddr, path: &str) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n");
        let _ = stream.write_all(head.as_bytes()).await;
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        String::from_utf8_lossy(&read).into_owned()
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), exchange).await;
    answer.expect("the connection ends")
}
