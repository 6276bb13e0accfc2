//! Polls the control plane, if this VM has the lease of its fleet.

use std::collections::BTreeSet;

use log::{info, warn};
use weir_split::Direction;

use crate::fleet::Member;
use crate::poll::{self, Answer, Phase, Proxy};
use crate::{host, metrics};

use super::Scope;

/// Maximum milliseconds that the next poll waits until all VMs use a change.
const SETTLE: u64 = 1_000;
/// Maximum changes in one second. After more changes, the next poll waits for the tick. Otherwise two control planes
/// with the same name and different configurations would keep every VM busy compiling.
const MAX_CHANGES: u32 = 200;
/// Maximum milliseconds between the first failed poll and the next poll. Each further failure doubles this time.
const FIRST_PAUSE: u64 = 500;
/// Maximum milliseconds between polls after many failures.
const MAX_PAUSE: u64 = 2_000;

#[derive(Default)]
pub(super) struct Polling {
    phase: Phase,
    /// Names of the VMs that have not yet confirmed that they use the newest revision.
    waiting_for: BTreeSet<String>,
    /// True if this VM has no rule and other scopes have rules. The VM logs a warning when the value becomes true.
    is_left_out: bool,
    /// Why the last poll failed; empty after a good poll. The VM logs a reason when it changes.
    failure: String,
    /// Failed polls since the last good poll.
    failures: u32,
    /// Time of the next poll after a failure, in milliseconds since 1970.
    next_try: u64,
    /// Changes since `second_start`.
    changes: u32,
    /// Start of the second in which `changes` are counted, in milliseconds since 1970.
    second_start: u64,
}

impl Polling {
    /// Forgets a poll that has no answer yet. The proxy cancels the calls of a root context that ends.
    pub(super) fn cancel(&mut self) {
        if matches!(self.phase, Phase::Polling { .. }) {
            self.phase = Phase::Idle;
        }
    }

    /// Counts a change. Returns true if this second had more than [`MAX_CHANGES`] changes.
    fn exceeds_change_rate(&mut self) -> bool {
        let now = host::now();
        if now.abs_diff(self.second_start) >= 1_000 {
            self.second_start = now;
            self.changes = 0;
        }
        self.changes = self.changes.saturating_add(1);
        self.changes > MAX_CHANGES
    }

    /// Sets the time of the next poll after a failure. The time is random, so that not all proxies poll at once.
    fn pause(&mut self) {
        let doubled = 1_u64.checked_shl(self.failures).unwrap_or(u64::MAX);
        let pause = FIRST_PAUSE.saturating_mul(doubled).min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1).min(16);
        let half = pause / 2;
        let random = host::random().checked_rem(half).unwrap_or(0);
        self.next_try = host::now().saturating_add(half).saturating_add(random);
    }
}

impl Scope {
    /// Starts the next poll if it is time. This VM must have the lease.
    pub(super) fn poll_on_tick(&mut self) {
        match self.polling.phase {
            Phase::Idle if self.polling.failures == 0 => self.poll(),
            // `is_over` is also true after the clock was set back. Otherwise the next poll could wait for hours.
            Phase::Idle if is_over(self.polling.next_try) => self.poll(),
            Phase::Settling { since } => self.poll_if_settled(since),
            Phase::Idle | Phase::Polling { .. } => {}
        }
    }

    /// Handles the message of a VM about the revision that it uses now.
    pub(super) fn on_reply(&mut self, name: &str, revision: &str) {
        if revision != self.revision {
            return;
        }
        self.polling.waiting_for.remove(name);
        if let Phase::Settling { since } = self.polling.phase
            && self.member.as_ref().is_some_and(Member::take_lease)
        {
            self.poll_if_settled(since);
        }
    }

    fn poll_if_settled(&mut self, since: u64) {
        if self.polling.waiting_for.is_empty() || host::now().abs_diff(since) >= SETTLE {
            self.poll();
        }
    }

    fn poll(&mut self) {
        let (Some(member), Some(control_plane)) = (&self.member, self.control_plane()) else {
            return;
        };
        let summary = member.summary();
        let (refused, reason) = match self.refused() {
            Some((revision, reason)) => (revision.as_str(), reason.as_str()),
            None => ("", ""),
        };
        let proxy = Proxy {
            instance: member.instance(),
            node: &host::node_id(),
            revision: &self.revision,
            applied: summary.applied,
            refused: (refused, reason),
            watermark: member.watermark(),
            is_lean: summary.is_lean,
            traps: member.traps(),
            has_clusters_from_weir: self.has_clusters_from_weir(),
            waits: !self.roots.iter().any(|root| root.access_age.is_too_old),
        };
        let phase = poll::send(control_plane, self.query(), &proxy);
        self.polling.phase = phase;
        if matches!(self.polling.phase, Phase::Idle) {
            // The proxy may get the cluster soon, so the next tick polls again.
            self.log_failure(
                "Envoy has no cluster with this name, or the cluster has no address: look at Envoy's /clusters",
            );
        }
    }

