//! Computes the host sets of one Gateway from the routes at its listeners.
//!
//! A request belongs to one listener. Among the listeners of the port that match the host of the request, this is the
//! listener with the most specific hostname (Gateway API v1, GatewaySpec.listeners). Only routes at this listener can
//! get the request.
//!
//! Each route at a listener has some hosts in common with the listener. The routes with the most specific common hosts
//! get the request. Their matches are sorted, with the most specific hostname first (HTTPRouteSpec.hostnames).

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, HostSet, Hosts, Match, Unmatched};

use super::reach::{CheckedMatch, Reach};
use crate::api::gateway::{Gateway, Listener};
use crate::api::route::Route;
use crate::translate::host_key::HostKey;
use crate::translate::precedence::{HostRank, Precedence};

/// The port and the hosts of a listener. Listeners with the same port and the same hosts get the same requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListenerHosts {
    pub port: u16,
    pub hosts: HostKey,
}

/// A route that is attached to one listener.
pub struct ListenerRoute<'w> {
    pub route: &'w Route,
    /// The index of the route's parentRef for this listener.
    pub parent: usize,
    pub listener: &'w str,
    /// Identities of the rules of the route, in the order of the rules.
    pub rules: Vec<String>,
}

/// All routes that are attached to one Gateway.
pub struct Attachments<'w> {
    /// The HTTP listeners. Broken listeners are included, because requests for their hosts must not go to another
    /// listener.
    listeners: Vec<(ListenerHosts, &'w Listener)>,
    /// The attached routes, by the listener's port and hosts, then by the hostname of the route.
    routes: BTreeMap<ListenerHosts, BTreeMap<HostKey, Vec<ListenerRoute<'w>>>>,
}

/// The listener that owns some hosts: all requests for these hosts belong to the listener.
struct HostOwner {
    /// The hosts of the listener.
    listener: HostKey,
    /// False if the listener has no route for these hosts.
    has_routes: bool,
}

/// A host set under construction.
#[derive(Default)]
struct HostSetBuilder<'a, 'w> {
    ports: BTreeMap<String, u16>,
    matches: BTreeMap<Precedence, ListenerMatch<'a, 'w>>,
}

struct ListenerMatch<'a, 'w> {
    checked: CheckedMatch<'w>,
    /// The listeners with this match, by name. The value has the indexes of the route's parentRefs for the listener.
    listeners: BTreeMap<&'w str, BTreeSet<usize>>,
    rule: &'a str,
}

impl ListenerHosts {
    pub fn of(listener: &Listener) -> ListenerHosts {
        ListenerHosts {
            port: listener.port,
            hosts: HostKey::new(listener.hostname.as_ref()),
        }
    }
}

