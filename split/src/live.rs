//! The current table of a plugin configuration on one worker, and the sequence of picks of each rule.

mod mirror_samplers;
mod rule_states;

use std::cell::RefCell;
use std::rc::Rc;

pub use self::rule_states::RuleStates;

use self::rule_states::TableRuleState;
use crate::decision::{Decided, Decision};
use crate::edit::filters::value_after;
use crate::matching::path::has_dot_segment;
use crate::matching::pattern::Effort;
use crate::matching::request_view::RequestView;
use crate::plugin::UntilConfigured;
use crate::rule::{Backend, Destination, RedirectResponse, Rule};
use crate::table::Table;
use crate::wire::Unmatched;

/// The current table of one plugin configuration on one worker.
#[derive(Debug)]
pub struct Live {
    table: Rc<Table>,
    /// The state of each rule, in the order of the table's rules.
    states: Vec<TableRuleState>,
    /// The states of all tables of the worker and scope.
    shared_states: Rc<RefCell<RuleStates>>,
    until_configured: UntilConfigured,
    has_table: bool,
    is_access_too_old: bool,
}

impl Live {
    /// Returns the state of a worker with one plugin configuration and without a table. Workers with different seeds
    /// have different sequences of picks.
    pub fn new(seed: u64, until_configured: UntilConfigured) -> Live {
        let states = Rc::new(RefCell::new(RuleStates::new(seed)));
        Live::with_states(states, until_configured)
    }

    /// Returns the state for one plugin configuration, without a table. All plugin configurations of a worker and scope
    /// share `states`.
    pub fn with_states(states: Rc<RefCell<RuleStates>>, until_configured: UntilConfigured) -> Live {
        Live {
            table: Rc::default(),
            states: Vec::new(),
            shared_states: states,
            until_configured,
            has_table: false,
            is_access_too_old: false,
        }
    }

    /// Sets whether the permissions are too old. If they are, all requests and connections are denied. The table stays,
    /// so each rule later continues its sequence of picks.
    pub fn set_access_too_old(&mut self, is_too_old: bool) {
        self.is_access_too_old = is_too_old;
    }

    /// Replaces the table. A rule with the same identity, backends and weights as before continues its sequence of
    /// picks. Plugin configurations with the same [`crate::Site`] can share one table.
    pub fn install(&mut self, table: impl Into<Rc<Table>>) {
        let table = table.into();
        // This borrow cannot fail, because the states call no other code. If it failed, all requests would take their
        // ordinary route.
        let states = self.shared_states.try_borrow_mut();
        let states = states.map(|mut states| states.of_table(&table.rules));
        self.states = states.unwrap_or_default();
        self.table = table;
        self.has_table = true;
    }

