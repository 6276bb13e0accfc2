//! The bound on the cost of all expressions of one request.

use std::cell::Cell;

/// Steps of one request: about a tenth of a second.
const MAX_STEPS: u64 = 300_000_000;
/// Steps to start one search.
const STEPS_PER_SEARCH: u64 = 200;
/// Steps for a byte of a value if the automaton has the next state in its cache.
const STEPS_PER_CACHED_BYTE: u64 = 8;
/// Steps for each byte of the program if the automaton has to compute the next state.
const STEPS_PER_NEW_STATE: u64 = 3;

/// The steps that are left for all expressions of one request. A simulation of a program takes one step for each byte
/// of the program times each byte of the value. A new state of an automaton takes [`STEPS_PER_NEW_STATE`] steps for
/// each byte of the program. Without a bound, a few large programs and a long value, or many programs and a short
/// value, would delay the worker and all other requests on it for seconds.
pub(crate) struct Effort(Cell<u64>);

impl Default for Effort {
    fn default() -> Effort {
        Effort(Cell::new(MAX_STEPS))
    }
}

impl Effort {
    /// No bound.
    pub(super) fn endless() -> Effort {
        Effort(Cell::new(u64::MAX))
    }

    /// Pays for the start of one search.
    pub(super) fn start_search(&self) -> bool {
        self.spend(1, STEPS_PER_SEARCH)
    }

    /// Pays for `bytes` of the value, as if every state were in the cache.
    pub(super) fn read_value(&self, bytes: usize) -> bool {
        self.spend(bytes, STEPS_PER_CACHED_BYTE)
    }

    /// Pays for the computation of one state, or of one transition.
    pub(super) fn compute_state(&self, program: usize) -> bool {
        self.spend(program, STEPS_PER_NEW_STATE)
    }

    /// Pays for a match of the whole value by the program itself.
    pub(super) fn simulate(&self, program: usize, value: usize) -> bool {
        self.spend(value, u64::try_from(program).unwrap_or(u64::MAX))
    }

    /// Takes `times * each` steps. If fewer steps are left, takes all of them and returns false.
    fn spend(&self, times: usize, each: u64) -> bool {
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        let left = self.0.get().checked_sub(times.saturating_mul(each));
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// True if the search of an expression was stopped, so that its result is unknown.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.get() == 0
    }
}
