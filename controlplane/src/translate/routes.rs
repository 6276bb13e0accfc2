//! Routes -> host sets, connections and rules.
//!
//! ```text
//! route, parent -> spots --who decides there--> matches in order of precedence -> host set
//!                                         '---> a TCPRoute's rule              -> connections
//! ```

mod rule;

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Connections, Destination, Gateway, HostSet, Hosts, Match, Rule, Unmatched};

use super::{ServicePort, ambiguous_port, default_port, too_many};
use crate::attachment;
use crate::gateway::Listener;
use crate::hostname::Hostname;
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::precedence::{HostRank, Precedence, Seniority};
use crate::problem::{ObjectRef, Problem, Reason};
use crate::route::{ParentKind, ParentRef, Route, RouteKind, RouteMatch, RouteRule};
use crate::world::World;

pub struct Routes {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
    /// The Service ports for which producer routes decide, each with the most senior of them.
    pub held: BTreeMap<ServicePort, ObjectRef>,
}

/// Where routes of one class decide, see [`Attached::yields_to`]. Matches at one Service port, or for one
/// hostname of a Gateway at any of its listeners, are one host set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Service(Audience, ServicePort),
    Gateway {
        namespace: String,
        name: String,
        /// None is every host.
        hostname: Option<Hostname>,
    },
    /// Connections that come in at one port of a Gateway: a proxy may not know by which listener.
    GatewayPort {
        namespace: String,
        name: String,
        port: u16,
    },
}

/// Where a route wants to decide.
struct Spot {
    claim: Claim,
    /// Where the claim is of a Gateway, with its port.
    listener: Option<(String, u16)>,
}

/// A match of one claim; its place in order is its key.
struct Candidate {
    wanted: RouteMatch,
    hostnames: Vec<String>,
    /// With their ports.
    listeners: BTreeMap<String, u16>,
    rule: String,
}

/// A route at one spot.
struct Attached<'w> {
    route: &'w Route,
    parent: &'w ParentRef,
    spot: Spot,
}

pub fn translate(world: &World, problems: &mut BTreeSet<Problem>) -> Routes {
    let mut routes: Vec<&Route> = world.routes.iter().map(AsRef::as_ref).collect();
    routes.sort_by_cached_key(|route| (Seniority::new(&route.object, route.created), route.kind));

    let mut attached = Vec::new();
    for route in routes {
        let mut wanted = Vec::new();
        for parent in &route.parents {
            match spots(world, route, parent, problems) {
                Ok(spots) => wanted.extend(spots.into_iter().map(|spot| Attached {
                    route,
                    parent,
                    spot,
                })),
                Err(problem) => {
                    problems.insert(problem.of_parent());
                    let needs_grant = parent.kind == ParentKind::Gateway;
                    rule::check_references(world, route, needs_grant, problems);
                }
            }
        }
        match too_many(&route.object, "spec.rules", matches_of(route, &wanted)) {
            None => attached.extend(wanted),
            Some(problem) => {
                problems.insert(problem);
            }
        }
    }
    let holders = holders(&attached);
    let held = holders.iter().filter_map(|(claim, holder)| match claim {
        Claim::Service(Audience::Everyone, at) => Some((at.clone(), holder.object.clone())),
        Claim::Service(..) | Claim::Gateway { .. } | Claim::GatewayPort { .. } => None,
    });
    let held = held.collect();

    let mut gathered = Gathered {
        world,
        claims: BTreeMap::new(),
        roots: BTreeSet::new(),
        listeners: BTreeMap::new(),
        rules: BTreeMap::new(),
        problems,
    };
    // Where a route decides at some of its parent's ports or hosts, it is in force there.
    let decides = |entry: &Attached| match holders.get(&entry.spot.claim) {
        Some(holder) if entry.yields_to(holder) => Err(*holder),
        _ => Ok(()),
    };
    let deciding = attached.iter().filter(|entry| decides(entry).is_ok());
    let deciding: BTreeSet<_> = deciding.map(Attached::place).collect();
    for entry in &attached {
        match decides(entry) {
            Ok(()) => gathered.add(entry),
            Err(holder) => {
                let conflict = entry.conflict(holder);
                gathered
                    .problems
                    .insert(match deciding.contains(&entry.place()) {
                        true => conflict,
                        false => conflict.of_parent(),
                    });
            }
        }
    }
    gathered.finish(held)
}

/// How many matches on the wire a route makes of its own, if it decides wherever it wants to.
fn matches_of(route: &Route, wanted: &[Attached]) -> usize {
    let claims: BTreeSet<&Claim> = wanted.iter().map(|entry| &entry.spot.claim).collect();
    let written = route.rules.iter().map(|rule| rule.matches.len());
    let of_claim = written.sum::<usize>() * ranked_hostnames(route).len();
    claims.len() * of_claim
}

