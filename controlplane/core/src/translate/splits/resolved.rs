//! Finds the Services that a TrafficSplit names, and the ports for which the split chooses backends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_split::wire::{Backend, Target};

use super::conditions::{self, Expanded, SplitCondition};
use crate::api::service::{self, Port, Service};
use crate::api::smi::service_name::{Host, RootName};
use crate::api::smi::traffic_split::{SplitBackend, TrafficSplit};
use crate::manifest::problem::messages::{Message, list, split as messages};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use crate::plan::RuleId;
use crate::translate::ServicePort;
use crate::world::World;

/// A split with the Services that it names.
pub struct ResolvedSplit<'w> {
    pub split: &'w TrafficSplit,
    pub root: ResolvedRoot<'w>,
    /// The backends with an existing Service. Each item has the index in `spec.backends`, the weight and the Service.
    pub backends: Vec<(usize, u64, &'w Service)>,
    /// The split applies to requests that fit one of these conditions. None means that the split applies to every
    /// request.
    pub conditions: Option<Vec<SplitCondition<'w>>>,
}

/// The Service or host that clients call. The split divides the requests for this Service or host.
pub enum ResolvedRoot<'w> {
    Service(&'w Service),
    Host(&'w Host),
}

/// Writes the name of the root for messages, as in `port 80 of ROOT`.
impl fmt::Display for ResolvedRoot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolvedRoot::Service(service) => service.object.fmt(f),
            ResolvedRoot::Host(host) => write!(f, "host {}", host.name),
        }
    }
}

