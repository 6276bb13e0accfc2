//! A limited number of connection slots. While slots are free, any client may take a slot. When no slot is free, the
//! client with the most slots loses its oldest slot. So a client with many connections cannot lock out other clients.
//! [`super::connection_slot`] defines the clients and their limits.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Time for which a client keeps a new slot. Without this time, clients that connect at the same moment would take
/// slots from each other before the server serves one of them. Exception: a client loses a new slot at once if it has
/// at least two slots more than the client that needs a slot.
const GRACE: Duration = Duration::from_secs(1);

pub struct SlotPool<K> {
    capacity: usize,
    state: Mutex<SlotTable<K>>,
}

struct SlotTable<K> {
    next: u64,
    count: usize,
    /// The slots of each client, the oldest first. A client without slots has no entry.
    by_key: HashMap<K, VecDeque<SlotEntry>>,
}

struct SlotEntry {
    number: u64,
    since: Instant,
    end: CancellationToken,
}

/// A slot for one connection. The slot becomes free when this value is dropped.
pub struct Slot<K: Eq + Hash> {
    pool: Arc<SlotPool<K>>,
    key: K,
    number: u64,
}

impl<K: Clone + Eq + Hash> SlotPool<K> {
    pub fn new(capacity: usize) -> Arc<SlotPool<K>> {
        Arc::new(SlotPool {
            capacity,
            state: Mutex::new(SlotTable {
                next: 0,
                count: 0,
                by_key: HashMap::new(),
            }),
        })
    }

    /// Takes a slot for the client `key`, which may have at most `limit` slots. When another connection later gets the
    /// slot, `end` is cancelled. Returns None if no slot is free and no connection may lose its slot.
    pub fn take(
        self: &Arc<Self>,
        key: K,
        limit: usize,
        end: &CancellationToken,
    ) -> Option<Slot<K>> {
        let now = Instant::now();
        let mut state = self.lock();
        let own = state.by_key.get(&key).map_or(0, VecDeque::len);
        if own >= limit {
            state.give_up(&key, now, GRACE)?;
        } else if state.count >= self.capacity {
            let (most, count) = state.most()?;
            let has_more = count > own.saturating_add(1);
            let grace = if has_more { Duration::ZERO } else { GRACE };
            state.give_up(&most, now, grace)?;
        }
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.count = state.count.saturating_add(1);
        let slots = SlotEntry {
            number,
            since: now,
            end: end.clone(),
        };
        state
            .by_key
            .entry(key.clone())
            .or_default()
            .push_back(slots);
        Some(Slot {
            pool: self.clone(),
            key,
            number,
        })
    }
}

impl<K> SlotPool<K> {
    fn lock(&self) -> MutexGuard<'_, SlotTable<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> SlotTable<K> {
    /// Returns the client with the most slots, and its number of slots. If several clients have this number, returns
    /// the client with the oldest slot.
    fn most(&self) -> Option<(K, usize)> {
        let oldest = |slots: &VecDeque<SlotEntry>| slots.front().map(|it| it.number);
        let most = self.by_key.iter();
        let (most, slots) = most.max_by_key(|(_, it)| (it.len(), Reverse(oldest(it))))?;
        Some((most.clone(), slots.len()))
    }

    fn give_up(&mut self, key: &K, now: Instant, grace: Duration) -> Option<()> {
        let slots = self.by_key.get_mut(key)?;
        let oldest = slots.pop_front_if(|it| now.duration_since(it.since) >= grace)?;
        oldest.end.cancel();
        self.count = self.count.saturating_sub(1);
        if slots.is_empty() {
            self.by_key.remove(key);
        }
        Some(())
    }
}

impl<K: Eq + Hash> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let Some(slots) = state.by_key.get_mut(&self.key) else {
            return;
        };
        let Some(index) = slots.iter().position(|it| it.number == self.number) else {
            return;
        };
        slots.remove(index);
        let is_empty = slots.is_empty();
        state.count = state.count.saturating_sub(1);
        if is_empty {
            state.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: usize = usize::MAX;

    #[tokio::test(start_paused = true)]
    async fn client_with_most_slots_makes_room() {
        let pool = SlotPool::new(4);
        let ends: Vec<_> = (0..4).map(|_| CancellationToken::new()).collect();
        let many: Vec<_> = ends.iter().map(|end| pool.take("many", ANY, end)).collect();
        let few = CancellationToken::new();
        let slots = [(); 2].map(|()| pool.take("few", ANY, &few));
        assert!(slots.iter().all(Option::is_some));
        assert!(ends[0].is_cancelled() && ends[1].is_cancelled());
        assert!(!ends[2].is_cancelled() && !few.is_cancelled());
        // Both clients have two slots now. Before GRACE is over, neither can take a slot from the other. A client
        // without slots can take a slot at once.
        assert!(pool.take("few", ANY, &CancellationToken::new()).is_none());
        assert!(pool.take("many", ANY, &CancellationToken::new()).is_none());
        let more = ["third", "fourth"].map(|it| pool.take(it, ANY, &CancellationToken::new()));
        assert!(more.iter().all(Option::is_some), "others have two slots");
        assert!(pool.take("fifth", ANY, &CancellationToken::new()).is_none());
        tokio::time::advance(GRACE).await;
        assert!(pool.take("fifth", ANY, &CancellationToken::new()).is_some());
        drop((many, slots, more));
        assert_eq!(pool.lock().count, 0);
        assert!(pool.lock().by_key.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn oldest_of_equal_clients_makes_room() {
        // The pool's hash map has another order in each round.
        for _ in 0..20 {
            let pool = SlotPool::new(10);
            let old = CancellationToken::new();
            let first = pool.take(0, ANY, &old);
            tokio::time::advance(GRACE).await;
            let rest: Vec<_> = (1..10)
                .map(|it| pool.take(it, ANY, &CancellationToken::new()))
                .collect();
            assert!(pool.take(10, ANY, &CancellationToken::new()).is_some());
            assert!(old.is_cancelled());
            drop((first, rest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn client_at_limit_gives_oldest_slot() {
        let pool = SlotPool::new(100);
        let ends: Vec<_> = (0..3).map(|_| CancellationToken::new()).collect();
        let own: Vec<_> = ends.iter().map(|end| pool.take("a", 2, end)).collect();
        assert!(own[1].is_some() && own[2].is_none());
        tokio::time::advance(GRACE).await;
        let newer = pool.take("a", 2, &ends[2]);
        assert!(newer.is_some() && ends[0].is_cancelled());
        assert!(!ends[1].is_cancelled());
        // A slot that another connection has taken does not become free a second time.
        drop(own);
        assert_eq!(pool.lock().count, 1);
    }
}
