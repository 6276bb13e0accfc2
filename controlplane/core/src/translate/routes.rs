//! Translates routes to host sets (hosts with their matches), connections and rules.
//!
//! A placement is one port or listener that a parentRef of a route selects. A deciding route is a route that gets
//! requests at a placement.
//!
//! ```text
//! route, parent -> placements --the deciding routes--> matches in order of precedence -> host set
//!                                               |---> routes at listeners           -> host sets of a Gateway
//!                                               '---> rules of TCPRoutes            -> connections
//! ```

mod conflict;
mod gateway_hosts;
pub mod places;
mod reach;
mod service_ref;
mod wire_mirrors;
mod wire_rule;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, Connections, Destination, HostSet, Match, Rule, Unmatched};

use gateway_hosts::{Attachments, ListenerHosts, ListenerRoute};
use reach::{CheckedMatch, Reach};

use super::{ServicePort, default_port};
use crate::api::gateway::Listener;
use crate::api::route::{ParentKind, ParentRef, Route, RouteKind, RouteRule};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::messages::{matches, parent as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::{Audience, PlannedConnections, PlannedSet, RuleId};
use crate::translate::attachment;
use crate::translate::host_key::HostKey;
use crate::translate::precedence::{Precedence, Seniority, ranked_hostnames};
use crate::world::World;

pub struct Routes {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
    /// The HTTP listeners of each Gateway that has host sets, by namespace and name of the Gateway.
    pub listeners: BTreeMap<(String, String), BTreeMap<String, wire::Listener>>,
    /// The Service ports with producer routes (routes in the namespace of the Service). The value is the most senior
    /// route of the port: the oldest, then the first by name.
    pub ports_with_routes: BTreeMap<ServicePort, ObjectRef>,
    /// The Service port that clients call, by identity of the rule. Rules of Gateways are not included.
    pub called: BTreeMap<String, ServicePort>,
}

/// A place where routes choose the backend: a port of a Service, or a listener or port of a Gateway. Only routes of one
/// class can share a place, see [`AttachedRoute::yields_to`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RouteClaim {
    /// A port of a Service. All matches for this port are in one host set.
    Service(Audience, ServicePort),
    /// The requests of one listener of a Gateway.
    Listener {
        namespace: String,
        name: String,
        place: ListenerHosts,
    },
    /// The connections at one port of a Gateway. This place has no listener, because a proxy cannot always find the
    /// listener of a connection.
    GatewayPort {
        namespace: String,
        name: String,
        port: u16,
    },
}

/// A place that one route selects.
struct Placement<'w> {
    claim: RouteClaim,
    /// The listener of a Gateway; None at a Service.
    listener: Option<&'w Listener>,
    /// Those hostnames of the route that match a host of the listener.
    own: BTreeSet<HostKey>,
}

/// A match for a Service port. In the map of matches, the key is the precedence of the match.
struct ServiceMatch<'w> {
    checked: CheckedMatch<'w>,
    hostnames: Vec<String>,
    rule: String,
}

/// A route with one of its places.
struct AttachedRoute<'w> {
    route: &'w Route,
    parent: &'w ParentRef,
    placement: Placement<'w>,
}

