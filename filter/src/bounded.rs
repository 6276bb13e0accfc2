//! Lines of the log that a client can cause: so many between two ticks, then only their number.

use std::cell::Cell;

use log::warn;

/// Lines that one VM writes between two ticks.
const LINES: u32 = 5;

#[derive(Default)]
pub struct Bounded {
    written: Cell<u32>,
    unwritten: Cell<u64>,
}

impl Bounded {
    pub fn warn(&self, line: impl FnOnce() -> String) {
        let written = self.written.get();
        if written < LINES {
            self.written.set(written.saturating_add(1));
            warn!("weir: {}", line());
        } else {
            self.unwritten.set(self.unwritten.get().saturating_add(1));
        }
    }

    /// Says what was held back, and lets lines through again.
    pub fn on_tick(&self) {
        self.written.set(0);
        let unwritten = self.unwritten.take();
        if unwritten > 0 {
            warn!("weir: {unwritten} more lines like the last ones were not written");
        }
    }
}