impl<'w> ResolvedSplit<'w> {
    pub fn new(
        world: &'w World,
        split: &'w TrafficSplit,
        expanded: &mut Expanded<'w>,
        problems: &mut BTreeSet<Problem>,
    ) -> Option<ResolvedSplit<'w>> {
        let root = root(world, split)
            .map_err(|message| problems.insert(split.object.problem("spec.service", message)))
            .ok()?;
        let mut backends = Vec::with_capacity(split.backends.len());
        let mut left_out = Vec::new();
        for (index, backend) in split.backends.iter().enumerate() {
            match backend_service(world, split, backend) {
                Ok(service) => backends.push((index, backend.weight, service)),
                // Users may list a backend with weight 0 before its Service exists.
                Err(_) if backend.weight == 0 => {}
                Err(message) => {
                    let path = format!("spec.backends[{index}].service");
                    left_out.push(split.object.problem(path, message));
                }
            }
        }
        let is_any_left = backends.iter().any(|(_, weight, _)| *weight > 0);
        problems.extend(
            left_out
                .into_iter()
                .map(|problem| match (is_any_left, &root) {
                    (true, _) => problem,
                    (false, ResolvedRoot::Host(_)) => problem.of_whole(),
                    (false, ResolvedRoot::Service(_)) => problem.with_effect(stays(&root)),
                }),
        );
        problems.extend(repeated(split));
        let conditions = conditions::of(world, split, expanded)
            .map_err(|errors| problems.extend(errors.into_iter().map(Problem::of_whole)))
            .ok()?;
        if conditions.as_ref().is_some_and(Vec::is_empty) {
            problems.insert(
                split
                    .object
                    .problem("spec.matches", messages::split_fits_nothing()),
            );
            return None;
        }
        Some(ResolvedSplit {
            split,
            root,
            backends,
            conditions,
        })
    }

    /// Returns the ports for which the split chooses backends, if the root is a Service.
    pub fn service_ports(
        &self,
        service: &'w Service,
        problems: &mut BTreeSet<Problem>,
    ) -> Vec<&'w Port> {
        let object = &self.split.object;
        let ports = match self.split.root.port {
            Some(number) => service.port(number).into_iter().collect(),
            None => self.ports_with_counterpart(service),
        };
        if ports.is_empty() {
            let message = match self.split.root.port {
                Some(number) if !service.ports.is_empty() => {
                    let there = list(service.port_numbers());
                    messages::split_port_missing(&service.object, number, there)
                }
                _ => messages::split_root_without_ports(&service.object),
            };
            problems.insert(object.problem("spec.service", message));
        }
        let is_for = |it: &&Port| self.conditions.is_none() || !it.carries_connections;
        let (ports, without): (Vec<_>, Vec<_>) = ports.into_iter().partition(is_for);
        for Port { number, .. } in without {
            let message = messages::split_matches_of_connections(number, &service.object);
            let problem = object.problem("spec.matches", message);
            problems.insert(if ports.is_empty() {
                problem.of_whole()
            } else {
                problem
            });
        }
        ports
    }

    /// Returns the ports that the root has in common with at least one other backend. Requests for all other ports can
    /// only go to the root. If the root has no port in common with another backend, returns all ports of the root.
    fn ports_with_counterpart(&self, service: &'w Service) -> Vec<&'w Port> {
        let others = || {
            self.backends
                .iter()
                .filter(|(.., it)| it.object != service.object)
        };
        let has_counterpart =
            |port: &&Port| others().any(|(.., it)| it.port(port.number).is_some());
        let some: Vec<&Port> = service.ports.iter().filter(has_counterpart).collect();
        if some.is_empty() {
            service.ports.iter().collect()
        } else {
            some
        }
    }

    /// Returns the ports for which the split chooses backends, if the root is a literal host (not a Service).
    pub fn host_ports(&self, host: &Host, problems: &mut BTreeSet<Problem>) -> BTreeSet<u16> {
        let object = &self.split.object;
        if self.weighted().next().is_none() {
            // A missing backend with a weight above 0 already has a problem.
            if self
                .split
                .backends
                .iter()
                .all(|backend| backend.weight == 0)
            {
                let message = messages::split_host_without_weight(&host.name);
                problems.insert(object.problem("spec.backends", message));
            }
            return BTreeSet::new();
        }
        let found = || {
            let each = self
                .weighted()
                .map(|service| format!("{} has {}", service.object, list(service.port_numbers())));
            list(each)
        };
        let (ports, message) = match self.split.root.port {
            // If no backend has this port, the split has no ports, so a younger split may get the requests.
            Some(port) => (
                self.weighted()
                    .any(|it| it.port(port).is_some())
                    .then_some(port)
                    .into_iter()
                    .collect(),
                messages::split_host_port_missing(&host.name, port, found()),
            ),
            None => (
                self.common_ports(),
                messages::split_host_without_common_port(&host.name, found()),
            ),
        };
        if ports.is_empty() {
            problems.insert(object.problem("spec.backends", message));
        }
        ports
    }

    /// Returns the port of the backends for a request whose Host header has no port.
    pub fn default_host_port(&self) -> Option<u16> {
        let default = service::default_port(self.common_ports());
        let own = self.split.root.port;
        default.filter(|port| own.is_none_or(|own| own == *port))
    }

    /// Returns the Services of the backends with a weight above 0.
    fn weighted(&self) -> impl Iterator<Item = &'w Service> {
        let weighted = self.backends.iter().filter(|(_, weight, _)| *weight > 0);
        weighted.map(|(_, _, service)| *service)
    }

    /// Returns the TCP ports that every backend with a weight above 0 has.
    pub fn common_ports(&self) -> BTreeSet<u16> {
        let mut sets = self
            .weighted()
            .map(|service| service.port_numbers().collect());
        let first: BTreeSet<u16> = sets.next().unwrap_or_default();
        sets.fold(first, |common, ports: BTreeSet<u16>| &common & &ports)
    }

    /// Returns the backends for requests to one port. A backend without the port gets no requests (TrafficSplit
    /// specification, Ports). If no backend with a weight above 0 has the port, all requests go to the root.
    pub fn backends_at(&self, port: u16, problems: &mut BTreeSet<Problem>) -> Vec<Backend> {
        let object = &self.split.object;
        let mut backends = Vec::with_capacity(self.backends.len());
        let mut places = BTreeMap::new();
        let mut left_out = Vec::new();
        for (index, weight, service) in &self.backends {
            if service.port(port).is_some() {
                add(&mut backends, &mut places, (*weight, service, port));
            } else if *weight > 0 {
                let there = list(service.port_numbers());
                let message = messages::split_backend_without_port(&service.object, port, there);
                left_out.push(object.problem(format!("spec.backends[{index}].service"), message));
            }
        }
        let is_any_left = backends.iter().any(|backend| backend.weight > 0);
        problems.extend(left_out.into_iter().map(|problem| {
            if is_any_left {
                return problem;
            }
            problem.with_effect(Effect::new(
                Extent::Share,
                format!("all requests for port {port} stay with {}", self.root),
            ))
        }));
        if let (false, ResolvedRoot::Service(service)) = (is_any_left, &self.root) {
            if self
                .split
                .backends
                .iter()
                .all(|backend| backend.weight == 0)
            {
                let message = messages::split_no_weight(&self.root);
                problems.insert(object.problem("spec.backends", message));
            }
            let root = ServicePort::of(service, port).backend();
            backends = vec![Backend::new(1, Target::Service(root))];
        }
        backends
    }

    pub fn identity(&self, port: u16, protocol: &str) -> String {
        RuleId::of_split(&self.split.object, port, protocol).to_string()
    }
}

