//! Places for connections. While places are left, any client may take one. When all are taken, the client that has most
//! gives up its oldest place: a client with many connections cannot keep out a client with few.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A client keeps a place at least this long if it has at most one place more than the client that asks, or is at its
/// own limit. Else clients that come at the same time would take places from each other before any of them is served.
const GRACE: Duration = Duration::from_secs(1);

pub(super) struct Places<K> {
    capacity: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    next: u64,
    count: usize,
    /// Places by client, the oldest first. No list is empty.
    by_key: HashMap<K, VecDeque<Taken>>,
}

struct Taken {
    number: u64,
    since: Instant,
    end: Arc<Notify>,
}

/// A place for one connection. It becomes free when this value is dropped.
pub(super) struct Place<K: Eq + Hash> {
    places: Arc<Places<K>>,
    key: K,
    number: u64,
}

impl<K: Clone + Eq + Hash> Places<K> {
    pub(super) fn new(capacity: usize) -> Arc<Places<K>> {
        Arc::new(Places {
            capacity,
            state: Mutex::new(State {
                next: 0,
                count: 0,
                by_key: HashMap::new(),
            }),
        })
    }

    /// Takes a place for `key`, which may have at most `limit`. `end` is notified when the place is given to another
    /// connection. None if no connection can give up its place.
    pub(super) fn take(
        self: &Arc<Self>,
        key: K,
        limit: usize,
        end: &Arc<Notify>,
    ) -> Option<Place<K>> {
        let now = Instant::now();
        let mut state = self.lock();
        let own = state.by_key.get(&key).map_or(0, VecDeque::len);
        if own >= limit {
            state.give_up(&key, now, GRACE)?;
        } else if state.count >= self.capacity {
            let (most, count) = state.most()?;
            let grace = match count > own.saturating_add(1) {
                true => Duration::ZERO,
                false => GRACE,
            };
            state.give_up(&most, now, grace)?;
        }
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.count = state.count.saturating_add(1);
        let taken = Taken {
            number,
            since: now,
            end: end.clone(),
        };
        state
            .by_key
            .entry(key.clone())
            .or_default()
            .push_back(taken);
        Some(Place {
            places: self.clone(),
            key,
            number,
        })
    }
}

impl<K> Places<K> {
    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// The client that has most places, and how many: of clients with equally many, the one with the oldest place.
    fn most(&self) -> Option<(K, usize)> {
        let oldest = |taken: &VecDeque<Taken>| taken.front().map(|it| it.number);
        let most = self.by_key.iter();
        let (most, taken) = most.max_by_key(|(_, it)| (it.len(), Reverse(oldest(it))))?;
        Some((most.clone(), taken.len()))
    }

    fn give_up(&mut self, key: &K, now: Instant, grace: Duration) -> Option<()> {
        let taken = self.by_key.get_mut(key)?;
        let oldest = taken.pop_front_if(|it| now.duration_since(it.since) >= grace)?;
        oldest.end.notify_one();
        self.count = self.count.saturating_sub(1);
        if taken.is_empty() {
            self.by_key.remove(key);
        }
        Some(())
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        let Some(taken) = state.by_key.get_mut(&self.key) else {
            return;
        };
        let Some(index) = taken.iter().position(|it| it.number == self.number) else {
            return;
        };
        taken.remove(index);
        let is_empty = taken.is_empty();
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

    fn end() -> Arc<Notify> {
        Arc::new(Notify::new())
    }

    /// Whether the place was given to another connection.
    async fn is_over(end: &Notify) -> bool {
        let notified = tokio::time::timeout(Duration::from_millis(1), end.notified());
        notified.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_with_most_places_makes_room() {
        let places = Places::new(4);
        let ends: Vec<_> = (0..4).map(|_| end()).collect();
        let many: Vec<_> = ends
            .iter()
            .map(|end| places.take("many", ANY, end))
            .collect();
        let few = end();
        let taken = [(); 2].map(|()| places.take("few", ANY, &few));
        assert!(taken.iter().all(Option::is_some));
        assert!(is_over(&ends[0]).await && is_over(&ends[1]).await);
        assert!(!is_over(&ends[2]).await && !is_over(&few).await);
        // Both clients have two places now. Neither gives one up before GRACE has passed.
        assert!(places.take("few", ANY, &end()).is_none());
        assert!(places.take("many", ANY, &end()).is_none());
        let more = ["third", "fourth"].map(|it| places.take(it, ANY, &end()));
        assert!(more.iter().all(Option::is_some), "the others had two each");
        assert!(places.take("fifth", ANY, &end()).is_none());
        tokio::time::advance(GRACE).await;
        assert!(places.take("fifth", ANY, &end()).is_some());
        drop((many, taken, more));
        assert_eq!(places.lock().count, 0);
        assert!(places.lock().by_key.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn of_clients_with_equally_many_places_the_one_with_the_oldest_makes_room() {
        // The order of a hash map is another one in each round.
        for _ in 0..20 {
            let places = Places::new(10);
            let old = end();
            let first = places.take(0, ANY, &old);
            tokio::time::advance(GRACE).await;
            let rest: Vec<_> = (1..10).map(|it| places.take(it, ANY, &end())).collect();
            assert!(places.take(10, ANY, &end()).is_some());
            assert!(is_over(&old).await);
            drop((first, rest));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn over_its_own_limit_a_client_makes_room_itself() {
        let places = Places::new(100);
        let ends: Vec<_> = (0..3).map(|_| end()).collect();
        let own: Vec<_> = ends.iter().map(|end| places.take("a", 2, end)).collect();
        assert!(own[1].is_some() && own[2].is_none());
        tokio::time::advance(GRACE).await;
        let newer = places.take("a", 2, &ends[2]);
        assert!(newer.is_some() && is_over(&ends[0]).await);
        assert!(!is_over(&ends[1]).await);
        // A place that was given up does not become free a second time.
        drop(own);
        assert_eq!(places.lock().count, 1);
    }
}
