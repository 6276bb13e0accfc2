//! A limit for log lines that clients can cause. After [`LINES`] lines between two ticks, the VM counts further lines
//! and does not write them.

use std::cell::Cell;

use log::warn;

/// Lines that one VM writes between two ticks.
const LINES: u32 = 5;

#[derive(Default)]
pub struct BoundedLog {
    written_lines: Cell<u32>,
    suppressed_lines: Cell<u64>,
}

impl BoundedLog {
    pub fn warn(&self, line: impl FnOnce() -> String) {
        let count = self.written_lines.get();
        if count < LINES {
            self.written_lines.set(count.saturating_add(1));
            warn!("weir: {}", line());
        } else {
            self.suppressed_lines
                .set(self.suppressed_lines.get().saturating_add(1));
        }
    }

    /// Logs the number of suppressed lines, and allows new lines.
    pub fn on_tick(&self) {
        self.written_lines.set(0);
        let count = self.suppressed_lines.take();
        if count > 0 {
            warn!("weir: {count} similar log lines were not written");
        }
    }
}
