//! Decides when a proxy gets a document that names clusters which the proxy has not accepted yet.
//!
//! A request for a cluster fails until the proxy has accepted the cluster. So the replica holds the document for at most
//! one second. Then the proxy gets a partial document, see [`weir_core::plan::partial`]. If the replica does not know the
//! present document of the proxy, it holds the new document for at most 15 seconds, or two seconds if the new document may
//! revoke a grant. A proxy without a stream and without a document waits until it has a stream.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_core::plan::partial::MissingClusters;

use super::polls::Poller;
use crate::xds::stream_table::{ClusterNames, ClusterState, Progress, StreamClusters};

/// Maximum time for which the whole document waits for clusters.
const HOLD: Duration = Duration::from_secs(1);
/// Maximum time for which a document waits, also for a stream, if it may revoke grants of a document that the replica
/// does not know. Envoy tries to open a stream again at most one second after the last attempt.
const REVOKE: Duration = Duration::from_secs(2);
/// Maximum time for which a rule waits for a cluster.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Maximum number of pollers whose waits are kept.
const MAX_WAITS: usize = 1 << 16;
/// A wait is forgotten if its proxy has not polled for this time.
const FORGET: Duration = Duration::from_secs(60);

/// What the replica does with a document that names missing clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// The proxy has all clusters.
    Whole,
    /// The proxy keeps its document until this time; for ever with None.
    Hold { until: Option<Instant> },
    /// The proxy gets a partial document. The decision may change at `until`.
    Partial {
        missing: MissingClusters,
        until: Option<Instant>,
    },
}

/// What is known about the document that the proxy has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Present {
    Nothing,
    Known,
    /// The proxy has a document that this replica does not know. A partial document needs the rules of the present
    /// document, so the replica cannot make one that waits for clusters.
    Unknown {
        /// True if the new document has grants, so it may revoke a grant of the present document.
        may_revoke: bool,
    },
}

impl Present {
    /// Returns the clusters of `progress` without which requests fail.
    fn missing(self, progress: &Progress) -> Cow<'_, StreamClusters> {
        if !matches!(self, Present::Unknown { .. }) {
            return Cow::Borrowed(&progress.missing);
        }
        // The present document may use these clusters too.
        let mut missing = progress.missing.clone();
        missing.retain(|_, state| *state != ClusterState::Changed);
        Cow::Owned(missing)
    }
}

/// The clusters for which one poller waits.
#[derive(Debug, Default)]
pub(super) struct ClusterWait {
    /// When the proxy first lacked each cluster.
    since: BTreeMap<Arc<str>, Instant>,
    /// Since when the replica holds a document for this proxy; None if it holds no document.
    held_since: Option<Instant>,
}

impl ClusterWait {
    /// The proxy gets a document, or has the newest document.
    pub(super) fn end_hold(&mut self) {
        self.held_since = None;
    }

    /// The proxy needs no more clusters.
    pub(super) fn reset(&mut self) {
        *self = ClusterWait::default();
    }

    /// Decides about a document that needs the clusters `lacking`. The present document needs none of these clusters.
    pub(super) fn decide(
        &mut self,
        present: Present,
        lacking: &ClusterNames,
        progress: &Progress,
        now: Instant,
    ) -> Release {
        let missing = present.missing(progress);
        self.since.retain(|name, _| missing.contains_key(name));
        if !progress.has_stream {
            return self.without_stream(present, lacking, now);
        }
        if missing.is_empty() {
            return Release::Whole;
        }
        let held_since = *self.held_since.get_or_insert(now);
        let mut split = MissingClusters::default();
        let mut hold_until = now;
        let mut until: Option<Instant> = None;
        for (name, state) in &*missing {
            let since = *self.since.entry(name.clone()).or_insert(now);
            let is_refused = matches!(state, ClusterState::Refused(_));
            if is_refused || now >= since + GIVE_UP {
                split.given_up.insert(name.clone());
            } else {
                split.awaited.insert(name.clone());
                hold_until = hold_until.max(since + HOLD);
                until = Some(until.map_or(since + GIVE_UP, |it| it.min(since + GIVE_UP)));
            }
        }
        // New clusters must not hold the document for longer, because they may belong to another namespace.
        let (limit, hold_until) = match present {
            Present::Nothing | Present::Known => (HOLD, hold_until),
            Present::Unknown { may_revoke: true } => (REVOKE, hold_until),
            Present::Unknown { may_revoke: false } => (GIVE_UP, until.unwrap_or(now)),
        };
        let hold_until = hold_until.min(held_since + limit);
        if now < hold_until {
            return Release::Hold {
                until: Some(hold_until),
            };
        }
        if matches!(present, Present::Unknown { .. }) {
            split.given_up.append(&mut split.awaited);
            until = None;
        }
        Release::Partial {
            missing: split,
            until,
        }
    }
}

impl ClusterWait {
    /// Decides for a proxy that can accept nothing, because it has no stream. The proxy still gets all changes that need
    /// no new cluster, for example a new access policy.
    fn without_stream(
        &mut self,
        present: Present,
        lacking: &ClusterNames,
        now: Instant,
    ) -> Release {
        let hold = match present {
            Present::Known => HOLD,
            Present::Unknown { may_revoke: true } => REVOKE,
            Present::Nothing | Present::Unknown { may_revoke: false } => {
                // The hold of the first document begins with the stream.
                self.held_since = None;
                return Release::Hold { until: None };
            }
        };
        let hold_until = *self.held_since.get_or_insert(now) + hold;
        if now < hold_until {
            return Release::Hold {
                until: Some(hold_until),
            };
        }
        if present != Present::Known {
            // The proxy has the clusters of its present document, and only requests for other clusters fail.
            return Release::Whole;
        }
        let missing = MissingClusters {
            awaited: lacking.clone(),
            given_up: ClusterNames::new(),
        };
        Release::Partial {
            missing,
            until: None,
        }
    }
}

/// The waits of all pollers.
#[derive(Default)]
pub(super) struct ClusterWaits(Mutex<Waits>);

#[derive(Default)]
struct Waits {
    by_poller: HashMap<Poller, (SharedWait, Instant)>,
    last_sweep: Option<Instant>,
}

/// The wait of one poller. A newer poll of the poller uses the same wait.
#[derive(Clone, Default)]
pub(super) struct SharedWait(Arc<Mutex<ClusterWait>>);

impl SharedWait {
    pub(super) fn lock(&self) -> MutexGuard<'_, ClusterWait> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterWaits {
    /// Returns the wait of the poller. If the limit is reached, a new poller gets a wait that ends with its poll.
    pub(super) fn of(&self, poller: &Poller, now: Instant) -> SharedWait {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.sweep(now);
        if let Some((wait, last_poll)) = waits.by_poller.get_mut(poller) {
            *last_poll = now;
            return wait.clone();
        }
        let wait = SharedWait::default();
        if waits.by_poller.len() < MAX_WAITS {
            let entry = (wait.clone(), now);
            waits.by_poller.insert(poller.clone(), entry);
        }
        wait
    }
}

impl Waits {
    /// Forgets proxies that no longer poll, at most once in [`FORGET`].
    fn sweep(&mut self, now: Instant) {
        let is_old = |at: Instant| now.saturating_duration_since(at) >= FORGET;
        if self.last_sweep.is_none_or(is_old) {
            self.last_sweep = Some(now);
            self.by_poller.retain(|_, (_, at)| !is_old(*at));
        }
    }
}

#[cfg(test)]
mod tests;
