//! One rule of a route -> the rule on the wire.

use std::collections::BTreeSet;

use weir_split::wire::{self, Backend, Rule, Target};

use super::super::ServicePort;
use crate::api::route::{BackendRef, PortRef, Route, RouteKind, RouteRule};
use crate::api::service::{Port, Service};
use crate::manifest::problem::messages::{Message, backend as messages};
use crate::manifest::problem::{Effect, Extent, Problem};
use crate::world::World;

/// Where a rule is attached.
pub struct Place<'r> {
    pub route: &'r Route,
    /// The Service port; None for a Gateway.
    pub called: Option<&'r ServicePort>,
    /// See [`crate::api::route::ParentRef::needs_grant`].
    pub needs_grant: bool,
}

pub fn translate(
    world: &World,
    place: Place<'_>,
    rule: &RouteRule,
    problems: &mut BTreeSet<Problem>,
) -> Rule {
    let Place {
        route,
        called,
        needs_grant,
    } = place;
    let broken = Target::Status(route.kind.broken());
    let always = |to: Target| vec![Backend::new(1, to)];
    if rule.broken {
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
    for backend in &rule.backends {
        let to = match target(world, route, backend, needs_grant) {
            Ok(service) if !backend.broken => service.map(Target::Service),
            Ok(_) => None,
            Err(wrong) => {
                problems.insert(unresolved(route, rule, backend, wrong));
                None
            }
        };
        let to = to.unwrap_or_else(|| broken.clone());
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
        backends = always(match (route.kind, called) {
            (RouteKind::LinkerdHttp, Some(called)) => Target::Service(called.backend()),
            _ => {
                // The only rule may be the one that a route without rules has.
                let message = messages::not_named_by_rule(route.kind.broken());
                problems.insert(match route.rules.len() {
                    1 if rule.index == 0 => route.object.problem("spec.rules", message),
                    _ => route.object.problem_of_rule(rule.index, "", message),
                });
                broken
            }
        });
    } else if backends.iter().all(|backend| backend.weight == 0) {
        let effect = route.kind.rule_fails();
        // Gateway API allows it: nothing of the rule is invalid.
        let effect = Effect::new(Extent::Part, effect.words);
        let message = messages::every_weight_is_zero().with_effect(effect);
        let object = &route.object;
        problems.insert(object.problem_of_rule(rule.index, ".backendRefs", message));
        backends = always(broken);
    }
    Rule {
        backends,
        filters: rule.filters.boxed(),
        timeouts: rule.timeouts.clone(),
        retry: rule.retry.clone(),
        called: None,
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
        for backend in &rule.backends {
            if let Err(wrong) = target(world, route, backend, needs_grant) {
                problems.insert(unresolved(route, rule, backend, wrong));
            }
        }
    }
}

fn unresolved(route: &Route, rule: &RouteRule, backend: &BackendRef, wrong: Wrong) -> Problem {
    let Wrong { field, message } = wrong;
    let place = (rule.index, backend.index);
    let problem = route.object.problem_of_backend(place, field, message);
    problem.with_effect(route.kind.share_fails())
}

/// Why a backendRef refers to nothing, and what to do about it.
struct Wrong {
    /// Below the backendRef, with its dot.
    field: &'static str,
    message: Message,
}

impl From<Message> for Wrong {
    fn from(message: Message) -> Wrong {
        Wrong { field: "", message }
    }
}

/// What a backendRef refers to, or why nothing; None where that could not be read, which has been said.
fn target(
    world: &World,
    route: &Route,
    backend: &BackendRef,
    needs_grant: bool,
) -> Result<Option<wire::Service>, Wrong> {
    let Some(to) = &backend.to else {
        return Ok(None);
    };
    let (namespace, name) = (&to.namespace, &to.name);
    if let Some(kind) = &to.no_service {
        return Err(messages::no_service_kind(name, kind).into());
    }
    let at = format!("{namespace}/{name}");
    // Asked before it is known whether the Service exists: its absence is nobody else's business.
    let own = &route.object.namespace;
    if needs_grant && !world.permits_service(route.kind, own, namespace, name) {
        let (group, kind) = (route.kind.group(), route.kind.name());
        return Err(messages::no_grant(at, namespace, group, kind, own).into());
    }
    let Some(service) = world.service(namespace, name) else {
        return Err(messages::no_service(at).into());
    };
    // Gateway API, BackendObjectReference: whoever may write such a Service could reach any host by it
    // (CVE-2021-25740).
    if service.is_external {
        return Err(messages::external_name(at).into());
    }
    let port = port_of(service, to.port.as_ref(), &at)?;
    // Which version of HTTP a backend speaks, and whether over TLS, is the business of the proxy's cluster.
    let number = port.number;
    if let Some(protocol) = &port.no_http
        && route.kind != RouteKind::Tcp
    {
        return Err(messages::no_http(at, number, protocol).into());
    }
    Ok(Some(ServicePort::of(service, number).backend()))
}

/// The port of the Service, which is called `at`, that is named.
fn port_of<'s>(service: &'s Service, named: Option<&PortRef>, at: &str) -> Result<&'s Port, Wrong> {
    let ports = || service.possible_ports();
    let wrong_port = |message| Wrong {
        field: ".port",
        message,
    };
    match named {
        None => Err(messages::no_port(at, ports()).into()),
        Some(PortRef::Number(number)) => service
            .port(*number)
            .ok_or_else(|| messages::no_such_port(at, number, ports()).into()),
        Some(PortRef::Name(name)) => {
            let named = service.ports.iter().find(|port| *port.name == **name);
            Err(wrong_port(match named {
                Some(port) => messages::port_name(name, port.number),
                None => messages::unknown_port_name(name, at, ports()),
            }))
        }
    }
}
