//! Parses routes of all kinds.
//!
//! An invalid part affects as little as possible: one parent, one hostname, one rule, one match or one backend. Weir
//! leaves out the whole route only if the rest of the route would apply to the wrong requests. These are the cases:
//! - `spec` is missing, or has an unknown field (in a TCPRoute, `hostnames` is an unknown field);
//! - `useDefaultGateways` has a value;
//! - `parentRefs`, `hostnames` or `rules` is not a list, or is longer than the API allows;
//! - all rules together have more matches than the API allows;
//! - the route has hostnames, and all of them are invalid;
//! - a TCPRoute does not have exactly one rule.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::route::rule_reader::{Grammar, RuleReader};
use crate::api::route::{Route, RouteKind, hostnames, parent_ref};
use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::{UnknownFields, is_empty};

/// The maximum number of rules of a route (Gateway API v1, HTTPRouteSpec.rules).
const MAX_RULES: usize = 16;
/// The maximum number of matches of all rules together (Gateway API v1, HTTPRouteSpec.rules).
const MAX_MATCHES: usize = 128;

#[derive(Deserialize)]
struct RouteManifest {
    spec: RouteSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteSpec {
    parent_refs: Option<Vec<Value>>,
    hostnames: Option<Vec<Value>>,
    rules: Option<Vec<Value>>,
    use_default_gateways: Option<Value>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Parses a route and adds the problems of its invalid parts to `problems`. A route without rules gets one rule without
/// fields, but a TCPRoute without rules is an error.
///
/// Returns None if the route has hostnames and all of them are invalid. Returns an error in the other cases in which
/// Weir leaves out the whole route.
pub fn parse(
    object: &Object,
    grammar: &Grammar,
    problems: &mut Vec<Problem>,
) -> Result<Option<Route>, Problem> {
    let RouteManifest { spec } = object.decode()?;
    let kind = grammar.kind;
    let reference = object.reference();
    let at = FieldPath::new(&reference, "spec");
    at.reject_unknown(&spec.unknown)?;
    // Weir does not support default Gateways, so the route would not get all requests that the user expects.
    if spec.use_default_gateways.is_some_and(|it| !is_empty(&it)) {
        let at = at.field("useDefaultGateways");
        return Err(at.problem(route::default_gateways()));
    }
    let parents = spec.parent_refs.unwrap_or_default();
    let parents = parent_ref::parse(
        &at.field("parentRefs"),
        kind,
        &object.namespace,
        &parents,
        problems,
    )?;
    let hostnames = spec.hostnames.unwrap_or_default();
    if kind == RouteKind::Tcp && !hostnames.is_empty() {
        return Err(at.unknown_field("hostnames"));
    }
    let hostnames = hostnames::parse(&at.field("hostnames"), &hostnames, problems)?;
    let mut values = spec.rules.unwrap_or_default();
    let at = at.field("rules");
    if kind == RouteKind::Tcp && values.len() != 1 {
        return Err(at.problem(route::rules_of_tcproute(values.len())));
    }
    if values.is_empty() {
        values.push(Value::Object(Map::new()));
    }
    check_totals(&at, &values)?;
    let mut reader = RuleReader::new(grammar, &object.namespace, &values);
    let mut rules = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        rules.extend(reader.read(&at, index, value, problems));
    }
    let programs = reader.programs();
    Ok(hostnames.map(|hostnames| Route {
        object: reference,
        kind,
        created: object.created,
        parents,
        hostnames,
        rules,
        programs,
    }))
}

/// Returns an error if a route has too many rules or matches, because every proxy keeps them in memory. The error is
/// for the whole route: if Weir left out one rule, the requests of this rule would go to another rule.
fn check_totals(at: &FieldPath, rules: &[Value]) -> Result<(), Problem> {
    at.at_most(rules, MAX_RULES)?;
    let matches = rules
        .iter()
        .filter_map(|rule| rule.get("matches")?.as_array());
    let total: usize = matches.map(Vec::len).sum();
    if total > MAX_MATCHES {
        return Err(at.problem(route::too_many_matches(total, MAX_MATCHES)));
    }
    Ok(())
}
