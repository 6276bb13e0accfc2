//! Reads HTTPRouteMatch of Gateway API v1.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::PathMatch;

use super::RouteMatch;
use super::header_match::{self, FieldSpec};
use crate::api::route::path_match::{self, PathError};
use crate::api::route::rank::Rank;
use crate::manifest::field_path::FieldPath;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{one_of, route};
use crate::manifest::unknown_fields::UnknownFields;

/// The methods that Gateway API allows (Gateway API v1, HTTPMethod).
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpMatchSpec {
    path: Option<PathSpec>,
    headers: Option<Vec<FieldSpec>>,
    query_params: Option<Vec<FieldSpec>>,
    method: Option<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct PathSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Reads one entry of `matches`, see [`super::rule_reader::Grammar::read_match`].
pub fn parse(
    at: &FieldPath,
    value: &Value,
    patterns: &mut Patterns,
    problems: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    let spec: HttpMatchSpec = at.decode(value)?;
    at.reject_unknown(&spec.unknown)?;
    let path = match &spec.path {
        None => None,
        Some(path) => parse_path(&at.field("path"), path, patterns)?,
    };
    if let Some(method) = &spec.method
        && !METHODS.contains(&method.as_str())
    {
        let at = at.field("method");
        let in_another_case = METHODS.iter().find(|it| it.eq_ignore_ascii_case(method));
        let possible = in_another_case.map_or_else(|| one_of(METHODS), |it| (*it).to_owned());
        return Err(at.problem(route::method(format!("{method:?}"), possible)));
    }
    let headers = header_match::parse_headers(&at.field("headers"), spec.headers, patterns)?;
    let query = header_match::parse_query(&at.field("queryParams"), spec.query_params, patterns)?;
    let path_spec = spec.path.as_ref();
    problems.extend(path_spec.and_then(|spec| star_note(&at.field("path"), spec)));
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
    at: &FieldPath,
    spec: &PathSpec,
    patterns: &mut Patterns,
) -> Result<Option<PathMatch>, Problem> {
    at.reject_unknown(&spec.unknown)?;
    let value = spec.value.as_deref();
    let path = path_match::parse(spec.kind.as_deref(), value);
    let path = path.map_err(|error| match error {
        PathError::Type(kind) => {
            let message = route::match_type(format!("{kind:?}"), path_match::TYPES.join(", "));
            at.field("type").problem(message)
        }
        PathError::Value(error) => {
            let message = error.message(value.unwrap_or_default());
            at.field("value").problem(message)
        }
    })?;
    if let Some(PathMatch::Regex(pattern)) = &path {
        patterns.add(&at.field("value"), pattern)?;
    }
    Ok(path)
}

/// Returns a warning about a path with `*`. For some Ingress controllers `/api/*` means all paths below `/api`; in
/// Gateway API the star is an ordinary character.
fn star_note(at: &FieldPath, spec: &PathSpec) -> Option<Problem> {
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
    Some(at.field("value").problem(message))
}
