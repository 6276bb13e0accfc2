//! The proxies of all replicas: the list of this replica, and the lists that the other replicas send.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::peers::{PeerAnswers, PeerReports, Peers};
use crate::serve::Proxies;
use weir_core::rollout::{ProxyReport, proxy_reports};
use weir_core::status::proxy::{Proxy, STUCK};

/// Time between two requests to the other replicas.
const ASK_PEERS: Duration = Duration::from_secs(1);
/// Time from the start of this process until the list counts as complete. If a replica has ended, its proxies connect
/// to another replica within this time.
const GATHER: Duration = Duration::from_secs(3);

pub struct AllProxies {
    own: Arc<Proxies>,
    /// The name of this replica.
    replica: String,
    peers: Option<Peers>,
    /// None until the first round of requests is over.
    reports: Mutex<Option<PeerReports>>,
    /// True if an address did not answer in the last round of requests.
    has_failures: AtomicBool,
    start: Instant,
}

impl AllProxies {
    /// `own` are the proxies of this replica. Without `peers` there is no other replica.
    pub fn new(own: Arc<Proxies>, peers: Option<Peers>) -> AllProxies {
        let first = peers.is_none().then(PeerReports::default);
        AllProxies {
            replica: own.list().replica,
            own,
            peers,
            reports: Mutex::new(first),
            has_failures: AtomicBool::new(false),
            start: Instant::now(),
        }
    }

    /// Returns a list that counts as complete at once.
    #[cfg(test)]
    pub fn gathered(own: Arc<Proxies>) -> AllProxies {
        let all = AllProxies::new(own, None);
        let start = all.start.checked_sub(GATHER).unwrap_or(all.start);
        AllProxies { start, ..all }
    }

    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Requests the lists of the other replicas every second, even if another replica writes status. So when another
    /// replica ends, this replica already knows the proxies of the ended replica.
    pub async fn follow(&self) {
        let mut logged = BTreeSet::new();
        while self.peers.is_some() {
            let failures = self.ask().await;
            for failure in failures.difference(&logged) {
                tracing::warn!("the proxies of another replica cannot be read: {failure}");
            }
            logged = failures;
            tokio::time::sleep(ASK_PEERS).await;
        }
    }

    /// Requests the lists of the other replicas. Returns one line for each address that has not answered.
    pub async fn ask(&self) -> BTreeSet<String> {
        let Some(peers) = &self.peers else {
            return BTreeSet::new();
        };
        let PeerAnswers { replicas, failures } = peers.ask(&self.replica).await;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = reports.get_or_insert_default();
        reports.record(replicas, Instant::now());
        self.has_failures
            .store(!failures.is_empty(), Ordering::Relaxed);
        failures
    }

    /// Returns the proxies of all replicas in a fixed order. Returns None as long as the list may be incomplete.
    ///
    /// Sets `silent`, `closed`, `unpolled` and `behind`, which are numbers of seconds, to fixed values. Otherwise two
    /// lists would always differ. Sets `traps` to 0, because no status depends on it.
    pub fn list(&self, now: Instant) -> Option<Vec<Proxy>> {
        if now.saturating_duration_since(self.start) < GATHER {
            return None;
        }
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = reports.as_ref()?.merge(self.own.list().proxies, now);
        drop(reports);
        for proxy in &mut all {
            proxy.silent = 0;
            proxy.closed = None;
            proxy.unpolled = 0;
            proxy.traps = 0;
            // A stuck proxy gets the smallest number for which `is_stuck` is true.
            if !proxy.is_stuck() {
                proxy.behind = 0;
            }
            proxy.behind = proxy.behind.min(STUCK.as_secs());
        }
        all.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        Some(all)
    }

    /// True if the proxies of another replica are unknown: the replica has an address, and has not answered for some
    /// seconds. Returns false again when the replica is forgotten.
    pub fn has_silent_replica(&self, now: Instant) -> bool {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let is_silent = reports
            .as_ref()
            .is_some_and(|it| it.has_silent_replica(now));
        is_silent && self.has_failures.load(Ordering::Relaxed)
    }

    /// Returns the reports for a rollout, in a fixed order. Returns None as long as the list may be incomplete.
    pub fn module_reports(&self, now: Instant) -> Option<Vec<ProxyReport>> {
        if now.saturating_duration_since(self.start) < GATHER {
            return None;
        }
        let own = self.own.list();
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = reports.as_ref()?;
        let streams = own.modules.into_iter().chain(reports.modules(now));
        let proxies = reports.merge_all(own.proxies, now);
        Some(proxy_reports(streams, &proxies))
    }
}
