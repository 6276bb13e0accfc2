//! Parses a GRPCRoute of Gateway API (v1) to a [`Route`].
//!
//! A call of method `Get` of service `shop.Cart` is a request to `/shop.Cart/Get`, so a method match becomes a match on
//! the path.

use std::cmp::Reverse;

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::PathMatch;

use crate::api::route::header_match::{self, FieldSpec};
use crate::api::route::parse;
use crate::api::route::rank::Rank;
use crate::api::route::rule_reader::Grammar;
use crate::api::route::{Route, RouteKind, RouteMatch};
use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::patterns::{self, Patterns};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::UnknownFields;

/// The maximum size of the name of a service or method, in bytes (Gateway API v1, GRPCMethodMatch).
const MAX_NAME: usize = 1024;

#[derive(Deserialize)]
struct GrpcMatchSpec {
    method: Option<MethodSpec>,
    headers: Option<Vec<FieldSpec>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct MethodSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    service: Option<String>,
    method: Option<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

const GRAMMAR: Grammar = Grammar {
    kind: RouteKind::Grpc,
    rule_fields: &[
        "name",
        "matches",
        "filters",
        "backendRefs",
        "sessionPersistence",
    ],
    read_match,
};

/// Parses a GRPCRoute, see [`Route::parse`].
pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
    parse::parse(object, &GRAMMAR, problems)
}

/// Reads one entry of `matches`, see [`Grammar::read_match`].
fn read_match(
    at: &FieldPath,
    value: &Value,
    patterns: &mut Patterns,
    _: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    let spec: GrpcMatchSpec = at.decode(value)?;
    at.reject_unknown(&spec.unknown)?;
    let headers = header_match::parse_headers(&at.field("headers"), spec.headers, patterns)?;
    let method = spec.method.map(MethodSpec::without_leading_dot);
    let length = |text: Option<&String>| Reverse(text.map_or(0, |text| text.chars().count()));
    let rank = Rank::Grpc {
        service: length(method.as_ref().and_then(|method| method.service.as_ref())),
        method: length(method.as_ref().and_then(|method| method.method.as_ref())),
        headers: Reverse(headers.len()),
    };
    Ok(RouteMatch {
        path: match method {
            None => None,
            Some(method) => method.path(&at.field("method"), patterns)?,
        },
        rank,
        headers,
        ..RouteMatch::default()
    })
}

impl MethodSpec {
    /// Removes the leading dot of an exact service name. In protobuf the dot marks absolute names, but requests have no
    /// such dot. In a regular expression the dot matches any character, so it is not removed.
    fn without_leading_dot(self) -> MethodSpec {
        let service = match self.kind.as_deref() {
            None | Some("Exact") => self.service.map(|name| match name.strip_prefix('.') {
                Some(rest) if !rest.is_empty() => rest.to_owned(),
                _ => name,
            }),
            _ => self.service,
        };
        MethodSpec { service, ..self }
    }

    /// Returns the match on the path. A missing service matches every service, and a missing method matches every
    /// method (Gateway API v1, GRPCMethodMatch).
    fn path(self, at: &FieldPath, patterns: &mut Patterns) -> Result<Option<PathMatch>, Problem> {
        at.reject_unknown(&self.unknown)?;
        let part = |name: &str, text: Option<String>| match text {
            Some(text) if text.len() > MAX_NAME => {
                Err(at.field(name).problem(route::grpc_too_long(name, MAX_NAME)))
            }
            text => Ok(text.filter(|text| !text.is_empty())),
        };
        let service = part("service", self.service)?;
        let method = part("method", self.method)?;
        match self.kind.as_deref().unwrap_or("Exact") {
            _ if service.is_none() && method.is_none() => Err(at.problem(route::grpc_no_name())),
            "Exact" => {
                for (field, name) in [("service", &service), ("method", &method)] {
                    let parts = name.iter().flat_map(|name| match field {
                        "service" => name.split('.').collect(),
                        _ => vec![name.as_str()],
                    });
                    if !parts.into_iter().all(is_identifier) {
                        let name = name.as_deref().unwrap_or_default();
                        let message = route::grpc_name(format!("{name:?}"), field);
                        return Err(at.field(field).problem(message));
                    }
                }
                Ok(Some(match (service, method) {
                    (Some(service), Some(method)) => {
                        PathMatch::Exact(format!("/{service}/{method}"))
                    }
                    (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
                    // The name of a method has only letters, digits and `_`, so it needs no escapes in an expression.
                    (None, method) => {
                        PathMatch::Regex(format!("/[^/]+/{}", method.unwrap_or_default()))
                    }
                }))
            }
            "RegularExpression" => {
                let mut pattern = String::new();
                for (field, part) in [("service", service), ("method", method)] {
                    match part {
                        None => pattern.push_str("/[^/]+"),
                        Some(part) => {
                            let at = at.field(field);
                            let part = without_outer_anchors(&part);
                            // Each part must compile alone, so that a group cannot begin in one part and end in the
                            // other.
                            if patterns::compile(&at, part)?.has_anchors() {
                                let message = route::grpc_anchor(format!("{part:?}"));
                                return Err(at.problem(message));
                            }
                            pattern.push_str(&format!("/(?:{part})"));
                        }
                    }
                }
                patterns.add(at, &pattern)?;
                Ok(Some(PathMatch::Regex(pattern)))
            }
            other => {
                let types = "Exact, RegularExpression";
                let message = route::match_type(format!("{other:?}"), types);
                Err(at.field("type").problem(message))
            }
        }
    }
}

/// Removes `^` at the beginning and `$` at the end. Users write these anchors around a whole name. The name is only a
/// part of the path, and an anchor inside the path never matches.
fn without_outer_anchors(pattern: &str) -> &str {
    let pattern = pattern.strip_prefix('^').unwrap_or(pattern);
    let Some(rest) = pattern.strip_suffix('$') else {
        return pattern;
    };
    let escapes = rest.bytes().rev().take_while(|byte| *byte == b'\\');
    if escapes.count().is_multiple_of(2) {
        rest
    } else {
        pattern
    }
}

fn is_identifier(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_start) && text.chars().all(|c| is_start(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests;
