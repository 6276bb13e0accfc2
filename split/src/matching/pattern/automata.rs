//! The state caches of the automata of one table, in bounded memory.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::CacheError;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};

use super::effort::Effort;

/// Maximum bytes of all state caches of one table, which is enough for about a thousand ordinary expressions. If the
/// caches exceed this maximum after a search, the search drops the cache of its own expression. The next search for
/// this expression computes the states again. A search never drops the cache of another expression.
pub(super) const MAX_CACHE_BYTES: usize = 4 << 20;

/// The state caches of one table. Each worker of a proxy has its own.
#[derive(Default)]
pub(super) struct Automata(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// The cache of each expression, by index; None before the first search, or if the cache was dropped.
    caches: Vec<Option<Box<Cache>>>,
    bytes: usize,
}

/// The result of a search.
pub(super) enum SearchResult {
    Fits(bool),
    /// The automaton would have too many states for this value.
    GaveUp,
    /// The request has no steps left.
    Exhausted,
}

impl Automata {
    /// Finds out whether the expression fits the whole value. `place` is the index of the expression.
    pub(super) fn search(
        &self,
        place: usize,
        automaton: &DFA,
        value: &[u8],
        effort: &Effort,
    ) -> SearchResult {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        if memory.caches.len() <= place {
            memory.caches.resize_with(place.saturating_add(1), || None);
        }
        let Some(slot) = memory.caches.get_mut(place) else {
            return SearchResult::GaveUp;
        };
        let before = slot.as_ref().map_or(0, |cache| cache.memory_usage());
        let cache = slot.get_or_insert_with(|| Box::new(automaton.create_cache()));
        let result = search(automaton, cache, value, effort);
        let after = cache.memory_usage();
        let others = memory.bytes.saturating_sub(before);
        memory.bytes = others.saturating_add(after);
        if memory.bytes > MAX_CACHE_BYTES {
            *slot = None;
            memory.bytes = others;
        }
        result
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let memory = self.0.lock().unwrap();
        let caches = memory.caches.iter().flatten();
        caches.map(|cache| cache.memory_usage()).sum()
    }
}

/// Searches like [`DFA::try_search_fwd`], and takes steps of `effort` for each computed state. The transition at the
/// end of the value takes no steps, because it is computed only once for each state.
fn search(automaton: &DFA, cache: &mut Cache, value: &[u8], effort: &Effort) -> SearchResult {
    let program = automaton.get_nfa().memory_usage();
    let bytes_before = cache.memory_usage();
    let start = automaton.start_state_forward(cache, &Input::new(value).anchored(Anchored::Yes));
    if cache.memory_usage() > bytes_before && !effort.compute_state(program) {
        return SearchResult::Exhausted;
    }
    // The automaton has no quit bytes and supports an anchored start, so the only error is too little memory.
    let Ok(mut state) = start else {
        return SearchResult::GaveUp;
    };
    cache.search_start(0);
    for (at, byte) in value.iter().enumerate() {
        if state.is_dead() {
            return finish(cache, at, SearchResult::Fits(false));
        }
        let cached = if state.is_tagged() {
            None
        } else {
            Some(automaton.next_state_untagged(cache, state, *byte))
        };
        state = match cached.filter(|next| !next.is_unknown()) {
            Some(next) => next,
            None => {
                if !effort.compute_state(program) {
                    return finish(cache, at, SearchResult::Exhausted);
                }
                cache.search_update(at);
                match automaton.next_state(cache, state, *byte) {
                    Ok(next) => next,
                    Err(CacheError { .. }) => return finish(cache, at, SearchResult::GaveUp),
                }
            }
        };
    }
    let end = match automaton.next_eoi_state(cache, state) {
        Ok(end) => SearchResult::Fits(end.is_match()),
        Err(CacheError { .. }) => SearchResult::GaveUp,
    };
    finish(cache, value.len(), end)
}

fn finish(cache: &mut Cache, at: usize, result: SearchResult) -> SearchResult {
    cache.search_finish(at);
    result
}
