//! Reads HTTPHeaderMatch, HTTPQueryParamMatch and GRPCHeaderMatch of Gateway API v1 from a manifest.

use serde::Deserialize;
use weir_split::wire::{Field, ValueMatch};
use weir_split::{is_framing_header, is_mirror_header};

use crate::manifest::field_path::FieldPath;
use crate::manifest::patterns::Patterns;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{filter, route};
use crate::manifest::unknown_fields::UnknownFields;

/// The maximum number of entries in `headers` or `queryParams` (Gateway API v1, HTTPRouteMatch).
const MAX_FIELDS: usize = 16;
/// The maximum size of a header value, in bytes (Gateway API v1, HTTPHeader.value and HTTPHeaderMatch.value).
const MAX_HEADER_VALUE: usize = 4096;
/// The maximum size of a query parameter's value, in bytes (Gateway API v1, HTTPQueryParamMatch.value).
const MAX_QUERY_VALUE: usize = 1024;

#[derive(Deserialize)]
pub struct FieldSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: String,
    value: String,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Parses header matches. Names become lower case, and `host` becomes `:authority`. If several entries have the same
/// name, only the first is used (Gateway API v1, HTTPHeaderMatch.name). The result is sorted by name, so that the order
/// of the entries does not change the identity of the rule.
pub fn parse_headers(
    at: &FieldPath,
    specs: Option<Vec<FieldSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<Field>, Problem> {
    parse(at, specs, MAX_HEADER_VALUE, patterns, |at, name| {
        check_token(at, name)?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "host" => ":authority".to_owned(),
            name => name.to_owned(),
        })
    })
}

/// Parses query parameter matches. Names keep their case. If several entries have the same name, only the first is
/// used. The result is sorted by name.
pub fn parse_query(
    at: &FieldPath,
    specs: Option<Vec<FieldSpec>>,
    patterns: &mut Patterns,
) -> Result<Vec<Field>, Problem> {
    parse(at, specs, MAX_QUERY_VALUE, patterns, |at, name| {
        check_token(at, name)?;
        Ok(name.to_owned())
    })
}

fn parse(
    at: &FieldPath,
    specs: Option<Vec<FieldSpec>>,
    max_value: usize,
    patterns: &mut Patterns,
    parse_name: impl Fn(&FieldPath, &str) -> Result<String, Problem>,
) -> Result<Vec<Field>, Problem> {
    let specs = specs.unwrap_or_default();
    at.at_most(&specs, MAX_FIELDS)?;
    let mut fields: Vec<Field> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.into_iter().enumerate() {
        let at = at.entry(index);
        at.reject_unknown(&spec.unknown)?;
        let name = parse_name(&at.field("name"), &spec.name)?;
        let at_value = at.field("value");
        check_value(&at_value, &spec.value, max_value)?;
        let value = match spec.kind.as_deref().unwrap_or("Exact") {
            "Exact" => ValueMatch::Exact(spec.value),
            "RegularExpression" => {
                patterns.add(&at_value, &spec.value)?;
                ValueMatch::Regex(spec.value)
            }
            other => {
                let message = route::match_type(other, "Exact, RegularExpression");
                return Err(at.field("type").problem(message));
            }
        };
        if !fields.iter().any(|earlier| earlier.name == name) {
            fields.push(Field { name, value });
        }
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(fields)
}

/// Returns the name of a header that a filter edits, in lower case. The name must be a token (RFC 9110, 5.1). Two
/// sorts of headers are errors: headers that frame the message, such as `content-length`, and the headers of mirrors.
pub fn header_name(at: &FieldPath, name: &str) -> Result<String, Problem> {
    if !is_token(name) {
        return Err(at.problem(filter::header_name(format!("{name:?}"))));
    }
    let name = name.to_ascii_lowercase();
    if is_framing_header(&name) {
        return Err(at.problem(filter::header_of_connection(name)));
    }
    if is_mirror_header(&name) {
        return Err(at.problem(filter::header_of_mirror(name)));
    }
    Ok(name)
}

/// Checks the value that a filter gives to a header: 1 to 4096 bytes, without control characters.
pub fn check_header_value(at: &FieldPath, value: &str) -> Result<(), Problem> {
    check_value(at, value, MAX_HEADER_VALUE)
}

fn is_token(name: &str) -> bool {
    let is_token_character = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    (1..=256).contains(&name.len()) && name.chars().all(is_token_character)
}

fn check_token(at: &FieldPath, name: &str) -> Result<(), Problem> {
    if is_token(name) {
        return Ok(());
    }
    Err(at.problem(route::field_name(format!("{name:?}"))))
}

fn check_value(at: &FieldPath, value: &str, max_value: usize) -> Result<(), Problem> {
    let message = if value.is_empty() {
        route::value_empty(max_value)
    } else if value.len() > max_value {
        route::value_too_long(max_value)
    } else if value.chars().any(char::is_control) {
        route::value_with_control(format!("{value:?}"))
    } else {
        return Ok(());
    };
    Err(at.problem(message))
}
