//! TCPRoute of Gateway API (v1, v1alpha2): the manifest, into the form of [`crate::api::route`].

use serde_json::Value;

use crate::api::route::parse;
use crate::api::route::rule::Grammar;
use crate::api::route::{Route, RouteKind, RouteMatch};
use crate::manifest::field_path::Place;
use crate::manifest::object::Object;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;

const GRAMMAR: Grammar = Grammar {
    kind: RouteKind::Tcp,
    fields: &["name", "backendRefs"],
    read_match,
};

/// See [`Route::parse`].
pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
    parse::parse(object, &GRAMMAR, problems)
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
