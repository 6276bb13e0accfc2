//! The hosts of a Gateway: which host set decides for a host, and whether that depends on the listener.
//!
//! ```text
//! listeners, host sets -> for each port: hostname -> who owns it, what decides there
//!                 for each socket of the proxy: hostname -> the outcome by the listeners of that socket
//!                                               hostname -> one outcome, or one for each socket
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::index::Index;
use super::sets::{Part, Sets, Socket, Sockets, Verdict};
use super::{Host, Match};
use crate::decision::UnknownListener;
use crate::matching::condition::Hostname;
use crate::matching::pattern::Patterns;
use crate::plugin::Site;
use crate::refusal::Refusal;
use crate::wire::{self, Unmatched};

/// Compiled for the listeners by which the requests of one proxy come in.
#[derive(Debug, Default)]
pub(crate) struct GatewayHosts {
    outcomes: Index<Decides>,
    /// [`Outcome::Host`] points into it.
    hosts: Vec<Host>,
}

/// What decides for the hosts of one hostname.
#[derive(Debug)]
enum Decides {
    Everywhere(Outcome),
    /// By the port of the proxy's socket.
    BySocket(BTreeMap<u16, Outcome>),
}

#[derive(Debug)]
enum Outcome {
    /// These hosts belong to no listener with routes.
    Pass,
    /// These hosts belong to another listener, or to one without routes.
    NotFound,
    Host(usize),
    Unknown(Box<[Box<str>]>),
}

static NOT_FOUND: Host = Host {
    matches: Vec::new(),
    parameters: BTreeSet::new(),
    unmatched: Unmatched::NotFound,
    ordinary_cluster: None,
};

impl GatewayHosts {
    pub(crate) fn compile(
        config: &wire::Config,
        rules: &BTreeMap<&str, usize>,
        patterns: &mut Patterns,
        site: &Site,
    ) -> Result<GatewayHosts, Refusal> {
        let sets = Sets::read(config)?;
        let mut hosts = Hosts {
            sets: &sets,
            rules,
            patterns,
            compiled: BTreeMap::new(),
            checked: BTreeSet::new(),
            hosts: Vec::new(),
        };
        let mut outcomes = Index::default();
        let (sockets, keys) = sets.sockets(config, &site.listeners)?;
        for key in keys {
            let decides = hosts.decides(&sockets, &key)?;
            outcomes.insert(&key, decides);
        }
        hosts.check_unused()?;
        let hosts = hosts.hosts;
        Ok(GatewayHosts { outcomes, hosts })
    }

    /// The host set of a request for `name`; None is a name that cannot be a host. `socket` is the port at which
    /// it came in, asked only where it matters.
    pub(crate) fn find(
        &self,
        name: Option<&[u8]>,
        socket: impl FnOnce() -> Option<u16>,
    ) -> Result<Option<&Host>, UnknownListener<'_>> {
        let outcome = match self.outcomes.find(name) {
            None => return Ok(None),
            Some(Decides::Everywhere(outcome)) => outcome,
            Some(Decides::BySocket(by_port)) => {
                let port = socket();
                let outcome = port.and_then(|port| by_port.get(&port));
                outcome.ok_or(UnknownListener::Socket(port))?
            }
        };
        match outcome {
            Outcome::Pass => Ok(None),
            Outcome::NotFound => Ok(Some(&NOT_FOUND)),
            Outcome::Host(index) => Ok(self.hosts.get(*index)),
            Outcome::Unknown(names) => Err(UnknownListener::Several(names)),
        }
    }

    /// Hostnames whose requests may belong to several listeners, and these. The hostname of every host is empty.
    pub(crate) fn undecided(&self) -> BTreeMap<String, Vec<&str>> {
        let mut undecided: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (hostname, decides) in self.outcomes.iter() {
            let outcomes = match decides {
                Decides::Everywhere(outcome) => vec![outcome],
                Decides::BySocket(outcomes) => outcomes.values().collect(),
            };
            for outcome in outcomes {
                if let Outcome::Unknown(names) = outcome {
                    let names = names.iter().map(AsRef::as_ref);
                    undecided.entry(hostname.clone()).or_default().extend(names);
                }
            }
        }
        undecided
    }

    /// Hostnames for which the port of the socket matters.
    pub(crate) fn decided_by_socket(&self) -> BTreeSet<String> {
        let all = self.outcomes.iter();
        let by_socket = all.filter(|(_, decides)| matches!(decides, Decides::BySocket(_)));
        by_socket.map(|(hostname, _)| hostname).collect()
    }
}

