//! One VM's part in the whole: restore what is in force, tick, be woken, and poll if the lease is ours.

use std::cell::RefCell;
use std::rc::Rc;

use log::{info, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext, StreamContext};
use proxy_wasm::types::ContextType;
use weir_split::{Direction, Live, Plugin, Protocol, Table, module};

use crate::bounded::Bounded;
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
/// Changes in a second after which the next poll waits for the tick: whoever serves more of them, such as two
/// control planes that disagree behind one name, would keep every VM busy compiling.
const MAX_CHANGES: u32 = 200;

#[derive(Default)]
pub struct Root(Option<Running>);

/// What a root has once it is configured.
struct Running {
    shared: Rc<Shared>,
    /// Revision in force in this VM; empty while there is none.
    revision: String,
    /// The revision that was last refused, and why; empty where none was since the last good one.
    refused: (String, String),
    /// How many rules are in force in this VM.
    rules: usize,
    /// True while it has no rule and others have: that is logged once.
    is_left_out: bool,
    node: String,
    /// None before the first tick.
    member: Option<Member>,
    phase: Phase,
    /// When the control plane last confirmed the permissions of this VM (milliseconds); 0 before the first look.
    confirmed: u64,
    /// True while everything is denied for `access_max_age`.
    is_access_too_old: bool,
    /// Why the last poll failed; empty after a good one. The same reason is logged once.
    failing: String,
    /// Changes since `second` (milliseconds) began.
    changes: u32,
    second: u64,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, headers: usize, body_size: usize, _: usize) {
        if let Some(running) = &mut self.0 {
            running.answered(token, headers, body_size);
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
                "weir: plugin configuration: this listener would check inbound connections at their first byte, which \
                 weir-lean.wasm cannot do, so its configuration is refused; load weir.wasm instead of weir-lean.wasm"
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
        let mut running = Running {
            shared: Rc::new(Shared {
                live: RefCell::new(Live::new(host::random(), plugin.until_configured)),
                plugin,
                log: Bounded::default(),
            }),
            revision: String::new(),
            refused: Default::default(),
            rules: 0,
            is_left_out: false,
            node: host::node_id(),
            member: None,
            phase: Phase::Idle,
            confirmed: 0,
            is_access_too_old: false,
            failing: String::new(),
            changes: 0,
            second: 0,
        };
        // Before what the fleet has: a document that cannot be put in force must not leave nothing.
        if let Some(table) = initial {
            running.install(String::new(), table);
        }
        running.restore();
        self.0 = Some(running);
        host::set_tick_period(FIRST_TICK);
        true
    }

    fn on_tick(&mut self) {
        if let Some(running) = &mut self.0 {
            running.tick();
        }
    }

    fn on_queue_ready(&mut self, queue: u32) {
        if let Some(running) = &mut self.0 {
            running.woken(queue);
        }
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        let running = self.0.as_ref()?;
        Some(Box::new(Request::new(running.shared.clone())))
    }

    fn create_stream_context(&self, _: u32) -> Option<Box<dyn StreamContext>> {
        let running = self.0.as_ref()?;
        Some(Box::new(Connection::new(running.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        let running = self.0.as_ref()?;
        Some(match running.shared.plugin.protocol {
            Protocol::Http => ContextType::HttpContext,
            Protocol::Tcp => ContextType::StreamContext,
        })
    }
}

impl Running {
    /// Takes over the fleet's document if this VM runs another one.
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
        // Counts of rules that go away go with them.
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
        warn!("weir: revision {revision} refused, {reason}; the last good one stays in force");
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
            // Before it looks for a document: what is published behind that look wakes whoever is on the roll.
            if let Some(member) = &self.member {
                member.beat(&self.revision);
            }
        }
        self.restore();
        let Some(member) = &self.member else {
            return;
        };
        member.beat(&self.revision);
        let holds_lease = member.holds_lease();
        self.look_at_age();
        if holds_lease {
            #[cfg(feature = "trap")]
            crate::trap::on_poller_tick();
            match self.phase {
                Phase::Idle => self.ask(),
                Phase::Settling { since } => self.ask_if_settled(since),
                Phase::Asking { .. } => {}
            }
        }
    }

    /// The poller wakes the others for a new document, and they wake it when they run it.
    fn woken(&mut self, queue: u32) {
        if !self
            .member
            .as_ref()
            .is_some_and(|member| member.woken(queue))
        {
            return;
        }
        self.restore();
        let Some(member) = &self.member else {
            return;
        };
        member.beat(&self.revision);
        match self.phase {
            Phase::Settling { since } if member.holds_lease() => self.ask_if_settled(since),
            Phase::Idle | Phase::Asking { .. } | Phase::Settling { .. } => member.wake_poller(),
        }
    }

    fn ask_if_settled(&mut self, since: u64) {
        let applied = self.member.as_ref().and_then(Member::applied);
        if applied.as_ref() == Some(&self.revision) || host::now().abs_diff(since) >= SETTLE {
            self.ask();
        }
    }

    fn ask(&mut self) {
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
        self.phase = poll::ask(control_plane, &self.shared.plugin, &proxy);
        if matches!(self.phase, Phase::Idle) {
            self.failed("the proxy has no such cluster");
        }
    }

    fn answered(&mut self, answered: u32, headers: usize, body_size: usize) {
        let asked = match self.phase {
            Phase::Asking {
                token,
                since,
                waits,
            } if token == answered => (since, waits),
            _ => return,
        };
        self.phase = Phase::Idle;
        // Whoever took the lease over meanwhile may have put something newer in force.
        if !self.member.as_ref().is_some_and(Member::holds_lease) {
            return;
        }
        match poll::read(&self.shared.plugin.site, asked, headers, body_size) {
            // Asking again at once would be a busy loop; the next tick asks.
            Answer::Changed { revision, .. } if revision == self.revision => {
                return self.failed("200 with the revision that is in force");
            }
            Answer::Refused { revision, .. } if revision == self.refused.0 => {
                return self.failed("200 with the revision that was refused");
            }
            Answer::Failed(reason) => return self.failed(&reason),
            Answer::Changed {
                revision,
                body,
                table,
                watermark,
                elsewhere,
            } => {
                info!(
                    "weir: revision {revision} in force, {} rules",
                    table.rules()
                );
                metrics::count(metrics::CONFIG_UPDATES);
                // Before the others are woken: one that is ready sooner must find this VM settled.
                self.install(revision, *table);
                self.note_elsewhere(elsewhere);
                self.note_answer();
                self.phase = Phase::Settling { since: host::now() };
                if let Some(member) = &self.member {
                    member.publish(&self.revision, &body);
                    // After the document: a VM that fails in between says less than it has, never more.
                    member.set_watermark(&watermark.unwrap_or_default());
                    member.beat(&self.revision);
                }
            }
            // A control plane that serves one after the other is not asked without pause either.
            Answer::Refused { revision, reason } => return self.refuse(revision, &reason),
            Answer::Unchanged {
                watermark,
                elsewhere,
            } => {
                self.note_elsewhere(elsewhere);
                self.note_answer();
                // Where something was refused, what is in force is older.
                if let (Some(member), Some(watermark)) = (&self.member, watermark)
                    && self.refused.0.is_empty()
                {
                    member.set_watermark(&watermark);
                }
            }
        }
        if !self.failing.is_empty() {
            self.failing.clear();
            info!("weir: the control plane answers again");
        }
        let Phase::Settling { since } = self.phase else {
            return self.ask();
        };
        if self.is_hasty() {
            // The tick asks.
            self.phase = Phase::Idle;
        } else {
            self.ask_if_settled(since);
        }
    }

    /// Notes an answer, also for VMs of the same scope whose permissions age: not where this VM has refused a revision,
    /// for then the permissions in force are older.
    fn note_answer(&mut self) {
        if let Some(member) = &self.member
            && self.refused.0.is_empty()
        {
            member.set_answered(&self.revision);
            self.look_at_age();
        }
    }

    /// Looks whether the permissions of this VM are too old. A clock that was set back makes them young.
    fn look_at_age(&mut self) {
        let (Some(age), Some(member)) = (self.shared.plugin.access_max_age, &self.member) else {
            return;
        };
        let now = host::now();
        match member.answered(&self.revision) {
            Some(time) => self.confirmed = time,
            // Before the first answer a proxy without a configuration denies anyway, and one with an initial
            // configuration begins with it.
            None if self.confirmed == 0 => self.confirmed = now,
            None => {}
        }
        let is_too_old = now.saturating_sub(self.confirmed) > age.saturating_mul(1_000);
        self.note_age(is_too_old);
    }

    fn note_age(&mut self, is_too_old: bool) {
        if is_too_old == self.is_access_too_old {
            return;
        }
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.set_access_too_old(is_too_old);
            self.is_access_too_old = is_too_old;
        }
        match self.is_access_too_old {
            true => warn!(
                "weir: the control plane has not answered for longer than access_max_age: everything is denied until \
                 it answers"
            ),
            false => info!("weir: the control plane answers again: permissions are in force again"),
        }
    }

    /// So many rules are in force for other scopes. A control plane that lags behind the one before does not say.
    fn note_elsewhere(&mut self, rules: Option<u64>) {
        let Some(rules) = rules else {
            return;
        };
        metrics::set(metrics::RULES_ELSEWHERE, rules);
        let plugin = &self.shared.plugin;
        let is_left_out = self.rules == 0 && rules > 0 && plugin.direction == Direction::Outbound;
        if is_left_out && !self.is_left_out {
            let asked = match plugin.scope.as_str() {
                "" => "neither namespace nor gateway",
                scope => scope,
            };
            warn!(
                "weir: this proxy gets no rule and splits nothing; its plugin configuration has {asked}, and the rules in \
                 force are for others ({rules}); write \"namespace\": \"*\" for the hosts of every namespace, \
                 \"namespace\": \"NAMESPACE\" for the clients of one, or \"gateway\": \"NAMESPACE/NAME\" for the \
                 routes of a Gateway; weir check --envoy names those that there are"
            );
        }
        self.is_left_out = is_left_out;
    }

    /// Counts a change; true where there were too many of them in this second.
    fn is_hasty(&mut self) -> bool {
        let now = host::now();
        if now.abs_diff(self.second) >= 1_000 {
            self.second = now;
            self.changes = 0;
        }
        self.changes = self.changes.saturating_add(1);
        self.changes > MAX_CHANGES
    }

    fn failed(&mut self, reason: &str) {
        metrics::count(metrics::POLL_FAILURES);
        if self.failing != reason {
            reason.clone_into(&mut self.failing);
            let cluster = self.shared.plugin.control_plane.as_deref();
            let cluster = cluster.unwrap_or_default();
            warn!("weir: no configuration from {cluster:?}: {reason}; what is in force stays");
        }
    }
}
