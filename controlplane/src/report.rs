//! Writes the status of objects, and Events about them.
//!
//! ```text
//! problems, proxies of all replicas --> the status of each object --> writes, a limited number per second
//! ```
//!
//! The writer makes each status just before the write. So several quick changes cause only one write.

pub mod all_proxies;
pub mod events;
pub mod expiry_event;
#[cfg(test)]
mod fixtures;
pub mod gate;
pub mod lease;
pub mod module_rollout;
mod patch;
pub mod peers;
mod status_writer;
pub mod stream_exchange;
mod write_state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use self::all_proxies::AllProxies;
use self::lease::Candidate;
use self::module_rollout::ModuleRollout;
use self::status_writer::StatusWriter;
use crate::publish::Outcome;
use crate::xds::module_file::ModuleReceiver;
use weir_core::metrics::Metrics;
use weir_core::rollout::Rollout;
use weir_core::status::proxy::Proxy;
use weir_core::watermark::Watermark;

/// Time between two rounds of writes if nothing changes.
const ROUND: Duration = Duration::from_millis(250);
/// Shortest time between two rounds of writes.
const MIN_ROUND: Duration = Duration::from_millis(50);
/// Time between two reads of the list of proxies.
const PROXIES: Duration = Duration::from_millis(250);

/// Writes status and Events while this replica may write.
pub struct StatusReporter {
    pub client: kube::Client,
    pub outcome: watch::Receiver<Arc<Outcome>>,
    pub proxies: Arc<AllProxies>,
    /// The Lease that decides which replica writes. Without a Lease this replica may always write.
    pub lease: Option<Lease>,
    pub rollout: watch::Sender<Rollout>,
    /// The module of this process.
    pub module: ModuleReceiver,
    pub metrics: Arc<Metrics>,
}

/// Namespace and name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
}

/// Until when this replica may write, and the name of this replica in its writes.
#[derive(Clone)]
struct WritePermit {
    /// A write may begin until this time. None without a Lease.
    term: Option<watch::Receiver<Option<Instant>>>,
    identity: String,
}

impl StatusReporter {
    /// Writes until `ending` is cancelled, and then gives up the Lease.
    pub async fn run(mut self, ending: CancellationToken) {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "weir".to_owned());
        let identity = format!("{host}_{}", self.proxies.replica());
        let candidate = self.lease.take().map(|lease| {
            let rollout = self.rollout.clone();
            Candidate::new(self.client.clone(), &lease, &identity, rollout)
        });
        let permit = WritePermit {
            term: candidate.as_ref().map(Candidate::term),
            identity,
        };
        let rollout = ModuleRollout {
            module: self.module.clone(),
            proxies: self.proxies.clone(),
            state: self.rollout.clone(),
            metrics: self.metrics.clone(),
        };
        let rollout = tokio::spawn(rollout.run(permit.clone()));
        let proxies = self.proxies.clone();
        let peers = tokio::spawn(async move { proxies.follow().await });
        let end = ending.clone();
        let writes = async move {
            tokio::select! {
                () = self.write(permit) => {}
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
        rollout.abort();
    }

    async fn write(mut self, permit: WritePermit) {
        let mut status_writer = StatusWriter::new(Instant::now());
        // None until the list of proxies is complete, so that even the first status counts all proxies.
        let mut proxies: Option<Vec<Proxy>> = None;
        let mut last_look: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let may_write = permit.may_write(now);
            self.metrics.leader.set(i64::from(may_write));
            if !may_write {
                // Another replica may write now, so this replica forgets what it has written.
                status_writer = StatusWriter::new(now);
            } else {
                if last_look.is_none_or(|at| now.duration_since(at) >= PROXIES)
                    && let Some(newest) = self.proxies.list(now)
                {
                    last_look = Some(now);
                    match compare(proxies.as_deref().unwrap_or_default(), &newest) {
                        ProxyChange::None => {}
                        ProxyChange::Watermarks => status_writer.proxies_followed(),
                        ProxyChange::Other => status_writer.proxies_changed(),
                    }
                    proxies = Some(newest);
                }
                if let Some(proxies) = &proxies {
                    let outcome = self.outcome.borrow_and_update().clone();
                    status_writer.take_in(&outcome, now);
                    status_writer.begin_writes(&self, &permit.identity, &outcome, proxies, now);
                }
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
}

impl WritePermit {
    fn may_write(&self, now: Instant) -> bool {
        match &self.term {
            None => true,
            Some(term) => term.borrow().is_some_and(|until| now < until),
        }
    }
}

/// How a list of proxies differs from the list before it.
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
