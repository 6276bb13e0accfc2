//! GRPCRoute of Gateway API (v1): the manifest, into the form of [`crate::route`].
//!
//! A call of method `Get` of service `shop.Cart` is a request to `/shop.Cart/Get`, so that each method match is a
//! match on the path.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{PathMatch, Timeouts};

use std::cmp::Reverse;

use crate::fields::Rest;
use crate::object::Object;
use crate::precedence::Rank;
use crate::problem::Problem;
use crate::route::backends::{self, BackendRefSpec};
use crate::route::fields::{self, FieldSpec};
use crate::route::filters::{self, FilterSpec};
use crate::route::head;
use crate::route::matching::MAX_MATCHES_OF_RULE;
use crate::route::patterns::{self, Patterns};
use crate::route::place::Place;
use crate::route::rules::{self, Keys};
use crate::route::{Route, RouteKind, RouteMatch, RouteRule};

const KIND: RouteKind = RouteKind::Grpc;
/// Gateway API v1: GRPCMethodMatch.service and method.
const LONGEST: usize = 1024;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    name: Option<String>,
    matches: Option<Vec<MatchSpec>>,
    filters: Option<Vec<FilterSpec>>,
    backend_refs: Option<Vec<BackendRefSpec>>,
    session_persistence: Option<Value>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
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

/// See [`Route::parse`].
pub fn parse(object: &Object) -> Result<(Route, Vec<Problem>), Problem> {
    head::parse(object, KIND, |place, written, problems| {
        parse_rules(place, &object.namespace, written, problems)
    })
}

fn parse_rules(
    place: &Place,
    namespace: &str,
    written: Vec<RuleSpec>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<RouteRule>, Problem> {
    let counts = written
        .iter()
        .filter_map(|rule| Some(rule.matches.as_ref()?.len()));
    rules::check_total(place, counts)?;
    let mut keys = Keys::new(place, written.iter().map(|rule| rule.name.as_ref()))?;
    let mut patterns = Patterns::default();
    let mut rules = Vec::with_capacity(written.len());
    for (index, spec) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&spec.rest, &[])?;
        let matches = parse_matches(&place.field("matches"), spec.matches, &mut patterns)?;
        let parsed = filters::parse(&place.field("filters"), KIND, None, spec.filters)?;
        let mut found = parsed.dropped(&place, KIND, index, spec.session_persistence.is_some());
        let dropped = !found.is_empty();
        let backends = backends::parse(
            &place.field("backendRefs"),
            KIND,
            namespace,
            None,
            spec.backend_refs,
            &mut found,
        )?;
        let Some(key) = keys.next(spec.name, &matches) else {
            continue;
        };
        problems.extend(found);
        rules.push(RouteRule {
            index,
            key,
            matches,
            dropped,
            backends,
            filters: parsed.filters,
            timeouts: Timeouts::default(),
            retry: None,
        });
    }
    Ok(rules)
}

/// At least one match: none written fits every call.
fn parse_matches(
    place: &Place,
    written: Option<Vec<MatchSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<RouteMatch>, Problem> {
    let mut written = written.unwrap_or_default();
    place.at_most(&written, MAX_MATCHES_OF_RULE)?;
    if written.is_empty() {
        written.push(MatchSpec::default());
    }
    let mut matches = Vec::with_capacity(written.len());
    for (index, spec) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&spec.rest, &[])?;
        let headers = fields::parse_headers(&place.field("headers"), spec.headers, patterns)?;
        let method = spec.method.map(MethodSpec::without_leading_dot);
        let length = |text: Option<&String>| Reverse(text.map_or(0, |text| text.chars().count()));
        let rank = Rank::Grpc {
            service: length(method.as_ref().and_then(|method| method.service.as_ref())),
            method: length(method.as_ref().and_then(|method| method.method.as_ref())),
            headers: Reverse(headers.len()),
        };
        matches.push(RouteMatch {
            path: match method {
                None => None,
                Some(method) => method.path(&place.field("method"), patterns)?,
            },
            method: None,
            query: Vec::new(),
            rank,
            headers,
        });
    }
    Ok(matches)
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
            Some(text) if text.len() > LONGEST => Err(place.field(name).invalid(
                format!("the {name} is longer than {LONGEST}"),
                "write a shorter one",
            )),
            written => Ok(written.filter(|text| !text.is_empty())),
        };
        let service = part("service", self.service)?;
        let method = part("method", self.method)?;
        match self.kind.as_deref().unwrap_or("Exact") {
            _ if service.is_none() && method.is_none() => Err(place.invalid(
                "neither service nor method is named",
                "name one of them, or take the match out",
            )),
            "Exact" => {
                for (field, name) in [("service", &service), ("method", &method)] {
                    let parts = name.iter().flat_map(|name| match field {
                        "service" => name.split('.').collect(),
                        _ => vec![name.as_str()],
                    });
                    if !parts.into_iter().all(is_identifier) {
                        let name = name.as_deref().unwrap_or_default();
                        return Err(place.field(field).invalid(
                            format!("{name:?} is not the name of a {field}"),
                            "write it as in the .proto file, such as shop.Cart and Get",
                        ));
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
                                return Err(place.unsupported(
                                    format!("{part:?} asks for the beginning or the end of the name within"),
                                    "leave ^ and $ out: it is the whole name that has to fit",
                                ));
                            }
                            pattern.push_str(&format!("/(?:{part})"));
                        }
                    }
                }
                patterns.add(place, &pattern)?;
                Ok(Some(PathMatch::Regex(pattern)))
            }
            other => Err(place.field("type").unsupported(
                format!("type {other:?} is not supported"),
                "use Exact or RegularExpression",
            )),
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
