//! Caches the results of TokenReviews. Their number is limited. The store counts results by namespace and by owner: the
//! pod or the ServiceAccount of a token.
//!
//! A full store first forgets expired results, then tokens without a good result. After that it selects the namespace
//! with the most results, and in this namespace the owner with the most results. It forgets the oldest result of this
//! owner. So one owner or namespace cannot push out the tokens of others. A token whose result was forgotten needs a
//! new TokenReview.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::ReviewCell;
use weir_core::owner::Owner;

/// The SHA-256 of a token. The store keeps no tokens, so a memory dump does not contain them.
pub(super) type Hash = [u8; 32];

pub(super) struct ReviewStore {
    capacity: usize,
    next: u64,
    by_hash: HashMap<Hash, StoredReview>,
    /// Tokens without a good result. The key is the number of the token, so the oldest token comes first.
    not_good: BTreeMap<u64, Hash>,
    /// Tokens with a good result, by namespace. A namespace without tokens has no entry.
    good: BTreeMap<Option<String>, NamespaceReviews>,
    /// All tokens with a result, sorted by the time at which the result expires, and then by number.
    ends: BTreeMap<(Instant, u64), Hash>,
}

struct StoredReview {
    cell: Arc<ReviewCell>,
    number: u64,
    /// None if the token has no good result.
    owner: Option<Arc<Owner>>,
    /// When the result expires. None if the token has no result.
    end: Option<Instant>,
}

#[derive(Default)]
struct NamespaceReviews {
    count: usize,
    /// The tokens of each owner by number, the oldest result first. An owner without tokens has no entry.
    owners: BTreeMap<Arc<Owner>, BTreeMap<u64, Hash>>,
}

impl ReviewStore {
    pub(super) fn new(capacity: usize) -> ReviewStore {
        ReviewStore {
            capacity,
            next: 0,
            by_hash: HashMap::new(),
            not_good: BTreeMap::new(),
            good: BTreeMap::new(),
            ends: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<Arc<ReviewCell>> {
        Some(self.by_hash.get(hash)?.cell.clone())
    }

    /// Returns the cell of a token. A new token gets a new cell.
    pub(super) fn cell(&mut self, hash: Hash, now: Instant) -> Arc<ReviewCell> {
        match self.get(&hash) {
            Some(cell) => cell,
            None => {
                let cell = Arc::<ReviewCell>::default();
                self.insert(hash, cell.clone(), None, None, now);
                cell
            }
        }
    }

    /// Records a result that expires at `end`. A result with an owner is a good result. The token keeps `cell`, even if
    /// the store has forgotten the token during the TokenReview.
    pub(super) fn record(
        &mut self,
        hash: Hash,
        cell: &Arc<ReviewCell>,
        owner: Option<Arc<Owner>>,
        end: Instant,
        now: Instant,
    ) {
        self.remove(&hash);
        self.insert(hash, cell.clone(), owner, Some(end), now);
    }

    fn insert(
        &mut self,
        hash: Hash,
        cell: Arc<ReviewCell>,
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
                self.not_good.insert(number, hash);
            }
        }
        if let Some(end) = end {
            self.ends.insert((end, number), hash);
        }
        let entry = StoredReview {
            cell,
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

    /// Returns the token that a full store forgets next.
    fn least(&self) -> Option<Hash> {
        if let Some(hash) = self.not_good.values().next() {
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
                self.not_good.remove(&entry.number);
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

    /// Records a good result for token `number`. The result expires after an hour.
    fn good(store: &mut ReviewStore, number: usize, owner: &Owner) {
        let (now, hash) = (Instant::now(), hash(number));
        let cell = store.cell(hash, now);
        let end = now + Duration::from_secs(3600);
        store.record(hash, &cell, Some(Arc::new(owner.clone())), end, now);
    }

    fn has(store: &ReviewStore, number: usize) -> bool {
        store.get(&hash(number)).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn largest_owner_loses_oldest_result() {
        let mut store = ReviewStore::new(100);
        let (many, few) = (Owner::of_account("evil", "a"), Owner::of_pod("evil", "1"));
        let victim = Owner::of_pod("shop", "1");
        good(&mut store, 1000, &victim);
        good(&mut store, 1001, &few);
        for number in 0..500 {
            good(&mut store, number, &many);
        }
        assert!(has(&store, 1000) && has(&store, 1001));
        assert!(
            has(&store, 499) && !has(&store, 401),
            "the store keeps the newest 98 results of this owner"
        );
        // Many owners of one namespace are counted together.
        for number in 500..1000 {
            let uid = number.to_string();
            good(&mut store, number, &Owner::of_pod("evil", &uid));
        }
        assert!(has(&store, 1000), "the other namespace keeps its result");
        good(&mut store, 1002, &Owner::of_pod("other", "1"));
        assert!(has(&store, 1000) && has(&store, 1002));
        assert_eq!(store.len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn good_results_stay_despite_bad_tokens() {
        let mut store = ReviewStore::new(100);
        let owner = Owner::of_pod("shop", "1");
        for number in 0..100 {
            good(&mut store, number, &owner);
        }
        let now = Instant::now();
        for number in 100..500 {
            let cell = store.cell(hash(number), now);
            let end = now + Duration::from_secs(10);
            store.record(hash(number), &cell, None, end, now);
        }
        assert!(has(&store, 99) && has(&store, 1) && !has(&store, 0));
        // The store forgets token 500 during its review.
        let (cell, other) = (store.cell(hash(500), now), store.cell(hash(501), now));
        assert!(!has(&store, 500));
        let end = now + Duration::from_secs(1);
        store.record(hash(500), &cell, Some(Arc::new(owner)), end, now);
        assert!(Arc::ptr_eq(&store.get(&hash(500)).unwrap(), &cell));
        assert!(!Arc::ptr_eq(&other, &cell));
        // Expired results are forgotten first.
        let later = now + Duration::from_secs(2);
        store.cell(hash(502), later);
        assert!(!has(&store, 500) && has(&store, 1));
        assert_eq!(store.len(), 100);
    }
}
