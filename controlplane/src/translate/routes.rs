//! HTTPRoutes -> host sets and rules.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{
    self, Backend, Gateway, HostSet, Hosts, Match, PathMatch, Rule, Target, Unmatched,
};

use super::{ServicePort, ambiguous_port, default_port};
use crate::attachment;
use crate::hostname::Hostname;
use crate::httproute::{BackendRef, Group, HttpRoute, ParentKind, ParentRef, RouteRule};
use crate::plan::{Audience, PlannedConnections, PlannedSet};
use crate::precedence::{Precedence, Seniority};
use crate::problem::{ObjectRef, Problem, Reason};
use crate::world::World;

/// What the share of a broken backend is answered with (Gateway API: HTTPRouteRule.backendRefs).
const BROKEN: Target = Target::Status(500);

pub struct Routes {
    pub sets: Vec<PlannedSet>,
    pub connections: Vec<PlannedConnections>,
    pub rules: BTreeMap<String, Rule>,
    /// The Service ports for which producer routes decide, each with the most senior of them.
    pub held: BTreeMap<ServicePort, ObjectRef>,
}

/// What gathers matches: each is one host set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Service(Audience, ServicePort),
    Gateway {
        namespace: String,
        name: String,
        hostname: Option<Hostname>,
    },
}

/// A match of one claim; its place in order is its key.
struct Candidate {
    path: Option<PathMatch>,
    listeners: BTreeSet<String>,
    rule: String,
}

pub fn translate(world: &World, problems: &mut BTreeSet<Problem>) -> Routes {
    let mut routes: Vec<&HttpRoute> = world.routes.iter().collect();
    routes.sort_by_cached_key(|route| (Seniority::new(&route.object, route.created), route.group));

    let mut gathered = Gathered {
        world,
        claims: BTreeMap::new(),
        rules: BTreeMap::new(),
        held: BTreeMap::new(),
        problems,
    };
    for route in routes {
        for parent in &route.parents {
            let attached = match parent.kind {
                ParentKind::Service => gathered.attach_to_service(route, parent),
                ParentKind::Gateway => gathered.attach_to_gateway(route, parent),
            };
            if let Err(problem) = attached {
                gathered.problems.insert(problem);
            }
        }
    }
    let Gathered {
        claims,
        rules,
        held,
        ..
    } = gathered;
    let sets = claims
        .into_iter()
        .filter_map(|(claim, candidates)| planned(world, claim, candidates));
    Routes {
        sets: sets.collect(),
        connections: Vec::new(),
        rules,
        held,
    }
}

struct Gathered<'w, 'p> {
    world: &'w World,
    claims: BTreeMap<Claim, BTreeMap<Precedence, Candidate>>,
    rules: BTreeMap<String, Rule>,
    held: BTreeMap<ServicePort, ObjectRef>,
    problems: &'p mut BTreeSet<Problem>,
}

impl Gathered<'_, '_> {
    fn attach_to_service(&mut self, route: &HttpRoute, parent: &ParentRef) -> Result<(), Problem> {
        let (service, ports) = attachment::service_ports(self.world, route, parent)?;
        let own = &route.object.namespace;
        let audience = if *own == service.object.namespace {
            Audience::Everyone
        } else {
            Audience::Namespace(own.clone())
        };
        let all_meant = parent.port.is_none() && parent.section_name.is_none();
        if all_meant && default_port(service).is_none() {
            let path = format!("spec.parentRefs[{}]", parent.index);
            let what = service.object.to_string();
            self.problems
                .insert(ambiguous_port(&route.object, path, &what));
        }
        for port in ports {
            let at = ServicePort::of(service, port);
            if audience == Audience::Everyone {
                let holder = self.held.entry(at.clone());
                holder.or_insert_with(|| route.object.clone());
            }
            for rule in &route.rules {
                let object = &route.object;
                let identity = format!(
                    "{}/{}/{}@{}.{}:{port}#{}",
                    object.kind, object.namespace, object.name, at.name, at.namespace, rule.key
                );
                self.add_rule(&identity, route, rule, Some(&at));
                let claim = Claim::Service(audience.clone(), at.clone());
                self.add_matches(&claim, &identity, route, rule, None);
            }
        }
        Ok(())
    }

    fn attach_to_gateway(&mut self, route: &HttpRoute, parent: &ParentRef) -> Result<(), Problem> {
        let hosts = attachment::gateway_hosts(self.world, route, parent)?;
        for rule in &route.rules {
            let object = &route.object;
            let identity = format!(
                "{}/{}/{}@gateway/{}/{}#{}",
                object.kind, object.namespace, object.name, parent.namespace, parent.name, rule.key
            );
            self.add_rule(&identity, route, rule, None);
            for (hostname, listener) in &hosts {
                let claim = Claim::Gateway {
                    namespace: parent.namespace.clone(),
                    name: parent.name.clone(),
                    hostname: hostname.clone(),
                };
                self.add_matches(&claim, &identity, route, rule, Some(listener));
            }
        }
        Ok(())
    }

