//! Writes what became of the objects: their status, and Events.
//!
//! ```text
//! Outcome, proxies of all replicas --verdict--> what each status should say --> patches, a bounded number each second
//! ```
//!
//! What is written is decided when it is written: of several changes that wait the newest state is all that counts.

mod desk;
pub mod events;
pub mod expiry;
#[cfg(test)]
mod fixtures;
pub mod lease;
mod page;
mod patch;
pub mod peers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use self::desk::Desk;
use self::lease::Candidate;
use self::peers::{Answers, Peers, Words};
use crate::publish::Outcome;
use crate::serve::Proxies;
use weir_core::metrics::Metrics;
use weir_core::status::proxy::{Proxy, STUCK};
use weir_core::watermark::Watermark;

/// Between two looks at what there is to write, where nothing happens.
const ROUND: Duration = Duration::from_millis(250);
/// And where something does.
const BREATH: Duration = Duration::from_millis(50);
/// Between two looks at the proxies.
const PROXIES: Duration = Duration::from_millis(250);
const ASK_PEERS: Duration = Duration::from_secs(1);
/// After the start of this process. Proxies that lost their replica with its process have found another one by then;
/// before that nobody counts them.
const GATHER: Duration = Duration::from_secs(3);

/// The one who writes.
pub struct Teller {
    pub client: kube::Client,
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// Those of this replica.
    pub proxies: Arc<Proxies>,
    pub peers: Option<Peers>,
    /// Without one it may always write.
    pub lease: Option<Lease>,
    pub metrics: Arc<Metrics>,
}

/// The name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
}

/// Who may write, and as whom.
struct Office {
    /// Until when a write may begin; None where there is no Lease.
    term: Option<watch::Receiver<Option<Instant>>>,
    identity: String,
}

impl Teller {
    /// Writes until the end, and then lets another replica do so.
    pub async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let replica = self.proxies.known().replica;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "weir".to_owned());
        let identity = format!("{host}_{replica}");
        let candidate = self.lease.take().map(|Lease { namespace, name }| {
            Candidate::new(self.client.clone(), &namespace, &name, &identity)
        });
        let office = Office {
            term: candidate.as_ref().map(Candidate::term),
            identity,
        };
        let (heard, words) = watch::channel(None);
        let asking = ask_peers(self.peers.take(), replica, heard);
        let asking = tokio::spawn(asking);
        let end = ending.clone();
        let telling = async move {
            tokio::select! {
                () = self.write(office, words) => {}
                // Fails when the other end is gone, which is an end as well.
                _ = ending.wait_for(|ending| *ending) => {}
            }
        };
        match candidate {
            None => telling.await,
            Some(candidate) => {
                let telling = tokio::spawn(telling);
                candidate.stand(end, telling).await;
            }
        }
        asking.abort();
    }

    async fn write(mut self, office: Office, words: watch::Receiver<Option<Words>>) {
        let started = Instant::now();
        let mut desk = Desk::new(Instant::now());
        let mut proxies: Vec<Proxy> = Vec::new();
        let mut looked = None;
        loop {
            let begun = Instant::now();
            let may_write = office.may_write(begun);
            self.metrics.leader.set(i64::from(may_write));
            if !may_write {
                // Whoever writes now knows better what is written.
                desk = Desk::new(begun);
            } else if begun.duration_since(started) >= GATHER && words.borrow().is_some() {
                if looked.is_none_or(|at| begun.duration_since(at) >= PROXIES) {
                    looked = Some(begun);
                    let own = self.proxies.known().proxies;
                    let mut now = match &*words.borrow() {
                        Some(words) => words.with(own, begun),
                        None => own,
                    };
                    for proxy in &mut now {
                        proxy.silent = 0;
                        // These seconds grow all the time, and only `is_stuck` matters to a status.
                        if !proxy.is_stuck() {
                            proxy.behind = 0;
                        }
                        proxy.behind = proxy.behind.min(STUCK.as_secs());
                    }
                    now.sort_by(|a, b| a.place().cmp(&b.place()));
                    match news(&proxies, &now) {
                        News::None => {}
                        News::Reads => desk.proxies_followed(),
                        News::Proxies => desk.proxies_changed(),
                    }
                    proxies = now;
                }
                let outcome = self.outcome.borrow_and_update().clone();
                desk.take_in(&outcome);
                desk.round(&self, &office.identity, &outcome, &proxies, begun);
            }
            let next = tokio::time::Instant::from_std(begun + ROUND);
            tokio::select! {
                () = sleep_until(next) => {}
                changed = self.outcome.changed() => if changed.is_err() {
                    return;
                },
                () = desk.written(&self.metrics) => {}
            }
            // Changes that follow each other closely are one.
            sleep_until(tokio::time::Instant::from_std(begun + BREATH)).await;
            desk.finish(&self.metrics);
        }
    }
}

impl Office {
    fn may_write(&self, now: Instant) -> bool {
        match &self.term {
            None => true,
            Some(term) => term.borrow().is_some_and(|until| now < until),
        }
    }
}

/// Keeps asking, whoever writes: the next who does has to know the proxies of a replica that is gone. There are no words
/// where nobody has been asked yet.
async fn ask_peers(peers: Option<Peers>, replica: String, words: watch::Sender<Option<Words>>) {
    let Some(peers) = peers else {
        words.send_replace(Some(Words::default()));
        return;
    };
    let mut known = BTreeSet::new();
    loop {
        let Answers { replicas, failures } = peers.ask(&replica).await;
        for failure in failures.difference(&known) {
            tracing::warn!("a replica cannot be asked for its proxies: {failure}");
        }
        known = failures;
        words.send_modify(|words| {
            let words = words.get_or_insert_default();
            words.hear(replicas, Instant::now());
        });
        tokio::time::sleep(ASK_PEERS).await;
    }
}

/// What has changed of the proxies.
enum News {
    None,
    /// They have followed what was read.
    Reads,
    Proxies,
}

fn news(before: &[Proxy], now: &[Proxy]) -> News {
    if before == now {
        return News::None;
    }
    let read = |text: &str| text.parse::<Watermark>().unwrap_or_default();
    let has_followed = |(before, now): (&Proxy, &Proxy)| {
        let is_alike = Proxy {
            watermark: now.watermark.clone(),
            ..before.clone()
        } == *now;
        is_alike && read(&now.watermark).covers(&read(&before.watermark))
    };
    let is_same = before.len() == now.len() && before.iter().zip(now).all(has_followed);
    if is_same { News::Reads } else { News::Proxies }
}