/// The spots at which a route wants to decide.
fn spots(
    world: &World,
    route: &Route,
    parent: &ParentRef,
    problems: &mut BTreeSet<Problem>,
) -> Result<Vec<Spot>, Problem> {
    match parent.kind {
        ParentKind::Gateway => {
            let hosts = attachment::gateway_hosts(world, route, parent)?;
            let spot = |(hostname, listener): (_, &Listener)| Spot {
                claim: claim_of_gateway(route, parent, hostname, listener),
                listener: Some((listener.name.clone(), listener.port)),
            };
            Ok(hosts.into_iter().map(spot).collect())
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
                let path = format!("spec.parentRefs[{}]", parent.index);
                let what = service.object.to_string();
                problems.insert(ambiguous_port(&route.object, path, &what));
            }
            if route.kind == RouteKind::LinkerdHttp {
                problems.extend(unreachable_hostnames(route, &service.object));
            }
            let spot = |port| Spot {
                claim: Claim::Service(audience.clone(), ServicePort::of(service, port)),
                listener: None,
            };
            Ok(ports.into_iter().map(spot).collect())
        }
    }
}

fn claim_of_gateway(
    route: &Route,
    parent: &ParentRef,
    hostname: Option<Hostname>,
    listener: &Listener,
) -> Claim {
    let (namespace, name) = (parent.namespace.clone(), parent.name.clone());
    match route.kind {
        RouteKind::Tcp => Claim::GatewayPort {
            namespace,
            name,
            port: listener.port,
        },
        RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Grpc => Claim::Gateway {
            namespace,
            name,
            hostname,
        },
    }
}

/// A request to a Service is known by its Host: under another one it is not seen to be for that Service.
fn unreachable_hostnames(route: &Route, service: &ObjectRef) -> Vec<Problem> {
    let hostnames = route.hostnames.iter().enumerate();
    let foreign = hostnames.filter(|(_, name)| !name.may_name(&service.name, &service.namespace));
    let problem = |(index, name): (usize, &Hostname)| {
        route.object.legacy(
            format!("spec.hostnames[{index}]"),
            Reason::UnsupportedValue,
            format!("{name} is no name of {service}: requests with this Host stay untouched"),
            "use a name of the Service, or take the hostname out",
        )
    };
    foreign.map(problem).collect()
}

/// Who decides for each claim; `attached` has the most senior routes first. At a Gateway that is the most senior
/// route. At a Service it is the most senior of the kind that goes before the others (Gateway API, GEP-1294).
fn holders<'w>(attached: &[Attached<'w>]) -> BTreeMap<Claim, &'w Route> {
    let mut holders: BTreeMap<Claim, &Route> = BTreeMap::new();
    for Attached { route, spot, .. } in attached {
        let holder = holders.entry(spot.claim.clone()).or_insert(route);
        if matches!(spot.claim, Claim::Service(..)) && class(route) < class(holder) {
            *holder = route;
        }
    }
    holders
}

