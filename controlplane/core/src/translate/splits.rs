//! Translates TrafficSplits to host sets (hosts with their matches), connections and rules.
//!
//! The root of a split is the Service or host that clients call. A claim is a port of the root. If several splits have
//! the same claim, the deciding splits are the splits that get requests there.
//!
//! ```text
//! split -> resolved names -> claims --the deciding splits--> host sets, connections
//! ```
//!
//! A request that fits no match of a split goes to the root.

mod claims;
mod conditions;
mod hosts;
mod resolved;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Connections, Destination, HostSet, Hosts, Match, Rule, Unmatched};

use self::claims::{Claims, DecidingMatch, HostClaim, NewClaim, SplitClaim};
use self::conditions::Expanded;
use self::hosts::LostAtEdge;
use self::resolved::{ResolvedRoot, ResolvedSplit};
use super::ServicePort;
use crate::api::service::Service;
use crate::api::smi::service_name::Host;
use crate::manifest::problem::messages::{list, split as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::translate::precedence::Seniority;
use crate::world::{Key, World};

#[derive(Default)]
pub struct Splits {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
}

/// Translates all splits. Splits get no requests at `ports_with_routes`, because routes get the requests at these
/// ports.
pub fn translate(
    world: &World,
    ports_with_routes: &BTreeMap<ServicePort, ObjectRef>,
    problems: &mut BTreeSet<Problem>,
) -> Splits {
    let mut splits: Vec<_> = world.splits.iter().collect();
    splits.sort_by_cached_key(|split| Seniority::new(&split.object, split.created));
    let mut resolved: Vec<ResolvedSplit> = Vec::new();
    let mut expanded = Expanded::new();
    for split in splits {
        resolved.extend(ResolvedSplit::new(world, split, &mut expanded, problems));
    }
    drop(expanded);

    let host_ports = host_ports(&resolved, problems);
    let mut claims = Claims::new(&resolved);
    for (index, split) in resolved.iter().enumerate() {
        let new_claims = match split.root {
            ResolvedRoot::Service(service) => split.claims_of_service(service, problems),
            ResolvedRoot::Host(host) => host_ports.claims(index, split, host),
        };
        for claim in new_claims {
            let holder = match &claim.claim {
                SplitClaim::Service(at) => ports_with_routes.get(at),
                SplitClaim::Host(_) => None,
            };
            claims.add(index, claim, holder);
        }
    }

    let mut splits = Splits::default();
    let mut hosts = hosts::HostSets::default();
    for (claim, deciding) in claims.decide() {
        match claim {
            SplitClaim::Service(at) => {
                splits.add_service(world, &at, &resolved, deciding, problems)
            }
            SplitClaim::Host(claim) => {
                let deciders = deciding.iter().map(|it| it.split).collect();
                let matches = splits.add_rules(&resolved, deciding, problems);
                hosts.add(claim, deciders, matches);
            }
        }
    }
    let (sets, lost_at_edge) = hosts.finish();
    splits.sets.extend(sets);
    problems.extend(claims.problems());
    problems.extend(edge_conflicts(&resolved, &lost_at_edge));
    for (index, split) in resolved.iter().enumerate() {
        if let ResolvedRoot::Host(host) = split.root
            && host_ports.own.contains_key(&index)
            && !claims.has_lost_all(index)
        {
            problems.extend(split.limits(world, host));
        }
    }
    splits
}

/// Returns a problem for each split that loses some ports at the edge. Proxies at the edge use an older split of
/// another namespace for these ports.
fn edge_conflicts(resolved: &[ResolvedSplit], lost: &LostAtEdge) -> Vec<Problem> {
    let mut claims: BTreeMap<(usize, usize), Vec<&[HostClaim]>> = BTreeMap::new();
    for ((splits, winner), lost) in lost {
        for split in splits.iter() {
            claims.entry((*split, *winner)).or_default().push(lost);
        }
    }
    let conflict = |((split, winner), claims): ((usize, usize), Vec<&[HostClaim]>)| {
        let own = &resolved.get(split)?.split.object;
        let winner = &resolved.get(winner)?.split.object;
        let claims: BTreeSet<&HostClaim> = claims.into_iter().flatten().collect();
        let message = messages::split_edge_conflict(winner, list(claims), &own.namespace);
        Some(own.problem("spec.service", message))
    };
    claims.into_iter().filter_map(conflict).collect()
}

/// The ports of splits of literal hosts (hosts that are not Services).
#[derive(Default)]
struct HostPorts {
    /// The ports of each split, by index of the split.
    own: BTreeMap<usize, BTreeSet<u16>>,
    /// The ports of all splits, by namespace and host.
    all: BTreeMap<Key, BTreeSet<u16>>,
}

fn host_ports(resolved: &[ResolvedSplit], problems: &mut BTreeSet<Problem>) -> HostPorts {
    let mut ports = HostPorts::default();
    for (index, split) in resolved.iter().enumerate() {
        let ResolvedRoot::Host(host) = split.root else {
            continue;
        };
        let own = split.host_ports(host, problems);
        if own.is_empty() {
            continue;
        }
        let all = ports.all.entry(split.key(host)).or_default();
        all.extend(&own);
        ports.own.insert(index, own);
    }
    ports
}

impl HostPorts {
    fn claims(&self, index: usize, split: &ResolvedSplit, host: &Host) -> Vec<NewClaim> {
        match (self.own.get(&index), self.all.get(&split.key(host))) {
            (Some(own), Some(all)) => claims::of_host(split, host, own, all),
            _ => Vec::new(),
        }
    }
}

impl<'w> ResolvedSplit<'w> {
    fn claims_of_service(
        &self,
        service: &'w Service,
        problems: &mut BTreeSet<Problem>,
    ) -> Vec<NewClaim> {
        let ports = self.service_ports(service, problems);
        let claim = |port: u16| NewClaim {
            claim: SplitClaim::Service(ServicePort::of(service, port)),
            port,
        };
        ports.into_iter().map(|it| claim(it.number)).collect()
    }

    fn key(&self, host: &Host) -> Key {
        (self.split.object.namespace.clone(), host.name.clone())
    }

    /// Returns problems without an effect on traffic. They explain to which requests a split of a literal host applies.
    fn limits(&self, world: &World, host: &Host) -> Vec<Problem> {
        let object = &self.split.object;
        let own = object.namespace.as_str();
        let own_service = host
            .service
            .as_ref()
            .filter(|(name, _)| !host.is_complete && world.service(own, name).is_some());
        let audience = match own_service {
            Some((name, namespace)) => {
                messages::split_root_of_own_namespace(&host.name, name, own, namespace)
            }
            None => messages::split_of_a_host(&host.name, own),
        };
        let mut problems = vec![object.problem("spec.service", audience)];
        if self.split.root.port.is_none() && self.default_host_port().is_none() {
            let ports = list(self.common_ports());
            let message = messages::split_host_port_unclear(&host.name, ports);
            problems.push(object.problem("spec.service", message));
        }
        problems
    }

    fn rule(&self, port: u16, problems: &mut BTreeSet<Problem>) -> Rule {
        Rule {
            backends: self.backends_at(port, problems),
            ..Rule::default()
        }
    }
}

impl Splits {
    /// Adds the rules and matches of the splits that get requests at one port of a Service.
    fn add_service(
        &mut self,
        world: &World,
        at: &ServicePort,
        resolved: &[ResolvedSplit],
        deciding: Vec<DecidingMatch>,
        problems: &mut BTreeSet<Problem>,
    ) {
        let Some(service) = world.service(&at.namespace, &at.name) else {
            return;
        };
        let root = at.root(service);
        if service
            .port(at.port)
            .is_some_and(|it| it.carries_connections)
        {
            // Connections have no matches, so the first split gets all connections.
            for split in deciding
                .iter()
                .take(1)
                .filter_map(|it| resolved.get(it.split))
            {
                let identity = split.identity(at.port, "tcp");
                self.connections.push(PlannedConnections {
                    audience: Audience::Everyone,
                    connections: Connections {
                        to: Destination::Root(root.clone()),
                        rule: identity.clone(),
                    },
                });
                self.rules.insert(identity, split.rule(at.port, problems));
            }
            return;
        }
        let matches = self.add_rules(resolved, deciding, problems);
        self.sets.push(PlannedSet {
            audience: Audience::Everyone,
            set: HostSet {
                hosts: Hosts::Root(root),
                matches,
                unmatched: Unmatched::Pass,
            },
        });
    }

    /// Adds the rules of the splits, and returns the matches with the identities of these rules.
    fn add_rules(
        &mut self,
        resolved: &[ResolvedSplit],
        deciding: Vec<DecidingMatch>,
        problems: &mut BTreeSet<Problem>,
    ) -> Vec<Match> {
        let mut matches = Vec::with_capacity(deciding.len());
        for DecidingMatch { split, port, wire } in deciding {
            let Some(split) = resolved.get(split) else {
                continue;
            };
            let identity = split.identity(port, "http");
            if !self.rules.contains_key(&identity) {
                self.rules
                    .insert(identity.clone(), split.rule(port, problems));
            }
            matches.push(Match {
                rule: identity,
                ..wire
            });
        }
        matches
    }
}

#[cfg(test)]
mod tests;
