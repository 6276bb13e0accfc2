//! One rule of a route -> the rule on the wire.

use std::collections::BTreeSet;

use weir_split::wire::{self, Backend, Rule, Target};

use super::super::ServicePort;
use crate::problem::{Problem, Reason};
use crate::route::{BackendRef, Route, RouteKind, RouteRule};
use crate::world::World;

/// `parent` is the Service port that the rule is attached to; None is a Gateway.
pub fn translate(
    world: &World,
    route: &Route,
    rule: &RouteRule,
    parent: Option<&ServicePort>,
    problems: &mut BTreeSet<Problem>,
) -> Rule {
    let broken = Target::Status(route.kind.broken());
    let always = |to: Target| vec![Backend::new(1, to)];
    if rule.dropped {
        return Rule {
            backends: always(broken),
            ..Rule::default()
        };
    }
    if rule.filters.redirect.is_some() {
        return Rule {
            filters: rule.filters.boxed(),
            ..Rule::default()
        };
    }
    let mut backends = Vec::with_capacity(rule.backends.len());
    for (index, backend) in rule.backends.iter().enumerate() {
        let to = match target(world, route, backend, parent.is_none()) {
            Ok(_) if backend.dropped => broken.clone(),
            Ok(service) => Target::Service(service),
            Err(wrong) => {
                problems.insert(unresolved(route, rule, index, wrong));
                broken.clone()
            }
        };
        let filters = match to {
            Target::Service(_) => backend.filters.boxed(),
            Target::Status(_) => None,
        };
        backends.push(Backend {
            filters,
            ..Backend::new(backend.weight, to)
        });
    }
    if backends.is_empty() {
        // Gateway API answers such a rule with an error; Linkerd leaves it to the parent Service.
        backends = always(match (route.kind, parent) {
            (RouteKind::LinkerdHttp, Some(parent)) => Target::Service(parent.backend()),
            _ => broken,
        });
    } else if backends.iter().all(|backend| backend.weight == 0) {
        let fate = match route.kind {
            RouteKind::Tcp => "connections are closed".to_owned(),
            kind => format!("requests are answered {}", kind.broken()),
        };
        problems.insert(route.object.legacy(
            format!("spec.rules[{}].backendRefs", rule.index),
            Reason::NoTraffic,
            format!("every weight is 0: {fate}"),
            "give a backend a weight above 0",
        ));
        backends = always(broken);
    }
    Rule {
        backends,
        filters: rule.filters.boxed(),
        timeouts: rule.timeouts.clone(),
        retry: rule.retry.clone(),
    }
}

/// What is wrong with the references of a route that a parent does not take: nobody asks them, but its author does.
pub fn check_references(
    world: &World,
    route: &Route,
    needs_grant: bool,
    problems: &mut BTreeSet<Problem>,
) {
    for rule in &route.rules {
        for (index, backend) in rule.backends.iter().enumerate() {
            if let Err(wrong) = target(world, route, backend, needs_grant) {
                problems.insert(unresolved(route, rule, index, wrong));
            }
        }
    }
}

fn unresolved(route: &Route, rule: &RouteRule, index: usize, wrong: Wrong) -> Problem {
    let (reason, message, remedy) = wrong;
    let path = format!("spec.rules[{}].backendRefs[{index}]", rule.index);
    let message = format!("{message}: {}", route.kind.fate());
    route.object.legacy(path, reason, message, remedy)
}

/// Why a backendRef refers to nothing, and what to do about it.
type Wrong = (Reason, String, &'static str);

/// What a backendRef refers to, or why nothing.
fn target(
    world: &World,
    route: &Route,
    backend: &BackendRef,
    needs_grant: bool,
) -> Result<wire::Service, Wrong> {
    let (namespace, name) = (&backend.namespace, &backend.name);
    if !backend.is_service {
        return Err((
            Reason::InvalidKind,
            format!("{name} is no Service"),
            "refer to a Service of the core group",
        ));
    }
    // Asked before it is known whether the Service exists: its absence is nobody else's business.
    let own = &route.object.namespace;
    if needs_grant && !world.permits_service(route.kind, own, namespace, name) {
        return Err((
            Reason::RefNotPermitted,
            format!("no ReferenceGrant lets this route refer to Service {namespace}/{name}"),
            "create a ReferenceGrant in the Service's namespace",
        ));
    }
    let Some(service) = world.service(namespace, name) else {
        return Err((
            Reason::BackendNotFound,
            format!("there is no Service {namespace}/{name}"),
            "create the Service or take the backend out",
        ));
    };
    // Gateway API, BackendObjectReference: whoever may write such a Service could reach any host by it
    // (CVE-2021-25740).
    if service.is_external {
        return Err((
            Reason::UnsupportedValue,
            format!("Service {namespace}/{name} is of type ExternalName"),
            "refer to a Service with endpoints of its own",
        ));
    }
    let named = backend.port.and_then(|port| service.port(port));
    let Some(named) = named else {
        let message = match backend.port {
            Some(port) => format!("Service {namespace}/{name} has no TCP port {port}"),
            None => format!("no port of Service {namespace}/{name} is named"),
        };
        let remedy = "name a TCP port that the Service has";
        return Err((Reason::BackendNotFound, message, remedy));
    };
    // Which version of HTTP a backend speaks, and whether over TLS, is the business of the proxy's cluster.
    let port = named.number;
    if let Some(protocol) = &named.no_http
        && route.kind != RouteKind::Tcp
    {
        return Err((
            Reason::UnsupportedProtocol,
            format!("port {port} of Service {namespace}/{name} has appProtocol {protocol}"),
            "correct appProtocol or name another port",
        ));
    }
    Ok(ServicePort::of(service, port).backend())
}