/// Routes of one class share a claim. Before all others come those that say most about a request.
fn class(route: &Route) -> u8 {
    match route.kind {
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

    /// Which parent of which route.
    fn place(&self) -> (&ObjectRef, usize) {
        (&self.route.object, self.parent.index)
    }

    fn conflict(&self, holder: &Route) -> Problem {
        let at = match &self.spot.claim {
            Claim::Service(_, at) => {
                format!("port {} of Service {}/{}", at.port, at.namespace, at.name)
            }
            Claim::Gateway {
                namespace,
                name,
                hostname,
            } => {
                let host = match hostname {
                    Some(hostname) => format!("host {hostname}"),
                    None => "every host".to_owned(),
                };
                format!("{host} of Gateway {namespace}/{name}")
            }
            Claim::GatewayPort {
                namespace,
                name,
                port,
            } => format!("port {port} of Gateway {namespace}/{name}"),
        };
        self.route.object.legacy(
            format!("spec.parentRefs[{}]", self.parent.index),
            Reason::Conflicted,
            format!("{} decides for {at}", holder.object),
            "take one of the two out",
        )
    }

    fn identity(&self, rule: &RouteRule) -> String {
        let object = self.route.object.identity();
        let parent = match &self.spot.claim {
            Claim::Service(_, at) => format!("{}.{}:{}", at.name, at.namespace, at.port),
            Claim::Gateway {
                namespace, name, ..
            }
            | Claim::GatewayPort {
                namespace, name, ..
            } => format!("gateway/{namespace}/{name}"),
        };
        format!("{object}@{parent}#{}", rule.key)
    }
}

/// Hosts that a route's matches hold for, those of equal rank together. Gateway API ignores the hostnames of a route
/// with a Service for a parent, Linkerd does not; a Gateway's are in the claim.
fn ranked_hostnames(route: &Route) -> BTreeMap<HostRank, Vec<String>> {
    let mut ranked: BTreeMap<HostRank, Vec<String>> = BTreeMap::new();
    if route.kind == RouteKind::LinkerdHttp {
        for hostname in &route.hostnames {
            let of_rank = ranked.entry(HostRank::new(hostname)).or_default();
            of_rank.push(hostname.to_string());
        }
    }
    if ranked.is_empty() {
        ranked.insert(HostRank::Any, Vec::new());
    }
    ranked
}

struct Gathered<'w, 'p> {
    world: &'w World,
    claims: BTreeMap<Claim, BTreeMap<Precedence, Candidate>>,
    /// Service ports of TCPRoutes, each with a rule.
    roots: BTreeSet<(Audience, ServicePort, String)>,
    /// Listeners of TCPRoutes, by Gateway and rule.
    listeners: BTreeMap<(Audience, String), BTreeMap<String, u16>>,
    rules: BTreeMap<String, Rule>,
    problems: &'p mut BTreeSet<Problem>,
}

impl Gathered<'_, '_> {
    fn add(&mut self, entry: &Attached) {
        let parent = match &entry.spot.claim {
            Claim::Service(_, at) => Some(at),
            Claim::Gateway { .. } | Claim::GatewayPort { .. } => None,
        };
        for rule in &entry.route.rules {
            let identity = entry.identity(rule);
            if !self.rules.contains_key(&identity) {
                let wire = rule::translate(self.world, entry.route, rule, parent, self.problems);
                self.rules.insert(identity.clone(), wire);
            }
            if entry.route.kind == RouteKind::Tcp {
                self.add_connections(&entry.spot, identity);
            } else {
                self.add_matches(entry, rule, &identity);
            }
        }
    }

    /// A match that is there already, by another listener or another reference to the same parent,
    /// stays one match.
    fn add_matches(&mut self, entry: &Attached, rule: &RouteRule, identity: &str) {
        let candidates = self.claims.entry(entry.spot.claim.clone()).or_default();
        for (host, hostnames) in ranked_hostnames(entry.route) {
            for (position, wanted) in rule.matches.iter().enumerate() {
                let precedence =
                    Precedence::new(entry.route, rule.index, position, wanted.rank, host);
                let candidate = candidates.entry(precedence).or_insert_with(|| Candidate {
                    wanted: wanted.clone(),
                    hostnames: hostnames.clone(),
                    listeners: BTreeMap::new(),
                    rule: identity.to_owned(),
                });
                candidate.listeners.extend(entry.spot.listener.clone());
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
            | Claim::Gateway {
                namespace, name, ..
            } => {
                let audience = Audience::Gateway {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                let listeners = self.listeners.entry((audience, identity)).or_default();
                listeners.extend(spot.listener.clone());
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
        let sets = self
            .claims
            .into_iter()
            .filter_map(|(claim, candidates)| planned(self.world, claim, candidates, &self.rules));
        Routes {
            sets: sets.collect(),
            connections: roots.chain(of_listeners).collect(),
            rules: self.rules,
            held,
        }
    }
}

/// The host set of one claim. A claim's Service exists, or nothing would have been attached to it.
fn planned(
    world: &World,
    claim: Claim,
    candidates: BTreeMap<Precedence, Candidate>,
    rules: &BTreeMap<String, Rule>,
) -> Option<PlannedSet> {
    let (audience, hosts) = match claim {
        Claim::Service(audience, at) => {
            let service = world.service(&at.namespace, &at.name)?;
            (audience, at.hosts(service))
        }
        Claim::Gateway {
            namespace,
            name,
            hostname,
        } => {
            let needs_ports = |candidate: &&Candidate| {
                let rule = rules.get(&candidate.rule);
                rule.is_some_and(rule::redirects_to_listener)
            };
            let redirecting = candidates.values().filter(needs_ports);
            let hosts = Hosts::Gateway(Gateway {
                hostname: hostname.map(|hostname| hostname.to_string()),
                ports: redirecting.flat_map(|c| c.listeners.clone()).collect(),
            });
            (Audience::Gateway { namespace, name }, hosts)
        }
        // Connections have no hosts.
        Claim::GatewayPort { .. } => return None,
    };
    let matches = candidates.into_values().map(|candidate| Match {
        path: candidate.wanted.path,
        method: candidate.wanted.method,
        headers: candidate.wanted.headers,
        query: candidate.wanted.query,
        hostnames: candidate.hostnames,
        listeners: candidate.listeners.into_keys().collect(),
        rule: candidate.rule,
    });
    let set = HostSet {
        hosts,
        matches: matches.collect(),
        unmatched: Unmatched::NotFound,
    };
    Some(PlannedSet { audience, set })
}
