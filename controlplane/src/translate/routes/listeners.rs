//! Routes at the listeners of one Gateway -> its host sets.
//!
//! A request belongs to the most specific listener of its port that takes its host, and to no other (Gateway API v1,
//! GatewaySpec.listeners). There the routes count that have the most specific hosts in common with the listener; among
//! them the most specific hostname of their own comes first (HTTPRouteSpec.hostnames).

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, HostSet, Hosts, Match, Unmatched};

use super::hosts::HostKey;
use crate::gateway::{Gateway, Listener};
use crate::precedence::{HostRank, Precedence};
use crate::route::{Route, RouteMatch};

/// Listeners of one port with the same hostname, which nothing tells apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub port: u16,
    pub hosts: HostKey,
}

/// A route at one listener.
pub struct At<'w> {
    pub route: &'w Route,
    pub listener: &'w str,
    /// Identities of its rules, in their order.
    pub rules: Vec<String>,
}

/// All that is attached to one Gateway.
pub struct Attachments<'w> {
    /// Those for HTTP.
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
struct Gathered<'w> {
    ports: BTreeMap<String, u16>,
    matches: BTreeMap<Precedence, Candidate<'w>>,
}

struct Candidate<'w> {
    wanted: &'w RouteMatch,
    listeners: BTreeSet<String>,
    rule: String,
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
        let listeners = gateway.listeners.iter();
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
    pub fn host_sets(&self) -> Vec<HostSet> {
        let ports: BTreeSet<u16> = self.listeners.iter().map(|(place, _)| place.port).collect();
        let mut sets: BTreeMap<HostKey, Gathered> = BTreeMap::new();
        for port in ports {
            for (hosts, owner) in self.owners(port) {
                let set = sets.entry(hosts.clone()).or_default();
                self.gather(port, &hosts, owner, set);
            }
        }
        let sets = sets.into_iter();
        sets.map(|(hosts, set)| set.finish(&hosts)).collect()
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

    /// The most specific listener of a port that takes these hosts.
    fn owner(&self, port: u16, hosts: &HostKey) -> Option<&HostKey> {
        let taking = self.places(port).filter(|place| place.contains(hosts));
        taking.max()
    }

    fn gather<'a>(&'a self, port: u16, hosts: &HostKey, owner: Owner, set: &mut Gathered<'a>) {
        let place = Place {
            port,
            hosts: owner.listener,
        };
        let own = self.listeners.iter().filter(|(it, _)| *it == place);
        set.ports
            .extend(own.map(|(_, listener)| (listener.name.clone(), port)));
        let routes = self.routes.get(&place).filter(|_| owner.has_routes);
        let routes = routes.into_iter().flatten();
        let routes = routes.filter(|(own, _)| own.intersect(&place.hosts).as_ref() == Some(hosts));
        // The most specific hostname of a route stands for the others, which take in the same hosts.
        let mut known = BTreeSet::new();
        let routes: Vec<_> = routes.collect();
        for (own, of_own) in routes.into_iter().rev() {
            for at in of_own {
                if known.insert((at.route.kind, &at.route.object, at.listener)) {
                    set.add(at, own.rank());
                }
            }
        }
    }
}

impl<'w> Gathered<'w> {
    /// A match that is there already, by another listener or another reference to the Gateway, stays one match.
    fn add(&mut self, at: &'w At, host: HostRank) {
        for (rule, identity) in at.route.rules.iter().zip(&at.rules) {
            for (position, wanted) in rule.matches.iter().enumerate() {
                let precedence = Precedence::new(at.route, rule.index, position, wanted.rank, host);
                let candidate = self.matches.entry(precedence).or_insert_with(|| Candidate {
                    wanted,
                    listeners: BTreeSet::new(),
                    rule: identity.clone(),
                });
                candidate.listeners.insert(at.listener.to_owned());
            }
        }
    }

    fn finish(self, hosts: &HostKey) -> HostSet {
        let matches = self.matches.into_values().map(|candidate| Match {
            path: candidate.wanted.path.clone(),
            method: candidate.wanted.method.clone(),
            headers: candidate.wanted.headers.clone(),
            query: candidate.wanted.query.clone(),
            hostnames: Vec::new(),
            listeners: candidate.listeners.into_iter().collect(),
            rule: candidate.rule,
        });
        HostSet {
            matches: matches.collect(),
            hosts: Hosts::Gateway(wire::Gateway {
                ports: self.ports,
                hostname: hosts.hostname(),
            }),
            unmatched: Unmatched::NotFound,
        }
    }
}
