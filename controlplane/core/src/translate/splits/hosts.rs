//! Builds the host sets (hosts with their matches) of literal hosts, which are hosts that are not Services. Ports with
//! the same matches are in one set.
//!
//! A split of a literal host applies to clients in the namespace of the split, and to proxies at the edge. Proxies at
//! the edge get the splits of all namespaces. If several namespaces have splits for the same port of a host, proxies at
//! the edge use only the splits of the namespace with the oldest split.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use weir_split::wire::{HostSet, Hosts, Literal, Match, Unmatched};

use super::claims::{HostClaim, HostPort};
use crate::plan::{Audience, PlannedSet};

#[derive(Default)]
pub struct HostSets {
    /// The ports of each host, by host and then by namespace of the splits.
    hosts: BTreeMap<String, BTreeMap<String, Ports>>,
}

type Ports = BTreeMap<HostPort, PortMatches>;

/// The splits that get requests at one port of a host in one namespace, and their matches.
struct PortMatches {
    /// Indexes of the splits. An older split has a lower index.
    splits: Rc<[usize]>,
    matches: SharedMatches,
}

/// Matches that several ports share in memory. For example, namespace `a` has a split for every port of a host, and
/// namespace `b` has younger splits for many ports of this host. At the edge, all these ports share the matches of `a`.
type SharedMatches = Rc<[Match]>;

/// The ports for which proxies at the edge do not use some splits. The key has the indexes of these splits, and the
/// index of the split that gets the requests at the edge.
pub type LostAtEdge = BTreeMap<(Rc<[usize]>, usize), Vec<HostClaim>>;

impl HostSets {
    /// Adds the matches for one port of a host. `splits` has the indexes of the splits that get requests there.
    pub fn add(&mut self, claim: HostClaim, splits: Vec<usize>, matches: Vec<Match>) {
        let HostClaim {
            namespace,
            host,
            port,
        } = claim;
        let namespaces = self.hosts.entry(host).or_default();
        let ports = namespaces.entry(namespace).or_default();
        let (splits, matches) = (splits.into(), matches.into());
        ports.insert(port, PortMatches { splits, matches });
    }

    /// Returns the host sets, and the ports that splits do not get at the edge.
    pub fn finish(self) -> (Vec<PlannedSet>, LostAtEdge) {
        let mut sets = Vec::new();
        let mut lost = LostAtEdge::new();
        for (host, namespaces) in self.hosts {
            if namespaces.len() > 1 {
                let ports = at_edge(&host, &namespaces, &mut lost);
                sets.extend(planned(&host, &Audience::Edge, ports));
                for (namespace, ports) in namespaces {
                    sets.extend(planned(&host, &Audience::Namespace(namespace), own(ports)));
                }
            } else {
                for (namespace, ports) in namespaces {
                    let audience = Audience::NamespaceAndEdge(namespace);
                    sets.extend(planned(&host, &audience, own(ports)));
                }
            }
        }
        (sets, lost)
    }
}

fn own(ports: Ports) -> BTreeMap<HostPort, SharedMatches> {
    let matches = ports.into_iter().map(|(port, it)| (port, it.matches));
    matches.collect()
}

/// Returns the matches at each port of a host for proxies at the edge, if several namespaces have splits of the host.
/// Each port has the matches of the namespace with the oldest split. Adds the splits of other namespaces to `lost`.
fn at_edge(
    host: &str,
    namespaces: &BTreeMap<String, Ports>,
    lost: &mut LostAtEdge,
) -> BTreeMap<HostPort, SharedMatches> {
    let all_ports: BTreeSet<HostPort> = namespaces
        .values()
        .flat_map(BTreeMap::keys)
        .copied()
        .collect();
    let mut edge = BTreeMap::new();
    for port in all_ports {
        let claims = namespaces
            .iter()
            .filter_map(|(namespace, ports)| Some((namespace, matches_at(ports, port)?)));
        let mut claims: Vec<(&String, &PortMatches)> = claims.collect();
        claims.sort_by_key(|(_, it)| it.oldest());
        let Some(((_, first), others)) = claims.split_first() else {
            continue;
        };
        let Some(winner) = first.oldest() else {
            continue;
        };
        edge.insert(port, first.matches.clone());
        for (namespace, other) in others {
            let claims = lost.entry((other.splits.clone(), winner)).or_default();
            claims.push(HostClaim {
                namespace: (*namespace).clone(),
                host: host.to_owned(),
                port,
            });
        }
    }
    edge
}