/// Compiles what is found, each part once.
struct Hosts<'a, 'c> {
    sets: &'a Sets<'c>,
    rules: &'a BTreeMap<&'c str, usize>,
    patterns: &'a mut Patterns,
    compiled: BTreeMap<Part<'c>, usize>,
    /// Sets and places of matches.
    checked: BTreeSet<(usize, usize)>,
    hosts: Vec<Host>,
}

impl<'c> Hosts<'_, 'c> {
    fn decides(
        &mut self,
        sockets: &Sockets<'c>,
        key: &Option<Hostname>,
    ) -> Result<Decides, Refusal> {
        let find = |socket: &Socket<'c>| self.sets.find(socket, key);
        let found: Vec<Verdict> = sockets.named.iter().map(find).collect();
        // Listeners that no socket is named for have the host as well: a request may come in by a socket of theirs.
        let elsewhere = sockets.elsewhere.as_ref().map(find);
        let elsewhere = elsewhere.filter(|verdict| !matches!(verdict, Verdict::Pass));
        if let Some((first, others)) = found.split_first()
            && others
                .iter()
                .chain(&elsewhere)
                .all(|other| self.sets.are_alike(first, other))
        {
            return Ok(Decides::Everywhere(self.outcome(first)?));
        }
        let mut by_port = BTreeMap::new();
        for (socket, found) in sockets.named.iter().zip(&found) {
            if let Some(port) = socket.port {
                by_port.insert(port, self.outcome(found)?);
            }
        }
        Ok(Decides::BySocket(by_port))
    }

    fn outcome(&mut self, found: &Verdict<'c>) -> Result<Outcome, Refusal> {
        Ok(match found {
            Verdict::Pass => Outcome::Pass,
            Verdict::NotFound => Outcome::NotFound,
            Verdict::Unknown(names) => {
                Outcome::Unknown(names.iter().map(|name| (*name).into()).collect())
            }
            Verdict::Part(part) => match self.compiled.get(part) {
                Some(index) => Outcome::Host(*index),
                None => {
                    let host = self.compile(part)?;
                    let index = self.hosts.len();
                    self.hosts.push(host);
                    self.compiled.insert(part.clone(), index);
                    Outcome::Host(index)
                }
            },
        })
    }

    fn compile(&mut self, part: &Part<'c>) -> Result<Host, Refusal> {
        let mut matches = Vec::new();
        for (place, wire, port) in self.sets.matches(part) {
            let of_match = Match::compile(wire, self.rules, self.patterns, port);
            let within = |refusal| self.sets.within(part.set, place, refusal);
            matches.push(of_match.map_err(within)?);
            self.checked.insert((part.set, place));
        }
        Ok(Host::new(matches, self.sets.unmatched(part.set)))
    }

    /// What no request of this proxy leads to has to be right as well: another proxy has the same document.
    fn check_unused(&mut self) -> Result<(), Refusal> {
        for set in 0..self.sets.len() {
            let listeners = None;
            for (place, wire, port) in self.sets.matches(&Part { set, listeners }) {
                if self.checked.contains(&(set, place)) {
                    continue;
                }
                let of_match = Match::compile(wire, self.rules, self.patterns, port);
                of_match.map_err(|refusal| self.sets.within(set, place, refusal))?;
            }
        }
        Ok(())
    }
}
