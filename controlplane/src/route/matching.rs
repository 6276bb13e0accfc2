//! HTTPRouteMatch of Gateway API v1.

use serde::Deserialize;
use weir_split::wire::PathMatch;

use super::RouteMatch;
use super::fields::{self, FieldSpec};
use super::patterns::Patterns;
use super::place::Place;
use crate::fields::Rest;
use crate::path::{self, PathError};
use crate::precedence::Rank;
use crate::problem::Problem;

/// Gateway API v1: HTTPRouteRule.matches, GRPCRouteRule.matches.
pub const MAX_MATCHES_OF_RULE: usize = 64;

/// Gateway API v1: HTTPMethod.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchSpec {
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

/// At least one match: none written fits every request.
pub fn parse(
    place: &Place,
    written: Option<Vec<MatchSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<RouteMatch>, Problem> {
    let mut written = written.unwrap_or_default();
    place.at_most(&written, MAX_MATCHES_OF_RULE)?;
    if written.is_empty() {
        written.push(MatchSpec::default());
    }
    let parse = |(index, spec)| parse_one(&place.entry(index), spec, patterns);
    written.into_iter().enumerate().map(parse).collect()
}

fn parse_one(
    place: &Place,
    spec: MatchSpec,
    patterns: &mut Patterns,
) -> Result<RouteMatch, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    let path = match spec.path {
        None => None,
        Some(path) => parse_path(&place.field("path"), path, patterns)?,
    };
    if let Some(method) = &spec.method
        && !METHODS.contains(&method.as_str())
    {
        return Err(place.field("method").unsupported(
            format!("method {method:?} is not supported"),
            format!("use one of {}", METHODS.join(", ")),
        ));
    }
    let headers = fields::parse_headers(&place.field("headers"), spec.headers, patterns)?;
    let query = fields::parse_query(&place.field("queryParams"), spec.query_params, patterns)?;
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
    })
}

fn parse_path(
    place: &Place,
    spec: PathSpec,
    patterns: &mut Patterns,
) -> Result<Option<PathMatch>, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    let path = path::parse(spec.kind.as_deref(), spec.value.as_deref());
    let path = path.map_err(|error| match &error {
        PathError::Type(_) => place.field("type").unsupported(
            error.to_string(),
            "use Exact, PathPrefix or RegularExpression",
        ),
        PathError::Value(_) => place
            .field("value")
            .invalid(error.to_string(), "write an absolute path"),
    })?;
    if let Some(PathMatch::Regex(pattern)) = &path {
        patterns.add(&place.field("value"), pattern)?;
    }
    Ok(path)
}

/// The prefix of a rule's only match, where that is one of type PathPrefix: what `ReplacePrefixMatch` replaces.
pub fn only_prefix(matches: &[RouteMatch]) -> Option<&str> {
    match matches {
        [only] => match &only.path {
            None => Some("/"),
            Some(PathMatch::Prefix(prefix)) => Some(prefix),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
        },
        _ => None,
    }
}
