//! HTTPHeaderMatch, HTTPQueryParamMatch and GRPCHeaderMatch of Gateway API v1.

use serde::Deserialize;
use weir_split::is_framing_header;
use weir_split::wire::{Field, ValueMatch};

use super::patterns::Patterns;
use super::place::Place;
use crate::fields::Rest;
use crate::problem::Problem;

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
                return Err(place.field("type").unsupported(
                    format!("type {other:?} is not supported"),
                    "use Exact or RegularExpression",
                ));
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
    check_token(place, name)?;
    let name = name.to_ascii_lowercase();
    if is_framing_header(&name) {
        return Err(place.unsupported(
            format!("the header {name} belongs to the connection: no filter may edit it"),
            "take the edit out, the proxy writes the header itself",
        ));
    }
    Ok(name)
}

/// A value that a header may be given.
pub fn check_header_value(place: &Place, value: &str) -> Result<(), Problem> {
    check_value(place, value, MAX_HEADER_VALUE)
}

fn check_token(place: &Place, name: &str) -> Result<(), Problem> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || name.len() > 256 || !name.chars().all(is_token) {
        return Err(place.invalid(
            format!("{name:?} is not a name"),
            "use letters, digits and '-', at most 256",
        ));
    }
    Ok(())
}

fn check_value(place: &Place, value: &str, longest: usize) -> Result<(), Problem> {
    let remedy = format!("write 1 to {longest} characters");
    if value.is_empty() {
        return Err(place.invalid("the value is empty", remedy));
    }
    if value.len() > longest {
        let message = format!("the value is longer than {longest} bytes");
        return Err(place.invalid(message, remedy));
    }
    if value.chars().any(char::is_control) {
        let message = format!("{value:?} has a control character");
        return Err(place.invalid(message, "take it out"));
    }
    Ok(())
}
