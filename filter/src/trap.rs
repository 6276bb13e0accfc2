//! Traps on demand, for tests alone: the feature `trap`, which no shipped module has.
//!
//! A request with the header `x-weir-trap: request` traps the VM that reads it; `x-weir-trap: bystander` too, but
//! not where that VM holds the lease of a fleet; `x-weir-trap: poller` traps the VM that does, in its next tick.
#![expect(
    clippy::panic,
    reason = "a trap is what this is for, and the feature is off by default"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fleet::LEASE;
use crate::host;

/// When this VM last ticked with the lease in hand.
static HELD: AtomicU64 = AtomicU64::new(0);

/// In shared data; not empty while the next holder of a lease that ticks is to trap.
const MARK: &str = "weir/trap";

pub fn on_request() {
    match host::request_header("x-weir-trap").as_deref() {
        Some(b"request") => panic!("trapped by a request that asked for it"),
        Some(b"bystander") if host::now().abs_diff(HELD.load(Ordering::Relaxed)) > LEASE => {
            panic!("trapped by a request that asked for a bystander")
        }
        Some(b"poller") => host::set_shared(MARK, b"set"),
        _ => {}
    }
}

/// In a tick of the VM that holds the lease.
pub fn on_poller_tick() {
    HELD.store(host::now(), Ordering::Relaxed);
    let (mark, _) = host::shared(MARK);
    if !mark.is_empty() {
        host::set_shared(MARK, b"");
        panic!("the poller trapped, as a request asked");
    }
}
