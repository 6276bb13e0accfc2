//! Translates one rule of a route to the rule in the configuration. Finds the Service of each backendRef, and checks
//! that a ReferenceGrant permits the reference.

use std::collections::BTreeSet;

use weir_split::wire::{self, Backend, Rule, Target};

use super::super::ServicePort;
use crate::api::route::{BackendRef, PortRef, Route, RouteKind, RouteRule};
use crate::api::service::{Port, Service};
use crate::manifest::problem::messages::{Message, backend as messages};
use crate::manifest::problem::{Effect, Extent, Problem};
use crate::world::World;

/// The route and the parent of a rule.
pub struct RuleContext<'r> {
    pub route: &'r Route,
    /// The Service port that clients call; None if the parent is a Gateway.
    pub called: Option<&'r ServicePort>,
    /// True if a backend in another namespace needs a ReferenceGrant. See
    /// [`crate::api::route::ParentRef::needs_grant`].
    pub needs_grant: bool,
}

pub fn translate(
    world: &World,
    context: RuleContext<'_>,
    rule: &RouteRule,
    problems: &mut BTreeSet<Problem>,
) -> Rule {
    let RuleContext {
        route,
        called,
        needs_grant,
    } = context;
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
            Err(error) => {
                problems.insert(unresolved(route, rule, backend, error));
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
        // In Gateway API, a rule without backends returns an error. In Linkerd, it uses the parent Service.
        backends = always(match (route.kind, called) {
            (RouteKind::LinkerdHttp, Some(called)) => Target::Service(called.backend()),
            _ => {
                // If the route has no rules, it gets one default rule. So the problem names the list, not a rule.
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
        // Gateway API allows rules in which all weights are 0, so this is not an invalid rule.
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

/// Adds the problems of the backendRefs of a route. The parent does not accept this route, so the problems have no
/// effect on traffic.
pub fn check_references(
    world: &World,
    route: &Route,
    needs_grant: bool,
    problems: &mut BTreeSet<Problem>,
) {
    for rule in &route.rules {
        for backend in &rule.backends {
            if let Err(error) = target(world, route, backend, needs_grant) {
                problems.insert(unresolved(route, rule, backend, error));
            }
        }
    }
}

fn unresolved(
    route: &Route,
    rule: &RouteRule,
    backend: &BackendRef,
    error: BadReference,
) -> Problem {
    let BadReference { field, message } = error;
    let place = (rule.index, backend.index);
    let problem = route.object.problem_of_backend(place, field, message);
    problem.with_effect(route.kind.share_fails())
}

/// The reason why a backendRef cannot be used.
struct BadReference {
    /// The path of the field in the backendRef. It is empty or begins with a dot.
    field: &'static str,
    message: Message,
}

impl From<Message> for BadReference {
    fn from(message: Message) -> BadReference {
        BadReference { field: "", message }
    }
}

/// Returns the Service of a backendRef, or an error if the backendRef cannot be used. Returns None if the backendRef
/// could not be parsed. In this case the parser has already reported a problem.
fn target(
    world: &World,
    route: &Route,
    backend: &BackendRef,
    needs_grant: bool,
) -> Result<Option<wire::Service>, BadReference> {
    let Some(to) = &backend.to else {
        return Ok(None);
    };
    let (namespace, name) = (&to.namespace, &to.name);
    if let Some(kind) = &to.other_kind {
        return Err(messages::no_service_kind(name, kind).into());
    }
    let at = format!("{namespace}/{name}");
    // The grant is checked first. Without a grant, the problem must not show whether the Service exists.
    let own = &route.object.namespace;
    if needs_grant && !world.permits_service(route.kind, own, namespace, name) {
        let (group, kind) = (route.kind.group(), route.kind.name());
        return Err(messages::no_grant(at, namespace, group, kind, own).into());
    }
    let Some(service) = world.service(namespace, name) else {
        return Err(messages::no_service(at).into());
    };
    // The author of a Service of type ExternalName could reach any host through the proxy (CVE-2021-25740, and Gateway
    // API, BackendObjectReference).
    if service.is_external {
        return Err(messages::external_name(at).into());
    }
    let port = port_of(service, to.port.as_ref(), &at)?;
    // The cluster in the proxy has settings for HTTP/2 and TLS, so these protocols are allowed here.
    let number = port.number;
    if let Some(protocol) = &port.non_http_protocol
        && route.kind != RouteKind::Tcp
    {
        return Err(messages::no_http(at, number, protocol).into());
    }
    Ok(Some(ServicePort::of(service, number).backend()))
}

/// Returns the port of the Service that `named` refers to, or an error. `at` is the name of the Service in messages.
fn port_of<'s>(
    service: &'s Service,
    named: Option<&PortRef>,
    at: &str,
) -> Result<&'s Port, BadReference> {
    let ports = || service.possible_ports();
    let wrong_port = |message| BadReference {
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
