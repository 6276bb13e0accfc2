//! The current table of a worker, and the sequence of picks of each rule.

mod mirrors;

use std::collections::HashMap;

use crate::decision::{Decided, Decision};
use crate::edit::filters::value_after;
use crate::live::mirrors::MirrorSamplers;
use crate::matching::path::has_dot_segment;
use crate::matching::pattern::Effort;
use crate::matching::request_view::RequestView;
use crate::plugin::UntilConfigured;
use crate::rule::{Destination, RedirectResponse, Rule};
use crate::sampler::Sampler;
use crate::table::Table;
use crate::wire::Unmatched;

/// The current table of one worker and the samplers of the rules. All random numbers come from the seed.
#[derive(Debug)]
pub struct Live {
    table: Table,
    /// The state of each rule, in the order of the table's rules.
    states: Vec<RuleState>,
    seed: u64,
    until_configured: UntilConfigured,
    /// How many tables were installed.
    install_count: u64,
    is_access_too_old: bool,
}

#[derive(Debug)]
struct RuleState {
    /// None for a rule without backends. Such a rule redirects each request.
    sampler: Option<Sampler>,
    /// Picks of each backend since the last [`Live::take_picks`].
    pick_counts: Vec<u64>,
    /// Draw the requests that each mirror of the rule gets.
    mirrors: MirrorSamplers,
}

impl Live {
    /// Returns the state of a worker without a table. Workers with different seeds have different sequences of picks.
    pub fn new(seed: u64, until_configured: UntilConfigured) -> Live {
        Live {
            table: Table::default(),
            states: Vec::new(),
            seed,
            until_configured,
            install_count: 0,
            is_access_too_old: false,
        }
    }

    /// Sets whether the permissions are too old. If they are, all requests and connections are denied. The table stays,
    /// so each rule later continues its sequence of picks.
    pub fn set_access_too_old(&mut self, is_too_old: bool) {
        self.is_access_too_old = is_too_old;
    }

    /// Replaces the table. A rule with the same identity, backends and weights as before continues its sequence of
    /// picks. Call [`Live::take_picks`] first, because the picks of removed rules are lost.
    pub fn install(&mut self, table: Table) {
        let previous = std::mem::take(&mut self.table);
        let mut previous_states: HashMap<_, _> = previous
            .rules
            .iter()
            .zip(std::mem::take(&mut self.states))
            .map(|(rule, state)| (rule.identity.clone(), (rule, state)))
            .collect();
        self.install_count = self.install_count.wrapping_add(1);
        for rule in &table.rules {
            // The seed does not depend on other rules, so other rules do not change this sequence. Because of the count, a
            // rule that gets its old weights back starts a new sequence.
            let seed = self.seed ^ fnv1a(&rule.identity) ^ self.install_count.rotate_left(40);
            let state = match previous_states.remove(&rule.identity) {
                Some((before, state)) if before.has_same_mirrors(rule) => state,
                Some((before, state)) if before.has_same_backends(rule) => RuleState {
                    mirrors: MirrorSamplers::new(rule, seed),
                    ..state
                },
                _ => {
                    let weights = rule.backends.iter().map(|backend| backend.weight);
                    RuleState {
                        sampler: Sampler::new(weights, seed),
                        pick_counts: vec![0; rule.backends.len()],
                        mirrors: MirrorSamplers::new(rule, seed),
                    }
                }
            };
            self.states.push(state);
        }
        self.table = table;
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
        if self.install_count == 0 || self.is_access_too_old {
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
        let Some(state) = self.states.get_mut(matched.rule) else {
            return rule.decided(Decision::Ordinary);
        };
        let (name, permit, edits, mirrors) = match state.pick(rule) {
            Some(Destination::Cluster {
                name,
                permit,
                edits,
                mirrors,
            }) => (name, permit, edits, mirrors),
            Some(Destination::Redirect(redirect)) => {
                return redirect.decide(rule, &mut view, matched.port);
            }
            Some(Destination::Status(status)) => return rule.decided(Decision::Answer(*status)),
            None => return rule.decided(Decision::Ordinary),
        };
        let Some(edits) = edits else {
            let check = permit
                .as_ref()
                .map(|permit| permit.check_request(&mut view));
            if let Some(Err(missing)) = check {
                return rule.decided(Decision::Denied(missing));
            }
            let mirrors = state.mirrors.draw(rule, mirrors, &mut view);
            return match mirrors.as_slice() {
                [] => rule.decided(to_cluster(name, &host.ordinary_cluster)),
                // Only the route that reads the routing header copies requests.
                _ => Decided {
                    mirrors,
                    ..rule.decided(Decision::Cluster(name))
                },
            };
        };
        let request = edits.request(&mut view);
        // The backend and the mirrors get the edited request, so the edited request needs the permissions.
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
            return rule.decided(Decision::Denied(missing));
        }
        let mirrors = state.mirrors.draw(rule, mirrors, &mut edited_view);
        Decided {
            request,
            mirrors,
            response: edits.response.clone(),
            // After edits the ordinary route may no longer match, so the header names the cluster in any case.
            ..rule.decided(Decision::Cluster(name))
        }
    }

    /// Decides one new connection. `destination` is the IP address and port that the client called; None if the proxy
    /// does not know the address. The function ignores `destination` if the plugin configuration names a root or a
    /// listener.
    pub fn connect(&mut self, destination: Option<(&str, u16)>) -> Decided<'_> {
        if self.install_count == 0 || self.is_access_too_old {
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
        let state = self.states.get_mut(entry.rule);
        let decision = match state.and_then(|state| state.pick(rule)) {
            Some(Destination::Cluster { name, permit, .. }) => {
                match permit.as_ref().map(|permit| permit.check_connection()) {
                    Some(Err(missing)) => Decision::Denied(missing),
                    Some(Ok(())) | None => to_cluster(name, &entry.ordinary_cluster),
                }
            }
            Some(Destination::Status(status)) => Decision::Answer(*status),
            // `Table::compile` refuses redirects of connections, so this does not happen.
            Some(Destination::Redirect(_)) | None => Decision::Ordinary,
        };
        rule.decided(decision)
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
        if self.install_count == 0 || self.is_access_too_old {
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
        if self.install_count == 0 || self.is_access_too_old {
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

    /// Calls `each` for each backend with picks since the last call. The arguments are the identity of the rule, the
    /// backend (`SERVICE.NAMESPACE:PORT`, or a status), and the number of picks (at least 1).
    pub fn take_picks(&mut self, mut each: impl FnMut(&str, &str, u64)) {
        for (rule, state) in self.table.rules.iter().zip(&mut self.states) {
            for (backend, count) in rule.backends.iter().zip(&mut state.pick_counts) {
                if *count > 0 {
                    each(&rule.identity, &backend.label, *count);
                    *count = 0;
                }
            }
        }
    }

    pub fn table(&self) -> &Table {
        &self.table
    }
}

impl RuleState {
    fn pick<'t>(&mut self, rule: &'t Rule) -> Option<&'t Destination> {
        let pick = self.sampler.as_mut()?.pick();
        if let Some(count) = self.pick_counts.get_mut(pick) {
            *count = count.wrapping_add(1);
        }
        rule.backends.get(pick).map(|backend| &backend.to)
    }
}

impl Rule {
    fn decided<'t>(&'t self, decision: Decision<'t>) -> Decided<'t> {
        Decided {
            rule: Some(&self.identity),
            ..decision.into()
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
