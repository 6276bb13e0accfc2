//! The listener for proxies, its server certificate, and the listener for operators.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir::serve::listener::tls::{Certificates, Files};
use weir::serve::listener::{self, Transport};
use weir::serve::{Authentication, CertificateRules, Tokens};
use weir_core::manifest::problem::messages::start as messages;
use weir_core::metrics::Metrics;

use super::{Serve, Shutdown};

/// Maximum number of connections that the process has not accepted yet. The kernel ignores further clients, which try
/// again after a second. The kernel also has a limit: `net.core.somaxconn`, by default 4,096.
const BACKLOG: i32 = 4_096;

pub struct Sockets {
    proxies: TcpListener,
    operators: TcpListener,
    pub certificates: Option<Arc<Certificates>>,
}

impl Sockets {
    pub async fn bind(args: &Serve) -> io::Result<Sockets> {
        listener::raise_file_limit();
        let proxies = bind(&args.listen).await?;
        let operators = bind(&args.admin).await?;
        let certificates = certificates(args, proxies.local_addr()?)?;
        tracing::info!(address = %proxies.local_addr()?, admin = %operators.local_addr()?, "listening");
        Ok(Sockets {
            proxies,
            operators,
            certificates,
        })
    }

    /// Returns how clients authenticate. With TLS each client needs a certificate or a token. Without TLS the listener
    /// is on loopback, and every client may read every configuration.
    pub fn authentication(&self, args: &Serve, tokens: Option<Arc<Tokens>>) -> Authentication {
        if self.certificates.is_none() {
            return Authentication::Anyone;
        }
        Authentication::Required {
            certificates: Arc::new(CertificateRules {
                trust_domain: args.trust_domain.clone(),
                cluster_domain: args.cluster_domain.clone(),
                operators: args.operator_certificate.clone(),
            }),
            tokens,
        }
    }

    /// Starts to accept connections. The task ends when all connections have ended.
    pub fn serve(
        self,
        args: &Serve,
        [proxies, operators]: [Router; 2],
        shutdown: &Shutdown,
        metrics: &Arc<Metrics>,
    ) -> JoinHandle<()> {
        let transport = match self.certificates {
            None => Transport::Loopback,
            Some(certificates) => {
                let (reloaded, metrics) = (certificates.clone(), metrics.clone());
                tokio::spawn(async move { reloaded.follow(&metrics).await });
                Transport::Tls(certificates)
            }
        };
        let [proxy_limits, operator_limits] =
            listener::limits(args.max_connections, args.namespaces.len());
        let proxies = listener::serve(
            self.proxies,
            transport,
            proxies,
            proxy_limits,
            shutdown.leaving.clone(),
            shutdown.ending.clone(),
            metrics.clone(),
        );
        let operators = listener::serve(
            self.operators,
            Transport::Plain,
            operators,
            operator_limits,
            shutdown.leaving.clone(),
            shutdown.ending.clone(),
            metrics.clone(),
        );
        tokio::spawn(async {
            tokio::join!(proxies, operators);
        })
    }
}

/// Returns the certificates of `--tls-cert`. Without this flag, returns None if `address` is loopback, and Err
/// otherwise.
fn certificates(args: &Serve, address: SocketAddr) -> io::Result<Option<Arc<Certificates>>> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        if address.ip().to_canonical().is_loopback() {
            return Ok(None);
        }
        return Err(io::Error::other(messages::tls_needed(address).to_string()));
    };
    if !args.kubernetes && args.client_ca.is_none() {
        return Err(io::Error::other(messages::client_ca_needed().to_string()));
    }
    let certificates = Certificates::read(Files {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authority: args.client_ca.clone(),
        is_certificate_required: !args.kubernetes,
    });
    Ok(Some(Arc::new(certificates.map_err(io::Error::other)?)))
}

async fn bind(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await.and_then(|listener| {
        // `bind` has set a backlog of 1,024. This call raises it.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        let message = messages::not_listening(address, &error);
        io::Error::new(error.kind(), message.to_string())
    })
}
