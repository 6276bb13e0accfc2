//! Routes at the listeners of one Gateway -> its host sets.
//!
//! A request belongs to the most specific listener of its port that takes its host, and to no other (Gateway API v1,
//! GatewaySpec.listeners). There the routes count that have the most specific hosts in common with the listener; among
//! them the most specific hostname of their own comes first (HTTPRouteSpec.hostnames).

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, HostSet, Hosts, Match, Unmatched};

use super::reach::{Judged, Reach};
use crate::api::gateway::{Gateway, Listener};
use crate::api::route::Route;
use crate::translate::host_key::HostKey;
use crate::translate::precedence::{HostRank, Precedence};

/// Listeners of one port with the same hostname, which nothing tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub port: u16,
    pub hosts: HostKey,
}

/// A route at one listener.
pub struct At<'w> {
    pub route: &'w Route,
    /// The place of the reference by which it is there.
    pub parent: usize,
    pub listener: &'w str,
    /// Identities of its rules, in their order.
    pub rules: Vec<String>,
}

/// All that is attached to one Gateway.
pub struct Attachments<'w> {
    /// Those for HTTP, also where they are not in force: their hosts are their own all the same.
    listeners: Vec<(Place, &'w Listener)>,
    /// By place, and by hostname of the route.
    routes: BTreeMap<Place, BTreeMap<HostKey, Vec<At<'w>>>>,
}

/// Who decides for the hosts of a key.
struct Owner {
    /// The hosts of its listener.
    listener: HostKey,
    /// False where it has no route for them.
    has_routes: bool,
}

/// A host set that grows.
#[derive(Default)]
struct Gathered<'a, 'w> {
    ports: BTreeMap<String, u16>,
    matches: BTreeMap<Precedence, Candidate<'a, 'w>>,
}

struct Candidate<'a, 'w> {
    judged: Judged<'w>,
    /// With the places of the references by which the route is there.
    listeners: BTreeMap<&'w str, BTreeSet<usize>>,
    rule: &'a str,
}

impl Place {
    pub fn of(listener: &Listener) -> Place {
        Place {
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
                .map(|listener| (Place::of(listener), listener))
                .collect(),
            routes: BTreeMap::new(),
        }
    }

    /// `own` is a hostname of the route that has hosts in common with the place.
    pub fn add(&mut self, place: Place, own: HostKey, at: At<'w>) {
        let of_place = self.routes.entry(place).or_default();
        of_place.entry(own).or_default().push(at);
    }

    pub fn listeners(&self) -> BTreeMap<String, wire::Listener> {
        let listener = |(_, listener): &(Place, &Listener)| {
            let wire = wire::Listener {
                port: listener.port,
                hostname: listener.hostname.as_ref().map(ToString::to_string),
            };
            (listener.name.clone(), wire)
        };
        self.listeners.iter().map(listener).collect()
    }

    /// One for each hostname; its matches are those of all ports, sorted by precedence.
    pub fn host_sets(&self, reach: &mut Reach<'w>) -> Vec<HostSet> {
        let ports: BTreeSet<u16> = self.listeners.iter().map(|(place, _)| place.port).collect();
        let mut sets: BTreeMap<HostKey, Gathered> = BTreeMap::new();
        for port in ports {
            for (hosts, owner) in self.owners(port) {
                let set = sets.entry(hosts.clone()).or_default();
                self.gather(port, &hosts, owner, set);
            }
        }
        let sets = sets.into_iter();
        sets.map(|(hosts, set)| set.finish(&hosts, reach)).collect()
    }

