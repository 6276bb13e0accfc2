//! A table in force, with the sequences of picks that its rules are in the middle of.

use std::collections::HashMap;

use crate::decision::{Decided, Decision};
use crate::edit::filters::value_after;
use crate::matching::path::has_dot_segment;
use crate::matching::pattern::Effort;
use crate::matching::request_view::RequestView;
use crate::plugin::UntilConfigured;
use crate::rule::{Destination, Redirected, Rule};
use crate::sampler::Sampler;
use crate::table::Table;
use crate::wire::Unmatched;

/// One worker's table and its samplers. Everything random comes from the seed.
#[derive(Debug)]
pub struct Live {
    table: Table,
    /// One for each of the table's rules, in their order.
    running: Vec<Running>,
    seed: u64,
    until_configured: UntilConfigured,
    installed: u64,
    is_access_too_old: bool,
}

#[derive(Debug)]
struct Running {
    /// None for a rule that picks no backend, because it redirects.
    sampler: Option<Sampler>,
    /// Picks of each backend since they were last taken.
    picked: Vec<u64>,
}

impl Live {
    /// Nothing in force. Workers with different seeds draw different sequences.
    pub fn new(seed: u64, until_configured: UntilConfigured) -> Live {
        Live {
            table: Table::default(),
            running: Vec::new(),
            seed,
            until_configured,
            installed: 0,
            is_access_too_old: false,
        }
    }

    /// While the permissions are too old, everything is denied. The table stays, and the sequence of each rule goes on
    /// afterwards.
    pub fn set_access_too_old(&mut self, is_too_old: bool) {
        self.is_access_too_old = is_too_old;
    }

    /// Puts a table in force. A rule whose identity, backends and weights are unchanged goes on with its
    /// sequence; [`Live::take_picks`] first, or the picks of rules that go are lost.
    pub fn install(&mut self, table: Table) {
        let previous = std::mem::take(&mut self.table);
        let mut kept: HashMap<_, _> = previous
            .rules
            .iter()
            .zip(std::mem::take(&mut self.running))
            .map(|(rule, running)| (rule.identity.clone(), (rule, running)))
            .collect();
        self.installed = self.installed.wrapping_add(1);
        for rule in &table.rules {
            let running = match kept.remove(&rule.identity) {
                Some((before, running)) if before.has_backends_of(rule) => running,
                _ => {
                    let weights = rule.backends.iter().map(|backend| backend.weight);
                    // Depends on nothing but the seed and the rule, so that other rules never show;
                    // the count keeps a rule that comes back to old weights from repeating itself.
                    let seed = self.seed ^ fnv1a(&rule.identity) ^ self.installed.rotate_left(40);
                    Running {
                        sampler: Sampler::new(weights, seed),
                        picked: vec![0; rule.backends.len()],
                    }
                }
            };
            self.running.push(running);
        }
        self.table = table;
    }

    /// Decides one request. `socket` gives the port of the proxy at which it came in, and is asked only where
    /// that tells apart what listeners of a Gateway do. `read` gives the value of a header (`:path`, `x-user`) and
    /// is asked only for what the host's rules need, once for each name, and once more where a permission has to
    /// hold for what a rule's edits make of the request.
    pub fn decide(
        &mut self,
        authority: &[u8],
        socket: impl FnOnce() -> Option<u16>,
        mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Decided<'_> {
        if self.installed == 0 || self.is_access_too_old {
            return self.not_ready();
        }
        let host = match self.table.host(authority, socket) {
            Ok(Some(host)) => host,
            Ok(None) => return Decision::Ordinary.into(),
            Err(unknown) => return Decision::UnknownListener(unknown).into(),
        };
        let effort = Effort::default();
        let mut asked = RequestView::new(authority, &effort, &mut read);
        let wanted = host.find(&mut asked);
        if effort.is_exhausted() {
            return Decision::Answer(431).into();
        }
        let Some(wanted) = wanted else {
            return match host.unmatched {
                Unmatched::Pass => Decision::Ordinary.into(),
                Unmatched::NotFound => Decision::Answer(404).into(),
            };
        };
        let Some(rule) = self.table.rules.get(wanted.rule) else {
            return Decision::Ordinary.into();
        };
        if let Some(called) = &rule.called
            && let Err(missing) = called.request(&mut asked)
        {
            return rule.says(Decision::Denied(missing));
        }
        if let Some(redirected) = &rule.redirect {
            return redirected.decided(rule, &mut asked, wanted.port);
        }
        let running = self.running.get_mut(wanted.rule);
        let (name, permit, edits) = match running.and_then(|running| running.pick(rule)) {
            Some(Destination::Cluster {
                name,
                permit,
                edits,
            }) => (name, permit, edits),
            Some(Destination::Redirect(redirected)) => {
                return redirected.decided(rule, &mut asked, wanted.port);
            }
            Some(Destination::Status(status)) => return rule.says(Decision::Answer(*status)),
            None => return rule.says(Decision::Ordinary),
        };
        let Some(edits) = edits else {
            let permitted = permit.as_ref().map(|permit| permit.request(&mut asked));
            return match permitted {
                Some(Err(missing)) => rule.says(Decision::Denied(missing)),
                Some(Ok(())) | None => rule.says(to_cluster(name, &host.ordinary_cluster)),
            };
        };
        let request = edits.request(&mut asked);
        if let Some(permit) = permit {
            // What the backend gets has to be permitted, not what the client asked for.
            let authority = value_after(&request, ":authority", Some(authority.to_vec()));
            let authority = authority.unwrap_or_default();
            let mut read = |name: &str| value_after(&request, name, read(name));
            let mut sent = RequestView::new(&authority, &effort, &mut read);
            if let Err(missing) = permit.request(&mut sent) {
                return rule.says(Decision::Denied(missing));
            }
        }
        Decided {
            request,
            response: edits.response.clone(),
            // The ordinary route of the request as it came may be none for what the edits make of it.
            ..rule.says(Decision::Cluster(name))
        }
    }