    pub fn on_answer(&mut self, call: u32, headers: usize, body_size: usize) {
        let (since, waits) = match self.polling.phase {
            Phase::Polling {
                token,
                since,
                waits,
            } if token == call => (since, waits),
            _ => return,
        };
        self.polling.phase = Phase::Idle;
        // If another VM has the lease now, that VM may have published a newer document.
        if !self.member.as_ref().is_some_and(Member::take_lease) {
            return;
        }
        let control_plane = self.control_plane().unwrap_or_default();
        match poll::read(control_plane, (since, waits), headers, body_size) {
            // The next tick polls. A poll at once would be a busy loop.
            Answer::Document { revision, .. } if revision == self.revision => {
                return self
                    .on_failure("status 200 with the revision that this proxy already uses");
            }
            Answer::Document { revision, .. } if self.has_refused(&revision) => {
                return self.on_failure("status 200 with the revision that this proxy has refused");
            }
            Answer::Failed(reason) => return self.on_failure(&reason),
            Answer::Document {
                revision,
                body,
                watermark,
                elsewhere,
            } => {
                // After a refusal the next tick polls. A poll at once would be a busy loop while the control plane has
                // bad documents.
                if !self.apply(&revision, &poll::parse(&body)) {
                    return;
                }
                self.publish(&body, &watermark.unwrap_or_default());
                self.report_elsewhere(elsewhere);
                self.store_answer_time();
            }
            Answer::Unchanged {
                watermark,
                elsewhere,
            } => {
                self.report_elsewhere(elsewhere);
                self.store_answer_time();
                // After a refusal this VM uses an older revision, but the watermark belongs to the refused revision.
                if let (Some(member), Some(watermark), None) =
                    (&self.member, watermark, self.refused())
                {
                    member.set_watermark(&watermark);
                }
            }
        }
        self.on_success();
    }

    fn has_refused(&self, revision: &str) -> bool {
        self.refused().is_some_and(|(own, _)| own == revision)
    }

    /// Stores the document of the newest revision for all VMs of the fleet, and notifies them.
    fn publish(&mut self, body: &[u8], watermark: &str) {
        let (revision, rules) = (&self.revision, self.rules);
        info!("weir: the proxy now uses revision {revision}, which has {rules} rules");
        metrics::count(metrics::CONFIG_UPDATES);
        if let Some(member) = &self.member {
            let told = member.publish(revision, body);
            self.polling.waiting_for = told.into_iter().collect();
            // The document is written before its watermark. If this VM traps between the two writes, the old watermark
            // stays. It is too low, which is safe.
            member.set_watermark(watermark);
        }
        self.polling.phase = Phase::Settling { since: host::now() };
        self.send_heartbeat();
    }

    fn on_success(&mut self) {
        self.polling.failures = 0;
        if !self.polling.failure.is_empty() {
            self.polling.failure.clear();
            info!("weir: the control plane answers again");
        }
        let Phase::Settling { since } = self.polling.phase else {
            return self.poll();
        };
        if self.polling.exceeds_change_rate() {
            // The next tick polls.
            self.polling.phase = Phase::Idle;
        } else {
            self.poll_if_settled(since);
        }
    }

    /// Stores the time of an answer for all VMs of the scope, because the answer confirms their permissions. If this VM
    /// has refused the newest revision, the answer does not confirm the permissions, so the old time stays.
    fn store_answer_time(&mut self) {
        if let (Some(member), None) = (&self.member, self.refused()) {
            member.set_answer_time(&self.revision);
            self.check_access_age();
        }
    }

    /// Sets the gauge of the rules for other scopes. Warns if this proxy has no rule and other scopes have rules. Does
    /// nothing if the answer does not have the number.
    fn report_elsewhere(&mut self, rules: Option<u64>) {
        let Some(rules) = rules else {
            return;
        };
        metrics::set_rules_elsewhere(self.query(), rules);
        let mut roots = self.roots.iter();
        let picks = roots.any(|root| root.shared.plugin.direction == Direction::Outbound);
        let is_left_out = self.rules == 0 && rules > 0 && picks;
        if is_left_out && !self.polling.is_left_out {
            let scope = match self.query() {
                "" => "neither namespace nor gateway",
                scope => scope,
            };
            warn!(
                "weir: this proxy gets no rule and splits nothing, but other proxies have rules ({rules}): the plugin \
                 configuration of this proxy has {scope}; write \"namespace\": \"*\" for the hosts of every namespace, \
                 \"namespace\": \"NAMESPACE\" for the clients of one namespace, or \"gateway\": \"NAMESPACE/NAME\" for \
                 the routes of a Gateway; weir check --envoy names the scopes that have rules"
            );
        }
        self.polling.is_left_out = is_left_out;
    }

    fn on_failure(&mut self, reason: &str) {
        self.polling.pause();
        self.log_failure(reason);
    }

    fn log_failure(&mut self, reason: &str) {
        metrics::count(metrics::POLL_FAILURES);
        if self.polling.failure != reason {
            reason.clone_into(&mut self.polling.failure);
            let cluster = self.control_plane().unwrap_or_default();
            warn!("weir: no configuration from {cluster:?}: {reason}; the proxy keeps what it has");
        }
    }
}

/// True if `time` has passed, or is so far ahead that the clock must have been set back.
fn is_over(time: u64) -> bool {
    let now = host::now();
    now >= time || now.abs_diff(time) > MAX_PAUSE
}
