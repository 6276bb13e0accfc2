//! What all kinds of routes have in common before their rules differ.
//!
//! A part that cannot be understood takes down as little as it can: one parent, one hostname, one rule, one match or
//! one share. The whole route is out of force only where nobody can say what the rest means: no `spec`, a list that
//! is no list, an unknown field of `spec`, and more entries than the API has.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::api::route::parent_ref;
use crate::api::route::rule::{Grammar, Reader};
use crate::api::route::rules;
use crate::api::route::{Route, RouteKind};
use crate::manifest::field_path::Place;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::{Rest, says_nothing};

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_refs: Option<Vec<Value>>,
    hostnames: Option<Vec<Value>>,
    rules: Option<Vec<Value>>,
    use_default_gateways: Option<Value>,
    #[serde(flatten)]
    rest: Rest,
}

/// A route, and in `problems` what of it is not in force. No rules written are one that says nothing.
///
/// `useDefaultGateways` takes down the route: with it the author wants to be attached where Weir would not attach it.
pub fn parse(
    object: &Object,
    grammar: &Grammar,
    problems: &mut Vec<Problem>,
) -> Result<Option<Route>, Problem> {
    let Manifest { spec } = object.decode()?;
    let kind = grammar.kind;
    let reference = object.reference();
    let place = Place::new(&reference, "spec");
    place.nothing_but_known(&spec.rest, &[])?;
    if spec
        .use_default_gateways
        .is_some_and(|it| !says_nothing(&it))
    {
        let place = place.field("useDefaultGateways");
        return Err(place.problem(route::default_gateways()));
    }
    let parents = spec.parent_refs.unwrap_or_default();
    let at = place.field("parentRefs");
    let parents = parent_ref::parse(&at, kind, &object.namespace, &parents, problems)?;
    let written = spec.hostnames.unwrap_or_default();
    let at = place.field("hostnames");
    if kind == RouteKind::Tcp && !written.is_empty() {
        return Err(place.unknown_field("hostnames"));
    }
    let hostnames = rules::parse_hostnames(&at, &written, problems)?;
    let mut written = spec.rules.unwrap_or_default();
    let place = place.field("rules");
    if kind == RouteKind::Tcp && written.len() != 1 {
        return Err(place.problem(route::rules_of_tcproute(written.len())));
    }
    if written.is_empty() {
        written.push(Value::Object(Map::new()));
    }
    rules::check_totals(&place, &written)?;
    let mut reader = Reader::new(grammar, &object.namespace, &written);
    let rules = written.iter().enumerate();
    let rules = rules.filter_map(|(index, rule)| reader.read(&place, index, rule, problems));
    let rules = rules.collect();
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
