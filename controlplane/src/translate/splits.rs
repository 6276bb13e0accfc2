//! TrafficSplits -> host sets, connections and rules.
//!
//! On one port those with `matches` come first, the oldest of them before the others, then the oldest
//! without; what fits none stays with the root.

mod conditions;
mod resolved;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{
    self, Backend, Connections, Destination, HostSet, Hosts, Literal, Match, Rule, Target,
    Unmatched,
};

use self::resolved::{Claim, Resolved, Root};
use super::{ServicePort, ambiguous_port, default_port, too_many};
use crate::cluster;
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::precedence::Seniority;
use crate::problem::{ObjectRef, Problem, Reason};
use crate::world::World;

#[derive(Default)]
pub struct Splits {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
}

/// What a rule decides for.
enum Place {
    Hosts(Audience, Hosts),
    Connections(wire::Root),
}

/// `held` are the Service ports for which a route decides.
pub fn translate(
    world: &World,
    held: &BTreeMap<ServicePort, ObjectRef>,
    problems: &mut BTreeSet<Problem>,
) -> Splits {
    let mut resolved: Vec<Resolved> = Vec::new();
    for split in &world.splits {
        resolved.extend(Resolved::new(world, split, problems));
    }
    resolved.sort_by_cached_key(|r| {
        let seniority = Seniority::new(&r.split.object, r.split.created);
        (r.conditions.is_none(), seniority)
    });

    let mut claims: BTreeMap<Claim, Vec<&Resolved>> = BTreeMap::new();
    for candidate in &resolved {
        let wanted = candidate.claims(problems);
        let of_claim = candidate.conditions.as_ref().map_or(1, Vec::len);
        let matches = wanted.len() * of_claim;
        if let Some(problem) = too_many(&candidate.split.object, "spec.matches", matches) {
            problems.insert(problem);
            continue;
        }
        let mut lost = Vec::new();
        let ports = wanted.len();
        for claim in wanted {
            let holder = match &claim {
                Claim::Service(at) => held.get(at),
                Claim::Literal { .. } => None,
            };
            let port = claim.port();
            let deciding = claims.entry(claim).or_default();
            // Of those for every request the first leaves nothing to the others; they stand at the end.
            let last = deciding.last().filter(|last| last.conditions.is_none());
            match holder.or(last.map(|last| &last.split.object)) {
                None => deciding.push(candidate),
                Some(winner) => lost.push(candidate.split.object.legacy(
                    "spec.service",
                    Reason::Conflicted,
                    format!("{winner} decides for port {port} of {}", candidate.root),
                    "take one of the two out",
                )),
            }
        }
        let is_whole = lost.len() == ports;
        problems.extend(lost.into_iter().map(|problem| match is_whole {
            true => problem.of_whole(),
            false => problem,
        }));
    }
    let defaults = literal_defaults(&claims, problems);
    let mut splits = Splits::default();
    for (claim, deciding) in &claims {
        splits.add(claim, deciding, &defaults, problems);
    }
    splits
}

/// The port that a literal host without one means, where several splits of other ports may be about the host: by
/// namespace and host, that of the oldest split.
type LiteralDefaults<'r> = BTreeMap<(&'r str, &'r str), u16>;

fn literal_defaults<'r>(
    claims: &'r BTreeMap<Claim, Vec<&'r Resolved<'r>>>,
    problems: &mut BTreeSet<Problem>,
) -> LiteralDefaults<'r> {
    let mut wanted: BTreeMap<(&str, &str), Vec<(u16, &Resolved)>> = BTreeMap::new();
    for (claim, deciding) in claims {
        let Claim::Literal {
            namespace,
            host,
            port,
        } = claim
        else {
            continue;
        };
        let of_host = wanted.entry((namespace, host)).or_default();
        let meant = deciding.iter().filter(|split| {
            !split.fits_nothing() && cluster::default_port(split.common_ports()) == Some(*port)
        });
        of_host.extend(meant.map(|split| (*port, *split)));
    }
    let mut defaults = BTreeMap::new();
    for ((namespace, host), mut meant) in wanted {
        meant.sort_by_cached_key(|(_, split)| {
            Seniority::new(&split.split.object, split.split.created)
        });
        let Some((port, oldest)) = meant.first().copied() else {
            continue;
        };
        defaults.insert((namespace, host), port);
        for (other, split) in meant.into_iter().filter(|(other, _)| *other != port) {
            problems.insert(split.split.object.legacy(
                "spec.service",
                Reason::Conflicted,
                format!(
                    "{} decides what {host} without a port means: port {port}, not {other}",
                    oldest.split.object
                ),
                format!("call it with the port: {host}:{other}"),
            ));
        }
    }
    defaults
}

