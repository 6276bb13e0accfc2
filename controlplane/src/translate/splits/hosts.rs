//! Host sets of literal hosts: ports whose matches are the same are one set.

use std::collections::BTreeMap;

use weir_split::wire::{HostSet, Hosts, Literal, Match, Unmatched};

use super::claims::{HostClaim, HostPort};
use crate::plan::{Audience, PlannedSet};
use crate::world::Key;

#[derive(Default)]
pub struct HostSets {
    /// By namespace and host.
    hosts: BTreeMap<Key, BTreeMap<HostPort, Vec<Match>>>,
}

impl HostSets {
    pub fn add(&mut self, claim: HostClaim, matches: Vec<Match>) {
        let HostClaim {
            namespace,
            host,
            port,
        } = claim;
        let of_host = self.hosts.entry((namespace, host)).or_default();
        of_host.insert(port, matches);
    }

    pub fn finish(self) -> impl Iterator<Item = PlannedSet> {
        self.hosts
            .into_iter()
            .flat_map(|((namespace, host), mut ports)| {
                let absent = ports.remove(&HostPort::Absent);
                let other = ports.remove(&HostPort::Other);
                let audience = Audience::Namespace(namespace);
                sets(ports, absent, other)
                    .into_iter()
                    .map(move |(literal, matches)| PlannedSet {
                        audience: audience.clone(),
                        set: HostSet {
                            hosts: Hosts::Literal(Literal {
                                name: host.clone(),
                                ..literal
                            }),
                            matches,
                            unmatched: Unmatched::Pass,
                        },
                    })
            })
    }
}

/// Sets without the name of their host. Where two have the same port the first has it.
fn sets(
    ports: BTreeMap<HostPort, Vec<Match>>,
    mut absent: Option<Vec<Match>>,
    mut other: Option<Vec<Match>>,
) -> Vec<(Literal, Vec<Match>)> {
    let mut sets: Vec<(Literal, Vec<Match>)> = Vec::new();
    for (port, matches) in ports {
        let HostPort::Number(port) = port else {
            continue;
        };
        let is_of_every_port =
            |(literal, it): &(Literal, Vec<Match>)| literal.every_port && *it == matches;
        if sets.iter().any(is_of_every_port) {
            continue;
        }
        let literal = Literal {
            name: String::new(),
            port,
            default_port: absent.take_if(|it| *it == matches).is_some(),
            every_port: other.take_if(|it| *it == matches).is_some(),
        };
        sets.push((literal, matches));
    }
    // No number has their matches, so they stand behind one that is taken already.
    let Some(port) = sets.first().map(|(literal, _)| literal.port) else {
        return sets;
    };
    let literal = |default_port, every_port| Literal {
        name: String::new(),
        port,
        default_port,
        every_port,
    };
    match (absent, other) {
        (Some(absent), Some(other)) if absent == other => sets.push((literal(true, true), absent)),
        (absent, other) => {
            sets.extend(absent.map(|matches| (literal(true, false), matches)));
            sets.extend(other.map(|matches| (literal(false, true), matches)));
        }
    }
    sets
}
