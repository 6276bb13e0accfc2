//! Which route decides where several want to, and what the others are told.

use std::collections::{BTreeMap, BTreeSet};

use super::listeners::Attachments;
use super::{Attached, Claim};
use crate::api::route::{ParentRef, Route, RouteKind};
use crate::manifest::problem::messages::{one_of, parent as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::host_key::{HostKey, Taken};

/// Who decides for each claim; `attached` has the most senior routes first. At a Gateway's port that is the most
/// senior route, at a Service the most senior of the kind that goes before the others (Gateway API, GEP-1294). At a
/// listener several do.
pub(super) fn holders<'w>(attached: &[Attached<'w>]) -> BTreeMap<Claim, &'w Route> {
    let mut holders: BTreeMap<Claim, &Route> = BTreeMap::new();
    for Attached { route, spot, .. } in attached {
        let holder = holders.entry(spot.claim.clone()).or_insert(route);
        if matches!(spot.claim, Claim::Service(..)) && class(route) < class(holder) {
            *holder = route;
        }
    }
    holders
}

/// For each of `attached`, which has the most senior routes first, the route that decides in its stead.
///
/// At a listener, an HTTPRoute and a GRPCRoute cannot both have a host: the younger has none there (Gateway API v1,
/// GRPCRouteSpec.hostnames).
pub(super) fn in_the_way<'w>(
    attached: &[Attached<'w>],
    holders: &BTreeMap<Claim, &'w Route>,
) -> Vec<Option<&'w Route>> {
    let mut taken: BTreeMap<(&Claim, u8), Taken<&Route>> = BTreeMap::new();
    let mut in_the_way = Vec::with_capacity(attached.len());
    for entry in attached {
        let claim = &entry.spot.claim;
        if !matches!(claim, Claim::Listener { .. }) {
            let holder = holders.get(claim).copied();
            in_the_way.push(holder.filter(|holder| entry.yields_to(holder)));
            continue;
        }
        let own = class(entry.route);
        let others = [RouteKind::Grpc, RouteKind::Http].map(class_of);
        let others = others.iter().filter(|class| **class != own);
        let others: Vec<_> = others.filter_map(|it| taken.get(&(claim, *it))).collect();
        let hosts = entry.hosts();
        let mut met = hosts
            .iter()
            .flat_map(|hosts| others.iter().map(move |it| it.meeting(hosts)));
        let other = met.find_map(|other| other);
        if other.is_none() {
            let of_class = taken.entry((claim, own)).or_default();
            for hosts in hosts {
                of_class.take(hosts, entry.route);
            }
        }
        in_the_way.push(other);
    }
    in_the_way
}

/// A problem for each route that gets no request at a parent because all its hosts there belong to more specific
/// listeners.
pub(super) fn hosts_of_others<'a, 'w: 'a>(
    deciding: impl Iterator<Item = &'a Attached<'w>>,
    gateways: &BTreeMap<(String, String), Attachments<'w>>,
) -> Vec<Problem> {
    let mut all: BTreeMap<(&ObjectRef, usize), Hosts> = BTreeMap::new();
    for entry in deciding {
        let Claim::Listener {
            namespace,
            name,
            place,
        } = &entry.spot.claim
        else {
            continue;
        };
        let Some(gateway) = gateways.get(&(namespace.clone(), name.clone())) else {
            continue;
        };
        let of_parent = all.entry(entry.place()).or_insert_with(|| Hosts {
            parent: entry.parent,
            owners: BTreeSet::new(),
            has_own: false,
        });
        for hosts in entry.hosts() {
            let owners = gateway.other_owners(place, &hosts);
            of_parent.has_own |= owners.is_empty();
            of_parent.owners.extend(owners);
        }
    }
    let all = all.into_iter();
    let without_hosts = all.filter(|(_, hosts)| !hosts.has_own && !hosts.owners.is_empty());
    let problem = |((object, index), hosts): ((&ObjectRef, usize), Hosts)| {
        let message = messages::hosts_of_another_listener(hosts.parent, one_of(hosts.owners));
        object.problem_of_parent(index, "", message)
    };
    without_hosts.map(problem).collect()
}

/// The hosts of a route at one parent.
struct Hosts<'a> {
    parent: &'a ParentRef,
    /// Other listeners to which some of them belong.
    owners: BTreeSet<&'a str>,
    /// Whether some belong to the listener at which the route is.
    has_own: bool,
}

/// Routes of one class share a claim. Before all others come those that say most about a request.
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

impl Attached<'_> {
    /// Two TCPRoutes cannot share a claim, for nothing would tell their connections apart.
    fn yields_to(&self, holder: &Route) -> bool {
        class(self.route) != class(holder)
            || (self.route.kind == RouteKind::Tcp && self.route.object != holder.object)
    }

    pub(super) fn conflict(&self, holder: &Route) -> Problem {
        let named = &holder.object;
        let message = match &self.spot.claim {
            Claim::Service(_, at) => {
                let at = format!("port {} of Service {}/{}", at.port, at.namespace, at.name);
                messages::held_by_another(named, at)
            }
            Claim::Listener {
                namespace, name, ..
            } => {
                let listener = self.spot.listener.map_or("", |it| it.name.as_str());
                let at = format!("listener {listener} of Gateway {namespace}/{name}");
                messages::held_at_listener(named, self.common_host(holder), at)
            }
            Claim::GatewayPort {
                namespace,
                name,
                port,
            } => {
                let at = format!("port {port} of Gateway {namespace}/{name}");
                messages::held_by_another(named, at)
            }
        };
        let object = &self.route.object;
        object.problem_of_parent(self.parent.index, "", message)
    }

    /// A host of its listener that the other route has as well, in words.
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