/// Returns the matches at a port. If no split of the namespace has this port number, returns the matches for every
/// other port.
fn matches_at(ports: &Ports, port: HostPort) -> Option<&PortMatches> {
    let every = || match port {
        HostPort::Number(_) => ports.get(&HostPort::Other),
        HostPort::Absent | HostPort::Other => None,
    };
    ports.get(&port).or_else(every)
}

impl PortMatches {
    fn oldest(&self) -> Option<usize> {
        self.splits.iter().min().copied()
    }
}

fn planned(
    host: &str,
    audience: &Audience,
    mut ports: BTreeMap<HostPort, SharedMatches>,
) -> Vec<PlannedSet> {
    let absent = ports.remove(&HostPort::Absent);
    let other = ports.remove(&HostPort::Other);
    let sets = sets(ports, absent, other).into_iter();
    let sets = sets.map(|(literal, matches)| PlannedSet {
        audience: audience.clone(),
        set: HostSet {
            hosts: Hosts::Literal(Literal {
                name: host.to_owned(),
                ..literal
            }),
            matches: matches.to_vec(),
            unmatched: Unmatched::Pass,
        },
    });
    sets.collect()
}

fn are_same(one: &SharedMatches, other: &SharedMatches) -> bool {
    Rc::ptr_eq(one, other) || one == other
}

/// Returns the sets; the name of the host is still empty. If two sets have the same port, the first set gets the
/// requests.
fn sets(
    ports: BTreeMap<HostPort, SharedMatches>,
    mut absent: Option<SharedMatches>,
    mut other: Option<SharedMatches>,
) -> Vec<(Literal, SharedMatches)> {
    let mut sets: Vec<(Literal, SharedMatches)> = Vec::new();
    for (port, matches) in ports {
        let HostPort::Number(port) = port else {
            continue;
        };
        let is_of_every_port =
            |(literal, it): &(Literal, SharedMatches)| literal.every_port && are_same(it, &matches);
        if sets.iter().any(is_of_every_port) {
            continue;
        }
        let literal = Literal {
            name: String::new(),
            port,
            default_port: absent.take_if(|it| are_same(it, &matches)).is_some(),
            every_port: other.take_if(|it| are_same(it, &matches)).is_some(),
        };
        sets.push((literal, matches));
    }
    // The remaining matches belong to no port number, but a set must have a port number. So their sets use the port
    // number of an earlier set.
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
        (Some(absent), Some(other)) if are_same(&absent, &other) => {
            sets.push((literal(true, true), absent))
        }
        (absent, other) => {
            sets.extend(absent.map(|matches| (literal(true, false), matches)));
            sets.extend(other.map(|matches| (literal(false, true), matches)));
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(namespace: &str, port: HostPort) -> HostClaim {
        HostClaim {
            namespace: namespace.into(),
            host: "www.example.com".into(),
            port,
        }
    }

    /// Namespace a has splits for every port of the host. Namespace b has younger splits for 1,000 ports.
    #[test]
    fn many_ports_share_the_matches() {
        let of = |rule: &str, count| {
            vec![
                Match {
                    rule: rule.into(),
                    ..Match::default()
                };
                count
            ]
        };
        let mut hosts = HostSets::default();
        hosts.add(claim("a", HostPort::Other), vec![0, 1], of("a", 100));
        for port in 1..=1_000 {
            let claim = claim("b", HostPort::Number(port));
            hosts.add(claim, (2..100).collect(), of("b", 1));
        }
        let namespaces = hosts.hosts.get("www.example.com").unwrap();
        let every = &namespaces["a"][&HostPort::Other];
        let mut lost = LostAtEdge::new();
        let ports = at_edge("www.example.com", namespaces, &mut lost);
        assert_eq!(ports.len(), 1_001);
        assert!(ports.values().all(|it| Rc::ptr_eq(it, &every.matches)));
        // All splits of b lose the same ports, so there is one entry.
        assert_eq!(lost.len(), 1);
        assert_eq!(lost.values().map(Vec::len).sum::<usize>(), 1_000);
        let (sets, _) = hosts.finish();
        let edge = sets.iter().filter(|it| it.audience == Audience::Edge);
        assert_eq!(
            edge.map(|it| it.set.matches.len()).collect::<Vec<_>>(),
            [100]
        );
    }
}
