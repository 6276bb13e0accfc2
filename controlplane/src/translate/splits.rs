//! TrafficSplits -> host sets, connections and rules.
//!
//! On one port those with `matches` come first, the oldest of them before the others, then the oldest
//! without; what fits none stays with the root.

mod conditions;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{
    self, Backend, Connections, Destination, HostSet, Hosts, Literal, Match, Rule, Target,
    Unmatched,
};

use super::{ServicePort, ambiguous_port, default_port};
use crate::cluster::{self, Service};
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::precedence::Seniority;
use crate::problem::{ObjectRef, Problem, Reason};
use crate::root::{self, RootError, RootName};
use crate::smi::TrafficSplit;
use crate::world::World;

#[derive(Default)]
pub struct Splits {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
}

/// One port of what a split is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Service(ServicePort),
    /// A literal host is for clients of the split's namespace alone.
    Literal {
        namespace: String,
        host: String,
        port: u16,
    },
}

impl Claim {
    fn port(&self) -> u16 {
        match self {
            Claim::Service(at) => at.port,
            Claim::Literal { port, .. } => *port,
        }
    }
}

/// A split whose names are resolved.
struct Resolved<'w> {
    split: &'w TrafficSplit,
    root: Root<'w>,
    /// The port that `spec.service` names.
    port: Option<u16>,
    /// Those whose Service exists, with their place in `spec.backends`.
    backends: Vec<(usize, u64, &'w Service)>,
    /// Of which one holds for a request that is split; they lead to no rule yet. None is every request.
    conditions: Option<Vec<Match>>,
}

/// What a rule decides for.
enum Place {
    Hosts(Audience, Hosts),
    Connections(wire::Root),
}

enum Root<'w> {
    Service(&'w Service),
    Literal(String),
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
        for claim in candidate.claims(problems) {
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
                Some(winner) => {
                    problems.insert(candidate.split.object.problem(
                        "spec.service",
                        Reason::Conflicted,
                        format!("{winner} decides for port {port}"),
                        "take one of the two out",
                    ));
                }
            }
        }
    }
    let mut splits = Splits::default();
    for (claim, deciding) in claims {
        splits.add(&claim, &deciding, problems);
    }
    splits
}

