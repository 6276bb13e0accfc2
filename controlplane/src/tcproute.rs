//! TCPRoute of Gateway API (v1, v1alpha2): the manifest, into the form of [`crate::route`].

use serde_json::Value;

use crate::object::Object;
use crate::problem::Problem;
use crate::route::head::{self, Grammar};
use crate::route::patterns::Patterns;
use crate::route::place::Place;
use crate::route::{Route, RouteKind, RouteMatch};

const GRAMMAR: Grammar = Grammar {
    kind: RouteKind::Tcp,
    fields: &["name", "backendRefs"],
    read_match,
};

/// See [`Route::parse`].
pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
    head::parse(object, &GRAMMAR, problems)
}

/// A rule without matches fits every connection. The kind has no other.
fn read_match(
    _: &Place,
    _: &Value,
    _: &mut Patterns,
    _: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    Ok(RouteMatch::default())
}