    /// A match that is there already, by another listener or another reference to the same parent,
    /// stays one match.
    fn add_matches(
        &mut self,
        claim: &Claim,
        identity: &str,
        route: &HttpRoute,
        rule: &RouteRule,
        listener: Option<&String>,
    ) {
        let candidates = self.claims.entry(claim.clone()).or_default();
        for (position, path) in rule.matches.iter().enumerate() {
            let precedence = Precedence::new(route, rule.index, position, path.as_ref());
            let candidate = candidates.entry(precedence).or_insert_with(|| Candidate {
                path: path.clone(),
                listeners: BTreeSet::new(),
                rule: identity.to_owned(),
            });
            candidate.listeners.extend(listener.cloned());
        }
    }

    /// `parent` is the Service port that the rule is attached to; None is a Gateway.
    fn add_rule(
        &mut self,
        identity: &str,
        route: &HttpRoute,
        rule: &RouteRule,
        parent: Option<&ServicePort>,
    ) {
        if self.rules.contains_key(identity) {
            return;
        }
        let always = |to: Target| vec![Backend::new(1, to)];
        let mut backends = Vec::with_capacity(rule.backends.len());
        for (index, backend) in rule.backends.iter().enumerate() {
            let to = match target(self.world, route, backend, parent.is_none()) {
                Ok(service) => Target::Service(service),
                Err((reason, message, remedy)) => {
                    let path = format!("spec.rules[{}].backendRefs[{index}]", rule.index);
                    let problem = route.object.problem(path, reason, message, remedy);
                    self.problems.insert(problem);
                    BROKEN
                }
            };
            backends.push(Backend::new(backend.weight, to));
        }
        if backends.is_empty() {
            // Gateway API answers such a rule with 500; Linkerd leaves it to the parent Service.
            backends = always(match (route.group, parent) {
                (Group::Linkerd, Some(parent)) => Target::Service(parent.backend()),
                _ => BROKEN,
            });
        } else if backends.iter().all(|backend| backend.weight == 0) {
            self.problems.insert(route.object.problem(
                format!("spec.rules[{}].backendRefs", rule.index),
                Reason::NoTraffic,
                "every weight is 0: requests are answered 500",
                "give a backend a weight above 0",
            ));
            backends = always(BROKEN);
        }
        let rule = Rule {
            backends,
            ..Rule::default()
        };
        self.rules.insert(identity.to_owned(), rule);
    }
}

/// What a backendRef refers to, or why nothing.
fn target(
    world: &World,
    route: &HttpRoute,
    backend: &BackendRef,
    needs_grant: bool,
) -> Result<wire::Service, (Reason, String, &'static str)> {
    let (namespace, name) = (&backend.namespace, &backend.name);
    if !backend.is_service {
        return Err((
            Reason::InvalidKind,
            format!("{name} is no Service: its share is answered 500"),
            "refer to a Service of the core group",
        ));
    }
    // Asked before it is known whether the Service exists: its absence is nobody else's business.
    if needs_grant && !world.permits_service(&route.object.namespace, namespace, name) {
        return Err((
            Reason::RefNotPermitted,
            format!(
                "no ReferenceGrant lets this route refer to Service {namespace}/{name}: its share is answered 500"
            ),
            "create a ReferenceGrant in the Service's namespace",
        ));
    }
    let Some(service) = world.service(namespace, name) else {
        return Err((
            Reason::BackendNotFound,
            format!("there is no Service {namespace}/{name}: its share is answered 500"),
            "create the Service or take the backend out",
        ));
    };
    match backend.port {
        Some(port) if service.ports.contains_key(&port) => {
            Ok(ServicePort::of(service, port).backend())
        }
        Some(port) => Err((
            Reason::BackendNotFound,
            format!("Service {namespace}/{name} has no TCP port {port}: its share is answered 500"),
            "name a TCP port that the Service has",
        )),
        None => Err((
            Reason::BackendNotFound,
            format!("no port of Service {namespace}/{name} is named: its share is answered 500"),
            "name a TCP port that the Service has",
        )),
    }
}

/// The host set of one claim. A claim's Service exists, or nothing would have been attached to it.
fn planned(
    world: &World,
    claim: Claim,
    candidates: BTreeMap<Precedence, Candidate>,
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
            let hostname = hostname.map(|hostname| hostname.to_string());
            let hosts = Hosts::Gateway(Gateway {
                hostname,
                ..Gateway::default()
            });
            (Audience::Gateway { namespace, name }, hosts)
        }
    };
    let matches = candidates.into_values().map(|candidate| Match {
        path: candidate.path,
        listeners: candidate.listeners.into_iter().collect(),
        rule: candidate.rule,
        ..Match::default()
    });
    let set = HostSet {
        hosts,
        matches: matches.collect(),
        unmatched: Unmatched::NotFound,
    };
    Some(PlannedSet { audience, set })
}
