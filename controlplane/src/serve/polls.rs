//! The polls that are being answered, so that a newer one can end the older one of its instance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use weir_core::owner::Owner;
use weir_core::plan::Scope;

/// Instances beyond this are served, but their polls do not end each other.
const MAX_INSTANCES: usize = 1 << 16;

/// Who polls. Two owners that send the same instance name are two pollers.
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
    running: Mutex<HashMap<Poller, Running>>,
}

struct Running {
    number: u64,
    /// Dropped to end the poll.
    _end: oneshot::Sender<()>,
}

/// A poll's place among the others; dropping it gives the place up.
pub(super) struct Turn {
    polls: Arc<Polls>,
    number: u64,
    pub poller: Poller,
    /// Resolves when a newer poll has taken the place.
    pub ended: oneshot::Receiver<()>,
}

impl Polls {
    /// None where there is no place left.
    pub(super) fn enter(self: &Arc<Self>, poller: Poller) -> Option<Turn> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let mut running = self.lock();
        if running.len() >= MAX_INSTANCES && !running.contains_key(&poller) {
            return None;
        }
        running.insert(poller.clone(), Running { number, _end: end });
        Some(Turn {
            polls: self.clone(),
            number,
            poller,
            ended,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Poller, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut running = self.polls.lock();
        let mine = |place: &Running| place.number == self.number;
        if running.get(&self.poller).is_some_and(mine) {
            running.remove(&self.poller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_poll_ends_the_older_and_keeps_its_place() {
        let polls = Arc::new(Polls::default());
        let of = |owner: Owner, name: &str| Poller {
            owner: Arc::new(owner),
            instance: name.as_bytes().to_vec(),
            scope: Scope::Producers,
        };
        let poller = |name: &str| of(Owner::of_pod("shop", "1"), name);
        let is_ended =
            |turn: &mut Turn| turn.ended.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        let mut first = polls.enter(poller("a")).unwrap();
        let mut other = polls.enter(poller("b")).unwrap();
        let of_another = polls.enter(of(Owner::of_pod("shop", "2"), "a"));
        let mut second = polls.enter(poller("a")).unwrap();
        assert!(!is_ended(&mut of_another.unwrap()));
        assert!(is_ended(&mut first));
        assert!(!is_ended(&mut second));
        assert!(!is_ended(&mut other));
        drop(first);
        assert!(!is_ended(&mut second));
        drop((second, other));
        assert!(polls.lock().is_empty());
    }
}
