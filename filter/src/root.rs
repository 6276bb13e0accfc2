//! The root context of one VM. It installs the newest configuration of its scope (one namespace or Gateway), and it
//! handles ticks and wake-ups. The VM that has the lease of [`crate::fleet`] polls the control plane.

use std::cell::RefCell;
use std::rc::Rc;

use log::{info, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::ContextType;
use weir_split::{Direction, Live, Plugin, Protocol, Table, module};

use crate::bounded::BoundedLog;
use crate::connection::Connection;
use crate::fleet::{self, Member};
use crate::poll::{self, Answer, Phase, Proxy};
use crate::request::Request;
use crate::shared::Shared;
use crate::{host, metrics};

/// Milliseconds to the first tick, which starts the first poll.
const FIRST_TICK: u64 = 10;
/// Milliseconds that a poll waits for all VMs to run a change.
const SETTLE: u64 = 1_000;
/// Most changes in one second. After more changes the next poll waits for the tick. Otherwise two control planes with
/// the same name and different configurations would keep every VM busy compiling.
const MAX_CHANGES: u32 = 200;

#[derive(Default)]
pub struct Root(Option<VmState>);

/// The state of a root after its configuration.
struct VmState {
    shared: Rc<Shared>,
    /// The revision that this VM uses; empty before the first revision.
    revision: String,
    /// The last refused revision and the reason; empty after a good revision.
    refused: (String, String),
    /// Number of rules in the table that this VM uses.
    rules: usize,
    /// True if this VM has no rule and other scopes have rules. The VM logs a warning when the value becomes true.
    is_left_out: bool,
    node: String,
    /// None before the first tick.
    member: Option<Member>,
    phase: Phase,
    /// Time of the last answer that confirmed the permissions of this VM, in milliseconds since 1970; 0 before the
    /// first check. While the polling VM refuses the newest revision, answers confirm nothing.
    confirmation_time: u64,
    /// True while the VM denies all traffic, because no answer has confirmed its permissions for `access_max_age`.
    is_access_too_old: bool,
    /// Why the last poll failed; empty after a good poll. The VM logs a reason when it changes.
    failure: String,
    /// Changes since `second_start`.
    changes: u32,
    /// In milliseconds since 1970.
    second_start: u64,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(state) = &mut self.0 {
            state.on_answer(token, headers, body_size);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configuration = host::plugin_configuration(size);
        let plugin = match Plugin::parse(&configuration) {
            Ok(plugin) => plugin,
            Err(error) => {
                log::error!("weir: {error}");
                return false;
            }
        };
        if cfg!(not(feature = "full"))
            && (plugin.protocol, plugin.direction) == (Protocol::Tcp, Direction::Inbound)
        {
            log::error!(
                "weir: plugin configuration: weir-lean.wasm cannot check inbound TCP connections: the proxy refuses \
                 this configuration of the filter; load weir.wasm instead of weir-lean.wasm"
            );
            return false;
        }
        let initial = plugin.initial.as_ref();
        let initial = initial
            .map(|config| Table::compile(config, &plugin.site))
            .transpose();
        let initial = match initial {
            Ok(initial) => initial,
            Err(refusal) => {
                log::error!("weir: plugin configuration: initial: {refusal}");
                return false;
            }
        };
        metrics::define();
        let gauge = module::gauge(&String::from_utf8_lossy(&configuration));
        metrics::set(&gauge, u64::from(fleet::leaves_responses_alone(&plugin)));
        let mut state = VmState {
            shared: Rc::new(Shared {
                live: RefCell::new(Live::new(host::random(), plugin.until_configured)),
                plugin,
                log: BoundedLog::default(),
            }),
            revision: String::new(),
            refused: Default::default(),
            rules: 0,
            is_left_out: false,
            node: host::node_id(),
            member: None,
            phase: Phase::Idle,
            confirmation_time: 0,
            is_access_too_old: false,
            failure: String::new(),
            changes: 0,
            second_start: 0,
        };
        // The VM installs the initial table first. If it then refuses the fleet's document, the initial table stays.
        if let Some(table) = initial {
            state.install(String::new(), table);
        }
        state.restore();
        self.0 = Some(state);
        host::set_tick_period(FIRST_TICK);
        true
    }

    fn on_tick(&mut self) {
        if let Some(state) = &mut self.0 {
            state.tick();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Some(state) = &mut self.0 {
            state.on_wake_up(queue);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let state = self.0.as_ref()?;
        Some(Box::new(Request::new(state.shared.clone())))
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        let state = self.0.as_ref()?;
        Some(Box::new(Connection::new(state.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        let state = self.0.as_ref()?;
        Some(match state.shared.plugin.protocol {
            Protocol::Http => ContextType::HttpContext,
            Protocol::Tcp => ContextType::StreamContext,
        })
    }
}

impl VmState {
    /// Installs the newest document of the fleet, unless this VM already uses or refuses its revision.
    fn restore(&mut self) {
        let plugin = &self.shared.plugin;
        let newest = fleet::revision(plugin);
        if newest.is_empty() || newest == self.revision || newest == self.refused.0 {
            return;
        }
        let Some((revision, body)) = fleet::document(plugin) else {
            return;
        };
        match poll::compile(&plugin.site, &body) {
            Ok(table) => self.install(revision, table),
            Err(reason) => self.refuse(revision, &reason),
        }
    }

    fn install(&mut self, revision: String, table: Table) {
        let rules = table.rules();
        // A new table drops the counts of the rules that it lacks, so the VM writes the counts first.
        self.flush();
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.install(table);
            metrics::set_configured(rules);
            self.rules = rules;
            self.revision = revision;
            self.refused = Default::default();
        }
    }

    fn refuse(&mut self, revision: String, reason: &str) {
        warn!(
            "weir: revision {revision} refused: {reason}; the proxy keeps its last good revision"
        );
        metrics::count(metrics::CONFIG_REFUSED);
        self.refused = (revision, reason.to_owned());
    }

    fn flush(&self) {
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.take_picks(metrics::count_requests);
        }
    }

    fn tick(&mut self) {
        self.flush();
        self.shared.log.on_tick();
        host::set_tick_period(fleet::TICK);
        if self.shared.plugin.control_plane.is_none() {
            return;
        }
        if self.member.is_none() {
            self.member = Member::enter(&self.shared.plugin);
            // This VM joins the member list before it looks for a document, because a new document wakes only members.
            if let Some(member) = &self.member {
                member.send_heartbeat(&self.revision);
            }
        }
        self.restore();
        let Some(member) = &self.member else {
            return;
        };
        member.send_heartbeat(&self.revision);
        let holds_lease = member.take_lease();
        self.check_age();
        if holds_lease {
            #[cfg(feature = "trap")]
            crate::trap::on_poller_tick();
            match self.phase {
                Phase::Idle => self.poll(),
                Phase::Settling { since } => self.poll_if_settled(since),
                Phase::Polling { .. } => {}
            }
        }
    }

    /// The VM that polls wakes the other VMs for a new document. Each of them wakes that VM when it uses the document.
    fn on_wake_up(&mut self, queue: u32) {
        if !self
            .member
            .as_ref()
            .is_some_and(|member| member.take_wake_up(queue))
        {
            return;
        }
        self.restore();
        let Some(member) = &self.member else {
            return;
        };
        member.send_heartbeat(&self.revision);
        match self.phase {
            Phase::Settling { since } if member.take_lease() => self.poll_if_settled(since),
            Phase::Idle | Phase::Polling { .. } | Phase::Settling { .. } => member.wake_poller(),
        }
    }

    fn poll_if_settled(&mut self, since: u64) {
        let applied = self.member.as_ref().and_then(Member::applied);
        if applied.as_ref() == Some(&self.revision) || host::now().abs_diff(since) >= SETTLE {
            self.poll();
        }
    }

    fn poll(&mut self) {
        let (Some(member), Some(control_plane)) = (&self.member, &self.shared.plugin.control_plane)
        else {
            return;
        };
        let proxy = Proxy {
            instance: member.instance(),
            node: &self.node,
            revision: &self.revision,
            applied: member.applied(),
            refused: (&self.refused.0, &self.refused.1),
            watermark: member.watermark(),
            is_lean: member.is_lean(),
            waits: !self.is_access_too_old,
        };
        self.phase = poll::send(control_plane, &self.shared.plugin, &proxy);
        if matches!(self.phase, Phase::Idle) {
            self.on_failure("the proxy has no such cluster");
        }
    }

    fn on_answer(&mut self, call: u32, headers: usize, body_size: usize) {
        let (since, waits) = match self.phase {
            Phase::Polling {
                token,
                since,
                waits,
            } if token == call => (since, waits),
            _ => return,
        };
        self.phase = Phase::Idle;
        // If another VM has the lease now, that VM may have published a newer document.
        if !self.member.as_ref().is_some_and(Member::take_lease) {
            return;
        }
        match poll::read(&self.shared.plugin.site, (since, waits), headers, body_size) {
            // The next tick polls. A poll at once would be a busy loop.
            Answer::Changed { revision, .. } if revision == self.revision => {
                return self
                    .on_failure("status 200 with the revision that this proxy already uses");
            }
            Answer::Refused { revision, .. } if revision == self.refused.0 => {
                return self.on_failure("status 200 with the revision that this proxy has refused");
            }
            Answer::Failed(reason) => return self.on_failure(&reason),
            Answer::Changed {
                revision,
                body,
                table,
                watermark,
                elsewhere,
            } => {
                info!(
                    "weir: the proxy now uses revision {revision}, which has {} rules",
                    table.rules()
                );
                metrics::count(metrics::CONFIG_UPDATES);
                // This VM enters the phase Settling before it wakes the other VMs, because the other VMs wake it again.
                self.install(revision, *table);
                self.report_elsewhere(elsewhere);
                self.store_answer_time();
                self.phase = Phase::Settling { since: host::now() };
                if let Some(member) = &self.member {
                    member.publish(&self.revision, &body);
                    // The document is written before its watermark. If this VM traps between the two writes, the old
                    // watermark is low, which is safe.
                    member.set_watermark(&watermark.unwrap_or_default());
                    member.send_heartbeat(&self.revision);
                }
            }
            // The next tick polls. A poll at once would be a busy loop while the control plane has bad documents.
            Answer::Refused { revision, reason } => return self.refuse(revision, &reason),
            Answer::Unchanged {
                watermark,
                elsewhere,
            } => {
                self.report_elsewhere(elsewhere);
                self.store_answer_time();
                // After a refusal this VM uses an older revision, and the watermark belongs to the refused one.
                if let (Some(member), Some(watermark)) = (&self.member, watermark)
                    && self.refused.0.is_empty()
                {
                    member.set_watermark(&watermark);
                }
            }
        }
        if !self.failure.is_empty() {
            self.failure.clear();
            info!("weir: the control plane answers again");
        }
        let Phase::Settling { since } = self.phase else {
            return self.poll();
        };
        if self.exceeds_change_rate() {
            // The next tick polls.
            self.phase = Phase::Idle;
        } else {
            self.poll_if_settled(since);
        }
    }

    /// Stores the time of an answer for all VMs of the scope, because the answer confirms their permissions. If this VM
    /// has refused the newest revision, the answer does not confirm the permissions, so the old time stays.
    fn store_answer_time(&mut self) {
        if let Some(member) = &self.member
            && self.refused.0.is_empty()
        {
            member.set_answer_time(&self.revision);
            self.check_age();
        }
    }

    /// Denies all traffic if no answer has confirmed the permissions of this VM for `access_max_age`: the control plane
    /// does not answer, or this VM has refused its newest revision. If the clock was set back, the permissions count as
    /// new.
    fn check_age(&mut self) {
        let (Some(age), Some(member)) = (self.shared.plugin.access_max_age, &self.member) else {
            return;
        };
        let now = host::now();
        match member.answer_time(&self.revision) {
            Some(time) => self.confirmation_time = time,
            // The age of an initial configuration counts from now. A VM without a configuration denies all traffic.
            None if self.confirmation_time == 0 => self.confirmation_time = now,
            None => {}
        }
        let is_too_old = now.saturating_sub(self.confirmation_time) > age.saturating_mul(1_000);
        self.set_access_too_old(is_too_old);
    }

    fn set_access_too_old(&mut self, is_too_old: bool) {
        if is_too_old == self.is_access_too_old {
            return;
        }
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.set_access_too_old(is_too_old);
            self.is_access_too_old = is_too_old;
        }
        if self.is_access_too_old {
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

    /// Sets the gauge of the rules for other scopes. Warns if this proxy has no rule and other scopes have rules. Does
    /// nothing if the answer does not have the number.
    fn report_elsewhere(&mut self, rules: Option<u64>) {
        let Some(rules) = rules else {
            return;
        };
        metrics::set(metrics::RULES_ELSEWHERE, rules);
        let plugin = &self.shared.plugin;
        let is_left_out = self.rules == 0 && rules > 0 && plugin.direction == Direction::Outbound;
        if is_left_out && !self.is_left_out {
            let scope = match plugin.scope.as_str() {
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
        self.is_left_out = is_left_out;
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

    fn on_failure(&mut self, reason: &str) {
        metrics::count(metrics::POLL_FAILURES);
        if self.failure != reason {
            reason.clone_into(&mut self.failure);
            let cluster = self.shared.plugin.control_plane.as_deref();
            let cluster = cluster.unwrap_or_default();
            warn!("weir: no configuration from {cluster:?}: {reason}; the proxy keeps what it has");
        }
    }
}
