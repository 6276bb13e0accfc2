//! Routes -> host sets, connections and rules.
//!
//! ```text
//! route, parent -> spots --who decides there--> matches in order of precedence -> host set
//!                                         |---> what is attached to listeners  -> host sets of a Gateway
//!                                         '---> a TCPRoute's rule              -> connections
//! ```

mod conflict;
mod listeners;
pub mod places;
mod reach;
mod rule;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{self, Connections, Destination, HostSet, Match, Rule, Unmatched};

use listeners::{At, Attachments, Place};
use reach::{Judged, Reach};

use super::{ServicePort, default_port};
use crate::api::gateway::Listener;
use crate::api::route::{ParentKind, ParentRef, Route, RouteKind, RouteRule};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::messages::{matches, parent as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::translate::attachment;
use crate::translate::host_key::HostKey;
use crate::translate::precedence::{Precedence, Seniority, ranked_hostnames};
use crate::world::World;

pub struct Routes {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
    /// The listeners for HTTP of the Gateways that have host sets, by namespace and name.
    pub listeners: BTreeMap<(String, String), BTreeMap<String, wire::Listener>>,
    /// The Service ports for which producer routes decide, each with the most senior of them.
    pub held: BTreeMap<ServicePort, ObjectRef>,
    /// The Service port that the clients of a rule call, by the rule's identity. Rules of a Gateway are not here.
    pub called: BTreeMap<String, ServicePort>,
}

/// Where routes of one class decide, see [`Attached::yields_to`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// Matches there are one host set.
    Service(Audience, ServicePort),
    /// Requests that come in by one listener of a Gateway.
    Listener {
        namespace: String,
        name: String,
        place: Place,
    },
    /// Connections that come in at one port of a Gateway: a proxy may not know by which listener.
    GatewayPort {
        namespace: String,
        name: String,
        port: u16,
    },
}

/// Where a route wants to decide.
struct Spot<'w> {
    claim: Claim,
    /// Of a Gateway.
    listener: Option<&'w Listener>,
    /// The hostnames of the route that have hosts in common with the listener.
    own: BTreeSet<HostKey>,
}

/// A match of one claim; its place in order is its key.
struct Candidate<'w> {
    judged: Judged<'w>,
    hostnames: Vec<String>,
    rule: String,
}

/// A route at one spot.
struct Attached<'w> {
    route: &'w Route,
    parent: &'w ParentRef,
    spot: Spot<'w>,
}

pub fn translate(world: &World, problems: &mut BTreeSet<Problem>) -> Routes {
    let mut routes: Vec<&Route> = world.routes.iter().map(AsRef::as_ref).collect();
    routes.sort_by_cached_key(|route| (Seniority::new(&route.object, route.created), route.kind));

    let mut attached = Vec::new();
    for route in routes {
        let mut is_checked = BTreeSet::new();
        for parent in &route.parents {
            match spots(world, route, parent, problems) {
                Ok(spots) => attached.extend(spots.into_iter().map(|spot| Attached {
                    route,
                    parent,
                    spot,
                })),
                Err(problem) => {
                    problems.insert(problem.of_parent());
                    let needs_grant = parent.needs_grant(&route.object.namespace);
                    if is_checked.insert(needs_grant) {
                        rule::check_references(world, route, needs_grant, problems);
                    }
                }
            }
        }
    }
    let holders = conflict::holders(&attached);
    let held = holders.iter().filter_map(|(claim, holder)| match claim {
        Claim::Service(Audience::Everyone, at) => Some((at.clone(), holder.object.clone())),
        Claim::Service(..) | Claim::Listener { .. } | Claim::GatewayPort { .. } => None,
    });
    let held = held.collect();
    let in_the_way = conflict::in_the_way(&attached, &holders);

    let mut gathered = Gathered {
        world,
        claims: BTreeMap::new(),
        gateways: BTreeMap::new(),
        roots: BTreeSet::new(),
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        called: BTreeMap::new(),
        problems,
    };
    // Where a route decides at some of its parent's ports or listeners, it is in force there.
    let judged = || attached.iter().zip(&in_the_way);
    let deciding = judged().filter(|(_, other)| other.is_none());
    let deciding: BTreeSet<_> = deciding.map(|(entry, _)| entry.place()).collect();
    for (entry, other) in judged() {
        let Some(other) = other else {
            gathered.add(entry);
            continue;
        };
        let conflict = entry.conflict(other);
        gathered
            .problems
            .insert(match deciding.contains(&entry.place()) {
                true => conflict,
                false => conflict.of_parent(),
            });
    }
    let decided = judged().filter(|(_, other)| other.is_none());
    let decided = decided.map(|(entry, _)| entry);
    let hidden = conflict::hosts_of_others(decided, &gathered.gateways);
    gathered.problems.extend(hidden);
    gathered.finish(held)
}

