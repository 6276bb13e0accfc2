//! HTTPRouteMatch of Gateway API v1.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::PathMatch;

use super::RouteMatch;
use super::header_match::{self, FieldSpec};
use crate::api::route::path_match::{self, PathError};
use crate::api::route::rank::Rank;
use crate::manifest::field_path::Place;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{one_of, route};
use crate::manifest::unknown_fields::Rest;

/// Gateway API v1: HTTPMethod.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MatchSpec {
    path: Option<PathSpec>,
    headers: Option<Vec<FieldSpec>>,
    query_params: Option<Vec<FieldSpec>>,
    method: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct PathSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

/// One entry of `matches`; to `problems` goes what the match is in force with.
pub fn parse(
    place: &Place,
    written: &Value,
    patterns: &mut Patterns,
    problems: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    let spec: MatchSpec = place.decode(written)?;
    place.nothing_but_known(&spec.rest, &[])?;
    let path = match &spec.path {
        None => None,
        Some(path) => parse_path(&place.field("path"), path, patterns)?,
    };
    if let Some(method) = &spec.method
        && !METHODS.contains(&method.as_str())
    {
        let place = place.field("method");
        let meant = METHODS.iter().find(|it| it.eq_ignore_ascii_case(method));
        let possible = meant.map_or_else(|| one_of(METHODS), |meant| (*meant).to_owned());
        return Err(place.problem(route::method(format!("{method:?}"), possible)));
    }
    let headers = header_match::parse_headers(&place.field("headers"), spec.headers, patterns)?;
    let query =
        header_match::parse_query(&place.field("queryParams"), spec.query_params, patterns)?;
    let path_spec = spec.path.as_ref();
    problems.extend(path_spec.and_then(|spec| star(&place.field("path"), spec)));
    Ok(RouteMatch {
        rank: Rank::http(
            path.as_ref(),
            spec.method.is_some(),
            headers.len(),
            query.len(),
        ),
        path,
        method: spec.method,
        headers,
        query,
        ..RouteMatch::default()
    })
}

fn parse_path(
    place: &Place,
    spec: &PathSpec,
    patterns: &mut Patterns,
) -> Result<Option<PathMatch>, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    let value = spec.value.as_deref();
    let path = path_match::parse(spec.kind.as_deref(), value);
    let path = path.map_err(|error| match error {
        PathError::Type(kind) => {
            let message = route::match_type(format!("{kind:?}"), path_match::TYPES.join(", "));
            place.field("type").problem(message)
        }
        PathError::Value(error) => {
            let message = error.message(value.unwrap_or_default());
            place.field("value").problem(message)
        }
    })?;
    if let Some(PathMatch::Regex(pattern)) = &path {
        patterns.add(&place.field("value"), pattern)?;
    }
    Ok(path)
}

/// Ingress controllers take `/api/*` for everything below `/api`; here the star is a character like any other.
fn star(place: &Place, spec: &PathSpec) -> Option<Problem> {
    let kind = spec.kind.as_deref().unwrap_or("PathPrefix");
    let value = spec.value.as_deref()?;
    if kind == "RegularExpression" || !value.split('/').any(|part| part == "*" || part == "**") {
        return None;
    }
    let above = value.strip_suffix("/**").or(value.strip_suffix("/*"));
    let message = match above.unwrap_or(value) {
        "" => route::path_star_at_end(value, kind, "/"),
        above if above.contains('*') => {
            let pattern = value.replace("**", "*").replace('*', "[^/]+");
            route::path_star_within(value, kind, pattern)
        }
        above => route::path_star_at_end(value, kind, above),
    };
    Some(place.field("value").problem(message))
}
