//! Reads the server certificate, and reloads it when its files change. Also reads the names in client certificates.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::certificate_expiry::first_end;
use weir_core::manifest::problem::messages::start as messages;
use weir_core::metrics::Metrics;

/// Time between two reads of the files. A read finds every change, also the new symbolic links of a mounted Secret.
const RELOAD: Duration = Duration::from_secs(2);

/// The files of the certificate, of its key, and of the CA bundle for clients.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_authority: Option<PathBuf>,
    /// True if a client must show a certificate. If false, a client may show a token instead.
    pub is_certificate_required: bool,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{}", messages::file_unread(path.display(), error))]
    Unread { path: PathBuf, error: io::Error },
    #[error("{}", messages::not_pem(path.display(), what, why))]
    NotPem {
        path: PathBuf,
        what: &'static str,
        why: String,
    },
    #[error("{}", messages::no_pair(certificate.display(), key.display(), error))]
    Pair {
        certificate: PathBuf,
        key: PathBuf,
        error: rustls::Error,
    },
    #[error("{}", messages::bad_authority(path.display(), why))]
    Authority { path: PathBuf, why: String },
}

/// The newest valid certificate and key.
pub struct Certificates {
    files: Files,
    newest: watch::Sender<Arc<ServerConfig>>,
    /// Unix seconds at which the newest valid certificate chain expires.
    ends: AtomicI64,
    /// The contents of the files at the last read, valid or not.
    last_read: Mutex<Vec<Vec<u8>>>,
}

impl Certificates {
    pub fn read(files: Files) -> Result<Certificates, Unusable> {
        let bytes = files.bytes()?;
        let (config, ends) = files.parse(&bytes)?;
        Ok(Certificates {
            newest: watch::Sender::new(Arc::new(config)),
            ends: AtomicI64::new(ends),
            last_read: Mutex::new(bytes),
            files,
        })
    }

    /// Returns the Unix seconds at which the certificate in use expires.
    pub fn ends(&self) -> i64 {
        self.ends.load(Ordering::Relaxed)
    }

    /// Returns the acceptor for a new connection, and a receiver that changes when the certificates are reloaded.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, watch::Receiver<Arc<ServerConfig>>) {
        let mut newest = self.newest.subscribe();
        let acceptor = newest.borrow_and_update().clone().into();
        (acceptor, newest)
    }

    /// Reloads changed files, and never returns. If the files cannot be used, logs and counts the error, and keeps the
    /// last valid certificate.
    pub async fn follow(&self, metrics: &Metrics) {
        let mut last_error = String::new();
        loop {
            metrics.certificate_ends.set(self.ends());
            tokio::time::sleep(RELOAD).await;
            let result = self.reload();
            let is_same = match &result {
                // While a file cannot be read, each attempt has the same error. Log it only once.
                Err(error @ Unusable::Unread { .. }) => {
                    let before = std::mem::replace(&mut last_error, error.to_string());
                    before == last_error
                }
                _ => {
                    last_error.clear();
                    false
                }
            };
            match result {
                Ok(false) => {}
                Ok(true) => tracing::info!("the certificate was reloaded"),
                Err(_) if is_same => {}
                Err(error) => {
                    metrics.certificates_refused.inc();
                    tracing::error!("{error}");
                }
            }
        }
    }

    /// Reads the files. Returns true if they have changed and are in use now.
    fn reload(&self) -> Result<bool, Unusable> {
        let bytes = self.files.bytes()?;
        let mut last_read = self
            .last_read
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *last_read == bytes {
            return Ok(false);
        }
        let parsed = self.files.parse(&bytes);
        *last_read = bytes;
        let (config, ends) = parsed?;
        self.ends.store(ends, Ordering::Relaxed);
        self.newest.send_replace(Arc::new(config));
        Ok(true)
    }
}

impl Files {
    fn bytes(&self) -> Result<Vec<Vec<u8>>, Unusable> {
        let paths = [&self.certificate, &self.key];
        let paths = paths.into_iter().chain(&self.client_authority);
        let read = paths.map(|path| {
            std::fs::read(path).map_err(|error| Unusable::Unread {
                path: path.clone(),
                error,
            })
        });
        read.collect()
    }

    /// Returns the TLS configuration, and the time at which the certificate expires. `bytes` has the contents of the
    /// files in the order of [`Files::bytes`].
    fn parse(&self, bytes: &[Vec<u8>]) -> Result<(ServerConfig, i64), Unusable> {
        let bytes = |index: usize| bytes.get(index).map(Vec::as_slice).unwrap_or_default();
        let chain = certificates(&self.certificate, bytes(0))?;
        let ends = first_end(&chain).map_err(|why| Unusable::NotPem {
            path: self.certificate.clone(),
            what: "certificates",
            why,
        })?;
        let key = PrivateKeyDer::from_pem_slice(bytes(1)).map_err(|error| Unusable::NotPem {
            path: self.key.clone(),
            what: "a private key",
            why: error.to_string(),
        })?;
        let verifier = match &self.client_authority {
            Some(path) => self.verifier(path, bytes(2))?,
            None => Arc::new(NoClientAuth),
        };
        let pair = |error| Unusable::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            error,
        };
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(pair)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would skip the check of the client certificate against a reloaded CA bundle.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok((config, ends))
    }

    fn verifier(&self, path: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
        let unusable = |why: String| Unusable::Authority {
            path: path.to_owned(),
            why,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path, pem)? {
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.to_string()))?;
        }
        let provider = ring::default_provider().into();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let verifier = if self.is_certificate_required {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        verifier
            .build()
            .map_err(|error| unusable(error.to_string()))
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let bad = |why: String| Unusable::NotPem {
        path: path.to_owned(),
        what: "certificates",
        why,
    };
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let parsed = parsed.map_err(|error| bad(error.to_string()))?;
    if parsed.is_empty() {
        return Err(bad("the file contains no certificate".into()));
    }
    Ok(parsed)
}

/// The names in a client certificate, in the order of the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateNames {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
}

impl CertificateNames {
    /// Returns the names in the client's certificate, or None if the client has shown no certificate.
    pub(super) fn of_client(connection: &ServerConnection) -> io::Result<Option<CertificateNames>> {
        let certificate = connection.peer_certificates().and_then(<[_]>::first);
        let Some(certificate) = certificate else {
            return Ok(None);
        };
        let certificate = webpki::EndEntityCert::try_from(certificate);
        let certificate = certificate.map_err(io::Error::other)?;
        Ok(Some(CertificateNames {
            uris: certificate.valid_uri_names().map(str::to_owned).collect(),
            dns: certificate.valid_dns_names().map(str::to_owned).collect(),
        }))
    }
}
