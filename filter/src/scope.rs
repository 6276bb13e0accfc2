//! The state of one VM for one scope (one namespace or Gateway): its plugin configurations, their tables, and the
//! newest configuration of the control plane. A proxy creates one root context (in this module: root) in a VM for each
//! plugin configuration. All roots of a scope share this state. So the VM is one member of the fleet, and one root, the
//! driver, ticks for all roots.

mod access_age;
mod polling;
mod tables;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use weir_split::{ClustersFrom, Live, Plugin, RuleStates, Table};

use crate::bounded::BoundedLog;
use crate::fleet::{self, Keys, LostMembers, Member, Message};
use crate::shared::Shared;
use crate::{host, metrics};

use self::access_age::AccessAge;
use self::polling::Polling;

/// Milliseconds to the first tick, which starts the first poll.
const FIRST_TICK: u64 = 10;
/// When the driver ends, another root becomes the driver. Its first tick comes after this number of milliseconds.
const NEXT_TICK: u64 = 1;
/// A tick is late if this number of milliseconds has passed since the previous one.
const LATE_TICK: u64 = 3 * fleet::TICK;
/// Milliseconds between ticks of the other roots. They only check that the driver still ticks.
const SPARE_TICK: u64 = 10_000;

thread_local! {
    /// The scopes of this VM.
    static SCOPES: RefCell<HashMap<Keys, Weak<RefCell<Scope>>>> = RefCell::default();
}

pub struct Scope {
    keys: Keys,
    roots: Vec<ConfiguredRoot>,
    /// The context of the root that ticks, gets messages and polls for all roots.
    driver: Option<u32>,
    /// Time of the last tick of the driver, in milliseconds since 1970.
    last_tick: u64,
    lost_members: LostMembers,
    states: Rc<RefCell<RuleStates>>,
    /// None before the first tick.
    member: Option<Member>,
    /// The context of the root that gets the messages for `member`.
    receiver: Option<u32>,
    /// The newest revision that a root of this VM uses; empty before the first revision.
    revision: String,
    /// The number of rules in this revision.
    rules: usize,
    polling: Polling,
}

/// A root with its plugin configuration.
struct ConfiguredRoot {
    context: u32,
    shared: Rc<Shared>,
    /// The revision that this root uses; empty before the first revision.
    revision: String,
    /// The last refused revision and the reason; empty after a good revision.
    refused: (String, String),
    access_age: AccessAge,
}

impl Scope {
    /// Returns the state of this VM for the scope of a plugin configuration.
    pub fn of(plugin: &Plugin) -> Rc<RefCell<Scope>> {
        let keys = Keys::new(plugin);
        SCOPES.with(|scopes| {
            let Ok(mut scopes) = scopes.try_borrow_mut() else {
                return Scope::new(keys);
            };
            if let Some(scope) = scopes.get(&keys).and_then(Weak::upgrade) {
                return scope;
            }
            scopes.retain(|_, scope| scope.strong_count() > 0);
            let scope = Scope::new(keys.clone());
            scopes.insert(keys, Rc::downgrade(&scope));
            scope
        })
    }

    fn new(keys: Keys) -> Rc<RefCell<Scope>> {
        Rc::new(RefCell::new(Scope {
            keys,
            roots: Vec::new(),
            driver: None,
            last_tick: 0,
            lost_members: LostMembers::default(),
            states: Rc::new(RefCell::new(RuleStates::new(host::random()))),
            member: None,
            receiver: None,
            revision: String::new(),
            rules: 0,
            polling: Polling::default(),
        }))
    }

    /// Adds the current root, with its plugin configuration and the table of the initial configuration.
    pub fn add(&mut self, context: u32, plugin: Plugin, initial: Option<Table>) -> Rc<Shared> {
        let live = Live::with_states(self.states.clone(), plugin.until_configured);
        let shared = Rc::new(Shared {
            live: RefCell::new(live),
            plugin,
            log: BoundedLog::default(),
        });
        let mut root = ConfiguredRoot {
            context,
            shared: shared.clone(),
            revision: String::new(),
            refused: Default::default(),
            access_age: AccessAge::default(),
        };
        metrics::define(&shared.plugin.scope);
        // The root installs the initial table first. If the root then refuses the fleet's document, it keeps this
        // table.
        if let Some(table) = initial {
            metrics::set_configured(&shared.plugin.scope, table.rules());
            root.install("", Rc::new(table));
        }
        self.roots.push(root);
        self.restore();
        if self.driver.is_none() {
            self.driver = Some(context);
            host::set_tick_period(FIRST_TICK);
        } else {
            host::set_tick_period(SPARE_TICK);
        }
        shared
    }

