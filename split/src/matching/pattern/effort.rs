//! What the expressions of one request may cost together.

use std::cell::Cell;

/// Steps of one request: about a tenth of a second.
const MOST: u64 = 300_000_000;
/// Steps to try an expression at all.
const TRY: u64 = 200;
/// Steps for a byte of a value where the automaton knows the next state.
const KNOWN: u64 = 8;
/// Steps for each byte of the program where the automaton has to work the next state out.
const WORK_OUT: u64 = 3;

/// The steps that are left to all expressions of one request. To simulate a program takes one step for each byte of the
/// program times each byte of the value. To work out a state of the automaton takes [`WORK_OUT`] steps for each byte of
/// the program. Without a bound, a few large programs and a long value, or many programs and a short value, would hold
/// up the worker, and every other request on it, for seconds.
pub(crate) struct Effort(Cell<u64>);

impl Default for Effort {
    fn default() -> Effort {
        Effort(Cell::new(MOST))
    }
}

impl Effort {
    /// No bound.
    pub(super) fn endless() -> Effort {
        Effort(Cell::new(u64::MAX))
    }

    /// Pays for the beginning of one search.
    pub(super) fn try_one(&self) -> bool {
        self.spend(1, TRY)
    }

    /// Pays for `bytes` of the value as if every state were known.
    pub(super) fn walk(&self, bytes: usize) -> bool {
        self.spend(bytes, KNOWN)
    }

    /// Pays for one state, or one transition to a state, that is worked out.
    pub(super) fn work_out(&self, program: usize) -> bool {
        self.spend(program, WORK_OUT)
    }

    /// Pays for a match of the whole value by the program itself.
    pub(super) fn simulate(&self, program: usize, value: usize) -> bool {
        self.spend(value, u64::try_from(program).unwrap_or(u64::MAX))
    }

    /// False if fewer steps are left; then all of them are spent.
    fn spend(&self, times: usize, each: u64) -> bool {
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        let left = self.0.get().checked_sub(times.saturating_mul(each));
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// True if an expression could not be tried to the end, so that it is not known whether the request fits it.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.get() == 0
    }
}
