//! Reads the proxies of the other replicas from their answers to `GET /v1/proxies`.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::http1_client::Connection;
use crate::serve::OWN_TOKEN;
use weir_core::owner::Owner;
use weir_core::plan::Scope;
use weir_core::status::proxy::{FORGET, Proxy, Replica, StreamModule};

/// Time limit of one request, and of the DNS lookup.
const ANSWER: Duration = Duration::from_secs(2);
/// The modules in an older answer do not count, because the replica may have lost the streams. A replica whose last answer
/// is older is silent.
const FRESH: Duration = Duration::from_secs(5);
/// Maximum size of an answer.
const MAX_BYTES: usize = 64 << 20;

/// The address of the other replicas.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `HOST:PORT` of a headless Service, which has an address for each replica.
    pub name: String,
    /// CA bundle (PEM) for the certificates of the replicas. With None the requests use plain HTTP.
    pub authority: Option<PathBuf>,
}

/// The newest answer of each replica, and when this answer was received. The key is the name of the replica.
#[derive(Debug, Default)]
pub struct PeerReports(HashMap<String, (Replica, Instant)>);

/// The answers of the other replicas to one round of requests.
#[derive(Debug, Default)]
pub struct PeerAnswers {
    pub replicas: Vec<Replica>,
    /// One line for each address that has not answered. An address that fails again has the same line, so it is logged
    /// once.
    pub failures: BTreeSet<String>,
}

impl Peers {
    /// Requests the proxies of every replica. Leaves out the answer of `own`, which is the name of this replica.
    pub async fn ask(&self, own: &str) -> PeerAnswers {
        let failed = |failure: String| PeerAnswers {
            failures: BTreeSet::from([failure]),
            ..PeerAnswers::default()
        };
        let addresses = match self.addresses().await {
            Ok(addresses) => addresses,
            Err(failure) => return failed(failure),
        };
        let mut requests = JoinSet::new();
        for address in addresses {
            let peers = self.clone();
            requests.spawn(async move {
                match timeout(ANSWER, peers.ask_one(address)).await {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(error)) => Err(format!("{address}: {error}")),
                    Err(_) => Err(format!("{address}: no answer in time")),
                }
            });
        }
        let mut answers = PeerAnswers::default();
        for answer in requests.join_all().await {
            match answer {
                Ok(replica) if replica.replica == own => {}
                Ok(replica) => answers.replicas.push(replica),
                Err(failure) => drop(answers.failures.insert(failure)),
            }
        }
        answers
    }

    /// Returns the addresses of all replicas. The error is one line.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        match timeout(ANSWER, lookup_host(&self.name)).await {
            Ok(Ok(addresses)) => Ok(addresses.collect()),
            Ok(Err(error)) => Err(format!("{} has no address: {error}", self.name)),
            Err(_) => Err(format!("{}: no answer from DNS in time", self.name)),
        }
    }

    /// Opens a connection to one replica. Each call reads the CA bundle again, because the file may change.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Connection> {
        let tls = self.authority.as_deref().map(client_config).transpose()?;
        let stream = TcpStream::connect(address).await?;
        let host = self.name.rsplit_once(':');
        let host = host.map_or(self.name.as_str(), |(host, _)| host);
        let connection = match tls {
            None => Connection::open(TokioIo::new(stream)).await,
            Some(tls) => {
                let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let stream = TlsConnector::from(tls).connect(host, stream).await?;
                Connection::open(TokioIo::new(stream)).await
            }
        };
        connection.map_err(io::Error::other)
    }

    /// Sends `GET path` with the token of this process. With `wait` the replica may wait for so many seconds.
    pub async fn get<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        path: &str,
        wait: Option<Duration>,
    ) -> io::Result<T> {
        let mut request = Request::get(path).header(header::HOST, &self.name);
        if let Some(wait) = wait {
            request = request.header("prefer", format!("wait={}", wait.as_secs()));
        }
        match tokio::fs::read_to_string(OWN_TOKEN).await {
            Ok(token) => {
                let token = format!("Bearer {}", token.trim());
                request = request.header(header::AUTHORIZATION, token);
            }
            // On loopback a request needs no token.
            Err(error) => tracing::debug!("no token for the other replicas: {error}"),
        }
        let request = request.body(Body::empty()).map_err(io::Error::other)?;
        let answer = connection.exchange(request, MAX_BYTES).await;
        match answer.map_err(io::Error::other)? {
            (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(io::Error::other),
            (other, _) => Err(io::Error::other(format!("the answer has status {other}"))),
        }
    }

    async fn ask_one(&self, address: SocketAddr) -> io::Result<Replica> {
        let mut connection = self.connect(address).await?;
        self.get(&mut connection, "/v1/proxies", None).await
    }
}

