//! Translates one rule of a route to the rule in the configuration. Finds the Service of each backendRef, and checks
//! that a ReferenceGrant permits the reference.

use std::collections::BTreeSet;

use weir_split::wire::{self, Backend, Rule, Target};

use super::super::ServicePort;
use super::service_ref::{BadReference, resolve};
use super::wire_mirrors;
use crate::api::route::{BackendRef, Route, RouteKind, RouteRule};
use crate::manifest::problem::messages::backend as messages;
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
    let resolver = wire_mirrors::Resolver {
        world,
        route,
        rule,
        needs_grant,
    };
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
        let mirrors = resolver.resolve(Some(backend.index), &backend.mirrors, problems);
        let filters = match to {
            Target::Service(_) => wire::Filters {
                mirrors,
                ..backend.filters.clone()
            }
            .boxed(),
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
    let filters = wire::Filters {
        mirrors: resolver.resolve(None, &rule.mirrors, problems),
        ..rule.filters.clone()
    };
    Rule {
        backends,
        filters: filters.boxed(),
        timeouts: rule.timeouts.clone(),
        retry: rule.retry.clone(),
        called: None,
    }
}

/// Adds the problems of the backendRefs and mirrors of a route that its parent does not accept. These problems have no
/// effect on traffic until the parent accepts the route.
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
        let resolver = wire_mirrors::Resolver {
            world,
            route,
            rule,
            needs_grant,
        };
        resolver.check_all(problems);
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
    let to = backend.to.as_ref();
    to.map(|to| resolve(world, route, to, needs_grant))
        .transpose()
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
