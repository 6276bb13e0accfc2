//! Parses routes of all kinds.
//!
//! An invalid part affects as little as possible: one parent, one hostname, one rule, one match or one share. The whole
//! route is not in force only if the meaning of the other parts is unclear: there is no `spec`, `spec` has an unknown
//! field, a list is not a list, or a list is longer than the API allows.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::route::rule_reader::{Grammar, RuleReader};
use crate::api::route::{Route, RouteKind, hostnames, parent_ref};
use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::{UnknownFields, is_empty};

/// The longest list of Gateway API v1, HTTPRouteSpec.rules.
const MAX_RULES: usize = 16;
/// The most matches of all rules together (Gateway API v1, HTTPRouteSpec.rules).
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

/// Parses a route. Problems of parts that are not in force go to `problems`. A route without rules has one rule without
/// fields.
///
/// None if all hostnames are invalid. A route with `useDefaultGateways` is an error, because Weir would not attach it to
/// the Gateways that its author intends.
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

/// Bounds the rules and matches of a route, because every proxy holds them. The limit applies to the whole route: without
/// one of its rules, the requests of that rule would go to another rule.
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