pub fn translate(world: &World, problems: &mut BTreeSet<Problem>) -> Routes {
    let mut routes: Vec<&Route> = world.routes.iter().map(AsRef::as_ref).collect();
    routes.sort_by_cached_key(|route| (Seniority::new(&route.object, route.created), route.kind));

    let mut attached = Vec::new();
    for route in routes {
        let mut checked_grants = BTreeSet::new();
        for parent in &route.parents {
            match placements(world, route, parent, problems) {
                Ok(placements) => {
                    attached.extend(placements.into_iter().map(|placement| AttachedRoute {
                        route,
                        parent,
                        placement,
                    }))
                }
                Err(problem) => {
                    problems.insert(problem.of_parent());
                    let needs_grant = parent.needs_grant(&route.object.namespace);
                    if checked_grants.insert(needs_grant) {
                        wire_rule::check_references(world, route, needs_grant, problems);
                    }
                }
            }
        }
    }
    let holders = conflict::holders(&attached);
    let ports_with_routes = holders.iter().filter_map(|(claim, holder)| match claim {
        RouteClaim::Service(Audience::Everyone, at) => Some((at.clone(), holder.object.clone())),
        RouteClaim::Service(..) | RouteClaim::Listener { .. } | RouteClaim::GatewayPort { .. } => {
            None
        }
    });
    let ports_with_routes = ports_with_routes.collect();
    let blocking_routes = conflict::blocking_routes(&attached, &holders);

    let mut collector = RouteCollector {
        world,
        claims: BTreeMap::new(),
        gateways: BTreeMap::new(),
        roots: BTreeSet::new(),
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        called: BTreeMap::new(),
        problems,
    };
    // A parent accepts a route if the route gets requests at one or more ports or listeners of the parent.
    let entries = || attached.iter().zip(&blocking_routes);
    let deciding = entries().filter(|(_, other)| other.is_none());
    let deciding: BTreeSet<_> = deciding.map(|(entry, _)| entry.parent_key()).collect();
    for (entry, other) in entries() {
        let Some(other) = other else {
            collector.add(entry);
            continue;
        };
        let mut conflict = entry.conflict(other);
        if !deciding.contains(&entry.parent_key()) {
            conflict = conflict.of_parent();
        }
        collector.problems.insert(conflict);
    }
    let deciding_entries = entries().filter(|(_, other)| other.is_none());
    let deciding_entries = deciding_entries.map(|(entry, _)| entry);
    let hidden = conflict::hosts_of_others(deciding_entries, &collector.gateways);
    collector.problems.extend(hidden);
    collector.finish(ports_with_routes)
}

/// Returns the places (ports or listeners) of a route at one parent.
fn placements<'w>(
    world: &'w World,
    route: &Route,
    parent: &ParentRef,
    problems: &mut BTreeSet<Problem>,
) -> Result<Vec<Placement<'w>>, Problem> {
    match parent.kind {
        ParentKind::Gateway => {
            let listeners = attachment::gateway_listeners(world, route, parent)?;
            let placement = |(listener, own): attachment::Attached<'w, '_>| Placement {
                claim: claim_of_gateway(route, parent, listener),
                listener: Some(listener),
                own: own.into_iter().map(HostKey::new).collect(),
            };
            Ok(listeners.into_iter().map(placement).collect())
        }
        ParentKind::Service => {
            let (service, ports) = attachment::service_ports(world, route, parent)?;
            let own = &route.object.namespace;
            let audience = if *own == service.object.namespace {
                Audience::Everyone
            } else {
                Audience::Namespace(own.clone())
            };
            let selects_all = parent.port.is_none() && parent.section_name.is_none();
            if selects_all && route.kind != RouteKind::Tcp && default_port(service).is_none() {
                let message = matches::port_unclear(service.object.to_string());
                problems.insert(route.object.problem_of_parent(parent.index, "", message));
            }
            if route.kind == RouteKind::LinkerdHttp {
                problems.extend(unreachable_hostnames(route, &service.object));
            }
            let placement = |port| Placement {
                claim: RouteClaim::Service(audience.clone(), ServicePort::of(service, port)),
                listener: None,
                own: BTreeSet::new(),
            };
            Ok(ports.into_iter().map(placement).collect())
        }
    }
}

fn claim_of_gateway(route: &Route, parent: &ParentRef, listener: &Listener) -> RouteClaim {
    let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
    match route.kind {
        RouteKind::Tcp => RouteClaim::GatewayPort {
            namespace,
            name,
            port: listener.port,
        },
        RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Grpc => RouteClaim::Listener {
            namespace,
            name,
            place: ListenerHosts::of(listener),
        },
    }
}

/// Returns a problem for each hostname that is not a name of the Service. The proxy finds the Service by the Host
/// header of a request, so requests with another hostname do not reach the route.
fn unreachable_hostnames(route: &Route, service: &ObjectRef) -> Vec<Problem> {
    let hostnames = route.hostnames.iter().enumerate();
    let foreign = hostnames.filter(|(_, name)| !name.may_name(&service.name, &service.namespace));
    let problem = |(index, name): (usize, &Hostname)| {
        let message = messages::foreign_hostname(name, service);
        let path = format!("spec.hostnames[{index}]");
        route.object.problem(path, message)
    };
    foreign.map(problem).collect()
}