impl PeerReports {
    /// Keeps these answers, and forgets the replicas whose last answer is older than [`FORGET`].
    pub fn record(&mut self, answers: Vec<Replica>, now: Instant) {
        for answer in answers {
            self.0.insert(answer.replica.clone(), (answer, now));
        }
        self.0.retain(|_, (_, at)| now.duration_since(*at) < FORGET);
    }

    /// True if a replica has not answered for five seconds, and is not forgotten yet.
    pub fn has_silent_replica(&self, now: Instant) -> bool {
        self.0.values().any(|(_, at)| !is_fresh(*at, now))
    }

    /// Returns the modules of the streams of all other replicas that are not silent.
    pub fn modules(&self, now: Instant) -> impl Iterator<Item = StreamModule> {
        let fresh = self.0.values().filter(move |(_, at)| is_fresh(*at, now));
        fresh.flat_map(move |(answer, at)| {
            let age = now.saturating_duration_since(*at).as_secs();
            answer.modules.iter().map(move |module| StreamModule {
                accepted: module.accepted.saturating_add(age),
                ..module.clone()
            })
        })
    }

    /// Does the same as [`PeerReports::merge_all`], and leaves out the proxies that are gone.
    pub fn merge(&self, own: Vec<Proxy>, now: Instant) -> Vec<Proxy> {
        let mut all = self.merge_all(own, now);
        all.retain(|proxy| !proxy.is_gone());
        all
    }

