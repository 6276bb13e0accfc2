//! How many matches on the wire an object asks for, from numbers alone: every port of a Service, and every host of a
//! Gateway, repeats all that the object says.

use std::collections::BTreeSet;

use super::count;
use super::host_ports::HostPorts;
use crate::api::route::Route;
use crate::api::smi::traffic_split::TrafficSplit;
use crate::manifest::problem::messages::matches as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::precedence::ranked_hostnames;
use crate::translate::routes::places::Places;
use crate::world::World;

/// Matches on the wire that one object may ask for. The largest HTTPRoute, with 128 matches, can have 16 hosts at two
/// Gateways.
const MAX_MATCHES: u64 = 4_096;

/// A problem for each object that asks for too many: a few lines that are repeated everywhere could fill the memory of
/// the control plane and of all proxies.
pub fn too_many(world: &World) -> Vec<Problem> {
    let routes = world.routes.iter();
    let of_routes = routes.filter_map(|it| refuse(&it.object, "spec.rules", of_route(world, it)));
    let hosts = HostPorts::of(world);
    let splits = world.splits.iter();
    let of_splits = splits.filter_map(|it| {
        let matches = of_split(world, &hosts, it);
        refuse(&it.object, "spec.matches", matches)
    });
    of_routes.chain(of_splits).collect()
}

fn refuse(object: &ObjectRef, path: &str, matches: u64) -> Option<Problem> {
    let message = || messages::too_many_matches(matches, MAX_MATCHES);
    (matches > MAX_MATCHES).then(|| object.problem(path, message()))
}

/// A place costs something for a route without matches too.
pub fn of_route(world: &World, route: &Route) -> u64 {
    let written = route.rules.iter().map(|rule| count(rule.matches.len()));
    let ranks = count(ranked_hostnames(route).len());
    let of_place = written.sum::<u64>().saturating_mul(ranks).max(1);
    let places = Places::of(world, route).count(&route.object.namespace);
    let places = count(places);
    places.saturating_mul(of_place)
}

fn of_split(world: &World, hosts: &HostPorts, split: &TrafficSplit) -> u64 {
    let groups: BTreeSet<&String> = split.groups.iter().collect();
    let of_groups = groups.into_iter().flat_map(|name| {
        let group = world.group(&split.object.namespace, name);
        group.into_iter().flat_map(|group| &group.matches)
    });
    // One for each method.
    let conditions = of_groups.filter_map(|it| it.condition.as_ref());
    let matches = conditions.map(|it| count(it.methods.len()).max(1));
    let matches = match split.groups.is_empty() {
        true => 1,
        false => matches.sum(),
    };
    hosts.ports(world, split).saturating_mul(matches)
}