    /// Decides one request.
    ///
    /// `socket` returns the port of the proxy's socket at which the request came in. The function calls `socket` only
    /// if listeners of a Gateway have different rules for the host.
    ///
    /// `read` returns the value of a header (`:path`, `x-user`). The function calls `read` only for the headers that
    /// the rules of the host need: once for each name, and a second time if the edited request needs a permission.
    pub fn decide(
        &mut self,
        authority: &[u8],
        socket: impl FnOnce() -> Option<u16>,
        mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Decided<'_> {
        if !self.has_table || self.is_access_too_old {
            return self.not_ready();
        }
        let host = match self.table.host(authority, socket) {
            Ok(Some(host)) => host,
            Ok(None) => return Decision::Ordinary.into(),
            Err(unknown) => return Decision::UnknownListener(unknown).into(),
        };
        let effort = Effort::default();
        let mut view = RequestView::new(authority, &effort, &mut read);
        let found = host.find(&mut view);
        if effort.is_exhausted() {
            return Decision::Answer(431).into();
        }
        let Some(matched) = found else {
            return match host.unmatched {
                Unmatched::Pass => Decision::Ordinary.into(),
                Unmatched::NotFound => Decision::Answer(404).into(),
            };
        };
        let Some(rule) = self.table.rules.get(matched.rule) else {
            return Decision::Ordinary.into();
        };
        if let Some(called) = &rule.called
            && let Err(missing) = called.check_request(&mut view)
        {
            return rule.decided(Decision::Denied(missing));
        }
        if let Some(redirect) = &rule.redirect {
            return redirect.decide(rule, &mut view, matched.port);
        }
        let Some(state) = self.states.get(matched.rule) else {
            return rule.decided(Decision::Ordinary);
        };
        let Some(backend) = picked(state, rule) else {
            return rule.decided(Decision::Ordinary);
        };
        let (name, permit, edits, mirrors) = match &backend.to {
            Destination::Cluster {
                name,
                permit,
                edits,
                mirrors,
            } => (name, permit, edits, mirrors),
            Destination::Redirect(redirect) => {
                return Decided {
                    backend: Some(&backend.label),
                    ..redirect.decide(rule, &mut view, matched.port)
                };
            }
            Destination::Status(status) => {
                return rule.decided_with(backend, Decision::Answer(*status));
            }
        };
        let Some(edits) = edits else {
            let check = permit
                .as_ref()
                .map(|permit| permit.check_request(&mut view));
            if let Some(Err(missing)) = check {
                return rule.decided_with(backend, Decision::Denied(missing));
            }
            let mirrors = state.mirrors.draw(rule, mirrors, &mut view);
            return match mirrors.as_slice() {
                [] => rule.decided_with(backend, to_cluster(name, &host.ordinary_cluster)),
                // Envoy copies requests only at routes that read the routing header.
                _ => Decided {
                    mirrors,
                    ..rule.decided_with(backend, Decision::Cluster(name))
                },
            };
        };
        let request = edits.request(&mut view);
        // The backend and the mirrors get the edited request. So permissions are checked for the edited request.
        let edited_authority = match (permit, &**mirrors) {
            (None, []) => None,
            _ => value_after(&request, ":authority", Some(authority.to_vec())),
        };
        let edited_authority = edited_authority.unwrap_or_default();
        let mut read = |name: &str| value_after(&request, name, read(name));
        let mut edited_view = RequestView::new(&edited_authority, &effort, &mut read);
        if let Some(permit) = permit
            && let Err(missing) = permit.check_request(&mut edited_view)
        {
            return rule.decided_with(backend, Decision::Denied(missing));
        }
        let mirrors = state.mirrors.draw(rule, mirrors, &mut edited_view);
        Decided {
            request,
            mirrors,
            response: edits.response.clone(),
            // After edits the ordinary route may no longer match, so the header names the cluster in any case.
            ..rule.decided_with(backend, Decision::Cluster(name))
        }
    }

