//! Resolves the Services of mirrors. A mirror that cannot be used is left out with a problem, and the requests go to
//! their backends.

use std::collections::BTreeSet;

use weir_split::wire;

use super::service_ref::resolve;
use crate::api::route::mirror::not_copied;
use crate::api::route::{MirrorRef, Route, RouteRule};
use crate::manifest::problem::Problem;
use crate::world::World;

/// Resolves the mirrors of one rule and of its backends.
pub struct Resolver<'r> {
    pub world: &'r World,
    pub route: &'r Route,
    pub rule: &'r RouteRule,
    /// See [`super::wire_rule::RuleContext::needs_grant`].
    pub needs_grant: bool,
}

impl Resolver<'_> {
    /// Returns the mirrors of the backend with this index, or of the rule for None.
    pub fn resolve(
        &self,
        backend: Option<usize>,
        mirrors: &[MirrorRef],
        problems: &mut BTreeSet<Problem>,
    ) -> Vec<wire::Mirror> {
        let mut resolved = Vec::with_capacity(mirrors.len());
        for mirror in mirrors {
            match resolve(self.world, self.route, &mirror.to, self.needs_grant) {
                Ok(to) => resolved.push(wire::Mirror {
                    to,
                    fraction: mirror.fraction,
                    accounts: Vec::new(),
                }),
                Err(error) => {
                    let place = (self.rule.index, backend, mirror.index);
                    let object = &self.route.object;
                    let problem = object.problem_of_mirror(place, error.field, error.message);
                    problems.insert(problem.with_effect(not_copied()));
                }
            }
        }
        resolved
    }

    /// Adds the problems of all mirrors of the rule.
    pub fn check_all(&self, problems: &mut BTreeSet<Problem>) {
        self.resolve(None, &self.rule.mirrors, problems);
        for backend in &self.rule.backends {
            self.resolve(Some(backend.index), &backend.mirrors, problems);
        }
    }
}
