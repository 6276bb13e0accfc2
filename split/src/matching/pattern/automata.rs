//! The states that the automata of one table have worked out, in bounded memory.

use std::sync::{Mutex, PoisonError};

use regex_automata::hybrid::CacheError;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};

use super::effort::Effort;

/// Most bytes that the automata of one table remember together: enough for about a thousand ordinary expressions. An
/// automaton for which there is no room forgets its states after each search. The next request pays for them again with
/// its [`Effort`]. So no expression makes the automata of the others forget.
pub(super) const MOST: usize = 4 << 20;

/// The memory of the automata of one table; each worker of a proxy has one.
#[derive(Default)]
pub(super) struct Automata(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    /// By the index of the expression; None if it was not tried yet, or its states were forgotten.
    caches: Vec<Option<Box<Cache>>>,
    bytes: usize,
}

/// The result of a search.
pub(super) enum Walked {
    Fits(bool),
    /// The automaton would have too many states for this value.
    GaveUp,
    /// The effort did not suffice.
    Exhausted,
}

impl Automata {
    /// Whether the whole value fits. `place` is the index of the expression.
    pub(super) fn search(
        &self,
        place: usize,
        automaton: &DFA,
        value: &[u8],
        effort: &Effort,
    ) -> Walked {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        if memory.caches.len() <= place {
            memory.caches.resize_with(place.saturating_add(1), || None);
        }
        let Some(slot) = memory.caches.get_mut(place) else {
            return Walked::GaveUp;
        };
        let before = slot.as_ref().map_or(0, |cache| cache.memory_usage());
        let cache = slot.get_or_insert_with(|| Box::new(automaton.create_cache()));
        let walked = walk(automaton, cache, value, effort);
        let after = cache.memory_usage();
        let others = memory.bytes.saturating_sub(before);
        memory.bytes = others.saturating_add(after);
        if memory.bytes > MOST {
            *slot = None;
            memory.bytes = others;
        }
        walked
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let memory = self.0.lock().unwrap();
        let caches = memory.caches.iter().flatten();
        caches.map(|cache| cache.memory_usage()).sum()
    }
}

/// Searches as [`DFA::try_search_fwd`] does, and pays for each state that has to be worked out. The transition at the
/// end of the value is worked out once for each state, and is not paid for: the state itself was.
fn walk(automaton: &DFA, cache: &mut Cache, value: &[u8], effort: &Effort) -> Walked {
    let program = automaton.get_nfa().memory_usage();
    let is_new = cache.memory_usage();
    let start = automaton.start_state_forward(cache, &Input::new(value).anchored(Anchored::Yes));
    if cache.memory_usage() > is_new && !effort.work_out(program) {
        return Walked::Exhausted;
    }
    // The automaton has no quit bytes and supports an anchored start, so the only error is too little memory.
    let Ok(mut state) = start else {
        return Walked::GaveUp;
    };
    cache.search_start(0);
    for (at, byte) in value.iter().enumerate() {
        if state.is_dead() {
            return finish(cache, at, Walked::Fits(false));
        }
        let known = match state.is_tagged() {
            true => None,
            false => Some(automaton.next_state_untagged(cache, state, *byte)),
        };
        state = match known.filter(|next| !next.is_unknown()) {
            Some(next) => next,
            None => {
                if !effort.work_out(program) {
                    return finish(cache, at, Walked::Exhausted);
                }
                cache.search_update(at);
                match automaton.next_state(cache, state, *byte) {
                    Ok(next) => next,
                    Err(CacheError { .. }) => return finish(cache, at, Walked::GaveUp),
                }
            }
        };
    }
    let end = match automaton.next_eoi_state(cache, state) {
        Ok(end) => Walked::Fits(end.is_match()),
        Err(CacheError { .. }) => Walked::GaveUp,
    };
    finish(cache, value.len(), end)
}

fn finish(cache: &mut Cache, at: usize, walked: Walked) -> Walked {
    cache.search_finish(at);
    walked
}
