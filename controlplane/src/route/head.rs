//! What HTTPRoute and GRPCRoute have in common before their rules differ.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fields::Rest;
use crate::object::Object;
use crate::problem::Problem;
use crate::route::parent::{self, ParentRefSpec};
use crate::route::place::Place;
use crate::route::rules::{self, MAX_RULES};
use crate::route::{Route, RouteKind, RouteRule};

#[derive(Deserialize)]
struct Manifest<R> {
    spec: Spec<R>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec<R> {
    parent_refs: Option<Vec<ParentRefSpec>>,
    hostnames: Option<Vec<String>>,
    rules: Option<Vec<R>>,
    #[serde(flatten)]
    rest: Rest,
}

/// A route whose rules, at least one, `parse_rules` reads: from the place of their list, to the problems that leave
/// the route in force. No rules written are one that says nothing.
///
/// `useDefaultGateways` refuses the route: with it the author wants to be attached where Weir would not attach it.
pub fn parse<R: Default + DeserializeOwned>(
    object: &Object,
    kind: RouteKind,
    parse_rules: impl FnOnce(&Place, Vec<R>, &mut Vec<Problem>) -> Result<Vec<RouteRule>, Problem>,
) -> Result<(Route, Vec<Problem>), Problem> {
    let Manifest { spec } = object.decode()?;
    let reference = object.reference();
    let place = Place::new(&reference, "spec");
    place.nothing_but_known(&spec.rest, &["useDefaultGateways"])?;
    let parents = place.field("parentRefs");
    let parents = parent::parse(&parents, kind, &object.namespace, spec.parent_refs)?;
    let hostnames = rules::parse_hostnames(&place.field("hostnames"), spec.hostnames)?;
    let mut written: Vec<R> = spec.rules.unwrap_or_default();
    if written.is_empty() {
        written.push(R::default());
    }
    let mut problems = Vec::new();
    let place = place.field("rules");
    place.at_most(&written, MAX_RULES)?;
    let rules = parse_rules(&place, written, &mut problems)?;
    let route = Route {
        object: reference,
        kind,
        created: object.created,
        parents,
        hostnames,
        rules,
    };
    Ok((route, problems))
}
