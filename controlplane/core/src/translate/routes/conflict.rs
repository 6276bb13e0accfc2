//! Resolves conflicts of routes, and returns problems for routes that get no requests.
//!
//! A claim (`RouteClaim`) is a place that a route selects, such as a port of a Service or a listener of a Gateway. If
//! another route gets the requests there, the problem has the reason `Conflicted`. If all hosts of the route belong to
//! other listeners, the problem has the reason `Unreachable`. `messages::parent` sets these reasons.

use std::collections::{BTreeMap, BTreeSet};

use super::gateway_hosts::Attachments;
use super::{AttachedRoute, RouteClaim};
use crate::api::route::{ParentRef, Route, RouteKind};
use crate::manifest::problem::messages::{one_of, parent as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::host_key::{HostKey, HostMap};

/// Returns the holder of each claim: the route that gets the requests. `attached` is sorted by seniority: the oldest
/// route is first, and routes of the same age are sorted by name.
///
/// At a port of a Gateway, the most senior route is the holder. At a port of a Service, only routes of the first class
/// (see `class`) compete, and the most senior of them is the holder (Gateway API, GEP-1294). At a listener the holder
/// has no meaning, because routes of both classes can get requests for different hosts.
pub(super) fn holders<'w>(attached: &[AttachedRoute<'w>]) -> BTreeMap<RouteClaim, &'w Route> {
    let mut holders: BTreeMap<RouteClaim, &Route> = BTreeMap::new();
    for AttachedRoute {
        route, placement, ..
    } in attached
    {
        let holder = holders.entry(placement.claim.clone()).or_insert(route);
        if matches!(placement.claim, RouteClaim::Service(..)) && class(route) < class(holder) {
            *holder = route;
        }
    }
    holders
}

/// For each route in `attached`, returns the other route that gets its requests, or None if there is no such route.
/// `attached` has the most senior routes first.
///
/// At one listener, an HTTPRoute and a GRPCRoute must not have a host in common. If they have a common host, the
/// younger route gets no requests there (Gateway API v1, GRPCRouteSpec.hostnames).
pub(super) fn blocking_routes<'w>(
    attached: &[AttachedRoute<'w>],
    holders: &BTreeMap<RouteClaim, &'w Route>,
) -> Vec<Option<&'w Route>> {
    let mut hosts_by_class: BTreeMap<(&RouteClaim, u8), HostMap<&Route>> = BTreeMap::new();
    let mut blocking_routes = Vec::with_capacity(attached.len());
    for entry in attached {
        let claim = &entry.placement.claim;
        if !matches!(claim, RouteClaim::Listener { .. }) {
            let holder = holders.get(claim).copied();
            blocking_routes.push(holder.filter(|holder| entry.yields_to(holder)));
            continue;
        }
        let own = class(entry.route);
        let others = [RouteKind::Grpc, RouteKind::Http].map(class_of);
        let others = others.iter().filter(|class| **class != own);
        let others: Vec<_> = others
            .filter_map(|it| hosts_by_class.get(&(claim, *it)))
            .collect();
        let hosts = entry.hosts();
        let mut blocking = hosts
            .iter()
            .flat_map(|hosts| others.iter().map(move |it| it.find_overlapping(hosts)));
        let other = blocking.find_map(|other| other);
        if other.is_none() {
            let own_hosts = hosts_by_class.entry((claim, own)).or_default();
            for hosts in hosts {
                own_hosts.insert(hosts, entry.route);
            }
        }
        blocking_routes.push(other);
    }
    blocking_routes
}

