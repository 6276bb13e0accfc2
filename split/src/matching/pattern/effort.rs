//! Limits the cost of all regular expressions of one request.

use std::cell::Cell;

/// The most steps for one request. They take about a tenth of a second.
const MAX_STEPS: u64 = 300_000_000;
/// Steps to start one search.
const STEPS_PER_SEARCH: u64 = 200;
/// Steps for a byte of a value if the automaton has the next state in its cache.
const STEPS_PER_CACHED_BYTE: u64 = 8;
/// Steps for each byte of the program if the automaton has to compute the next state.
const STEPS_PER_NEW_STATE: u64 = 3;

/// The steps that are left for all regular expressions of one request.
///
/// Each search takes [`STEPS_PER_SEARCH`] steps, and [`STEPS_PER_CACHED_BYTE`] steps for each byte of the value. A new
/// state of an automaton takes [`STEPS_PER_NEW_STATE`] steps for each byte of the program. A simulation of a program
/// takes as many steps as the bytes of the program times the bytes of the value. Without a limit, one request
/// could delay all requests of the worker for seconds. A few large programs with a long value are enough for this, or
/// many programs with a short value.
pub(crate) struct Effort(Cell<u64>);

impl Default for Effort {
    fn default() -> Effort {
        Effort(Cell::new(MAX_STEPS))
    }
}

impl Effort {
    /// Returns an effort with more steps than any search takes.
    pub(super) fn endless() -> Effort {
        Effort(Cell::new(u64::MAX))
    }

    /// Takes the steps for the start of one search. Returns false if fewer steps are left.
    pub(super) fn start_search(&self) -> bool {
        self.spend(1, STEPS_PER_SEARCH)
    }

    /// Takes the steps for `bytes` of the value, as if every state were in the cache. Returns false if fewer steps are
    /// left.
    pub(super) fn read_value(&self, bytes: usize) -> bool {
        self.spend(bytes, STEPS_PER_CACHED_BYTE)
    }

    /// Takes the steps for the computation of one state, or of one transition. Returns false if fewer steps are left.
    pub(super) fn compute_state(&self, program: usize) -> bool {
        self.spend(program, STEPS_PER_NEW_STATE)
    }

    /// Takes the steps for a simulation of the program with the whole value. Returns false if fewer steps are left.
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

    /// True if no steps are left. Then a search may have stopped early, so its result is not reliable.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.get() == 0
    }
}
