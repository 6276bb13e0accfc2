//! One VM's part in the whole: restore what is in force, tick, be woken, and poll if the lease is ours.

use std::cell::RefCell;
use std::rc::Rc;

use log::{info, warn};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use weir_split::{Live, Plugin, Table};

use crate::fleet::{self, Member};
use crate::poll::{self, Answer, Phase};
use crate::request::Request;
use crate::{host, metrics};

/// Milliseconds to the first tick, which starts the first poll.
const FIRST_TICK: u64 = 10;

#[derive(Default)]
pub struct Root(Option<Running>);

/// What a root has once it is configured.
struct Running {
    shared: Rc<Shared>,
    /// Revision in force in this VM; empty while there is none.
    revision: String,
    /// The revision that was last refused: no news either.
    refused: String,
    node: String,
    /// None before the first tick.
    member: Option<Member>,
    phase: Phase,
    /// True from a failed poll to the next good one: a failure is logged once.
    failing: bool,
}

/// What requests need.
pub struct Shared {
    pub plugin: Plugin,
    pub live: RefCell<Live>,
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        if let Some(running) = &mut self.0 {
            running.answered(token, body_size);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let plugin = match Plugin::parse(&host::plugin_configuration(size)) {
            Ok(plugin) => plugin,
            Err(error) => {
                log::error!("weir: {error}");
                return false;
            }
        };
        metrics::define();
        let mut running = Running {
            shared: Rc::new(Shared {
                plugin,
                live: RefCell::new(Live::new(host::random())),
            }),
            revision: String::new(),
            refused: String::new(),
            node: host::node_id(),
            member: None,
            phase: Phase::Idle,
            failing: false,
        };
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
        Some(Box::new(Request(running.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Running {
    /// Takes over the fleet's document if this VM runs another one.
    fn restore(&mut self) {
        let plugin = &self.shared.plugin;
        let newest = fleet::revision(plugin);
        if newest.is_empty() || newest == self.revision || newest == self.refused {
            return;
        }
        let Some((revision, body)) = fleet::document(plugin) else {
            return;
        };
        match poll::compile(plugin, &body) {
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
            self.revision = revision;
        }
    }

    fn refuse(&mut self, revision: String, reason: &str) {
        warn!("weir: revision {revision} refused, {reason}; the last good one stays in force");
        metrics::count(metrics::CONFIG_REFUSED);
        self.refused = revision;
    }

    fn flush(&self) {
        if let Ok(mut live) = self.shared.live.try_borrow_mut() {
            live.take_picks(metrics::count_requests);
        }
    }

    fn tick(&mut self) {
        match &self.member {
            Some(member) => member.beat(),
            None => {
                self.member = Member::enter(&self.shared.plugin);
                host::set_tick_period(fleet::TICK);
            }
        }
        self.flush();
        self.restore();
        if self.member.as_ref().is_some_and(Member::holds_lease)
            && matches!(self.phase, Phase::Idle)
        {
            self.ask();
        }
    }

    fn woken(&mut self, queue: u32) {
        if self
            .member
            .as_ref()
            .is_some_and(|member| member.woken(queue))
        {
            self.restore();
        }
    }

    fn ask(&mut self) {
        if let Some(member) = &self.member {
            let known = [self.revision.as_str(), self.refused.as_str()];
            self.phase = poll::ask(&self.shared.plugin, &member.instance(), &self.node, &known);
            if matches!(self.phase, Phase::Idle) {
                self.failed("the proxy has no such cluster");
            }
        }
    }

    fn answered(&mut self, answered: u32, body_size: usize) {
        let since = match self.phase {
            Phase::Asking { token, since } if token == answered => since,
            _ => return,
        };
        self.phase = Phase::Idle;
        match poll::read(&self.shared.plugin, since, body_size) {
            // Asking again at once would be a busy loop; the next tick asks.
            Answer::Changed { revision, .. } if revision == self.revision => {
                return self.failed("200 with the revision that is in force");
            }
            Answer::Refused { revision, .. } if revision == self.refused => {
                return self.failed("200 with the revision that was refused");
            }
            Answer::Changed {
                revision,
                body,
                table,
            } => {
                if let Some(member) = &self.member {
                    member.publish(&revision, &body);
                }
                info!(
                    "weir: revision {revision} in force, {} rules",
                    table.rules()
                );
                metrics::count(metrics::CONFIG_UPDATES);
                self.install(revision, table);
            }
            Answer::Unchanged => {}
            Answer::Refused { revision, reason } => self.refuse(revision, &reason),
            Answer::Failed(reason) => return self.failed(&reason),
        }
        if self.failing {
            self.failing = false;
            info!("weir: the control plane answers again");
        }
        if self.member.as_ref().is_some_and(Member::holds_lease) {
            self.ask();
        }
    }

    fn failed(&mut self, reason: &str) {
        metrics::count(metrics::POLL_FAILURES);
        if !self.failing {
            self.failing = true;
            let cluster = &self.shared.plugin.control_plane;
            warn!(
                "weir: cannot reach the control plane at {cluster:?}: {reason}; what is in force stays"
            );
        }
    }
}
