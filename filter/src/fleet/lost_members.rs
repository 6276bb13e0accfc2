//! Counts the VMs that ended without notice, which means that they trapped.
//!
//! A VM without a heartbeat may also be blocked: Envoy compiles a new module in its main thread, which has a VM too. So a
//! VM counts only after [`LOST`], and a VM that was only blocked takes its count back.

use std::collections::BTreeSet;

use crate::host;

use super::{ATTEMPTS, Keys, MemberEntry};

/// Milliseconds after which a VM without a heartbeat counts as lost.
pub(super) const LOST: u64 = 10_000;

/// The members without a heartbeat for [`LOST`], as the VM with the lease has seen them in its last tick.
#[derive(Default)]
pub struct LostMembers(BTreeSet<String>);

impl LostMembers {
    /// Looks for members without a heartbeat for [`LOST`], and counts each of them once. A member counts at the second look,
    /// because after a pause of the whole process this VM may be the first one that ticks. `is_punctual` is false if this
    /// VM itself was late.
    pub fn look(&mut self, keys: &Keys, is_punctual: bool) {
        let now = host::now();
        let slots = keys.text("members").parse().unwrap_or(0_usize);
        let mut lost = BTreeSet::new();
        for slot in 0..slots {
            let key = keys.slot(slot);
            let (entry, version) = host::shared(&key);
            let Some(member) = MemberEntry::parse(&entry).filter(|it| it.is_lost(now)) else {
                continue;
            };
            let is_known = is_punctual && self.0.contains(&member.name);
            if is_known && host::replace_shared(&key, b"", version) {
                add(keys, 1);
            } else {
                lost.insert(member.name);
            }
        }
        self.0 = lost;
    }
}

/// Adds to the number of lost VMs of the process.
pub(super) fn add(keys: &Keys, more: i64) {
    let key = keys.key("traps");
    for _ in 0..ATTEMPTS {
        let (traps, version) = host::shared(&key);
        let traps = String::from_utf8_lossy(&traps).parse().unwrap_or(0_u64);
        let traps = traps.saturating_add_signed(more).to_string();
        if host::replace_shared(&key, traps.as_bytes(), version) {
            return;
        }
    }
}