/// The spots at which a route wants to decide.
fn spots<'w>(
    world: &'w World,
    route: &Route,
    parent: &ParentRef,
    problems: &mut BTreeSet<Problem>,
) -> Result<Vec<Spot<'w>>, Problem> {
    match parent.kind {
        ParentKind::Gateway => {
            let listeners = attachment::gateway_listeners(world, route, parent)?;
            let spot = |(listener, own): attachment::Attached<'w, '_>| Spot {
                claim: claim_of_gateway(route, parent, listener),
                listener: Some(listener),
                own: own.into_iter().map(HostKey::new).collect(),
            };
            Ok(listeners.into_iter().map(spot).collect())
        }
        ParentKind::Service => {
            let (service, ports) = attachment::service_ports(world, route, parent)?;
            let own = &route.object.namespace;
            let audience = if *own == service.object.namespace {
                Audience::Everyone
            } else {
                Audience::Namespace(own.clone())
            };
            let all_meant = parent.port.is_none() && parent.section_name.is_none();
            if all_meant && route.kind != RouteKind::Tcp && default_port(service).is_none() {
                let message = matches::port_unclear(service.object.to_string());
                problems.insert(route.object.problem_of_parent(parent.index, "", message));
            }
            if route.kind == RouteKind::LinkerdHttp {
                problems.extend(unreachable_hostnames(route, &service.object));
            }
            let spot = |port| Spot {
                claim: Claim::Service(audience.clone(), ServicePort::of(service, port)),
                listener: None,
                own: BTreeSet::new(),
            };
            Ok(ports.into_iter().map(spot).collect())
        }
    }
}

fn claim_of_gateway(route: &Route, parent: &ParentRef, listener: &Listener) -> Claim {
    let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
    match route.kind {
        RouteKind::Tcp => Claim::GatewayPort {
            namespace,
            name,
            port: listener.port,
        },
        RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Grpc => Claim::Listener {
            namespace,
            name,
            place: Place::of(listener),
        },
    }
}

/// A request to a Service is known by its Host: under another one it is not seen to be for that Service.
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

impl Attached<'_> {
    /// The hosts of its listener that it wants.
    fn hosts(&self) -> Vec<HostKey> {
        let Claim::Listener { place, .. } = &self.spot.claim else {
            return Vec::new();
        };
        let own = self.spot.own.iter();
        own.filter_map(|own| own.intersect(&place.hosts)).collect()
    }

    /// Which parent of which route.
    fn place(&self) -> (&ObjectRef, usize) {
        (&self.route.object, self.parent.index)
    }

    fn identity(&self, rule: &RouteRule) -> String {
        let object = self.route.object.identity();
        let parent = match &self.spot.claim {
            Claim::Service(_, at) => format!("{}.{}:{}", at.name, at.namespace, at.port),
            Claim::Listener {
                namespace, name, ..
            }
            | Claim::GatewayPort {
                namespace, name, ..
            } => format!("gateway/{namespace}/{name}"),
        };
        format!("{object}@{parent}#{}", rule.key)
    }
}

struct Gathered<'w, 'p> {
    world: &'w World,
    /// Those of Services.
    claims: BTreeMap<Claim, BTreeMap<Precedence, Candidate<'w>>>,
    /// By namespace and name.
    gateways: BTreeMap<(String, String), Attachments<'w>>,
    /// Service ports of TCPRoutes, each with a rule.
    roots: BTreeSet<(Audience, ServicePort, String)>,
    /// Listeners of TCPRoutes, by Gateway and rule.
    listeners: BTreeMap<(Audience, String), BTreeMap<String, u16>>,
    rules: BTreeMap<String, Rule>,
    called: BTreeMap<String, ServicePort>,
    problems: &'p mut BTreeSet<Problem>,
}