impl Splits {
    /// Puts in force on one port the splits that decide there, in their order.
    fn add(&mut self, claim: &Claim, deciding: &[&Resolved], problems: &mut BTreeSet<Problem>) {
        let mut matches = Vec::new();
        let mut planned: Option<(Audience, Hosts)> = None;
        for split in deciding {
            // Its groups fit no request: it changes nothing.
            if split.conditions.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            let Some(rule) = split.rule(claim, problems) else {
                continue;
            };
            match split.place(claim, problems) {
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
                    // The ports of a literal host are those of the split's backends, and the port that a
                    // Host without one means is so for all or for none.
                    if let Some((_, Hosts::Literal(known))) = &mut planned
                        && let Hosts::Literal(own) = &hosts
                    {
                        known.default_port |= own.default_port;
                    }
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

impl<'w> Resolved<'w> {
    fn new(
        world: &'w World,
        split: &'w TrafficSplit,
        problems: &mut BTreeSet<Problem>,
    ) -> Option<Resolved<'w>> {
        let own = split.object.namespace.as_str();
        let root = root::resolve(&split.service, own, &world.namespaces)
            .map_err(|error| unresolved(split, "spec.service".to_owned(), &error));
        let (root, port) = match root {
            Ok(root) => (root.name, root.port),
            Err(problem) => {
                problems.insert(problem);
                return None;
            }
        };
        let root = match root {
            RootName::Literal(host) => Root::Literal(host),
            RootName::Service(name) => match world.service(own, &name) {
                Some(service) => Root::Service(service),
                None => {
                    problems.insert(split.object.problem(
                        "spec.service",
                        Reason::RootNotFound,
                        format!("there is no Service {own}/{name}"),
                        "create the Service; until then the split is not in force",
                    ));
                    return None;
                }
            },
        };
        let mut backends = Vec::with_capacity(split.backends.len());
        for (index, backend) in split.backends.iter().enumerate() {
            let path = format!("spec.backends[{index}].service");
            match backend_service(world, split, index, &backend.service) {
                Ok(Some(service)) => backends.push((index, backend.weight, service)),
                // How people start: the backend is listed before it exists.
                Ok(None) if backend.weight == 0 => {}
                Ok(None) => {
                    problems.insert(split.object.problem(
                        path,
                        Reason::BackendNotFound,
                        format!(
                            "there is no Service {own}/{}: it is left out",
                            backend.service
                        ),
                        "create the Service or take the backend out",
                    ));
                }
                Err(problem) => {
                    problems.insert(problem);
                }
            }
        }
        let conditions = conditions::of(world, split)
            .map_err(|wrong| problems.extend(wrong))
            .ok()?;
        Some(Resolved {
            split,
            root,
            port,
            backends,
            conditions,
        })
    }

    /// The ports at which the split wants to decide.
    fn claims(&self, problems: &mut BTreeSet<Problem>) -> Vec<Claim> {
        let mut refuse = |path: &str, reason: Reason, message: String, remedy: &str| {
            problems.insert(self.split.object.problem(path, reason, message, remedy));
            Vec::new()
        };
        match &self.root {
            Root::Service(service) => {
                let meant = |port: &&u16| self.port.is_none_or(|meant| meant == **port);
                let ports: Vec<u16> = service.ports.keys().filter(meant).copied().collect();
                if ports.is_empty() {
                    return refuse(
                        "spec.service",
                        Reason::PortNotFound,
                        format!("{} has no such TCP port", service.object),
                        "name a TCP port that the Service has",
                    );
                }
                let claim = |port| Claim::Service(ServicePort::of(service, port));
                let mut claims = Vec::with_capacity(ports.len());
                for port in ports {
                    if self.conditions.is_none() || !service.connection_ports.contains(&port) {
                        claims.push(claim(port));
                        continue;
                    }
                    refuse(
                        "spec.matches",
                        Reason::UnsupportedValue,
                        format!(
                            "port {port} of {} carries connections, which have nothing to match: the split is not in force there",
                            service.object
                        ),
                        "take matches out, or name the port's protocol in appProtocol",
                    );
                }
                claims
            }
            Root::Literal(host) => {
                if self.weighted().next().is_none() {
                    return refuse(
                        "spec.backends",
                        Reason::NoTraffic,
                        format!("no backend of host {host} can get traffic: it stays untouched"),
                        "give a backend that exists a weight above 0",
                    );
                }
                let ports = match self.port {
                    Some(port) => {
                        // One that could not decide does not keep a younger one from it.
                        if !self.weighted().any(|s| s.ports.contains_key(&port)) {
                            return refuse(
                                "spec.backends",
                                Reason::PortNotFound,
                                format!(
                                    "no backend with a weight has the TCP port {port}: {host} stays untouched"
                                ),
                                "give a backend that has this port a weight above 0",
                            );
                        }
                        BTreeSet::from([port])
                    }
                    None => self.common_ports(),
                };
                if ports.is_empty() {
                    return refuse(
                        "spec.backends",
                        Reason::PortNotFound,
                        "the backends have no TCP port number in common".to_owned(),
                        "give their Services the same port",
                    );
                }
                let claim = |port| Claim::Literal {
                    namespace: self.split.object.namespace.clone(),
                    host: host.clone(),
                    port,
                };
                ports.into_iter().map(claim).collect()
            }
        }
    }

    fn weighted(&self) -> impl Iterator<Item = &'w Service> {
        let weighted = self.backends.iter().filter(|(_, weight, _)| *weight > 0);
        weighted.map(|(_, _, service)| *service)
    }

    /// The TCP ports that every backend with a weight has.
    fn common_ports(&self) -> BTreeSet<u16> {
        let mut sets = self
            .weighted()
            .map(|service| service.ports.keys().copied().collect());
        let first: BTreeSet<u16> = sets.next().unwrap_or_default();
        sets.fold(first, |common, ports: BTreeSet<u16>| &common & &ports)
    }

    /// What the split makes of one port; None leaves it untouched.
    fn rule(&self, claim: &Claim, problems: &mut BTreeSet<Problem>) -> Option<Rule> {
        let port = claim.port();
        let mut backends = self.backends_at(port, problems);
        if backends.iter().all(|backend| backend.weight == 0) {
            let stays = match &self.root {
                Root::Service(service) => format!("it stays with {}", service.object),
                Root::Literal(host) => format!("{host} stays untouched"),
            };
            problems.insert(self.split.object.problem(
                "spec.backends",
                Reason::NoTraffic,
                format!("no backend can get traffic of port {port}: {stays}"),
                "give a backend that has this port a weight above 0",
            ));
            match claim {
                Claim::Literal { .. } => return None,
                Claim::Service(at) => {
                    backends = vec![Backend::new(1, Target::Service(at.backend()))];
                }
            }
        }
        Some(Rule {
            backends,
            ..Rule::default()
        })
    }

    fn identity(&self, port: u16, protocol: &str) -> String {
        let object = &self.split.object;
        format!(
            "TrafficSplit/{}/{}:{port}/{protocol}",
            object.namespace, object.name
        )
    }

    /// None for a claim that is not of the kind of the root, which there is not.
    fn place(&self, claim: &Claim, problems: &mut BTreeSet<Problem>) -> Option<Place> {
        let (default, place) = match (&self.root, claim) {
            (Root::Service(service), Claim::Service(at)) => {
                let root = at.root(service);
                if service.connection_ports.contains(&at.port) {
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
                let default = cluster::default_port(self.common_ports());
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
            if service.ports.contains_key(&port) {
                let to = Target::Service(ServicePort::of(service, port).backend());
                backends.push(Backend::new(*weight, to));
            } else if *weight > 0 {
                problems.insert(self.split.object.problem(
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

/// The Service that a backend names; None if there is no such Service.
fn backend_service<'w>(
    world: &'w World,
    split: &TrafficSplit,
    index: usize,
    written: &str,
) -> Result<Option<&'w Service>, Problem> {
    let path = format!("spec.backends[{index}].service");
    let own = split.object.namespace.as_str();
    let root = root::resolve(written, own, &world.namespaces)
        .map_err(|error| unresolved(split, path.clone(), &error))?;
    match (root.name, root.port) {
        (RootName::Service(name), None) => Ok(world.service(own, &name)),
        _ => Err(split.object.problem(
            path,
            Reason::InvalidValue,
            format!("{written:?} is not the name of a Service: it is left out"),
            "name a Service of the split's namespace, without port",
        )),
    }
}

fn unresolved(split: &TrafficSplit, path: String, error: &RootError) -> Problem {
    let (reason, remedy) = match error {
        RootError::Foreign { .. } => (
            Reason::RefNotPermitted,
            "put the split into the namespace of its Services",
        ),
        RootError::Empty | RootError::Port(_) | RootError::NotAName(_) => (
            Reason::InvalidValue,
            "write the name of a Service, or a host",
        ),
    };
    split
        .object
        .problem(path, reason, error.to_string(), remedy)
}

#[cfg(test)]
mod tests;
