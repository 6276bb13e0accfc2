//! Translates the world (all objects) to the plan (the configuration of all proxies), and finds problems of objects.
//!
//! The translation is pure and deterministic. An object with a mistake does not stop the other objects. The order of
//! the objects does not change the result.
//!
//! ```text
//! routes -> host sets, and the Service ports with routes
//!              |
//! splits ------+-> host sets of the Service ports without routes
//!
//! With the policy `smi`:
//! TrafficTargets -> grants
//! workloads      -> ServiceAccounts of backends
//! ```

mod access_grants;
mod attachment;
pub mod budget;
mod cost;
mod host_key;
pub mod precedence;
mod routes;
mod shadow;
mod splits;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use weir_split::wire::{self, Hosts, Root};

use crate::api::service::{self, Service};
use crate::api::smi::traffic_target::Policy;
use crate::manifest::problem::Problem;
use crate::plan::{Audience, Plan, PlannedConnections, PlannedSet};
use crate::translate::budget::Limits;
use crate::upstream::{self, PlannedCluster};
use crate::world::{Entry, World};

/// Calls [`translate_within`] with the default limits.
pub fn translate(world: &World, policy: Policy) -> (Plan, Vec<Problem>) {
    translate_within(world, policy, &Limits::default())
}

/// Returns the plan and its problems. The problems are sorted by file and object, without duplicates. Problems that
/// depend on one object alone are not included, because [`World::from_objects`] returns them.
///
/// An object that would cost proxies more than `limits` allow gets a problem, and is not in the plan.
pub fn translate_within(world: &World, policy: Policy, limits: &Limits) -> (Plan, Vec<Problem>) {
    let mut problems = BTreeSet::new();
    let affordable = cost::within(world, policy, limits, &mut problems);
    let world = affordable.as_ref().unwrap_or(world);
    let routes = routes::translate(world, &mut problems);
    let splits = splits::translate(world, &routes.ports_with_routes, &mut problems);

    let called = routes.called;
    let mut sets = routes.sets;
    sets.extend(splits.sets);
    let mut connections = routes.connections;
    connections.extend(splits.connections);
    let mut rules = routes.rules;
    rules.extend(splits.rules);
    let listeners = routes.listeners;
    let plan = match policy {
        Policy::Unstated => {
            problems.extend(access_grants::unread_targets(world));
            Plan::new(sets, connections, rules)
        }
        Policy::Permissive => {
            Plan::new(sets, connections, rules).with_access(wire::Access::Everyone)
        }
        Policy::Smi => {
            let identities = rules_of_workloads(&sets, &connections);
            let mut accounts = access_grants::Accounts::of_world(world);
            access_grants::name_accounts(&mut accounts, &identities, &mut rules, &mut problems);
            access_grants::require_called(&mut accounts, &called, &mut rules);
            let grants = access_grants::grants(world, &mut problems);
            Plan::new(sets, connections, rules).with_access(wire::Access::Grants(grants))
        }
    };
    (
        plan.with_listeners(listeners),
        problems.into_iter().collect(),
    )
}

/// The plan and the problems of a set of objects.
pub struct Translation {
    pub world: World,
    pub plan: Plan,
    /// The clusters of the backends of the plan, by name of the cluster.
    pub clusters: BTreeMap<Arc<str>, PlannedCluster>,
    /// First the problems that depend on one object alone, then the problems that translation finds.
    pub problems: Vec<Problem>,
}

/// Calls [`World::of`], then [`translate_within`].
pub fn translate_objects<E: Borrow<Entry>>(
    entries: &[E],
    policy: Policy,
    limits: &Limits,
) -> Translation {
    let (world, mut problems) = World::of(entries);
    let (plan, of_plan) = translate_within(&world, policy, limits);
    problems.extend(of_plan);
    let mut of_clusters = BTreeSet::new();
    let clusters = upstream::clusters(&world, &plan, &mut of_clusters);
    problems.extend(of_clusters);
    Translation {
        world,
        plan,
        clusters,
        problems,
    }
}

/// Returns the identities of the rules for requests and connections of workloads. Rules of Gateways are not included,
/// because the access policy does not apply to the proxies of a Gateway.
fn rules_of_workloads(sets: &[PlannedSet], connections: &[PlannedConnections]) -> BTreeSet<String> {
    let is_of_workloads = |audience: &Audience| !matches!(audience, Audience::Gateway { .. });
    let sets = sets.iter().filter(|it| is_of_workloads(&it.audience));
    let set_rules = sets.flat_map(|it| it.set.matches.iter().map(|entry| &entry.rule));
    let connections = connections
        .iter()
        .filter(|it| is_of_workloads(&it.audience));
    let connection_rules = connections.map(|it| &it.connections.rule);
    set_rules.chain(connection_rules).cloned().collect()
}

/// One port of a root (a Service that clients call) or of a backend (a Service that gets the requests).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ServicePort {
    namespace: String,
    name: String,
    port: u16,
}

impl ServicePort {
    fn of(service: &Service, port: u16) -> ServicePort {
        ServicePort {
            namespace: service.object.namespace.clone(),
            name: service.object.name.clone(),
            port,
        }
    }

    fn backend(&self) -> wire::Service {
        wire::Service {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }

    fn root(&self, service: &Service) -> Root {
        Root {
            service: self.name.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
            default_port: default_port(service) == Some(self.port),
            cluster_ips: service.cluster_ips.iter().map(IpAddr::to_string).collect(),
        }
    }

    fn hosts(&self, service: &Service) -> Hosts {
        Hosts::Root(self.root(service))
    }
}

fn default_port(service: &Service) -> Option<u16> {
    service::default_port(service.port_numbers())
}

#[cfg(test)]
mod tests;