    /// Every hostname at which it changes who decides for the requests of a port.
    ///
    /// Hosts that a route has at some listener of the port are Weir's: where a more specific listener owns them
    /// without a route for them, nothing decides.
    fn owners(&self, port: u16) -> BTreeMap<HostKey, Owner> {
        let mut owners: BTreeMap<HostKey, Owner> = BTreeMap::new();
        let mut has_routes = BTreeSet::new();
        let of_port = self.routes.iter().filter(|(place, _)| place.port == port);
        for (place, by_own) in of_port {
            for own in by_own.keys() {
                let Some(hosts) = own.intersect(&place.hosts) else {
                    continue;
                };
                has_routes.insert(hosts.clone());
                if self.owner(port, &hosts) == Some(&place.hosts) {
                    let owner = Owner {
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
        let mut left: BTreeSet<HostKey> = of_listeners.cloned().collect();
        left.extend(has_routes.iter().cloned());
        for hosts in left {
            let Some(listener) = self.owner(port, &hosts) else {
                continue;
            };
            let nearest = hosts.outwards().find_map(|around| owners.get(around));
            if nearest.is_none_or(|nearest| nearest.listener != *listener) {
                let owner = Owner {
                    listener: listener.clone(),
                    has_routes: false,
                };
                owners.insert(hosts, owner);
            }
        }
        owners
    }

    fn places(&self, port: u16) -> impl Iterator<Item = &HostKey> {
        let places = self.listeners.iter().map(|(place, _)| place);
        let of_port = places.filter(move |place| place.port == port);
        of_port.map(|place| &place.hosts)
    }

    /// The listeners to which all requests for these hosts belong, where they do not belong to the place.
    pub fn other_owners(&self, place: &Place, hosts: &HostKey) -> Vec<&'w str> {
        let owner = self.owner(place.port, hosts);
        let Some(owner) = owner.filter(|owner| **owner != place.hosts) else {
            return Vec::new();
        };
        let listeners = self.listeners.iter();
        let owning = listeners.filter(|(it, _)| it.port == place.port && it.hosts == *owner);
        owning.map(|(_, listener)| listener.name.as_str()).collect()
    }

    /// The most specific listener of a port that takes these hosts.
    fn owner(&self, port: u16, hosts: &HostKey) -> Option<&HostKey> {
        let taking = self.places(port).filter(|place| place.contains(hosts));
        taking.max()
    }

    fn gather<'a>(&'a self, port: u16, hosts: &HostKey, owner: Owner, set: &mut Gathered<'a, 'w>) {
        let place = Place {
            port,
            hosts: owner.listener,
        };
        let own = self.listeners.iter().filter(|(it, _)| *it == place);
        set.ports
            .extend(own.map(|(_, listener)| (listener.name.clone(), port)));
        let Some(of_place) = self.routes.get(&place).filter(|_| owner.has_routes) else {
            return;
        };
        // A route's hostname that is wider than the listener's has the listener's hosts.
        let wider = match *hosts == place.hosts {
            true => usize::MAX,
            false => 1,
        };
        // The most specific hostname of a route stands for the others, which take in the same hosts.
        let mut known = BTreeSet::new();
        let owns = hosts.outwards().take(wider);
        for (own, of_own) in owns.filter_map(|own| of_place.get_key_value(own)) {
            for at in of_own {
                let place = (at.route.kind, &at.route.object, at.listener, at.parent);
                if known.insert(place) {
                    set.add(at, own.rank());
                }
            }
        }
    }
}

impl<'a, 'w> Gathered<'a, 'w> {
    /// A match that is there already, by another listener or another reference to the Gateway, stays one match.
    fn add(&mut self, at: &'a At<'w>, host: HostRank) {
        for (rule, identity) in at.route.rules.iter().zip(&at.rules) {
            for (position, wanted) in rule.matches.iter().enumerate() {
                let precedence = Precedence::new(at.route, rule.index, position, wanted.rank, host);
                let candidate = self.matches.entry(precedence).or_insert_with(|| Candidate {
                    judged: Judged::new(at.route, rule, wanted),
                    listeners: BTreeMap::new(),
                    rule: identity,
                });
                let parents = candidate.listeners.entry(at.listener).or_default();
                parents.insert(at.parent);
            }
        }
    }

    fn finish(self, hosts: &HostKey, reach: &mut Reach<'w>) -> HostSet {
        let mut candidates: Vec<Candidate> = self.matches.into_values().collect();
        let matches = candidates.iter().map(|candidate| Match {
            path: candidate.judged.wanted.path.clone(),
            method: candidate.judged.wanted.method.clone(),
            headers: candidate.judged.wanted.headers.clone(),
            query: candidate.judged.wanted.query.clone(),
            hostnames: Vec::new(),
            listeners: Vec::new(),
            rule: candidate.rule.to_owned(),
        });
        let mut matches: Vec<Match> = matches.collect();
        judge(&mut candidates, &matches, reach);
        for (candidate, wanted) in candidates.iter().zip(&mut matches) {
            let listeners = candidate.listeners.keys();
            wanted.listeners = listeners.map(|it| (*it).to_owned()).collect();
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

/// Judges the matches of each listener apart: a request comes in by one of them. Those with the same matches are
/// judged once.
fn judge<'w>(candidates: &mut [Candidate<'_, 'w>], matches: &[Match], reach: &mut Reach<'w>) {
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
            candidate.judged.parents = parents.flatten().copied().collect();
        }
        let members = members.iter();
        let members = members.filter_map(|at| candidates.get(*at).zip(matches.get(*at)));
        let ordered: Vec<_> = members.map(|(it, wanted)| (&it.judged, wanted)).collect();
        reach.judge(&ordered);
    }
}
