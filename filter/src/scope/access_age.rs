//! Denies all traffic if the control plane has not confirmed the permissions within `access_max_age`.

use log::{info, warn};

use crate::fleet::Member;
use crate::host;

use super::{ConfiguredRoot, Scope};

#[derive(Default)]
pub(super) struct AccessAge {
    /// Time of the last answer that confirmed the permissions of this root context, in milliseconds since 1970; 0
    /// before the first check. While the polling VM refuses the newest revision, answers confirm nothing.
    confirmation_time: u64,
    /// True while the root context denies all traffic, because no answer has confirmed its permissions within
    /// `access_max_age`.
    pub(super) is_too_old: bool,
}

impl Scope {
    /// Denies all traffic of a root context if no answer has confirmed its permissions within `access_max_age`. The
    /// reason is that the control plane does not answer, or that the VM has refused the newest revision. If the clock
    /// was set back, the permissions count as new.
    pub(super) fn check_access_age(&mut self) {
        let has_limit = |root: &ConfiguredRoot| root.shared.plugin.access_max_age.is_some();
        if !self.roots.iter().any(has_limit) {
            return;
        }
        let now = host::now();
        let answer = self.member.as_ref().and_then(Member::answer_time);
        for root in &mut self.roots {
            root.check_access_age(now, answer.as_ref());
        }
    }
}

impl ConfiguredRoot {
    fn check_access_age(&mut self, now: u64, answer: Option<&(u64, String)>) {
        let Some(age) = self.shared.plugin.access_max_age else {
            return;
        };
        let own = &mut self.access_age;
        match answer {
            Some((time, newest)) if *newest == self.revision => own.confirmation_time = *time,
            // The age of an initial configuration counts from now. A VM without a configuration denies all traffic.
            _ if own.confirmation_time == 0 => own.confirmation_time = now,
            _ => {}
        }
        let is_too_old = now.saturating_sub(own.confirmation_time) > age.saturating_mul(1_000);
        self.set_access_too_old(is_too_old);
    }

    fn set_access_too_old(&mut self, is_too_old: bool) {
        if is_too_old == self.access_age.is_too_old {
            return;
        }
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.set_access_too_old(is_too_old);
            self.access_age.is_too_old = is_too_old;
        }
        if self.access_age.is_too_old {
            warn!(
                "weir: the control plane has not confirmed the permissions within access_max_age: all traffic is \
                 denied until it confirms them"
            );
        } else {
            info!(
                "weir: the control plane has confirmed the permissions: they decide about traffic again"
            );
        }
    }
}
