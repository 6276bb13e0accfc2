//! Counts the matches of an object in a document, which is the configuration of one proxy as JSON. The document repeats
//! all matches of the object for each port of a Service and for each host of a Gateway. So this module multiplies
//! numbers, and does not build the matches.

use std::collections::BTreeSet;

use super::count;
use super::split_ports::SplitPorts;
use crate::api::route::Route;
use crate::api::smi::traffic_split::TrafficSplit;
use crate::manifest::problem::messages::matches as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::precedence::ranked_hostnames;
use crate::translate::routes::places::Places;
use crate::world::World;

/// Maximum number of matches of one object in a document. With this limit, an HTTPRoute with 128 matches (the maximum)
/// can have 16 hosts at each of two Gateways.
const MAX_MATCHES: u64 = 4_096;

/// Returns a problem for each object with too many matches. Without this limit, an object of a few lines could fill the
/// memory of the control plane and of all proxies.
pub fn too_many(world: &World) -> Vec<Problem> {
    let routes = world.routes.iter();
    let of_routes = routes.filter_map(|it| refuse(&it.object, "spec.rules", of_route(world, it)));
    let hosts = SplitPorts::of(world);
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

/// Returns the number of matches of a route at all its places (see [`Places`]). A place without matches counts as one
/// match, because it has a cost too.
pub fn of_route(world: &World, route: &Route) -> u64 {
    let matches = route.rules.iter().map(|rule| count(rule.matches.len()));
    let ranks = count(ranked_hostnames(route).len());
    let place_matches = matches.sum::<u64>().saturating_mul(ranks).max(1);
    let places = Places::of(world, route).count(&route.object.namespace);
    let places = count(places);
    places.saturating_mul(place_matches)
}

fn of_split(world: &World, hosts: &SplitPorts, split: &TrafficSplit) -> u64 {
    let groups: BTreeSet<&String> = split.groups.iter().collect();
    let of_groups = groups.into_iter().flat_map(|name| {
        let group = world.group(&split.object.namespace, name);
        group.into_iter().flat_map(|group| &group.matches)
    });
    // A condition with several methods becomes one match for each method.
    let conditions = of_groups.filter_map(|it| it.condition.as_ref());
    let matches = conditions.map(|it| count(it.methods.len()).max(1));
    let matches = if split.groups.is_empty() {
        1
    } else {
        matches.sum()
    };
    hosts.ports(world, split).saturating_mul(matches)
}