impl<'w> Attachments<'w> {
    pub fn new(gateway: &'w Gateway) -> Attachments<'w> {
        let broken = gateway.broken.iter().flat_map(|it| &it.owners);
        let listeners = gateway.listeners.iter().chain(broken);
        Attachments {
            listeners: listeners
                .filter(|listener| listener.is_http)
                .map(|listener| (ListenerHosts::of(listener), listener))
                .collect(),
            routes: BTreeMap::new(),
        }
    }

    /// Adds a route at the listeners with the port and hosts `place`. `own` is one hostname of the route. It has hosts
    /// in common with `place`.
    pub fn add(&mut self, place: ListenerHosts, own: HostKey, at: ListenerRoute<'w>) {
        let routes = self.routes.entry(place).or_default();
        routes.entry(own).or_default().push(at);
    }

    /// Returns the HTTP listeners by name, in the wire format.
    pub fn listeners(&self) -> BTreeMap<String, wire::Listener> {
        let listener = |(_, listener): &(ListenerHosts, &Listener)| {
            let wire = wire::Listener {
                port: listener.port,
                hostname: listener.hostname.as_ref().map(ToString::to_string),
            };
            (listener.name.clone(), wire)
        };
        self.listeners.iter().map(listener).collect()
    }

    /// Returns one host set for each hostname. A set has the matches of all ports, sorted by precedence.
    pub fn host_sets(&self, reach: &mut Reach<'w>) -> Vec<HostSet> {
        let ports: BTreeSet<u16> = self.listeners.iter().map(|(place, _)| place.port).collect();
        let mut sets: BTreeMap<HostKey, HostSetBuilder> = BTreeMap::new();
        for port in ports {
            for (hosts, owner) in self.owners(port) {
                let set = sets.entry(hosts.clone()).or_default();
                self.gather(port, &hosts, owner, set);
            }
        }
        let sets = sets.into_iter();
        sets.map(|(hosts, set)| set.finish(&hosts, reach)).collect()
    }

    /// For each set of hosts with a route at the port, returns the listener that owns these hosts.
    ///
    /// The result also has hosts without a route if a more specific listener owns them. Otherwise requests for these
    /// hosts would use the routes of wider hosts, which belong to another listener.
    fn owners(&self, port: u16) -> BTreeMap<HostKey, HostOwner> {
        let mut owners: BTreeMap<HostKey, HostOwner> = BTreeMap::new();
        let mut has_routes = BTreeSet::new();
        let of_port = self.routes.iter().filter(|(place, _)| place.port == port);
        for (place, by_own) in of_port {
            for own in by_own.keys() {
                let Some(hosts) = own.intersect(&place.hosts) else {
                    continue;
                };
                has_routes.insert(hosts.clone());
                if self.owner(port, &hosts) == Some(&place.hosts) {
                    let owner = HostOwner {
                        listener: place.hosts.clone(),
                        has_routes: true,
                    };
                    owners.insert(hosts, owner);
                }
            }
        }
        let of_listeners = self.places(port);
        let is_within =
            |hosts: &&HostKey| hosts.outwards().any(|around| has_routes.contains(around));
        let of_listeners = of_listeners.filter(is_within);
        let mut unowned: BTreeSet<HostKey> = of_listeners.cloned().collect();
        unowned.extend(has_routes.iter().cloned());
        for hosts in unowned {
            let Some(listener) = self.owner(port, &hosts) else {
                continue;
            };
            let nearest = hosts.outwards().find_map(|around| owners.get(around));
            if nearest.is_none_or(|nearest| nearest.listener != *listener) {
                let owner = HostOwner {
                    listener: listener.clone(),
                    has_routes: false,
                };
                owners.insert(hosts, owner);
            }
        }
        owners
    }

    /// Returns the hosts of all listeners of a port.
    fn places(&self, port: u16) -> impl Iterator<Item = &HostKey> {
        let places = self.listeners.iter().map(|(place, _)| place);
        let of_port = places.filter(move |place| place.port == port);
        of_port.map(|place| &place.hosts)
    }

    /// Returns the names of the listeners that own these hosts. Returns an empty list if the listeners at `place` own
    /// these hosts.
    pub fn other_owners(&self, place: &ListenerHosts, hosts: &HostKey) -> Vec<&'w str> {
        let owner = self.owner(place.port, hosts);
        let Some(owner) = owner.filter(|owner| **owner != place.hosts) else {
            return Vec::new();
        };
        let listeners = self.listeners.iter();
        let owning = listeners.filter(|(it, _)| it.port == place.port && it.hosts == *owner);
        owning.map(|(_, listener)| listener.name.as_str()).collect()
    }

    /// Returns the hosts of one listener of the port: the most specific listener that contains all of `hosts`.
    fn owner(&self, port: u16, hosts: &HostKey) -> Option<&HostKey> {
        let covering = self.places(port).filter(|place| place.contains(hosts));
        covering.max()
    }