impl AttachedRoute<'_> {
    /// Returns the hosts that the route and the listener have in common.
    fn hosts(&self) -> Vec<HostKey> {
        let RouteClaim::Listener { place, .. } = &self.placement.claim else {
            return Vec::new();
        };
        let own = self.placement.own.iter();
        own.filter_map(|own| own.intersect(&place.hosts)).collect()
    }

    /// Returns the route, and the index of the parent.
    fn parent_key(&self) -> (&ObjectRef, usize) {
        (&self.route.object, self.parent.index)
    }

    fn identity(&self, rule: &RouteRule) -> String {
        let parent = match &self.placement.claim {
            RouteClaim::Service(_, at) => format!("{}.{}:{}", at.name, at.namespace, at.port),
            RouteClaim::Listener {
                namespace, name, ..
            }
            | RouteClaim::GatewayPort {
                namespace, name, ..
            } => format!("gateway/{namespace}/{name}"),
        };
        RuleId::of_route(&self.route.object, &parent, &rule.key).to_string()
    }
}

struct RouteCollector<'w, 'p> {
    world: &'w World,
    /// Matches of Service ports.
    claims: BTreeMap<RouteClaim, BTreeMap<Precedence, ServiceMatch<'w>>>,
    /// The routes at each Gateway, by namespace and name of the Gateway.
    gateways: BTreeMap<(String, String), Attachments<'w>>,
    /// Service ports of TCPRoutes, with the identity of the rule for each port.
    roots: BTreeSet<(Audience, ServicePort, String)>,
    /// Names and ports of the listeners of TCPRoutes, by Gateway and identity of the rule.
    listeners: BTreeMap<(Audience, String), BTreeMap<String, u16>>,
    rules: BTreeMap<String, Rule>,
    called: BTreeMap<String, ServicePort>,
    problems: &'p mut BTreeSet<Problem>,
}

