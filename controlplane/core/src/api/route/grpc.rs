//! GRPCRoute of Gateway API (v1): the manifest, into the form of [`crate::api::route`].
//!
//! A call of method `Get` of service `shop.Cart` is a request to `/shop.Cart/Get`, so that each method match is a
//! match on the path.

use std::cmp::Reverse;

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::PathMatch;

use crate::api::route::header_match::{self, FieldSpec};
use crate::api::route::parse;
use crate::api::route::rank::Rank;
use crate::api::route::rule::Grammar;
use crate::api::route::{Route, RouteKind, RouteMatch};
use crate::manifest::field_path::Place;
use crate::manifest::object::Object;
use crate::manifest::patterns::{self, Patterns};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::route;
use crate::manifest::unknown_fields::Rest;

/// Gateway API v1: GRPCMethodMatch.service and method.
const LONGEST: usize = 1024;

#[derive(Deserialize)]
struct MatchSpec {
    method: Option<MethodSpec>,
    headers: Option<Vec<FieldSpec>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct MethodSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    service: Option<String>,
    method: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

const GRAMMAR: Grammar = Grammar {
    kind: RouteKind::Grpc,
    fields: &[
        "name",
        "matches",
        "filters",
        "backendRefs",
        "sessionPersistence",
    ],
    read_match,
};

/// See [`Route::parse`].
pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
    parse::parse(object, &GRAMMAR, problems)
}

/// One entry of `matches`.
fn read_match(
    place: &Place,
    written: &Value,
    patterns: &mut Patterns,
    _: &mut Vec<Problem>,
) -> Result<RouteMatch, Problem> {
    let spec: MatchSpec = place.decode(written)?;
    place.nothing_but_known(&spec.rest, &[])?;
    let headers = header_match::parse_headers(&place.field("headers"), spec.headers, patterns)?;
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
            Some(method) => method.path(&place.field("method"), patterns)?,
        },
        rank,
        headers,
        ..RouteMatch::default()
    })
}

impl MethodSpec {
    /// A leading dot marks a name of protobuf as absolute; requests are without, and so it is no character of
    /// the name. In an expression it is one.
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

    /// Gateway API v1, GRPCMethodMatch: an absent part fits everything.
    fn path(self, place: &Place, patterns: &mut Patterns) -> Result<Option<PathMatch>, Problem> {
        place.nothing_but_known(&self.rest, &[])?;
        let part = |name: &str, written: Option<String>| match written {
            Some(text) if text.len() > LONGEST => Err(place
                .field(name)
                .problem(route::grpc_too_long(name, LONGEST))),
            written => Ok(written.filter(|text| !text.is_empty())),
        };
        let service = part("service", self.service)?;
        let method = part("method", self.method)?;
        match self.kind.as_deref().unwrap_or("Exact") {
            _ if service.is_none() && method.is_none() => Err(place.problem(route::grpc_no_name())),
            "Exact" => {
                for (field, name) in [("service", &service), ("method", &method)] {
                    let parts = name.iter().flat_map(|name| match field {
                        "service" => name.split('.').collect(),
                        _ => vec![name.as_str()],
                    });
                    if !parts.into_iter().all(is_identifier) {
                        let name = name.as_deref().unwrap_or_default();
                        let message = route::grpc_name(format!("{name:?}"), field);
                        return Err(place.field(field).problem(message));
                    }
                }
                Ok(Some(match (service, method) {
                    (Some(service), Some(method)) => {
                        PathMatch::Exact(format!("/{service}/{method}"))
                    }
                    (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
                    // Names of methods have no character that means something in a pattern.
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
                            let place = place.field(field);
                            let part = without_outer_anchors(&part);
                            // By itself too: two halves of one group would be a pattern together.
                            if patterns::compile(&place, part)?.has_anchors() {
                                let message = route::grpc_anchor(format!("{part:?}"));
                                return Err(place.problem(message));
                            }
                            pattern.push_str(&format!("/(?:{part})"));
                        }
                    }
                }
                patterns.add(place, &pattern)?;
                Ok(Some(PathMatch::Regex(pattern)))
            }
            other => {
                let known = "Exact, RegularExpression";
                let message = route::match_type(format!("{other:?}"), known);
                Err(place.field("type").problem(message))
            }
        }
    }
}

/// `^` at the beginning and `$` at the end of a whole name always hold, but not within a path.
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
