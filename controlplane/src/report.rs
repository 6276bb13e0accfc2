//! Writes the status of objects, and Events about them.
//!
//! ```text
//! problems, proxies of all replicas --> the status of each object --> writes, a limited number per second
//! ```
//!
//! The writer makes each status just before the write. So several quick changes cause only one write.

pub mod events;
pub mod expiry_event;
#[cfg(test)]
mod fixtures;
pub mod lease;
mod patch;
pub mod peers;
mod status_writer;
mod write_state;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::lease::Candidate;
use self::peers::{PeerAnswers, PeerReports, Peers};
use self::status_writer::StatusWriter;
use crate::publish::Outcome;
use crate::serve::Proxies;
use weir_core::metrics::Metrics;
use weir_core::status::proxy::{Proxy, STUCK};
use weir_core::watermark::Watermark;

/// Time between two rounds of writes if nothing changes.
const ROUND: Duration = Duration::from_millis(250);
/// Shortest time between two rounds of writes.
const MIN_ROUND: Duration = Duration::from_millis(50);
/// Time between two reads of the list of proxies.
const PROXIES: Duration = Duration::from_millis(250);
/// Time between two requests to the other replicas.
const ASK_PEERS: Duration = Duration::from_secs(1);
/// Time from the start of this process until its first write. If another replica has ended, its proxies connect to the
/// remaining replicas during this time. So the first status counts these proxies.
const GATHER: Duration = Duration::from_secs(3);

/// Writes status and Events while this replica may write.
pub struct StatusReporter {
    pub client: kube::Client,
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// The proxies of this replica.
    pub proxies: Arc<Proxies>,
    pub peers: Option<Peers>,
    /// The Lease that decides which replica writes. Without a Lease this replica may always write.
    pub lease: Option<Lease>,
    pub metrics: Arc<Metrics>,
}

/// Namespace and name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
}

/// Until when this replica may write, and the name of this replica in its writes.
struct WritePermit {
    /// A write may begin until this time. None without a Lease.
    term: Option<watch::Receiver<Option<Instant>>>,
    identity: String,
}

impl StatusReporter {
    /// Writes until `ending` is cancelled, and then gives up the Lease.
    pub async fn run(mut self, ending: CancellationToken) {
        let replica = self.proxies.list().replica;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "weir".to_owned());
        let identity = format!("{host}_{replica}");
        let candidate = self.lease.take().map(|Lease { namespace, name }| {
            Candidate::new(self.client.clone(), &namespace, &name, &identity)
        });
        let permit = WritePermit {
            term: candidate.as_ref().map(Candidate::term),
            identity,
        };
        let (sender, peer_reports) = watch::channel(None);
        let peers = tokio::spawn(ask_peers(self.peers.take(), replica, sender));
        let end = ending.clone();
        let writes = async move {
            tokio::select! {
                () = self.write(permit, peer_reports) => {}
                () = ending.cancelled() => {}
            }
        };
        match candidate {
            None => writes.await,
            Some(candidate) => {
                let writes = tokio::spawn(writes);
                candidate.stand(end, writes).await;
            }
        }
        peers.abort();
    }

    async fn write(
        mut self,
        permit: WritePermit,
        peer_reports: watch::Receiver<Option<PeerReports>>,
    ) {
        let start = Instant::now();
        let mut status_writer = StatusWriter::new(start);
        let mut proxies: Vec<Proxy> = Vec::new();
        let mut last_look = None;
        loop {
            let now = Instant::now();
            let may_write = permit.may_write(now);
            self.metrics.leader.set(i64::from(may_write));
            if !may_write {
                // Another replica may write now, so this replica forgets what it has written.
                status_writer = StatusWriter::new(now);
            } else if now.duration_since(start) >= GATHER && peer_reports.borrow().is_some() {
                if last_look.is_none_or(|at| now.duration_since(at) >= PROXIES) {
                    last_look = Some(now);
                    let newest = self.all_proxies(peer_reports.borrow().as_ref(), now);
                    match compare(&proxies, &newest) {
                        ProxyChange::None => {}
                        ProxyChange::Watermarks => status_writer.proxies_followed(),
                        ProxyChange::Other => status_writer.proxies_changed(),
                    }
                    proxies = newest;
                }
                let outcome = self.outcome.borrow_and_update().clone();
                status_writer.take_in(&outcome);
                status_writer.begin_writes(&self, &permit.identity, &outcome, &proxies, now);
            }
            tokio::select! {
                () = sleep_until((now + ROUND).into()) => {}
                changed = self.outcome.changed() => if changed.is_err() {
                    return;
                },
                () = status_writer.finish_one(&self.metrics) => {}
            }
            // This pause collects changes, so that one round writes several of them.
            sleep_until((now + MIN_ROUND).into()).await;
            status_writer.finish_all(&self.metrics);
        }
    }

    /// Returns the proxies of all replicas in a fixed order. Sets the times `silent` and `behind` to fixed values,
    /// because these times change every second.
    fn all_proxies(&self, peer_reports: Option<&PeerReports>, now: Instant) -> Vec<Proxy> {
        let own = self.proxies.list().proxies;
        let mut all = match peer_reports {
            Some(reports) => reports.merge(own, now),
            None => own,
        };
        for proxy in &mut all {
            proxy.silent = 0;
            // A stuck proxy gets the smallest number for which `is_stuck` is true.
            if !proxy.is_stuck() {
                proxy.behind = 0;
            }
            proxy.behind = proxy.behind.min(STUCK.as_secs());
        }
        all.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        all
    }
}

impl WritePermit {
    fn may_write(&self, now: Instant) -> bool {
        match &self.term {
            None => true,
            Some(term) => term.borrow().is_some_and(|until| now < until),
        }
    }
}

/// Requests the proxy lists of the other replicas every second, even while this replica does not write status. So this
/// replica has the lists when it begins to write. `reports` has no value until the first round of requests is over.
async fn ask_peers(
    peers: Option<Peers>,
    replica: String,
    reports: watch::Sender<Option<PeerReports>>,
) {
    let Some(peers) = peers else {
        reports.send_replace(Some(PeerReports::default()));
        return;
    };
    let mut logged = BTreeSet::new();
    loop {
        let PeerAnswers { replicas, failures } = peers.ask(&replica).await;
        for failure in failures.difference(&logged) {
            tracing::warn!("the proxies of another replica cannot be read: {failure}");
        }
        logged = failures;
        reports.send_modify(|reports| {
            let reports = reports.get_or_insert_default();
            reports.record(replicas, Instant::now());
        });
        tokio::time::sleep(ASK_PEERS).await;
    }
}

/// The difference between the previous and the newest list of proxies.
enum ProxyChange {
    None,
    /// Only watermarks are higher. The watermark of a proxy shows which object versions the proxy runs.
    Watermarks,
    Other,
}

fn compare(before: &[Proxy], after: &[Proxy]) -> ProxyChange {
    if before == after {
        return ProxyChange::None;
    }
    let is_same = before.len() == after.len();
    if is_same && before.iter().zip(after).all(is_only_further) {
        ProxyChange::Watermarks
    } else {
        ProxyChange::Other
    }
}

/// True if the two states of a proxy are equal except for the watermark, and the watermark has not decreased.
fn is_only_further((before, after): (&Proxy, &Proxy)) -> bool {
    let parse = |text: &str| text.parse::<Watermark>().unwrap_or_default();
    let before_with_watermark = Proxy {
        watermark: after.watermark.clone(),
        ..before.clone()
    };
    before_with_watermark == *after && parse(&after.watermark).covers(&parse(&before.watermark))
}
