//! Traps on demand for tests, with the feature `trap`. No shipped module has it.
//!
//! A request with the header `x-weir-trap: request` traps the VM that reads the header. With `x-weir-trap: bystander`,
//! the VM traps only if it does not poll. `x-weir-trap: poller` traps the VM that polls, in its next tick.
#![expect(
    clippy::panic,
    reason = "this module exists to trap, and its feature is off by default"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::fleet::LEASE;
use crate::host;

/// Time of the last tick of this VM with the lease, in milliseconds since 1970.
static LEASE_TICK: AtomicU64 = AtomicU64::new(0);

/// Key in shared data. If its value is not empty, the VM with the lease has to trap in its next tick.
const TRAP_KEY: &str = "weir/trap";

pub fn on_request() {
    match host::request_header("x-weir-trap").as_deref() {
        Some(b"request") => panic!("trapped by a request that asked for it"),
        Some(b"bystander") if host::now().abs_diff(LEASE_TICK.load(Ordering::Relaxed)) > LEASE => {
            panic!("trapped by a request, because this VM does not poll")
        }
        Some(b"poller") => host::set_shared(TRAP_KEY, b"set"),
        _ => {}
    }
}

/// Runs in each tick of the VM that holds the lease.
pub fn on_poller_tick() {
    LEASE_TICK.store(host::now(), Ordering::Relaxed);
    let (mark, _) = host::shared(TRAP_KEY);
    if !mark.is_empty() {
        host::set_shared(TRAP_KEY, b"");
        panic!("the poller trapped, as a request asked");
    }
}
