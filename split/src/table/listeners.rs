//! Finds the host set for a host of a Gateway. The result may depend on the listener of the request.
//!
//! ```text
//! listeners, host sets -> for each port: hostname -> its listeners, its host set
//!                      -> for each socket of the proxy: hostname -> the outcome for the listeners of this socket
//!                      -> hostname -> one outcome, or one outcome for each socket
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::index::HostnameIndex;
use super::sets::{HostSets, SetPart, Socket, Sockets, Verdict};
use super::{Host, Match};
use crate::decision::UnknownListener;
use crate::matching::condition::Hostname;
use crate::matching::pattern::Patterns;
use crate::plugin::Site;
use crate::refusal::Refusal;
use crate::wire::{self, Unmatched};

/// The compiled hosts of a Gateway, for the listeners at which the requests of one proxy come in.
#[derive(Debug, Default)]
pub(crate) struct GatewayHosts {
    outcomes: HostnameIndex<HostOutcome>,
    /// The compiled host sets. [`Outcome::Host`] has an index into this list.
    hosts: Vec<Host>,
}

/// The outcome for the hosts of one hostname.
#[derive(Debug)]
enum HostOutcome {
    Everywhere(Outcome),
    /// One outcome for each port of the proxy's sockets.
    BySocket(BTreeMap<u16, Outcome>),
}

#[derive(Debug)]
enum Outcome {
    /// No host set has these hosts, so requests take their ordinary route.
    Pass,
    /// A host set has these hosts, but no match for the listeners of this proxy: the answer is 404.
    NotFound,
    Host(usize),
    /// The listeners with these names have different matches.
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
        let sets = HostSets::read(config)?;
        let mut compiler = HostCompiler {
            sets: &sets,
            rules,
            patterns,
            compiled: BTreeMap::new(),
            checked: BTreeSet::new(),
            hosts: Vec::new(),
        };
        let mut outcomes = HostnameIndex::default();
        let (sockets, keys) = sets.sockets(config, &site.listeners)?;
        for key in keys {
            let outcome = compiler.compile_hostname(&sockets, &key)?;
            outcomes.insert(&key, outcome);
        }
        compiler.check_unused()?;
        let hosts = compiler.hosts;
        Ok(GatewayHosts { outcomes, hosts })
    }

    /// Returns the host set of a request for `name`. Pass None if the Host header is not a hostname. `socket`
    /// returns the port of the proxy's socket at which the request came in. The function calls `socket` only if the
    /// outcome depends on the socket.
    pub(crate) fn find(
        &self,
        name: Option<&[u8]>,
        socket: impl FnOnce() -> Option<u16>,
    ) -> Result<Option<&Host>, UnknownListener<'_>> {
        let outcome = match self.outcomes.find(name) {
            None => return Ok(None),
            Some(HostOutcome::Everywhere(outcome)) => outcome,
            Some(HostOutcome::BySocket(by_port)) => {
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

    /// Returns the hostnames for which the proxy cannot know the listener of a request. The values are the names of the
    /// possible listeners. An empty hostname means every host.
    pub(crate) fn undecided(&self) -> BTreeMap<String, Vec<&str>> {
        let mut undecided: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (hostname, outcome) in self.outcomes.iter() {
            let outcomes = match outcome {
                HostOutcome::Everywhere(outcome) => vec![outcome],
                HostOutcome::BySocket(outcomes) => outcomes.values().collect(),
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

    /// Returns the hostnames whose outcome depends on the port of the socket.
    pub(crate) fn decided_by_socket(&self) -> BTreeSet<String> {
        let all = self.outcomes.iter();
        let by_socket = all.filter(|(_, outcome)| matches!(outcome, HostOutcome::BySocket(_)));
        by_socket.map(|(hostname, _)| hostname).collect()
    }
}

/// Compiles host sets, each part at most once.
struct HostCompiler<'a, 'c> {
    sets: &'a HostSets<'c>,
    rules: &'a BTreeMap<&'c str, usize>,
    patterns: &'a mut Patterns,
    compiled: BTreeMap<SetPart<'c>, usize>,
    /// The index of the set and the index of the match, for each compiled match.
    checked: BTreeSet<(usize, usize)>,
    hosts: Vec<Host>,
}

impl<'c> HostCompiler<'_, 'c> {
    fn compile_hostname(
        &mut self,
        sockets: &Sockets<'c>,
        key: &Option<Hostname>,
    ) -> Result<HostOutcome, Refusal> {
        let find = |socket: &Socket<'c>| self.sets.find(socket, key);
        let found: Vec<Verdict> = sockets.named.iter().map(find).collect();
        // Listeners that the plugin configuration does not name may have the host too. Their requests arrive at another
        // socket.
        let elsewhere = sockets.elsewhere.as_ref().map(find);
        let elsewhere = elsewhere.filter(|verdict| !matches!(verdict, Verdict::Pass));
        if let Some((first, others)) = found.split_first()
            && others
                .iter()
                .chain(&elsewhere)
                .all(|other| self.sets.are_alike(first, other))
        {
            return Ok(HostOutcome::Everywhere(self.outcome(first)?));
        }
        let mut by_port = BTreeMap::new();
        for (socket, found) in sockets.named.iter().zip(&found) {
            if let Some(port) = socket.port {
                by_port.insert(port, self.outcome(found)?);
            }
        }
        Ok(HostOutcome::BySocket(by_port))
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

    fn compile(&mut self, part: &SetPart<'c>) -> Result<Host, Refusal> {
        let mut matches = Vec::new();
        for (place, wire, port) in self.sets.matches(part) {
            let compiled = Match::compile(wire, self.rules, self.patterns, port);
            let within = |refusal| self.sets.within(part.set, place, refusal);
            matches.push(compiled.map_err(within)?);
            self.checked.insert((part.set, place));
        }
        Ok(Host::new(matches, self.sets.unmatched(part.set)))
    }

    /// Checks the matches that this proxy does not use, because other proxies with the same document use these matches.
    fn check_unused(&mut self) -> Result<(), Refusal> {
        for set in 0..self.sets.len() {
            let listeners = None;
            for (place, wire, port) in self.sets.matches(&SetPart { set, listeners }) {
                if self.checked.contains(&(set, place)) {
                    continue;
                }
                let compiled = Match::compile(wire, self.rules, self.patterns, port);
                compiled.map_err(|refusal| self.sets.within(set, place, refusal))?;
            }
        }
        Ok(())
    }
}
