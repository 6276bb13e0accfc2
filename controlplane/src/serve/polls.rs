//! The polls in progress. A newer poll of a proxy instance ends the older poll of the same instance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::{CancellationToken, DropGuard};

use weir_core::owner::Owner;
use weir_core::plan::Scope;

/// Maximum number of instances that the replica tracks. The replica also serves polls of other instances, but these
/// polls do not end each other.
const MAX_INSTANCES: usize = 1 << 16;

/// The client of a poll. The owner is the pod, ServiceAccount or namespace of the client. Two owners with the same
/// instance name are two different clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Poller {
    pub owner: Arc<Owner>,
    /// The header `weir-instance`: any bytes.
    pub instance: Vec<u8>,
    pub scope: Scope,
}

#[derive(Default)]
pub(super) struct Polls {
    next: AtomicU64,
    running: Mutex<HashMap<Poller, RunningPoll>>,
}

struct RunningPoll {
    number: u64,
    /// The poll ends when this guard is dropped.
    _end: DropGuard,
}

/// Keeps a poll registered until this guard is dropped.
pub(super) struct PollGuard {
    polls: Arc<Polls>,
    number: u64,
    pub poller: Poller,
    /// Cancelled when a newer poll of the same poller is registered.
    pub ended: CancellationToken,
}

impl Polls {
    /// Registers a poll. Returns None if the limit is reached.
    pub(super) fn register(self: &Arc<Self>, poller: Poller) -> Option<PollGuard> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let mut running = self.lock();
        if running.len() >= MAX_INSTANCES && !running.contains_key(&poller) {
            return None;
        }
        running.insert(poller.clone(), RunningPoll { number, _end: end });
        Some(PollGuard {
            polls: self.clone(),
            number,
            poller,
            ended,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Poller, RunningPoll>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        let mut running = self.polls.lock();
        let is_own = |poll: &RunningPoll| poll.number == self.number;
        if running.get(&self.poller).is_some_and(is_own) {
            running.remove(&self.poller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_poll_ends_older_one() {
        let polls = Arc::new(Polls::default());
        let of = |owner: Owner, name: &str| Poller {
            owner: Arc::new(owner),
            instance: name.as_bytes().to_vec(),
            scope: Scope::Producers,
        };
        let poller = |name: &str| of(Owner::of_pod("shop", "1"), name);
        let first = polls.register(poller("a")).unwrap();
        let other = polls.register(poller("b")).unwrap();
        let of_another = polls.register(of(Owner::of_pod("shop", "2"), "a"));
        let second = polls.register(poller("a")).unwrap();
        assert!(!of_another.unwrap().ended.is_cancelled());
        assert!(first.ended.is_cancelled());
        assert!(!second.ended.is_cancelled());
        assert!(!other.ended.is_cancelled());
        drop(first);
        assert!(!second.ended.is_cancelled());
        drop((second, other));
        assert!(polls.lock().is_empty());
    }
}
