//! The host sets of a Gateway in the configuration, and the parts of these sets that each socket of the proxy needs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::index::HostnameIndex;
use crate::matching::condition::Hostname;
use crate::plugin::Listeners;
use crate::refusal::{Refusal, refuse};
use crate::wire::{self, Unmatched};

/// Names of listeners. None means all listeners.
pub(crate) type Names<'c> = Option<BTreeSet<&'c str>>;

fn intersect<'c>(a: &Names<'c>, b: &Names<'c>) -> Names<'c> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.intersection(b).copied().collect()),
        (Some(some), None) | (None, Some(some)) => Some(some.clone()),
        (None, None) => None,
    }
}

/// The host sets of the Gateway.
pub(crate) struct HostSets<'c> {
    sets: Vec<GatewaySet<'c>>,
    rules: &'c BTreeMap<String, wire::Rule>,
}

pub(crate) struct GatewaySet<'c> {
    /// Index in [`wire::Config::hosts`].
    pub(crate) place: usize,
    wire: &'c wire::HostSet,
    gateway: &'c wire::Gateway,
    hostname: Option<Hostname>,
}

/// A part of a host set: only the matches of some of its listeners.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetPart<'c> {
    /// Index into [`HostSets::sets`].
    pub(crate) set: usize,
    pub(crate) listeners: Names<'c>,
}

/// The hosts at one port of the Gateway.
#[derive(Default)]
struct Port<'c> {
    /// For each hostname, the listeners that the requests belong to.
    owners: HostnameIndex<Names<'c>>,
    /// Indexes into [`HostSets::sets`].
    sets: HostnameIndex<usize>,
}

/// A socket of the proxy, and the listeners whose requests arrive at this socket.
pub(crate) struct Socket<'c> {
    /// The port of the socket. None means all sockets of the proxy.
    pub(crate) port: Option<u16>,
    listeners: Names<'c>,
    /// The ports of the Gateway that these listeners have.
    ports: Vec<Rc<Port<'c>>>,
}

/// The sockets that the plugin configuration names.
pub(crate) struct Sockets<'c> {
    pub(crate) named: Vec<Socket<'c>>,
    /// All other sockets of the proxy, with the listeners of the ports that the plugin configuration does not name.
    /// None if there are no such listeners, or if the plugin configuration names no sockets.
    pub(crate) elsewhere: Option<Socket<'c>>,
}

