//! Translates TrafficTargets to grants, and finds the ServiceAccounts of the pods of backends.
//!
//! A grant permits traffic, and all other traffic is denied. A part with a mistake (a TrafficTarget, a rule, or the
//! name of a match) grants nothing, and the module returns a problem. The other parts still grant.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, Called, Grant, Grants, Permission, Rule, Target};

use super::ServicePort;
use crate::api::service::Service;
use crate::api::smi::route_group::TcpRoute;
use crate::api::smi::traffic_target::{AccessRule, RuleKind, TrafficTarget};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{access as messages, list};
use crate::world::{Key, World};

/// Returns the grants of all TrafficTargets, by ServiceAccount of the destination.
pub fn grants(world: &World, problems: &mut BTreeSet<Problem>) -> Grants {
    problems.extend(world.problems_of_policy().iter().cloned());
    let mut grants = Grants::new();
    for target in world.traffic_targets() {
        let Some(grant) = grant(world, target, problems) else {
            continue;
        };
        let destination = format!("{}/{}", target.object.namespace, target.destination);
        grants.entry(destination).or_default().push(grant);
    }
    grants
}

/// Without an access policy, TrafficTargets have no effect. Returns a warning for each TrafficTarget.
pub fn unread_targets(world: &World) -> impl Iterator<Item = Problem> {
    let targets = world.traffic_targets().iter();
    targets.map(|target| {
        target
            .object
            .problem("spec", messages::target_without_policy())
    })
}

/// A cache of the ServiceAccounts of the pods that a Service selects. The pods of each Service are searched only once.
pub struct Accounts<'w> {
    world: &'w World,
    /// ServiceAccounts by namespace and name of the Service.
    accounts: BTreeMap<Key, Vec<String>>,
}

impl<'w> Accounts<'w> {
    pub fn of_world(world: &'w World) -> Accounts<'w> {
        Accounts {
            world,
            accounts: BTreeMap::new(),
        }
    }

    /// Returns the Service and the ServiceAccounts of its pods; None if there is no such Service.
    fn find(&mut self, namespace: &str, name: &str) -> Option<(&'w Service, &[String])> {
        let service = self.world.service(namespace, name)?;
        let entry = self.accounts.entry((namespace.to_owned(), name.to_owned()));
        let accounts = entry.or_insert_with(|| self.world.accounts(service).into_iter().collect());
        Some((service, accounts))
    }
}

/// Adds the Service that clients call, and the ServiceAccounts of its pods, to each rule of a route. A client then
/// needs a permission for this Service and for the backend. `called` has the Service of each rule, by identity of the
/// rule.
///
/// Without this check, the author of a route could send requests of other clients to any backend that these clients may
/// reach. If the Service selects no pods, there is no ServiceAccount, and the check is left out.
pub fn require_called(
    accounts: &mut Accounts,
    called: &BTreeMap<String, ServicePort>,
    rules: &mut BTreeMap<String, Rule>,
) {
    for (identity, at) in called {
        let Some((_, accounts)) = accounts.find(&at.namespace, &at.name) else {
            continue;
        };
        if let Some(rule) = rules.get_mut(identity)
            && !accounts.is_empty()
        {
            rule.called = Some(Called {
                service: at.backend(),
                accounts: accounts.to_vec(),
            });
        }
    }
}

/// Writes the ServiceAccounts of the pods of each backend and mirror into the rules with these identities. A backend
/// without ServiceAccounts denies every client, and a mirror without ServiceAccounts gets no copies.
pub fn name_accounts(
    accounts: &mut Accounts,
    identities: &BTreeSet<String>,
    rules: &mut BTreeMap<String, Rule>,
    problems: &mut BTreeSet<Problem>,
) {
    let rules = rules
        .iter_mut()
        .filter(|(identity, _)| identities.contains(*identity));
    let mut rules: Vec<_> = rules.map(|(_, rule)| rule).collect();
    for rule in &mut rules {
        let filters = rule.all_filters_mut();
        for mirror in filters.flat_map(|filters| &mut filters.mirrors) {
            if let Some((_, accounts)) = accounts.find(&mirror.to.namespace, &mirror.to.name) {
                mirror.accounts = accounts.to_vec();
            }
        }
    }
    for backend in rules.into_iter().flat_map(|rule| &mut rule.backends) {
        let Target::Service(wire::Service {
            namespace, name, ..
        }) = &backend.to
        else {
            continue;
        };
        let Some((service, accounts)) = accounts.find(namespace, name) else {
            continue;
        };
        backend.accounts = accounts.to_vec();
        if backend.accounts.is_empty() && backend.weight > 0 {
            let message = if service.selector.is_empty() {
                messages::service_selects_nothing()
            } else {
                messages::service_selects_nobody()
            };
            problems.insert(service.object.problem("spec.selector", message));
        }
    }
}

/// Returns the grant of a TrafficTarget; None if the TrafficTarget permits nothing.
fn grant(world: &World, target: &TrafficTarget, problems: &mut BTreeSet<Problem>) -> Option<Grant> {
    let mut requests = Vec::new();
    let mut granted_matches = BTreeSet::new();
    let mut ports: Option<Ports> = None;
    for rule in &target.rules {
        let result = match rule.kind {
            RuleKind::HttpRouteGroup => {
                permissions(world, target, rule, &mut granted_matches, problems)
                    .map(|it| requests.extend(it))
            }
            RuleKind::TcpRoute => granted_ports(world, target, rule).map(|more| {
                ports = Some(match ports.take() {
                    None => more,
                    Some(ports) => ports.union(more),
                });
            }),
        };
        if let Err(problem) = result {
            problems.insert(problem);
        }
    }
    let is_effective = !target.sources.is_empty() && (!requests.is_empty() || ports.is_some());
    is_effective.then(|| Grant {
        by: format!("{}/{}", target.object.namespace, target.object.name),
        sources: target.sources.clone(),
        requests,
        ports: ports.map(Ports::into_wire),
    })
}

/// Returns the matches that a rule of the TrafficTarget names. Leaves out matches that are already in `granted_matches`
/// (as group and index), and adds the returned matches to it.
fn permissions(
    world: &World,
    target: &TrafficTarget,
    rule: &AccessRule,
    granted_matches: &mut BTreeSet<(String, usize)>,
    problems: &mut BTreeSet<Problem>,
) -> Result<Vec<Permission>, Problem> {
    // The proxy of the destination cannot check which Service port a client called, because a client can write any port
    // into its Host header.
    if let Some((port, path)) = &target.port {
        let message = messages::requests_by_port(port);
        return Err(target.object.problem(path, message));
    }
    let Some(group) = world.group(&target.object.namespace, &rule.name) else {
        return Err(
            if world.has_broken_group(&target.object.namespace, &rule.name) {
                target.object.problem(
                    format!("{}.name", rule.path),
                    messages::rule_broken("HTTPRouteGroup", &target.object.namespace, &rule.name),
                )
            } else {
                not_found(target, rule, "HTTPRouteGroup")
            },
        );
    };
    for (index, name) in rule.matches.iter().enumerate() {
        if !group.matches.iter().any(|it| it.name == *name) {
            let names = group.matches.iter().map(|it| it.name.as_str());
            problems.insert(no_such_match(target, rule, index, names));
        }
    }
    let matches = group.matches.iter().enumerate();
    let matches =
        matches.filter(|(_, it)| rule.matches.is_empty() || rule.matches.contains(&it.name));
    let mut permissions = Vec::new();
    for (index, it) in matches {
        if let Some(condition) = &it.condition
            && granted_matches.insert((rule.name.clone(), index))
        {
            permissions.push(condition.clone());
        }
    }
    Ok(permissions)
}

#[derive(Debug)]
enum Ports {
    All,
    Some(BTreeSet<u16>),
}

impl Ports {
    fn union(self, more: Ports) -> Ports {
        match (self, more) {
            (Ports::Some(ports), Ports::Some(more)) => Ports::Some(&ports | &more),
            _ => Ports::All,
        }
    }

