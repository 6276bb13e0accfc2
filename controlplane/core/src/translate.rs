//! The world -> the plan, and what of it could not be honoured.
//!
//! Pure, total and deterministic: one bad object never stops the others, and the order of objects
//! never shows in the outcome.
//!
//! ```text
//! routes -> host sets, and the Service ports that they hold
//!              |
//! splits ------+-> host sets of the ports that no route holds
//!
//! TrafficTargets -> access, and the accounts of all backends, where the policy is theirs
//! ```

mod access;
mod attachment;
pub mod budget;
mod cost;
mod host_key;
pub mod precedence;
mod routes;
mod shadow;
mod splits;

use std::collections::BTreeSet;
use std::net::IpAddr;

use weir_split::wire::{self, Hosts, Root};

use crate::api::service::{self, Service};
use crate::api::smi::traffic_target::Policy;
use crate::manifest::problem::Problem;
use crate::plan::{Audience, Plan, PlannedConnections, PlannedSet};
use crate::translate::budget::Limits;
use crate::world::World;

/// [`translate_within`] with the default limits.
pub fn translate(world: &World, policy: Policy) -> (Plan, Vec<Problem>) {
    translate_within(world, policy, &Limits::default())
}

/// Every problem is there once, sorted by file and object. Those of objects that were wrong in
/// themselves are not among them: [`World::from_objects`] has named them.
///
/// Objects that would cost proxies more than the limits allow are left out with a problem.
pub fn translate_within(world: &World, policy: Policy, limits: &Limits) -> (Plan, Vec<Problem>) {
    let mut problems = BTreeSet::new();
    let within = cost::within(world, policy, limits, &mut problems);
    let world = within.as_ref().unwrap_or(world);
    let of_routes = routes::translate(world, &mut problems);
    let of_splits = splits::translate(world, &of_routes.held, &mut problems);

    let called = of_routes.called;
    let mut sets = of_routes.sets;
    sets.extend(of_splits.sets);
    let mut connections = of_routes.connections;
    connections.extend(of_splits.connections);
    let mut rules = of_routes.rules;
    rules.extend(of_splits.rules);
    let listeners = of_routes.listeners;
    let plan = match policy {
        Policy::Unstated => {
            problems.extend(access::unread_targets(world));
            Plan::new(sets, connections, rules)
        }
        Policy::Permissive => {
            Plan::new(sets, connections, rules).with_access(wire::Access::Everyone)
        }
        Policy::Smi => {
            let of_workloads = rules_of_workloads(&sets, &connections);
            let mut accounts = access::Accounts::of_world(world);
            access::name_accounts(&mut accounts, &of_workloads, &mut rules, &mut problems);
            access::ask_for_called(&mut accounts, &called, &mut rules);
            let grants = access::grants(world, &mut problems);
            Plan::new(sets, connections, rules).with_access(wire::Access::Grants(grants))
        }
    };
    (
        plan.with_listeners(listeners),
        problems.into_iter().collect(),
    )
}

/// The rules for what workloads send. A Gateway's proxies take no part in the policy.
fn rules_of_workloads(sets: &[PlannedSet], connections: &[PlannedConnections]) -> BTreeSet<String> {
    let is_of_workloads = |audience: &Audience| !matches!(audience, Audience::Gateway { .. });
    let sets = sets.iter().filter(|it| is_of_workloads(&it.audience));
    let of_sets = sets.flat_map(|it| it.set.matches.iter().map(|entry| &entry.rule));
    let connections = connections
        .iter()
        .filter(|it| is_of_workloads(&it.audience));
    let of_connections = connections.map(|it| &it.connections.rule);
    of_sets.chain(of_connections).cloned().collect()
}

/// One port of a Service, as it is called and as a backend.
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