    /// Decides one new connection. `destination` is the IP address and port that the client wanted, as far
    /// as the proxy knows; a proxy that has been told its root or listener needs none.
    pub fn connect(&mut self, destination: Option<(&str, u16)>) -> Decided<'_> {
        if self.installed == 0 || self.is_access_too_old {
            return self.not_ready();
        }
        let Some(to) = self.table.connections.find(destination) else {
            return Decision::Ordinary.into();
        };
        let Some(rule) = self.table.rules.get(to.rule) else {
            return Decision::Ordinary.into();
        };
        if let Some(called) = &rule.called
            && let Err(missing) = called.connection()
        {
            return rule.says(Decision::Denied(missing));
        }
        let running = self.running.get_mut(to.rule);
        let decision = match running.and_then(|running| running.pick(rule)) {
            Some(Destination::Cluster { name, permit, .. }) => {
                match permit.as_ref().map(|permit| permit.connection()) {
                    Some(Err(missing)) => Decision::Denied(missing),
                    Some(Ok(())) | None => to_cluster(name, &to.ordinary_cluster),
                }
            }
            Some(Destination::Status(status)) => Decision::Answer(*status),
            // Compiling refuses redirects of connections.
            Some(Destination::Redirect(_)) | None => Decision::Ordinary,
        };
        rule.says(decision)
    }

    /// Decides whether a request may come in to the workload behind this proxy. `peer` is what
    /// [`crate::peer_identity`] says of the client's certificate, asked only where permissions count; `read` is as
    /// for [`Live::decide`].
    /// [`Decision::Ordinary`] lets the request in. [`Decision::Denied`] and [`Decision::Answer`] do not: the answer is
    /// 400 if servers read the path in different ways, and 503 before there is a configuration.
    pub fn admit(
        &self,
        peer: impl FnOnce() -> Option<String>,
        authority: &[u8],
        mut read: impl FnMut(&str) -> Option<Vec<u8>>,
    ) -> Decided<'_> {
        if self.installed == 0 || self.is_access_too_old {
            return self.not_ready();
        }
        // Where it does not suffice, nothing is granted.
        let effort = Effort::default();
        let mut asked = RequestView::new(authority, &effort, &mut read);
        // The workload may read another path than the one that the permissions are for.
        if has_dot_segment(asked.path()) {
            return Decision::Answer(400).into();
        }
        let Some(access) = &self.table.access else {
            return Decision::Ordinary.into();
        };
        admitted(access.admit(peer().as_deref(), &mut asked))
    }

    /// The same for a connection, once the handshake is done; `port` is where it came in.
    pub fn admit_connection(&self, peer: Option<&str>, port: u16) -> Decided<'_> {
        if self.installed == 0 || self.is_access_too_old {
            return self.not_ready();
        }
        match &self.table.access {
            Some(access) => admitted(access.admit_connection(peer, port)),
            None => Decision::Ordinary.into(),
        }
    }

    fn not_ready(&self) -> Decided<'static> {
        if self.is_access_too_old {
            let reason = "the control plane has not answered for longer than access_max_age";
            return Decision::Denied(reason.into()).into();
        }
        match self.until_configured {
            UntilConfigured::Pass => Decision::Ordinary,
            UntilConfigured::Unavailable => Decision::Answer(503),
            UntilConfigured::Denied => {
                let reason = "this proxy names a service account and has no configuration yet";
                Decision::Denied(reason.into())
            }
        }
        .into()
    }

    /// Hands over what was picked since the last call: rule, backend as `SERVICE.NAMESPACE:PORT` or a
    /// status, and how often (at least 1).
    pub fn take_picks(&mut self, mut each: impl FnMut(&str, &str, u64)) {
        for (rule, running) in self.table.rules.iter().zip(&mut self.running) {
            for (backend, picked) in rule.backends.iter().zip(&mut running.picked) {
                if *picked > 0 {
                    each(&rule.identity, &backend.label, *picked);
                    *picked = 0;
                }
            }
        }
    }

    pub fn table(&self) -> &Table {
        &self.table
    }
}

impl Running {
    fn pick<'t>(&mut self, rule: &'t Rule) -> Option<&'t Destination> {
        let pick = self.sampler.as_mut()?.pick();
        if let Some(picked) = self.picked.get_mut(pick) {
            *picked = picked.wrapping_add(1);
        }
        rule.backends.get(pick).map(|backend| &backend.to)
    }
}

impl Rule {
    fn says<'t>(&'t self, decision: Decision<'t>) -> Decided<'t> {
        Decided {
            rule: Some(&self.identity),
            ..decision.into()
        }
    }
}

impl Redirected {
    fn decided<'t>(
        &self,
        rule: &'t Rule,
        asked: &mut RequestView,
        port: Option<u16>,
    ) -> Decided<'t> {
        let edits = self.edits.as_ref();
        Decided {
            response: edits.and_then(|edits| edits.response.clone()),
            ..rule.says(self.redirect.decide(asked, port))
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

fn admitted(outcome: Result<(), String>) -> Decided<'static> {
    match outcome {
        Ok(()) => Decision::Ordinary.into(),
        Err(missing) => Decision::Denied(missing).into(),
    }
}

/// FNV-1a, 64 bit: a spread of identities over seeds that is the same on every build.
pub(crate) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