    /// Adds the matches of the routes at the owner of these hosts to `set`.
    fn gather<'a>(
        &'a self,
        port: u16,
        hosts: &HostKey,
        owner: HostOwner,
        set: &mut HostSetBuilder<'a, 'w>,
    ) {
        let place = ListenerHosts {
            port,
            hosts: owner.listener,
        };
        let own = self.listeners.iter().filter(|(it, _)| *it == place);
        set.ports
            .extend(own.map(|(_, listener)| (listener.name.clone(), port)));
        let Some(of_place) = self.routes.get(&place).filter(|_| owner.has_routes) else {
            return;
        };
        // For the hosts of the listener itself, routes with wider hostnames are added too. Such a route has all hosts
        // of the listener.
        let max_hostnames = if *hosts == place.hosts { usize::MAX } else { 1 };
        // Each route is added once, with its most specific hostname. Its wider hostnames add no hosts here.
        let mut added = BTreeSet::new();
        let owns = hosts.outwards().take(max_hostnames);
        for (own, of_own) in owns.filter_map(|own| of_place.get_key_value(own)) {
            for at in of_own {
                let place = (at.route.kind, &at.route.object, at.listener, at.parent);
                if added.insert(place) {
                    set.add(at, own.rank());
                }
            }
        }
    }
}

impl<'a, 'w> HostSetBuilder<'a, 'w> {
    /// Adds the matches of a route. Each match is added once, even if the route is attached to several listeners or has
    /// several parentRefs for the Gateway.
    fn add(&mut self, at: &'a ListenerRoute<'w>, host: HostRank) {
        for (rule, identity) in at.route.rules.iter().zip(&at.rules) {
            for (position, route_match) in rule.matches.iter().enumerate() {
                let precedence =
                    Precedence::new(at.route, rule.index, position, route_match.rank, host);
                let candidate = self
                    .matches
                    .entry(precedence)
                    .or_insert_with(|| ListenerMatch {
                        checked: CheckedMatch::new(at.route, rule, route_match),
                        listeners: BTreeMap::new(),
                        rule: identity,
                    });
                let parents = candidate.listeners.entry(at.listener).or_default();
                parents.insert(at.parent);
            }
        }
    }

    fn finish(self, hosts: &HostKey, reach: &mut Reach<'w>) -> HostSet {
        let mut candidates: Vec<ListenerMatch> = self.matches.into_values().collect();
        let matches = candidates.iter().map(|candidate| Match {
            path: candidate.checked.route_match.path.clone(),
            method: candidate.checked.route_match.method.clone(),
            headers: candidate.checked.route_match.headers.clone(),
            query: candidate.checked.route_match.query.clone(),
            hostnames: Vec::new(),
            listeners: Vec::new(),
            rule: candidate.rule.to_owned(),
        });
        let mut matches: Vec<Match> = matches.collect();
        check(&mut candidates, &matches, reach);
        for (candidate, route_match) in candidates.iter().zip(&mut matches) {
            let listeners = candidate.listeners.keys();
            route_match.listeners = listeners.map(|it| (*it).to_owned()).collect();
        }
        HostSet {
            matches,
            hosts: Hosts::Gateway(wire::Gateway {
                ports: self.ports,
                hostname: hosts.hostname(),
            }),
            unmatched: Unmatched::NotFound,
        }
    }
}

/// Finds matches that no request can reach. Checks the matches of each listener separately, because a request belongs
/// to one listener. Listeners with the same matches are checked together.
fn check<'w>(candidates: &mut [ListenerMatch<'_, 'w>], matches: &[Match], reach: &mut Reach<'w>) {
    let mut by_listener: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for listener in candidate.listeners.keys() {
            by_listener.entry(listener).or_default().push(index);
        }
    }
    let mut alike: BTreeMap<Vec<usize>, Vec<&str>> = BTreeMap::new();
    for (listener, members) in by_listener {
        alike.entry(members).or_default().push(listener);
    }
    for (members, listeners) in alike {
        for member in &members {
            let Some(candidate) = candidates.get_mut(*member) else {
                continue;
            };
            let of_listeners = listeners.iter();
            let parents = of_listeners.filter_map(|it| candidate.listeners.get(it));
            candidate.checked.parents = parents.flatten().copied().collect();
        }
        let members = members.iter();
        let members = members.filter_map(|at| candidates.get(*at).zip(matches.get(*at)));
        let ordered: Vec<_> = members
            .map(|(it, route_match)| (&it.checked, route_match))
            .collect();
        reach.check(&ordered);
    }
}
