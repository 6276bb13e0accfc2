//! TrafficSplits with their names resolved, and the ports at which they want to decide.

use std::collections::BTreeSet;
use std::fmt;

use weir_split::wire::Match;

use super::conditions;
use crate::cluster::{Port, Service};
use crate::problem::{Problem, Reason};
use crate::root::{self, RootError, RootName};
use crate::smi::TrafficSplit;
use crate::translate::ServicePort;
use crate::world::World;

/// One port of what a split is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    Service(ServicePort),
    /// A literal host is for clients of the split's namespace alone.
    Literal {
        namespace: String,
        host: String,
        port: u16,
    },
}

impl Claim {
    pub fn port(&self) -> u16 {
        match self {
            Claim::Service(at) => at.port,
            Claim::Literal { port, .. } => *port,
        }
    }
}

/// A split whose names are resolved.
pub struct Resolved<'w> {
    pub split: &'w TrafficSplit,
    pub root: Root<'w>,
    /// The port that `spec.service` names.
    pub port: Option<u16>,
    /// Those whose Service exists, with their place in `spec.backends`.
    pub backends: Vec<(usize, u64, &'w Service)>,
    /// Of which one holds for a request that is split; they lead to no rule yet. None is every request.
    pub conditions: Option<Vec<Match>>,
}

pub enum Root<'w> {
    Service(&'w Service),
    Literal(String),
}

/// As in `port 80 of ROOT`.
impl fmt::Display for Root<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::Service(service) => service.object.fmt(f),
            Root::Literal(host) => write!(f, "host {host}"),
        }
    }
}

impl<'w> Resolved<'w> {
    pub fn new(
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
                problems.insert(problem.of_whole());
                return None;
            }
        };
        let root = match root {
            RootName::Literal(host) => Root::Literal(host),
            RootName::Service(name) => match world.service(own, &name) {
                Some(service) => Root::Service(service),
                None => {
                    let problem = split.object.legacy(
                        "spec.service",
                        Reason::RootNotFound,
                        format!("there is no Service {own}/{name}"),
                        "create the Service; until then the split is not in force",
                    );
                    problems.insert(problem.of_whole());
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
                    problems.insert(split.object.legacy(
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
            .map_err(|wrong| problems.extend(wrong.into_iter().map(Problem::of_whole)))
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
    pub fn claims(&self, problems: &mut BTreeSet<Problem>) -> Vec<Claim> {
        let mut refuse = |path: &str, reason: Reason, message: String, remedy: &str| {
            let problem = self.split.object.legacy(path, reason, message, remedy);
            problems.insert(problem.of_whole());
            Vec::new()
        };
        match &self.root {
            Root::Service(service) => {
                let meant = |it: &&Port| self.port.is_none_or(|meant| meant == it.number);
                let ports: Vec<&Port> = service.ports.iter().filter(meant).collect();
                if ports.is_empty() {
                    return refuse(
                        "spec.service",
                        Reason::PortNotFound,
                        format!("{} has no such TCP port", service.object),
                        "name a TCP port that the Service has",
                    );
                }
                let claim = |port| Claim::Service(ServicePort::of(service, port));
                let is_for = |it: &&Port| self.conditions.is_none() || !it.carries_connections;
                let (ports, without): (Vec<_>, Vec<_>) = ports.into_iter().partition(is_for);
                for Port { number: port, .. } in without {
                    let problem = self.split.object.legacy(
                        "spec.matches",
                        Reason::UnsupportedValue,
                        format!(
                            "port {port} of {} carries connections, which have nothing to match: the split is not in force there",
                            service.object
                        ),
                        "take matches out, or name the port's protocol in appProtocol",
                    );
                    problems.insert(match ports.is_empty() {
                        true => problem.of_whole(),
                        false => problem,
                    });
                }
                ports.into_iter().map(|it| claim(it.number)).collect()
            }
            Root::Literal(host) => {
                if self.weighted().next().is_none() {
                    return refuse(
                        "spec.backends",
                        Reason::NoTraffic,
                        format!(
                            "no backend of host {host} can get traffic: the split is not in force"
                        ),
                        "give a backend that exists a weight above 0",
                    );
                }
                let ports = match self.port {
                    Some(port) => {
                        // One that could not decide does not keep a younger one from it.
                        if !self.weighted().any(|it| it.port(port).is_some()) {
                            return refuse(
                                "spec.backends",
                                Reason::PortNotFound,
                                format!(
                                    "no backend with a weight has the TCP port {port}: the split of {host} is not in force"
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
    pub fn common_ports(&self) -> BTreeSet<u16> {
        let mut sets = self
            .weighted()
            .map(|service| service.port_numbers().collect());
        let first: BTreeSet<u16> = sets.next().unwrap_or_default();
        sets.fold(first, |common, ports: BTreeSet<u16>| &common & &ports)
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
        _ => Err(split.object.legacy(
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
    split.object.legacy(path, reason, error.to_string(), remedy)
}