impl<'w> RouteCollector<'w, '_> {
    fn add(&mut self, entry: &AttachedRoute<'w>) {
        let parent = match &entry.placement.claim {
            RouteClaim::Service(_, at) => Some(at),
            RouteClaim::Listener { .. } | RouteClaim::GatewayPort { .. } => None,
        };
        let mut identities = Vec::new();
        for rule in &entry.route.rules {
            let identity = entry.identity(rule);
            if !self.rules.contains_key(&identity) {
                let place = wire_rule::RuleContext {
                    route: entry.route,
                    called: parent,
                    needs_grant: entry.parent.needs_grant(&entry.route.object.namespace),
                };
                let wire = wire_rule::translate(self.world, place, rule, self.problems);
                self.rules.insert(identity.clone(), wire);
                let called = parent.map(|at| (identity.clone(), at.clone()));
                self.called.extend(called);
            }
            identities.push(identity);
        }
        let rules = entry.route.rules.iter().zip(&identities);
        match &entry.placement.claim {
            _ if entry.route.kind == RouteKind::Tcp => {
                for identity in identities {
                    self.add_connections(&entry.placement, identity);
                }
            }
            RouteClaim::Listener {
                namespace,
                name,
                place,
            } => self.attach(namespace, name, place, entry, &identities),
            RouteClaim::Service(..) | RouteClaim::GatewayPort { .. } => {
                rules.for_each(|(rule, identity)| self.add_matches(entry, rule, identity));
            }
        }
    }

    fn attach(
        &mut self,
        namespace: &str,
        name: &str,
        place: &ListenerHosts,
        entry: &AttachedRoute<'w>,
        rules: &[String],
    ) {
        // The lookup cannot fail, because routes are attached only to existing Gateways.
        let (Some(gateway), Some(listener)) = (
            self.world.gateway(namespace, name),
            entry.placement.listener,
        ) else {
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        let attachments = self.gateways.entry(key);
        let attachments = attachments.or_insert_with(|| Attachments::new(gateway));
        for own in &entry.placement.own {
            let at = ListenerRoute {
                route: entry.route,
                parent: entry.parent.index,
                listener: &listener.name,
                rules: rules.to_vec(),
            };
            attachments.add(place.clone(), own.clone(), at);
        }
    }

    /// Adds the matches of a rule. A match is added once, even if the route has several parentRefs for the same parent.
    fn add_matches(&mut self, entry: &AttachedRoute<'w>, rule: &'w RouteRule, identity: &str) {
        let candidates = self
            .claims
            .entry(entry.placement.claim.clone())
            .or_default();
        for (host, hostnames) in ranked_hostnames(entry.route) {
            for (position, route_match) in rule.matches.iter().enumerate() {
                let precedence =
                    Precedence::new(entry.route, rule.index, position, route_match.rank, host);
                let candidate = candidates
                    .entry(precedence)
                    .or_insert_with(|| ServiceMatch {
                        checked: CheckedMatch::new(entry.route, rule, route_match),
                        hostnames: hostnames.clone(),
                        rule: identity.to_owned(),
                    });
                candidate.checked.parents.insert(entry.parent.index);
            }
        }
    }

    fn add_connections(&mut self, placement: &Placement, identity: String) {
        match &placement.claim {
            RouteClaim::Service(audience, at) => {
                // A route may have two parentRefs for the same port. The set keeps one entry.
                self.roots.insert((audience.clone(), at.clone(), identity));
            }
            RouteClaim::GatewayPort {
                namespace, name, ..
            }
            | RouteClaim::Listener {
                namespace, name, ..
            } => {
                let audience = Audience::Gateway {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                let listeners = self.listeners.entry((audience, identity)).or_default();
                listeners.extend(placement.listener.map(|it| (it.name.clone(), it.port)));
            }
        }
    }

    fn finish(self, ports_with_routes: BTreeMap<ServicePort, ObjectRef>) -> Routes {
        let of_listeners = self.listeners.into_iter();
        let of_listeners = of_listeners.map(|((audience, rule), listeners)| PlannedConnections {
            audience,
            connections: Connections {
                to: Destination::Listeners(listeners),
                rule,
            },
        });
        let roots = self.roots.into_iter().filter_map(|(audience, at, rule)| {
            let service = self.world.service(&at.namespace, &at.name)?;
            let to = Destination::Root(at.root(service));
            let connections = Connections { to, rule };
            Some(PlannedConnections {
                audience,
                connections,
            })
        });
        let mut reach = Reach::default();
        let sets = self.claims.into_iter();
        let sets = sets
            .filter_map(|(claim, candidates)| planned(self.world, claim, candidates, &mut reach));
        let mut sets: Vec<PlannedSet> = sets.collect();
        for ((namespace, name), attachments) in &self.gateways {
            let gateway_sets = attachments.host_sets(&mut reach).into_iter();
            sets.extend(gateway_sets.map(|set| PlannedSet {
                audience: Audience::Gateway {
                    namespace: namespace.clone(),
                    name: name.clone(),
                },
                set,
            }));
        }
        self.problems.extend(reach.problems());
        let listeners = self.gateways.iter();
        let listeners = listeners.map(|(gateway, it)| (gateway.clone(), it.listeners()));
        Routes {
            sets,
            connections: roots.chain(of_listeners).collect(),
            listeners: listeners.collect(),
            rules: self.rules,
            ports_with_routes,
            called: self.called,
        }
    }
}

/// Returns the host set of a Service port. Returns None if the Service does not exist, which cannot happen for an
/// attached route.
fn planned<'w>(
    world: &World,
    claim: RouteClaim,
    candidates: BTreeMap<Precedence, ServiceMatch<'w>>,
    reach: &mut Reach<'w>,
) -> Option<PlannedSet> {
    let RouteClaim::Service(audience, at) = claim else {
        return None;
    };
    let service = world.service(&at.namespace, &at.name)?;
    let candidates: Vec<ServiceMatch> = candidates.into_values().collect();
    let matches = candidates.iter().map(|candidate| Match {
        path: candidate.checked.route_match.path.clone(),
        method: candidate.checked.route_match.method.clone(),
        headers: candidate.checked.route_match.headers.clone(),
        query: candidate.checked.route_match.query.clone(),
        hostnames: candidate.hostnames.clone(),
        listeners: Vec::new(),
        rule: candidate.rule.clone(),
    });
    let matches: Vec<Match> = matches.collect();
    let ordered = candidates.iter().map(|it| &it.checked).zip(&matches);
    reach.check(&ordered.collect::<Vec<_>>());
    let set = HostSet {
        hosts: at.hosts(service),
        matches,
        unmatched: Unmatched::NotFound,
    };
    Some(PlannedSet { audience, set })
}
