//! The answers that are kept: a limited number, counted by namespace and by owner.
//!
//! A full store forgets answers that count no more, then tokens without a good answer, and then the oldest answer of the
//! owner with most answers in the namespace with most. So the tokens of one owner or namespace do not keep out the
//! tokens of another one. A token whose answer was forgotten is reviewed again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::Place;
use weir_core::owner::Owner;

/// The SHA-256 of a token: a memory dump contains no tokens.
pub(super) type Hash = [u8; 32];

pub(super) struct Store {
    capacity: usize,
    next: u64,
    by_hash: HashMap<Hash, Entry>,
    /// Tokens without a good answer by number, the oldest first.
    unknown: BTreeMap<u64, Hash>,
    /// Tokens with a good answer. No namespace is empty.
    good: BTreeMap<Option<String>, OfNamespace>,
    /// All tokens with an answer, by the time until which it counts, and by number.
    ends: BTreeMap<(Instant, u64), Hash>,
}

struct Entry {
    place: Arc<Place>,
    number: u64,
    /// None without a good answer.
    owner: Option<Arc<Owner>>,
    /// None without an answer.
    end: Option<Instant>,
}

#[derive(Default)]
struct OfNamespace {
    count: usize,
    /// Tokens by number, the oldest answer first. No owner's list is empty.
    owners: BTreeMap<Arc<Owner>, BTreeMap<u64, Hash>>,
}

impl Store {
    pub(super) fn new(capacity: usize) -> Store {
        Store {
            capacity,
            next: 0,
            by_hash: HashMap::new(),
            unknown: BTreeMap::new(),
            good: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<Arc<Place>> {
        Some(self.by_hash.get(hash)?.place.clone())
    }

    /// The place of a token; a token that has none gets one.
    pub(super) fn place(&mut self, hash: Hash, now: Instant) -> Arc<Place> {
        match self.get(&hash) {
            Some(place) => place,
            None => {
                let place = Arc::<Place>::default();
                self.insert(hash, place.clone(), None, None, now);
                place
            }
        }
    }

    /// The answer for a token is known: it counts until `end`, and is good if it has an owner. The token keeps `place`
    /// even if it was forgotten meanwhile.
    pub(super) fn answered(
        &mut self,
        hash: Hash,
        place: &Arc<Place>,
        owner: Option<Arc<Owner>>,
        end: Instant,
        now: Instant,
    ) {
        self.remove(&hash);
        self.insert(hash, place.clone(), owner, Some(end), now);
    }

    fn insert(
        &mut self,
        hash: Hash,
        place: Arc<Place>,
        owner: Option<Arc<Owner>>,
        end: Option<Instant>,
        now: Instant,
    ) {
        if self.by_hash.len() >= self.capacity {
            self.forget_ended(now);
        }
        if self.by_hash.len() >= self.capacity
            && let Some(hash) = self.least()
        {
            self.remove(&hash);
        }
        let number = self.next;
        self.next = number.wrapping_add(1);
        match &owner {
            Some(owner) => {
                let of = self.good.entry(owner.namespace.clone()).or_default();
                of.count = of.count.saturating_add(1);
                let tokens = of.owners.entry(owner.clone()).or_default();
                tokens.insert(number, hash);
            }
            None => {
                self.unknown.insert(number, hash);
            }
        }
        if let Some(end) = end {
            self.ends.insert((end, number), hash);
        }
        let entry = Entry {
            place,
            number,
            owner,
            end,
        };
        self.by_hash.insert(hash, entry);
    }

    fn forget_ended(&mut self, now: Instant) {
        while let Some(((end, _), hash)) = self.ends.first_key_value()
            && *end <= now
        {
            let hash = *hash;
            self.remove(&hash);
        }
    }

    /// The token to forget in a full store.
    fn least(&self) -> Option<Hash> {
        if let Some(hash) = self.unknown.values().next() {
            return Some(*hash);
        }
        let of = self.good.values().max_by_key(|of| of.count)?;
        let tokens = of.owners.values().max_by_key(|tokens| tokens.len())?;
        tokens.values().next().copied()
    }

    fn remove(&mut self, hash: &Hash) {
        let Some(entry) = self.by_hash.remove(hash) else {
            return;
        };
        if let Some(end) = entry.end {
            self.ends.remove(&(end, entry.number));
        }
        match entry.owner {
            Some(owner) => self.remove_good(&owner, entry.number),
            None => {
                self.unknown.remove(&entry.number);
            }
        }
    }

    fn remove_good(&mut self, owner: &Arc<Owner>, number: u64) {
        let Some(of) = self.good.get_mut(&owner.namespace) else {
            return;
        };
        of.count = of.count.saturating_sub(1);
        if let Some(tokens) = of.owners.get_mut(owner) {
            tokens.remove(&number);
            if tokens.is_empty() {
                of.owners.remove(owner);
            }
        }
        if of.count == 0 {
            self.good.remove(&owner.namespace);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_hash.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hash(number: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        hash
    }

    /// Token `number` gets a good answer that counts for an hour.
    fn good(store: &mut Store, number: usize, owner: &Owner) {
        let (now, hash) = (Instant::now(), hash(number));
        let place = store.place(hash, now);
        let end = now + Duration::from_secs(3600);
        store.answered(hash, &place, Some(Arc::new(owner.clone())), end, now);
    }

    fn has(store: &Store, number: usize) -> bool {
        store.get(&hash(number)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_owner_with_most_answers_of_the_namespace_with_most_gives_up_its_oldest() {
        let mut store = Store::new(100);
        let (many, few) = (Owner::of_account("evil", "a"), Owner::of_pod("evil", "1"));
        let victim = Owner::of_pod("shop", "1");
        good(&mut store, 1000, &victim);
        good(&mut store, 1001, &few);
        for number in 0..500 {
            good(&mut store, number, &many);
        }
        assert!(has(&store, 1000) && has(&store, 1001));
        assert!(has(&store, 499) && !has(&store, 401), "the newest 98");
        // Many owners of one namespace are counted together.
        for number in 500..1000 {
            let uid = number.to_string();
            good(&mut store, number, &Owner::of_pod("evil", &uid));
        }
        assert!(has(&store, 1000), "another namespace has one answer");
        good(&mut store, 1002, &Owner::of_pod("other", "1"));
        assert!(has(&store, 1000) && has(&store, 1002));
        assert_eq!(store.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_without_a_good_answer_keep_no_good_answer_out() {
        let mut store = Store::new(100);
        let owner = Owner::of_pod("shop", "1");
        for number in 0..100 {
            good(&mut store, number, &owner);
        }
        let now = Instant::now();
        for number in 100..500 {
            let place = store.place(hash(number), now);
            let end = now + Duration::from_secs(10);
            store.answered(hash(number), &place, None, end, now);
        }
        assert!(has(&store, 99) && has(&store, 1) && !has(&store, 0));
        // Its token was forgotten during the review.
        let (place, other) = (store.place(hash(500), now), store.place(hash(501), now));
        assert!(!has(&store, 500));
        let end = now + Duration::from_secs(1);
        store.answered(hash(500), &place, Some(Arc::new(owner)), end, now);
        assert!(Arc::ptr_eq(&store.get(&hash(500)).unwrap(), &place));
        assert!(!Arc::ptr_eq(&other, &place));
        // What counts no more is forgotten first.
        let later = now + Duration::from_secs(2);
        store.place(hash(502), later);
        assert!(!has(&store, 500) && has(&store, 1));
        assert_eq!(store.len(), 100);
    }
}