impl<'w> Gathered<'w, '_> {
    fn add(&mut self, entry: &Attached<'w>) {
        let parent = match &entry.spot.claim {
            Claim::Service(_, at) => Some(at),
            Claim::Listener { .. } | Claim::GatewayPort { .. } => None,
        };
        let mut identities = Vec::new();
        for rule in &entry.route.rules {
            let identity = entry.identity(rule);
            if !self.rules.contains_key(&identity) {
                let place = rule::Place {
                    route: entry.route,
                    called: parent,
                    needs_grant: entry.parent.needs_grant(&entry.route.object.namespace),
                };
                let wire = rule::translate(self.world, place, rule, self.problems);
                self.rules.insert(identity.clone(), wire);
                let called = parent.map(|at| (identity.clone(), at.clone()));
                self.called.extend(called);
            }
            identities.push(identity);
        }
        let rules = entry.route.rules.iter().zip(&identities);
        match &entry.spot.claim {
            _ if entry.route.kind == RouteKind::Tcp => {
                for identity in identities {
                    self.add_connections(&entry.spot, identity);
                }
            }
            Claim::Listener {
                namespace,
                name,
                place,
            } => self.attach(namespace, name, place, entry, &identities),
            Claim::Service(..) | Claim::GatewayPort { .. } => {
                rules.for_each(|(rule, identity)| self.add_matches(entry, rule, identity));
            }
        }
    }

    fn attach(
        &mut self,
        namespace: &str,
        name: &str,
        place: &Place,
        entry: &Attached<'w>,
        rules: &[String],
    ) {
        // It is there, or nothing would be attached to it.
        let (Some(gateway), Some(listener)) =
            (self.world.gateway(namespace, name), entry.spot.listener)
        else {
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        let attachments = self.gateways.entry(key);
        let attachments = attachments.or_insert_with(|| Attachments::new(gateway));
        for own in &entry.spot.own {
            let at = At {
                route: entry.route,
                parent: entry.parent.index,
                listener: &listener.name,
                rules: rules.to_vec(),
            };
            attachments.add(place.clone(), own.clone(), at);
        }
    }

    /// A match that is there already, by another reference to the same parent, stays one match.
    fn add_matches(&mut self, entry: &Attached<'w>, rule: &'w RouteRule, identity: &str) {
        let candidates = self.claims.entry(entry.spot.claim.clone()).or_default();
        for (host, hostnames) in ranked_hostnames(entry.route) {
            for (position, wanted) in rule.matches.iter().enumerate() {
                let precedence =
                    Precedence::new(entry.route, rule.index, position, wanted.rank, host);
                let candidate = candidates.entry(precedence).or_insert_with(|| Candidate {
                    judged: Judged::new(entry.route, rule, wanted),
                    hostnames: hostnames.clone(),
                    rule: identity.to_owned(),
                });
                candidate.judged.parents.insert(entry.parent.index);
            }
        }
    }

    fn add_connections(&mut self, spot: &Spot, identity: String) {
        match &spot.claim {
            Claim::Service(audience, at) => {
                // Another reference to the same port says nothing new.
                self.roots.insert((audience.clone(), at.clone(), identity));
            }
            Claim::GatewayPort {
                namespace, name, ..
            }
            | Claim::Listener {
                namespace, name, ..
            } => {
                let audience = Audience::Gateway {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                let listeners = self.listeners.entry((audience, identity)).or_default();
                listeners.extend(spot.listener.map(|it| (it.name.clone(), it.port)));
            }
        }
    }

    fn finish(self, held: BTreeMap<ServicePort, ObjectRef>) -> Routes {
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
            let of_gateway = attachments.host_sets(&mut reach).into_iter();
            sets.extend(of_gateway.map(|set| PlannedSet {
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
            held,
            called: self.called,
        }
    }
}

/// The host set of a Service's port. The Service exists, or nothing would have been attached to it.
fn planned<'w>(
    world: &World,
    claim: Claim,
    candidates: BTreeMap<Precedence, Candidate<'w>>,
    reach: &mut Reach<'w>,
) -> Option<PlannedSet> {
    let Claim::Service(audience, at) = claim else {
        return None;
    };
    let service = world.service(&at.namespace, &at.name)?;
    let candidates: Vec<Candidate> = candidates.into_values().collect();
    let matches = candidates.iter().map(|candidate| Match {
        path: candidate.judged.wanted.path.clone(),
        method: candidate.judged.wanted.method.clone(),
        headers: candidate.judged.wanted.headers.clone(),
        query: candidate.judged.wanted.query.clone(),
        hostnames: candidate.hostnames.clone(),
        listeners: Vec::new(),
        rule: candidate.rule.clone(),
    });
    let matches: Vec<Match> = matches.collect();
    let ordered = candidates.iter().map(|it| &it.judged).zip(&matches);
    reach.judge(&ordered.collect::<Vec<_>>());
    let set = HostSet {
        hosts: at.hosts(service),
        matches,
        unmatched: Unmatched::NotFound,
    };
    Some(PlannedSet { audience, set })
}
