//! HTTPRoute of Gateway API (v1, v1beta1) and of Linkerd (policy.linkerd.io v1beta2, v1beta3): the
//! manifest, into the form of [`crate::route`].

use crate::object::Object;
use crate::problem::Problem;
use crate::route::head::{self, Grammar};
use crate::route::{Route, RouteKind, matching};

const FIELDS: [&str; 7] = [
    "name",
    "matches",
    "filters",
    "backendRefs",
    "timeouts",
    "retry",
    "sessionPersistence",
];

/// See [`Route::parse`].
pub fn parse(
    object: &Object,
    kind: RouteKind,
    problems: &mut Vec<Problem>,
) -> Result<Option<Route>, Problem> {
    let grammar = Grammar {
        kind,
        fields: &FIELDS,
        read_match: matching::parse,
    };
    head::parse(object, &grammar, problems)
}

#[cfg(test)]
mod tests;