/// Adds a backend. If the list already has this backend, adds the weights. The sum cannot overflow, because the total
/// weight of a split is below 2^63.
fn add<'w>(
    backends: &mut Vec<Backend>,
    places: &mut BTreeMap<&'w ObjectRef, usize>,
    (weight, service, port): (u64, &'w Service, u16),
) {
    let place = places.entry(&service.object).or_insert(backends.len());
    match backends.get_mut(*place) {
        Some(backend) => backend.weight = backend.weight.saturating_add(weight),
        None => {
            let to = Target::Service(ServicePort::of(service, port).backend());
            backends.push(Backend::new(weight, to));
        }
    }
}

/// Returns the effect of a problem that leaves out the last backend with a weight above 0.
fn stays(root: &ResolvedRoot) -> Effect {
    Effect::new(Extent::Share, format!("all requests stay with {root}"))
}

fn root<'w>(world: &'w World, split: &'w TrafficSplit) -> Result<ResolvedRoot<'w>, Message> {
    let own = split.object.namespace.as_str();
    match &split.root.name {
        RootName::Service(name) => match world.service(own, name) {
            Some(service) => Ok(ResolvedRoot::Service(service)),
            None => Err(messages::split_root_missing(own, name)),
        },
        RootName::Host(host) => match host.known_service(&world.namespaces) {
            Some((name, namespace)) => Err(messages::split_service_elsewhere(name, namespace, own)),
            None => Ok(ResolvedRoot::Host(host)),
        },
    }
}

/// Returns the Service of a backend, or the reason why the backend gets no requests.
fn backend_service<'w>(
    world: &'w World,
    split: &TrafficSplit,
    backend: &SplitBackend,
) -> Result<&'w Service, Message> {
    let own = split.object.namespace.as_str();
    match world.service(own, &backend.name) {
        None => Err(messages::split_backend_not_found(own, &backend.name)),
        Some(service) if service.may_name_any_host() => {
            Err(messages::split_backend_external(&service.object))
        }
        Some(service) => Ok(service),
    }
}

/// Returns a problem for each backend that an earlier item of the list already names.
fn repeated(split: &TrafficSplit) -> Vec<Problem> {
    let mut repeated = Vec::new();
    let mut first_by_name: BTreeMap<&str, &SplitBackend> = BTreeMap::new();
    for (index, backend) in split.backends.iter().enumerate() {
        let first = *first_by_name.entry(&backend.name).or_insert(backend);
        if !std::ptr::eq(first, backend) {
            let message =
                messages::split_backend_twice(&backend.name, first.weight, backend.weight);
            let path = format!("spec.backends[{index}].service");
            repeated.push(split.object.problem(path, message));
        }
    }
    repeated
}