    /// Returns the ports in the form of [`Grant::ports`], where an empty list means every port.
    fn into_wire(self) -> Vec<u16> {
        match self {
            Ports::All => Vec::new(),
            Ports::Some(ports) => ports.into_iter().collect(),
        }
    }
}

/// Returns the ports of the TCPRoute that a rule of the TrafficTarget names.
fn granted_ports(
    world: &World,
    target: &TrafficTarget,
    rule: &AccessRule,
) -> Result<Ports, Problem> {
    let route = world.smi_tcp_route(&target.object.namespace, &rule.name);
    let TcpRoute { name, ports } =
        route.ok_or_else(|| not_found(target, rule, "TCPRoute.specs.smi-spec.io"))?;
    let mut matches = rule.matches.iter();
    if let Some(index) = matches.position(|it| Some(it) != name.as_ref()) {
        let names = name.iter().map(String::as_str);
        return Err(no_such_match(target, rule, index, names));
    }
    match &target.port {
        None if ports.is_empty() => Ok(Ports::All),
        None => Ok(Ports::Some(ports.iter().copied().collect())),
        Some((port, _)) if ports.is_empty() || ports.contains(port) => {
            Ok(Ports::Some([*port].into()))
        }
        Some((port, path)) => Err(target
            .object
            .problem(path, messages::tcp_route_without_port(&rule.name, port))),
    }
}

fn not_found(target: &TrafficTarget, rule: &AccessRule, kind: &str) -> Problem {
    let namespace = &target.object.namespace;
    target.object.problem(
        format!("{}.name", rule.path),
        messages::rule_missing(kind, namespace, &rule.name),
    )
}

fn no_such_match<'n>(
    target: &TrafficTarget,
    rule: &AccessRule,
    index: usize,
    names: impl Iterator<Item = &'n str>,
) -> Problem {
    let name = rule.matches.get(index).cloned().unwrap_or_default();
    target.object.problem(
        format!("{}.matches[{index}]", rule.path),
        messages::rule_match_missing(&rule.name, name, list(names)),
    )
}

#[cfg(test)]
mod tests;
