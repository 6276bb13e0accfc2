//! Parses a TCPRoute of Gateway API (v1, v1alpha2) to a [`Route`].

use serde_json::Value;

use crate::api::route::parse;
use crate::api::route::rule_reader::Grammar;
use crate::api::route::{Route, RouteKind, RouteMatch};
use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;

const GRAMMAR: Grammar = Grammar {
    kind: RouteKind::Tcp,
    rule_fields: &["name", "backendRefs"],
    read_match,
};

/// Parses a TCPRoute, see [`Route::parse`].
pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
    parse::parse(object, &GRAMMAR, problems)
}

/// Returns a match that fits every connection, because rules of a TCPRoute have no matches (see
/// [`Grammar::read_match`]).
fn read_match(
    _: &FieldPath,
    _: &Value,
    _: &mut Patterns,
    _: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    Ok(RouteMatch::default())
}