    /// Decides one new connection. `destination` is the IP address and port that the client called; None if the proxy
    /// does not know the address. The function ignores `destination` if the plugin configuration names a root or a
    /// listener.
    pub fn connect(&mut self, destination: Option<(&str, u16)>) -> Decided<'_> {
        if !self.has_table || self.is_access_too_old {
            return self.not_ready();
        }
        let Some(entry) = self.table.connections.find(destination) else {
            return Decision::Ordinary.into();
        };
        let Some(rule) = self.table.rules.get(entry.rule) else {
            return Decision::Ordinary.into();
        };
        if let Some(called) = &rule.called
            && let Err(missing) = called.check_connection()
        {
            return rule.decided(Decision::Denied(missing));
        }
        let state = self.states.get(entry.rule);
        let Some(backend) = state.and_then(|state| picked(state, rule)) else {
            return rule.decided(Decision::Ordinary);
        };
        let decision = match &backend.to {
            Destination::Cluster { name, permit, .. } => {
                match permit.as_ref().map(|permit| permit.check_connection()) {
                    Some(Err(missing)) => Decision::Denied(missing),
                    Some(Ok(())) | None => to_cluster(name, &entry.ordinary_cluster),
                }
            }
            Destination::Status(status) => Decision::Answer(*status),
            // `Table::compile` refuses redirects of connections, so this does not happen.
            Destination::Redirect(_) => Decision::Ordinary,
        };
        rule.decided_with(backend, decision)
    }

    /// Decides whether a request may go to the workload of this proxy. `peer` returns the [`crate::peer_identity`] of
    /// the client's certificate. The function calls `peer` only if there is an access policy. `read` is the same
    /// function as for [`Live::decide`].
    ///
    /// Returns [`Decision::Ordinary`] if the request is allowed, and [`Decision::Denied`] if no grant allows it.
    /// Returns [`Decision::Answer`] with 400 if servers could read the path in different ways. Before there is a
    /// configuration, [`UntilConfigured`] decides.
    pub fn admit(
        &self,
        peer: impl FnOnce() -> Option<String>,
        authority: &[u8],
        mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Decided<'_> {
        if !self.has_table || self.is_access_too_old {
            return self.not_ready();
        }
        // If the regular expressions use up this effort, no grant fits the request, so the request is denied.
        let effort = Effort::default();
        let mut view = RequestView::new(authority, &effort, &mut read);
        // The workload may resolve a segment `..`, and then read a path that no permission covers.
        if has_dot_segment(view.path()) {
            return Decision::Answer(400).into();
        }
        let Some(access) = &self.table.access else {
            return Decision::Ordinary.into();
        };
        from_check(access.admit(peer().as_deref(), &mut view))
    }

    /// Decides whether a connection may go to the workload of this proxy. Call this function after the TLS handshake.
    /// `port` is the port of the workload.
    pub fn admit_connection(&self, peer: Option<&str>, port: u16) -> Decided<'_> {
        if !self.has_table || self.is_access_too_old {
            return self.not_ready();
        }
        match &self.table.access {
            Some(access) => from_check(access.admit_connection(peer, port)),
            None => Decision::Ordinary.into(),
        }
    }

    fn not_ready(&self) -> Decided<'static> {
        if self.is_access_too_old {
            let reason =
                "the control plane has not confirmed the permissions within access_max_age";
            return Decision::Denied(reason.into()).into();
        }
        match self.until_configured {
            UntilConfigured::Pass => Decision::Ordinary,
            UntilConfigured::Unavailable => Decision::Answer(503),
            UntilConfigured::Denied => {
                let reason = "a proxy with a service account denies all traffic until it has a configuration";
                Decision::Denied(reason.into())
            }
        }
        .into()
    }

    /// Calls [`RuleStates::take_picks`] of the shared states.
    pub fn take_picks(&mut self, each: impl FnMut(&str, &str, u64)) {
        if let Ok(mut states) = self.shared_states.try_borrow_mut() {
            states.take_picks(each);
        }
    }

    pub fn table(&self) -> &Rc<Table> {
        &self.table
    }
}

impl Rule {
    fn decided<'t>(&'t self, decision: Decision<'t>) -> Decided<'t> {
        Decided {
            rule: Some(&self.identity),
            ..decision.into()
        }
    }

    fn decided_with<'t>(&'t self, backend: &'t Backend, decision: Decision<'t>) -> Decided<'t> {
        Decided {
            backend: Some(&backend.label),
            ..self.decided(decision)
        }
    }
}

impl RedirectResponse {
    fn decide<'t>(&self, rule: &'t Rule, view: &mut RequestView, port: Option<u16>) -> Decided<'t> {
        let edits = self.edits.as_ref();
        Decided {
            response: edits.and_then(|edits| edits.response.clone()),
            ..rule.decided(self.redirect.decide(view, port))
        }
    }
}

/// Picks a backend of the rule. Returns None for a rule without backends.
fn picked<'t>(state: &TableRuleState, rule: &'t Rule) -> Option<&'t Backend> {
    rule.backends.get(state.picks.pick()?)
}

fn to_cluster<'t>(name: &'t str, ordinary: &Option<Box<str>>) -> Decision<'t> {
    if ordinary.as_deref() == Some(name) {
        Decision::Ordinary
    } else {
        Decision::Cluster(name)
    }
}

fn from_check(outcome: Result<(), String>) -> Decided<'static> {
    match outcome {
        Ok(()) => Decision::Ordinary.into(),
        Err(missing) => Decision::Denied(missing).into(),
    }
}

/// Returns the 64-bit FNV-1a hash of a text. Every build returns the same number for the same text.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
