//! HTTPHeaderMatch, HTTPQueryParamMatch and GRPCHeaderMatch of Gateway API v1.

use serde::Deserialize;
use weir_split::is_framing_header;
use weir_split::wire::{Field, ValueMatch};

use crate::manifest::field_path::Place;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{filter, route};
use crate::manifest::unknown_fields::Rest;

/// Gateway API v1: HTTPRouteMatch.headers and queryParams.
const MAX_FIELDS: usize = 16;
/// Gateway API v1: HTTPHeader.value, HTTPHeaderMatch.value.
const MAX_HEADER_VALUE: usize = 4096;
/// Gateway API v1: HTTPQueryParamMatch.value.
const MAX_QUERY_VALUE: usize = 1024;

#[derive(Deserialize)]
pub struct FieldSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    value: String,
    #[serde(flatten)]
    rest: Rest,
}

/// Names in lower case, `host` as `:authority`, each once: of several that differ in case alone the first
/// counts, as the API says. By name, so that their order does not change a rule's identity.
pub fn parse_headers(
    place: &Place,
    written: Option<Vec<FieldSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<Field>, Problem> {
    parse(place, written, MAX_HEADER_VALUE, patterns, |place, name| {
        check_token(place, name)?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "host" => ":authority".to_owned(),
            name => name.to_owned(),
        })
    })
}

/// Names and values keep their case.
pub fn parse_query(
    place: &Place,
    written: Option<Vec<FieldSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<Field>, Problem> {
    parse(place, written, MAX_QUERY_VALUE, patterns, |place, name| {
        check_token(place, name)?;
        Ok(name.to_owned())
    })
}

fn parse(
    place: &Place,
    written: Option<Vec<FieldSpec>>,
    longest: usize,
    patterns: &mut Patterns,
    name_of: impl Fn(&Place, &str) -> Result<String, Problem>,
) -> Result<Vec<Field>, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_FIELDS)?;
    let mut fields: Vec<Field> = Vec::with_capacity(written.len());
    for (index, field) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&field.rest, &[])?;
        let name = name_of(&place.field("name"), &field.name)?;
        let at = place.field("value");
        check_value(&at, &field.value, longest)?;
        let value = match field.kind.as_deref().unwrap_or("Exact") {
            "Exact" => ValueMatch::Exact(field.value),
            "RegularExpression" => {
                patterns.add(&at, &field.value)?;
                ValueMatch::Regex(field.value)
            }
            other => {
                let known = "Exact, RegularExpression";
                return Err(place.field("type").problem(route::match_type(other, known)));
            }
        };
        if !fields.iter().any(|earlier| earlier.name == name) {
            fields.push(Field { name, value });
        }
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(fields)
}

/// In lower case (RFC 9110, 5.1: a token), the name of a header that a filter may edit.
pub fn header_name(place: &Place, name: &str) -> Result<String, Problem> {
    if !is_token(name) {
        return Err(place.problem(filter::header_name(format!("{name:?}"))));
    }
    let name = name.to_ascii_lowercase();
    match is_framing_header(&name) {
        true => Err(place.problem(filter::header_of_connection(name))),
        false => Ok(name),
    }
}

/// A value that a header may be given.
pub fn check_header_value(place: &Place, value: &str) -> Result<(), Problem> {
    check_value(place, value, MAX_HEADER_VALUE)
}

fn is_token(name: &str) -> bool {
    let may_have = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (1..=256).contains(&name.len()) && name.chars().all(may_have)
}

fn check_token(place: &Place, name: &str) -> Result<(), Problem> {
    match is_token(name) {
        true => Ok(()),
        false => Err(place.problem(route::field_name(format!("{name:?}")))),
    }
}

fn check_value(place: &Place, value: &str, longest: usize) -> Result<(), Problem> {
    let message = if value.is_empty() {
        route::value_empty(longest)
    } else if value.len() > longest {
        route::value_too_long(longest)
    } else if value.chars().any(char::is_control) {
        route::value_with_control(format!("{value:?}"))
    } else {
        return Ok(());
    };
    Err(place.problem(message))
}
