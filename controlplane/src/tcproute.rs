//! TCPRoute of Gateway API (v1, v1alpha2): the manifest, into the form of [`crate::route`].

use serde::Deserialize;
use weir_split::wire::{Filters, Timeouts};

use crate::fields::Rest;
use crate::object::Object;
use crate::problem::Problem;
use crate::route::backends::{self, BackendRefSpec};
use crate::route::parent::{self, ParentRefSpec};
use crate::route::place::Place;
use crate::route::rules::Keys;
use crate::route::{Route, RouteKind, RouteMatch, RouteRule};

const KIND: RouteKind = RouteKind::Tcp;

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    parent_refs: Option<Vec<ParentRefSpec>>,
    #[serde(default)]
    rules: Vec<RuleSpec>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    name: Option<String>,
    backend_refs: Option<Vec<BackendRefSpec>>,
    #[serde(flatten)]
    rest: Rest,
}

/// See [`Route::parse`]. Exactly one rule with at least one backend, as the API has it.
pub fn parse(object: &Object) -> Result<(Route, Vec<Problem>), Problem> {
    let Manifest { spec } = object.decode()?;
    let reference = object.reference();
    let place = Place::new(&reference, "spec");
    place.nothing_but_known(&spec.rest, &["useDefaultGateways"])?;
    let parents = place.field("parentRefs");
    let parents = parent::parse(&parents, KIND, &object.namespace, spec.parent_refs)?;

    let place = place.field("rules");
    let names = spec.rules.iter().map(|rule| rule.name.as_ref());
    let mut keys = Keys::new(&place, names)?;
    let count = spec.rules.len();
    let [rule] = <[RuleSpec; 1]>::try_from(spec.rules).map_err(|_| {
        place.invalid(
            format!("{count} rules, a TCPRoute has exactly one"),
            "write one rule in each route",
        )
    })?;
    let place = place.entry(0);
    place.nothing_but_known(&rule.rest, &[])?;
    let place = place.field("backendRefs");
    let mut problems = Vec::new();
    let backends = backends::parse(
        &place,
        KIND,
        &object.namespace,
        None,
        rule.backend_refs,
        &mut problems,
    )?;
    if backends.is_empty() {
        return Err(place.invalid("no backend is named", "name at least one"));
    }
    let matches = vec![RouteMatch::default()];
    let rules = keys.next(rule.name, &matches).map(|key| RouteRule {
        index: 0,
        key,
        matches,
        dropped: false,
        backends,
        filters: Filters::default(),
        timeouts: Timeouts::default(),
        retry: None,
    });
    let route = Route {
        object: reference,
        kind: KIND,
        created: object.created,
        parents,
        hostnames: Vec::new(),
        rules: rules.into_iter().collect(),
    };
    Ok((route, problems))
}
