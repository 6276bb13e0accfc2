//! Parses an HTTPRoute of Gateway API (v1, v1beta1) or of Linkerd (policy.linkerd.io v1beta2, v1beta3) to a [`Route`].

use crate::api::route::parse;
use crate::api::route::rule_reader::Grammar;
use crate::api::route::{Route, RouteKind, matches};
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;

const RULE_FIELDS: [&str; 7] = [
    "name",
    "matches",
    "filters",
    "backendRefs",
    "timeouts",
    "retry",
    "sessionPersistence",
];

/// Parses an HTTPRoute, see [`Route::parse`].
pub fn parse(
    object: &Object,
    kind: RouteKind,
    problems: &mut Vec<Problem>,
) -> Result<Option<Route>, Problem> {
    let grammar = Grammar {
        kind,
        rule_fields: &RULE_FIELDS,
        read_match: matches::parse,
    };
    parse::parse(object, &grammar, problems)
}

#[cfg(test)]
mod tests;