impl Splits {
    /// Puts in force on one port the splits that decide there, in their order.
    fn add(
        &mut self,
        claim: &Claim,
        deciding: &[&Resolved],
        defaults: &LiteralDefaults,
        problems: &mut BTreeSet<Problem>,
    ) {
        let mut matches = Vec::new();
        let mut planned: Option<(Audience, Hosts)> = None;
        for split in deciding {
            if split.fits_nothing() {
                continue;
            }
            let Some(rule) = split.rule(claim, problems) else {
                continue;
            };
            match split.place(claim, defaults, problems) {
                None => {}
                Some(Place::Connections(root)) => {
                    let identity = split.identity(root.port, "tcp");
                    self.connections.push(PlannedConnections {
                        audience: Audience::Everyone,
                        connections: Connections {
                            to: Destination::Root(root),
                            rule: identity.clone(),
                        },
                    });
                    self.rules.insert(identity, rule);
                }
                Some(Place::Hosts(audience, hosts)) => {
                    let identity = split.identity(claim.port(), "http");
                    let every = [Match::default()];
                    let conditions = split.conditions.as_deref().unwrap_or(&every);
                    matches.extend(conditions.iter().map(|condition| Match {
                        rule: identity.clone(),
                        ..condition.clone()
                    }));
                    self.rules.insert(identity, rule);
                    planned.get_or_insert((audience, hosts));
                }
            }
        }
        if let Some((audience, hosts)) = planned {
            self.sets.push(PlannedSet {
                audience,
                set: HostSet {
                    hosts,
                    matches,
                    unmatched: Unmatched::Pass,
                },
            });
        }
    }
}

impl Resolved<'_> {
    /// What the split makes of one port; None leaves it untouched.
    fn rule(&self, claim: &Claim, problems: &mut BTreeSet<Problem>) -> Option<Rule> {
        let port = claim.port();
        let mut backends = self.backends_at(port, problems);
        if backends.iter().all(|backend| backend.weight == 0) {
            // A literal host is claimed at ports that a backend with a weight has, and there alone.
            let Claim::Service(at) = claim else {
                return None;
            };
            problems.insert(self.split.object.legacy(
                "spec.backends",
                Reason::NoTraffic,
                format!(
                    "no backend can get traffic of port {port}: it stays with {}",
                    self.root
                ),
                "give a backend that has this port a weight above 0",
            ));
            backends = vec![Backend::new(1, Target::Service(at.backend()))];
        }
        Some(Rule {
            backends,
            ..Rule::default()
        })
    }

    /// Its groups fit no request: it changes nothing.
    fn fits_nothing(&self) -> bool {
        self.conditions.as_ref().is_some_and(Vec::is_empty)
    }

    fn identity(&self, port: u16, protocol: &str) -> String {
        format!("{}:{port}/{protocol}", self.split.object.identity())
    }

    /// None for a claim that is not of the kind of the root, which there is not.
    fn place(
        &self,
        claim: &Claim,
        defaults: &LiteralDefaults,
        problems: &mut BTreeSet<Problem>,
    ) -> Option<Place> {
        let (default, place) = match (&self.root, claim) {
            (Root::Service(service), Claim::Service(at)) => {
                let root = at.root(service);
                let port = service.port(at.port);
                if port.is_some_and(|it| it.carries_connections) {
                    return Some(Place::Connections(root));
                }
                let place = Place::Hosts(Audience::Everyone, Hosts::Root(root));
                (default_port(service), place)
            }
            (
                Root::Literal(_),
                Claim::Literal {
                    namespace,
                    host,
                    port,
                },
            ) => {
                let default = defaults.get(&(namespace.as_str(), host.as_str())).copied();
                let literal = Literal {
                    name: host.clone(),
                    port: *port,
                    default_port: default == Some(*port),
                };
                let audience = Audience::Namespace(namespace.clone());
                (default, Place::Hosts(audience, Hosts::Literal(literal)))
            }
            _ => return None,
        };
        if default.is_none() && self.port.is_none() {
            let path = "spec.service".to_owned();
            let object = &self.split.object;
            problems.insert(ambiguous_port(object, path, &self.split.service));
        }
        Some(place)
    }

    /// Those that have the port. One without it gets nothing (TrafficSplit specification, Ports).
    fn backends_at(&self, port: u16, problems: &mut BTreeSet<Problem>) -> Vec<Backend> {
        let mut backends = Vec::with_capacity(self.backends.len());
        for (index, weight, service) in &self.backends {
            if service.port(port).is_some() {
                let to = Target::Service(ServicePort::of(service, port).backend());
                backends.push(Backend::new(*weight, to));
            } else if *weight > 0 {
                problems.insert(self.split.object.legacy(
                    format!("spec.backends[{index}].service"),
                    Reason::PortNotFound,
                    format!(
                        "{} has no TCP port {port}: it is left out there",
                        service.object
                    ),
                    "give it the port number that is called",
                ));
            }
        }
        backends
    }
}

#[cfg(test)]
mod tests;