/// Returns a problem for each route that gets no requests at a parent because more specific listeners own all hosts of
/// the route.
pub(super) fn hosts_of_others<'a, 'w: 'a>(
    deciding: impl Iterator<Item = &'a AttachedRoute<'w>>,
    gateways: &BTreeMap<(String, String), Attachments<'w>>,
) -> Vec<Problem> {
    let mut all: BTreeMap<(&ObjectRef, usize), ParentHosts> = BTreeMap::new();
    for entry in deciding {
        let RouteClaim::Listener {
            namespace,
            name,
            place,
        } = &entry.placement.claim
        else {
            continue;
        };
        let Some(gateway) = gateways.get(&(namespace.clone(), name.clone())) else {
            continue;
        };
        let parent_hosts = all
            .entry(entry.parent_key())
            .or_insert_with(|| ParentHosts {
                parent: entry.parent,
                owners: BTreeSet::new(),
                has_own: false,
            });
        for hosts in entry.hosts() {
            let owners = gateway.other_owners(place, &hosts);
            parent_hosts.has_own |= owners.is_empty();
            parent_hosts.owners.extend(owners);
        }
    }
    let all = all.into_iter();
    let without_hosts = all.filter(|(_, hosts)| !hosts.has_own && !hosts.owners.is_empty());
    let problem = |((object, index), hosts): ((&ObjectRef, usize), ParentHosts)| {
        let message = messages::hosts_of_another_listener(hosts.parent, one_of(hosts.owners));
        object.problem_of_parent(index, "", message)
    };
    without_hosts.map(problem).collect()
}

/// The hosts of a route at one parent.
struct ParentHosts<'a> {
    parent: &'a ParentRef,
    /// Names of other listeners that own some of the hosts.
    owners: BTreeSet<&'a str>,
    /// True if the listener of the route owns some of the hosts.
    has_own: bool,
}

/// Returns the class of a route. Only routes of the same class can share a claim, but two TCPRoutes cannot share one.
/// GRPCRoutes are the first class, because they are the most specific kind.
fn class(route: &Route) -> u8 {
    class_of(route.kind)
}

fn class_of(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Grpc => 0,
        RouteKind::Http | RouteKind::LinkerdHttp => 1,
        RouteKind::Tcp => 2,
    }
}

impl AttachedRoute<'_> {
    /// True if the route cannot share a claim with `holder`. Two TCPRoutes cannot share a claim, because a proxy cannot
    /// distinguish their connections.
    fn yields_to(&self, holder: &Route) -> bool {
        class(self.route) != class(holder)
            || (self.route.kind == RouteKind::Tcp && self.route.object != holder.object)
    }

    /// Returns the problem of a route that gets no requests because of `holder`.
    pub(super) fn conflict(&self, holder: &Route) -> Problem {
        let other = &holder.object;
        let message = match &self.placement.claim {
            RouteClaim::Service(_, at) => {
                let at = format!("port {} of Service {}/{}", at.port, at.namespace, at.name);
                messages::held_by_another(other, at)
            }
            RouteClaim::Listener {
                namespace, name, ..
            } => {
                let listener = self.placement.listener.map_or("", |it| it.name.as_str());
                let at = format!("listener {listener} of Gateway {namespace}/{name}");
                messages::held_at_listener(other, self.common_host(holder), at)
            }
            RouteClaim::GatewayPort {
                namespace,
                name,
                port,
            } => {
                let at = format!("port {port} of Gateway {namespace}/{name}");
                messages::held_by_another(other, at)
            }
        };
        let object = &self.route.object;
        object.problem_of_parent(self.parent.index, "", message)
    }

    /// Returns a host that the listener and both routes have in common, as text for messages.
    fn common_host(&self, other: &Route) -> String {
        let others: Vec<HostKey> = match other.hostnames.as_slice() {
            [] => vec![HostKey::new(None)],
            some => some.iter().map(|it| HostKey::new(Some(it))).collect(),
        };
        let own = self.hosts();
        let mut common = own
            .iter()
            .flat_map(|own| others.iter().filter_map(|other| own.intersect(other)));
        let common = common.next().and_then(|common| common.hostname());
        common.unwrap_or_else(|| "every host".to_owned())
    }
}