    /// Returns each proxy of all replicas once. If several replicas report the same proxy, uses the report of the
    /// replica that the proxy has polled last.
    pub fn merge_all(&self, own: Vec<Proxy>, now: Instant) -> Vec<Proxy> {
        let mut newest: HashMap<(Owner, String, Scope), Proxy> = HashMap::new();
        let of_others = self.0.values().flat_map(|(answer, at)| {
            let age = now.saturating_duration_since(*at).as_secs();
            answer.proxies.iter().map(move |proxy| Proxy {
                silent: proxy.silent.saturating_add(age),
                unpolled: match proxy.unpolled {
                    0 => 0,
                    unpolled => unpolled.saturating_add(age),
                },
                closed: proxy.closed.map(|closed| closed.saturating_add(age)),
                ..proxy.clone()
            })
        });
        let all = own.into_iter().chain(of_others);
        for proxy in all.filter(|proxy| proxy.silent < FORGET.as_secs()) {
            let key = (
                proxy.owner.clone(),
                proxy.instance.clone(),
                proxy.scope.clone(),
            );
            match newest.get(&key) {
                // Reports count in whole seconds, so two reports can be equally new. Then the proxy has moved to the
                // replica with the open connection.
                Some(other)
                    if (other.silent, other.closed.is_some())
                        <= (proxy.silent, proxy.closed.is_some()) => {}
                _ => {
                    newest.insert(key, proxy);
                }
            }
        }
        newest.into_values().collect()
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= FRESH
}

/// Returns a TLS configuration that trusts the CA bundle `authority`.
fn client_config(authority: &Path) -> io::Result<Arc<ClientConfig>> {
    let invalid = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("{}: {error}", authority.display()))
    };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority).map_err(|error| invalid(&error))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| invalid(&error))?;
        roots.add(certificate).map_err(|error| invalid(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(&error))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::status::cluster_gaps::ClusterGaps;

    fn proxy(instance: &str, silent: u64, applied: &str) -> Proxy {
        Proxy {
            instance: instance.into(),
            owner: Owner::default(),
            node: "node".into(),
            scope: Scope::Producers,
            applied: applied.into(),
            watermark: String::new(),
            refused: String::new(),
            gaps: ClusterGaps::default(),
            is_lean: false,
            behind: 0,
            silent,
            closed: None,
            unpolled: 0,
            traps: 0,
        }
    }

    fn answer(replica: &str, proxies: Vec<Proxy>) -> Replica {
        Replica {
            replica: replica.into(),
            proxies,
            modules: Vec::new(),
        }
    }

    #[test]
    fn pods_with_same_instance_stay_distinct() {
        let proxy_of_pod = |uid: &str, silent| Proxy {
            owner: Owner::of_pod("shop", uid),
            ..proxy("x", silent, uid)
        };
        let mut reports = PeerReports::default();
        reports.record(
            vec![answer("b", vec![proxy_of_pod("evil", 0)])],
            Instant::now(),
        );
        let proxies = reports.merge(vec![proxy_of_pod("good", 5)], Instant::now());
        assert_eq!(proxies.len(), 2, "{proxies:?}");
    }

    #[test]
    fn modules_of_silent_replicas_vanish() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut reports = PeerReports::default();
        let module = StreamModule {
            accepted: 20,
            ..StreamModule::default()
        };
        let replica = Replica {
            modules: vec![module],
            ..answer("b", Vec::new())
        };
        reports.record(vec![replica], at(0));
        let accepted = |seconds| {
            let modules = reports.modules(at(seconds));
            modules.map(|it| it.accepted).collect::<Vec<_>>()
        };
        assert_eq!(
            (accepted(5), reports.has_silent_replica(at(5))),
            (vec![25], false)
        );
        assert_eq!(
            (accepted(6), reports.has_silent_replica(at(6))),
            (vec![], true)
        );
        reports.record(Vec::new(), at(60));
        assert!(!reports.has_silent_replica(at(60)));
    }

    #[test]
    fn gone_proxy_is_left_out() {
        let closed = |silent, closed| Proxy {
            closed: Some(closed),
            ..proxy("x", silent, "x")
        };
        let merge = |own: Proxy, other: Proxy| {
            let mut reports = PeerReports::default();
            reports.record(vec![answer("b", vec![other])], Instant::now());
            reports.merge(vec![own], Instant::now()).len()
        };
        // The proxy has ended. An older report of another replica does not bring it back.
        assert_eq!(merge(closed(7, 5), proxy("x", 8, "x")), 0);
        assert_eq!(merge(proxy("x", 8, "x"), closed(7, 5)), 0);
        // The connection closed less than five seconds ago.
        assert_eq!(merge(closed(7, 4), closed(7, 4)), 1);
        // The proxy has moved to another replica.
        assert_eq!(merge(closed(9, 6), proxy("x", 6, "x")), 1);
        // The proxy has moved so quickly that both reports have the same number of seconds.
        assert_eq!(merge(closed(6, 6), proxy("x", 6, "x")), 1);
        assert_eq!(merge(proxy("x", 6, "x"), closed(6, 6)), 1);
    }

    #[test]
    fn moved_proxy_keeps_its_new_state() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut reports = PeerReports::default();
        reports.record(
            vec![answer("b", vec![proxy("x", 5, "old"), proxy("y", 0, "y")])],
            at(0),
        );
        let mut proxies = reports.merge(vec![proxy("x", 1, "new")], at(0));
        proxies.sort_by(|a, b| a.instance.cmp(&b.instance));
        assert_eq!(proxies, [proxy("x", 1, "new"), proxy("y", 0, "y")]);
        // The last report of a replica that is gone counts for one minute.
        reports.record(Vec::new(), at(59));
        assert_eq!(reports.merge(Vec::new(), at(59)), [proxy("y", 59, "y")]);
        reports.record(Vec::new(), at(60));
        assert_eq!(reports.merge(Vec::new(), at(60)), []);
    }
}
