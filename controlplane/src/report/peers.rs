//! What the proxies of the other replicas run: their own answers to `GET /v1/proxies`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::serve::OWN_TOKEN;
use weir_core::owner::Owner;
use weir_core::plan::Scope;
use weir_core::status::proxy::{FORGET, Proxy, Replica};

const ANSWER: Duration = Duration::from_secs(2);
const MAX_BYTES: usize = 64 << 20;

/// Where the other replicas are.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `HOST:PORT`; a headless Service has an address for each of them.
    pub name: String,
    /// The authority of their certificates; without one they are asked in plain text.
    pub authority: Option<PathBuf>,
}

/// What they said last, by replica.
#[derive(Debug, Default)]
pub struct Words(HashMap<String, (Vec<Proxy>, Instant)>);

/// What came back from asking them.
#[derive(Debug, Default)]
pub struct Answers {
    pub replicas: Vec<Replica>,
    /// Whom it did not come back from, and why, in words that are the same each time.
    pub failures: BTreeSet<String>,
}

impl Peers {
    /// Asks all of them but `own`.
    pub async fn ask(&self, own: &str) -> Answers {
        let failed = |failure: String| Answers {
            failures: BTreeSet::from([failure]),
            ..Answers::default()
        };
        let addresses = match timeout(ANSWER, lookup_host(&self.name)).await {
            Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
            Ok(Err(error)) => return failed(format!("{} has no address: {error}", self.name)),
            Err(_) => return failed(format!("{} has no address in time", self.name)),
        };
        let tls = match self.authority.as_deref().map(trusting).transpose() {
            Ok(tls) => tls,
            Err(error) => return failed(error.to_string()),
        };
        let mut asked = JoinSet::new();
        for address in addresses {
            let (name, tls) = (self.name.clone(), tls.clone());
            asked.spawn(async move {
                match timeout(ANSWER, ask(address, &name, tls)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(error)) => Err(format!("{address}: {error}")),
                    Err(_) => Err(format!("{address}: no answer in time")),
                }
            });
        }
        let mut answers = Answers::default();
        for answer in asked.join_all().await {
            match answer {
                Ok(replica) if replica.replica == own => {}
                Ok(replica) => answers.replicas.push(replica),
                Err(failure) => drop(answers.failures.insert(failure)),
            }
        }
        answers
    }
}

impl Words {
    pub fn hear(&mut self, answers: Vec<Replica>, now: Instant) {
        for Replica { replica, proxies } in answers {
            self.0.insert(replica, (proxies, now));
        }
        self.0
            .retain(|_, (_, heard)| now.duration_since(*heard) < FORGET);
    }

    /// The proxies of all replicas, each once: as the replica knows it that heard of it last.
    pub fn with(&self, own: Vec<Proxy>, now: Instant) -> Vec<Proxy> {
        let mut newest: HashMap<(Owner, String, Scope), Proxy> = HashMap::new();
        let of_others = self.0.values().flat_map(|(proxies, heard)| {
            let age = now.saturating_duration_since(*heard).as_secs();
            proxies.iter().map(move |proxy| Proxy {
                silent: proxy.silent.saturating_add(age),
                ..proxy.clone()
            })
        });
        let known = own.into_iter().chain(of_others);
        for proxy in known.filter(|proxy| proxy.silent < FORGET.as_secs()) {
            let key = (
                proxy.owner.clone(),
                proxy.instance.clone(),
                proxy.scope.clone(),
            );
            match newest.get(&key) {
                Some(other) if other.silent <= proxy.silent => {}
                _ => {
                    newest.insert(key, proxy);
                }
            }
        }
        newest.into_values().collect()
    }
}

/// The certificates that are trusted are read again each time: they are renewed in place.
fn trusting(authority: &Path) -> io::Result<Arc<ClientConfig>> {
    let wrong = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {error}", authority.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority).map_err(|error| wrong(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

async fn ask(
    address: SocketAddr,
    name: &str,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Replica> {
    let stream = TcpStream::connect(address).await?;
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    match tls {
        None => exchange(TokioIo::new(stream), name).await,
        Some(tls) => {
            let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let stream = TlsConnector::from(tls).connect(host, stream).await?;
            exchange(TokioIo::new(stream), name).await
        }
    }
}

async fn exchange<S>(stream: S, name: &str) -> io::Result<Replica>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get("/v1/proxies").header(header::HOST, name);
    match tokio::fs::read_to_string(OWN_TOKEN).await {
        Ok(token) => {
            let token = format!("Bearer {}", token.trim());
            request = request.header(header::AUTHORIZATION, token);
        }
        // On loopback nobody asks for one.
        Err(error) => tracing::debug!("no token for the other replicas: {error}"),
    }
    let request = request.body(Body::empty()).map_err(io::Error::other)?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    connection.abort();
    let body = body.map_err(io::Error::other)?.to_bytes();
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(io::Error::other),
        other => Err(io::Error::other(format!("it answers {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(instance: &str, silent: u64, applied: &str) -> Proxy {
        Proxy {
            instance: instance.into(),
            owner: Owner::default(),
            node: "node".into(),
            scope: Scope::Producers,
            applied: applied.into(),
            watermark: String::new(),
            refused: String::new(),
            is_lean: false,
            behind: 0,
            silent,
        }
    }

    fn answer(replica: &str, proxies: Vec<Proxy>) -> Replica {
        Replica {
            replica: replica.into(),
            proxies,
        }
    }

    #[test]
    fn the_same_instance_name_in_two_pods_is_two_proxies() {
        let spoken = |uid: &str, silent| Proxy {
            owner: Owner::of_pod("shop", uid),
            ..proxy("x", silent, uid)
        };
        let mut words = Words::default();
        words.hear(vec![answer("b", vec![spoken("evil", 0)])], Instant::now());
        let known = words.with(vec![spoken("good", 5)], Instant::now());
        assert_eq!(known.len(), 2, "{known:?}");
    }

    #[test]
    fn a_proxy_that_moved_is_known_as_it_is_where_it_went() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut words = Words::default();
        words.hear(
            vec![answer("b", vec![proxy("x", 5, "old"), proxy("y", 0, "y")])],
            at(0),
        );
        let mut known = words.with(vec![proxy("x", 1, "new")], at(0));
        known.sort_by(|a, b| a.instance.cmp(&b.instance));
        assert_eq!(known, [proxy("x", 1, "new"), proxy("y", 0, "y")]);
        // Its replica says nothing any more: its last word counts for a minute, and no longer.
        words.hear(Vec::new(), at(59));
        assert_eq!(words.with(Vec::new(), at(59)), [proxy("y", 59, "y")]);
        words.hear(Vec::new(), at(60));
        assert_eq!(words.with(Vec::new(), at(60)), []);
    }
}