    /// Removes a root that ends. If it was the driver, another root becomes the driver. After the end of the last root,
    /// this VM leaves the fleet.
    pub fn remove(&mut self, context: u32) {
        self.flush();
        self.roots.retain(|root| root.context != context);
        if self.driver != Some(context) {
            return;
        }
        self.polling.cancel();
        self.driver = self.roots.last().map(|root| root.context);
        match self.driver {
            Some(driver) => host::set_tick_period_of(driver, NEXT_TICK),
            None => {
                if let Some(member) = self.member.take() {
                    member.leave();
                }
            }
        }
    }

    pub fn on_tick(&mut self, context: u32) {
        let now = host::now();
        if self.driver != Some(context) && now.abs_diff(self.last_tick) < SPARE_TICK {
            return host::set_tick_period(SPARE_TICK);
        }
        self.driver = Some(context);
        let is_punctual = now.abs_diff(self.last_tick) < LATE_TICK;
        self.last_tick = now;
        host::set_tick_period(fleet::TICK);
        self.flush();
        for root in &self.roots {
            root.shared.log.on_tick();
        }
        if self.control_plane().is_some() {
            self.tick_as_member(context, is_punctual);
        }
    }

    fn tick_as_member(&mut self, context: u32, is_punctual: bool) {
        if self.member.is_none() {
            self.member = Member::enter(&self.keys, self.is_lean());
            self.receiver = Some(context);
        }
        let Some(member) = &self.member else {
            return;
        };
        let is_new_receiver = self.receiver.replace(context) != Some(context);
        if is_new_receiver {
            member.receive();
        }
        // This VM joins the member list before it reads the document. Only members get a message about a newer
        // document.
        self.restore();
        self.send_heartbeat();
        self.check_access_age();
        if is_new_receiver {
            self.on_messages();
        }
        if self.member.as_ref().is_some_and(Member::take_lease) {
            #[cfg(feature = "trap")]
            crate::trap::on_poller_tick();
            self.lost_members.look(&self.keys, is_punctual);
            self.poll_on_tick();
        }
    }

    pub fn on_messages(&mut self) {
        while let Some(message) = self.member.as_ref().and_then(Member::take_message) {
            self.on_message(message);
        }
    }

    /// Reacts to a message of another VM. The VM that polls announces a new document. Each other VM replies when it has
    /// installed or refused the document.
    fn on_message(&mut self, message: Message) {
        match message {
            Message::Published { reply_to } => {
                self.restore();
                self.send_heartbeat();
                let revision = self.common_revision();
                if let Some(member) = &self.member {
                    member.reply(reply_to, revision);
                }
            }
            Message::Applied { name, revision } => self.on_reply(&name, &revision),
            Message::LeaseIsFree => {
                if self.member.as_ref().is_some_and(Member::take_lease) {
                    self.poll_on_tick();
                }
            }
        }
    }

    fn send_heartbeat(&mut self) {
        let revision = self.common_revision().to_owned();
        if let Some(member) = &mut self.member {
            member.send_heartbeat(&revision);
        }
    }

    fn flush(&self) {
        if let Ok(mut states) = self.states.try_borrow_mut() {
            states.take_picks(metrics::count_requests);
        }
    }

    /// Returns the first plugin configuration of this scope. All plugin configurations of a scope have the same control
    /// plane, query and value of `clusters_from`.
    fn plugin(&self) -> Option<&Plugin> {
        self.roots.first().map(|root| &root.shared.plugin)
    }

    fn control_plane(&self) -> Option<&str> {
        self.plugin()?.control_plane.as_deref()
    }

    fn has_clusters_from_weir(&self) -> bool {
        let plugin = self.plugin();
        plugin.is_some_and(|plugin| plugin.clusters_from == ClustersFrom::Weir)
    }

    /// Returns the query of `/v1/config`.
    fn query(&self) -> &str {
        self.plugin().map_or("", |plugin| &plugin.scope)
    }

    fn is_lean(&self) -> bool {
        let mut roots = self.roots.iter();
        roots.any(|root| fleet::leaves_responses_alone(&root.shared.plugin))
    }
}