/// The result for a host at a socket, before its matches are compiled.
pub(crate) enum Verdict<'c> {
    Pass,
    NotFound,
    Part(SetPart<'c>),
    Unknown(BTreeSet<&'c str>),
}

pub(crate) type Hostnames = BTreeSet<Option<Hostname>>;

impl<'c> HostSets<'c> {
    pub(crate) fn read(config: &'c wire::Config) -> Result<HostSets<'c>, Refusal> {
        let mut sets = Vec::new();
        for (place, wire) in config.hosts.iter().enumerate() {
            let wire::Hosts::Gateway(gateway) = &wire.hosts else {
                continue;
            };
            let within = |refusal: Refusal| refusal.within(format_args!("hosts[{place}]"));
            let hostname = parse("hosts.gateway.hostname", &gateway.hostname).map_err(within)?;
            let is_listener = |(name, port): (&String, &u16)| {
                let listener = config.listeners.get(name);
                listener.is_some_and(|listener| listener.port == *port)
            };
            let ports = &gateway.ports;
            if ports.is_empty() || !ports.iter().all(is_listener) {
                let reason = "must have only listeners of the Gateway, each with its port";
                return refuse("hosts.gateway.ports", reason).map_err(within);
            }
            sets.push(GatewaySet {
                place,
                wire,
                gateway,
                hostname,
            });
        }
        let rules = &config.rules;
        Ok(HostSets { sets, rules })
    }

    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(crate) fn unmatched(&self, set: usize) -> Unmatched {
        let set = self.sets.get(set);
        set.map_or(Unmatched::Pass, |set| set.wire.unmatched)
    }

    /// Puts the place of the host set and of the match in front of the path of a refusal.
    pub(crate) fn within(&self, set: usize, place: usize, refusal: Refusal) -> Refusal {
        let refusal = refusal.within(format_args!("matches[{place}]"));
        let set = self.sets.get(set).map_or(0, |set| set.place);
        refusal.within(format_args!("hosts[{set}]"))
    }

    /// Returns the sockets of the proxy, and the hostnames of all host sets and listeners.
    pub(crate) fn sockets(
        &self,
        config: &'c wire::Config,
        listeners: &'c Listeners,
    ) -> Result<(Sockets<'c>, Hostnames), Refusal> {
        let named: Vec<(Option<u16>, Names)> = match listeners {
            Listeners::Any => vec![(None, None)],
            Listeners::One(name) => vec![(None, Some([name.as_str()].into()))],
            Listeners::BySocket(sockets) => {
                let names = |names: &'c BTreeSet<String>| names.iter().map(String::as_str);
                let sockets = sockets.iter();
                sockets
                    .map(|(port, all)| (Some(*port), Some(names(all).collect())))
                    .collect()
            }
        };
        let mut hostnames: Hostnames = self.sets.iter().map(|set| set.hostname.clone()).collect();
        let mut ports = BTreeMap::new();
        if !config.listeners.is_empty() {
            let by_hostname = listeners_by_hostname(config)?;
            hostnames.extend(by_hostname.keys().map(|(_, hostname)| hostname.clone()));
            ports = self.ports(by_hostname);
        }
        let socket = |(port, listeners): (Option<u16>, Names<'c>)| {
            let own = config
                .listeners
                .iter()
                .filter(|(name, _)| has(&listeners, name));
            let numbers: BTreeSet<u16> = own.map(|(_, listener)| listener.port).collect();
            let ports = numbers.iter().filter_map(|port| ports.get(port));
            let ports = ports.cloned().collect();
            Socket {
                port,
                listeners,
                ports,
            }
        };
        let unnamed: BTreeSet<&str> = match listeners {
            Listeners::Any | Listeners::One(_) => BTreeSet::new(),
            Listeners::BySocket(_) => {
                let all = config.listeners.iter();
                let named = all.clone().filter(|(name, _)| listeners.may_be(name));
                // Listeners of one port share a socket.
                let ports: BTreeSet<u16> = named.map(|(_, listener)| listener.port).collect();
                all.filter(|(_, listener)| !ports.contains(&listener.port))
                    .map(|(name, _)| name.as_str())
                    .collect()
            }
        };
        let elsewhere = (!unnamed.is_empty()).then(|| socket((None, Some(unnamed))));
        let named = named.into_iter().map(socket).collect();
        Ok((Sockets { named, elsewhere }, hostnames))
    }

    /// Returns each port of the Gateway with its hosts.
    fn ports(&self, by_hostname: ListenersByHostname<'c>) -> BTreeMap<u16, Rc<Port<'c>>> {
        let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
        for ((number, hostname), names) in by_hostname {
            let port = ports.entry(number).or_default();
            port.owners.insert(&hostname, Some(names));
        }
        for (index, set) in self.sets.iter().enumerate() {
            let numbers: BTreeSet<u16> = set.gateway.ports.values().copied().collect();
            for number in numbers {
                let port = ports.entry(number).or_default();
                port.sets.insert(&set.hostname, index);
            }
        }
        let ports = ports.into_iter();
        ports.map(|(number, port)| (number, port.into())).collect()
    }

    pub(crate) fn find(&self, socket: &Socket<'c>, key: &Option<Hostname>) -> Verdict<'c> {
        let mut found: Option<Verdict> = None;
        let mut has_other_owner = false;
        let mut names = BTreeSet::new();
        let mut is_unknown = false;
        for port in &socket.ports {
            // If no listener of this port has the host, requests for the host arrive at another port.
            let Some(owners) = port.owners.covering(key) else {
                continue;
            };
            let set = port.sets.covering(key);
            let own = intersect(owners, &socket.listeners);
            if own.as_ref().is_some_and(BTreeSet::is_empty) {
                has_other_owner |= set.is_some();
                continue;
            }
            names.extend(own.iter().flatten());
            let here = self.verdict(set, own);
            match &found {
                None => found = Some(here),
                Some(other) => is_unknown |= !self.are_alike(other, &here),
            }
        }
        match found {
            Some(_) if is_unknown => Verdict::Unknown(names),
            Some(found) => found,
            None if has_other_owner => Verdict::NotFound,
            None => Verdict::Pass,
        }
    }

    fn verdict(&self, set: Option<&usize>, listeners: Names<'c>) -> Verdict<'c> {
        let Some(set) = set else {
            return Verdict::Pass;
        };
        let part = SetPart {
            set: *set,
            listeners,
        };
        if self.matches(&part).next().is_some() {
            return Verdict::Part(part);
        }
        match self.unmatched(*set) {
            Unmatched::NotFound => Verdict::NotFound,
            Unmatched::Pass => Verdict::Pass,
        }
    }

    /// Returns each match of a part, with its index and with the port for redirects.
    pub(crate) fn matches<'s>(
        &'s self,
        part: &'s SetPart<'c>,
    ) -> impl Iterator<Item = (usize, &'c wire::Match, Option<u16>)> + 's {
        let sets = self.sets.get(part.set).into_iter();
        sets.flat_map(move |set| {
            let matches = set.wire.matches.iter().enumerate();
            let matches = matches.filter(|(_, wire)| applies_to(wire, &part.listeners));
            matches.map(|(place, wire)| (place, wire, port(set.gateway, wire, part)))
        })
    }

    /// True if both verdicts have the same effect on every request.
    pub(crate) fn are_alike(&self, a: &Verdict<'c>, b: &Verdict<'c>) -> bool {
        match (a, b) {
            (Verdict::Pass, Verdict::Pass) | (Verdict::NotFound, Verdict::NotFound) => true,
            (Verdict::Part(a), Verdict::Part(b)) => {
                let (mut of_a, mut of_b) = (self.matches(a), self.matches(b));
                loop {
                    match (of_a.next(), of_b.next()) {
                        (None, None) => return self.unmatched(a.set) == self.unmatched(b.set),
                        (Some((_, a, port)), Some((_, b, other)))
                            if is_same(a, b) && (port == other || !self.names_port(a)) =>
                        {
                            // No request reaches the next match.
                            if fits_everything(a) {
                                return true;
                            }
                        }
                        _ => return false,
                    }
                }
            }
            _ => false,
        }
    }

    /// True if the rule of this match redirects to the port of the listener.
    fn names_port(&self, wire: &wire::Match) -> bool {
        let rule = self.rules.get(&wire.rule);
        rule.is_some_and(wire::Rule::redirects_to_listener)
    }
}

fn parse(path: &str, hostname: &Option<String>) -> Result<Option<Hostname>, Refusal> {
    match hostname {
        None => Ok(None),
        Some(text) => match Hostname::parse(text) {
            None => refuse(path, format!("{text:?}")),
            hostname => Ok(hostname),
        },
    }
}

/// Names of listeners by port and hostname. Listeners with the same port and hostname get the same requests.
type ListenersByHostname<'c> = BTreeMap<(u16, Option<Hostname>), BTreeSet<&'c str>>;

fn listeners_by_hostname(config: &wire::Config) -> Result<ListenersByHostname<'_>, Refusal> {
    let mut by_hostname = ListenersByHostname::new();
    for (name, listener) in &config.listeners {
        let hostname = parse("hostname", &listener.hostname)
            .map_err(|refusal| refusal.within(format_args!("listeners[{name:?}]")))?;
        let names = by_hostname.entry((listener.port, hostname)).or_default();
        names.insert(name);
    }
    Ok(by_hostname)
}

fn has(names: &Names, name: &str) -> bool {
    names.as_ref().is_none_or(|names| names.contains(name))
}

fn applies_to(wire: &wire::Match, listeners: &Names) -> bool {
    let own = &wire.listeners;
    own.is_empty() || own.iter().any(|name| has(listeners, name))
}

/// True if both matches have the same conditions and the same rule. Their listeners may differ.
fn is_same(a: &wire::Match, b: &wire::Match) -> bool {
    let wire::Match {
        path,
        method,
        headers,
        query,
        hostnames,
        listeners: _,
        rule,
    } = a;
    (rule, path, method) == (&b.rule, &b.path, &b.method)
        && (headers, query, hostnames) == (&b.headers, &b.query, &b.hostnames)
}

fn fits_everything(wire: &wire::Match) -> bool {
    let wire::Match {
        path,
        method,
        headers,
        query,
        hostnames,
        listeners: _,
        rule: _,
    } = wire;
    let is_any = |path: &wire::PathMatch| matches!(path, wire::PathMatch::Prefix(it) if it == "/");
    path.as_ref().is_none_or(is_any)
        && method.is_none()
        && (headers.is_empty() && query.is_empty() && hostnames.is_empty())
}

/// Returns the port of the Gateway that gets the requests of this match; None if its listeners have different ports.
fn port(gateway: &wire::Gateway, wire: &wire::Match, part: &SetPart) -> Option<u16> {
    let is_own = |name: &String| {
        has(&part.listeners, name) && (wire.listeners.is_empty() || wire.listeners.contains(name))
    };
    let ports = gateway.ports.iter().filter(|(name, _)| is_own(name));
    let mut ports = ports.map(|(_, port)| *port);
    let first = ports.next()?;
    ports.all(|port| port == first).then_some(first)
}
