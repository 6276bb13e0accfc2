//! Reads HTTPRequestRedirectFilter, HTTPURLRewriteFilter and HTTPPathModifier of Gateway API v1.

use serde::Deserialize;
use weir_split::wire::{PathEdit, PrefixEdit, Redirect, Rewrite};

use super::RouteKind;
use crate::api::route::path_match;
use crate::manifest::field_path::FieldPath;
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::filter;
use crate::manifest::unknown_fields::UnknownFields;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectSpec {
    scheme: Option<String>,
    hostname: Option<String>,
    path: Option<PathEditSpec>,
    port: Option<u16>,
    status_code: Option<u16>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
pub struct RewriteSpec {
    hostname: Option<String>,
    path: Option<PathEditSpec>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathEditSpec {
    #[serde(rename = "type")]
    kind: String,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Parses a redirect. `prefix` is the path prefix of the rule's match; None if the rule has several matches, or
/// if the match has an exact path or a regular expression.
pub fn parse_redirect(
    at: &FieldPath,
    route: RouteKind,
    prefix: Option<&str>,
    spec: RedirectSpec,
) -> Result<Redirect, Problem> {
    at.reject_unknown(&spec.unknown)?;
    if let Some(scheme) = &spec.scheme
        && !matches!(scheme.as_str(), "http" | "https")
    {
        let message = filter::scheme(format!("{scheme:?}"));
        return Err(at.field("scheme").problem(message));
    }
    if spec.port == Some(0) {
        return Err(at.field("port").problem(filter::port_zero()));
    }
    let codes: &[u16] = match route {
        RouteKind::LinkerdHttp => &[301, 302],
        _ => &[301, 302, 303, 307, 308],
    };
    let status = spec.status_code.unwrap_or(302);
    if !codes.contains(&status) {
        let codes: Vec<String> = codes.iter().map(u16::to_string).collect();
        let message = filter::status(status, codes.join(", "));
        return Err(at.field("statusCode").problem(message));
    }
    Ok(Redirect {
        scheme: spec.scheme,
        hostname: parse_hostname(&at.field("hostname"), spec.hostname)?,
        port: spec.port,
        path: parse_path(&at.field("path"), prefix, spec.path)?,
        status,
    })
}

/// Parses a rewrite. `prefix` has the same meaning as in [`parse_redirect`].
pub fn parse_rewrite(
    at: &FieldPath,
    prefix: Option<&str>,
    spec: RewriteSpec,
) -> Result<Rewrite, Problem> {
    at.reject_unknown(&spec.unknown)?;
    Ok(Rewrite {
        hostname: parse_hostname(&at.field("hostname"), spec.hostname)?,
        path: parse_path(&at.field("path"), prefix, spec.path)?,
    })
}

/// Parses a hostname. A wildcard or a port is an error (Gateway API v1, PreciseHostname).
fn parse_hostname(at: &FieldPath, text: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = text else { return Ok(None) };
    match Hostname::parse(&text) {
        Some(Hostname::Exact(name)) => Ok(Some(name)),
        _ => Err(at.problem(filter::hostname(format!("{text:?}")))),
    }
}

fn parse_path(
    at: &FieldPath,
    prefix: Option<&str>,
    spec: Option<PathEditSpec>,
) -> Result<Option<PathEdit>, Problem> {
    let Some(spec) = spec else { return Ok(None) };
    at.reject_unknown(&spec.unknown)?;
    let (full, replacement) = (&spec.replace_full_path, &spec.replace_prefix_match);
    match (spec.kind.as_str(), full, replacement) {
        (FULL, Some(full), None) => {
            check(&at.field("replaceFullPath"), full)?;
            Ok(Some(PathEdit::Full(full.clone())))
        }
        (FULL, _, Some(value)) => Err(wrong_field(at, &PREFIX_FIELD, &FULL_FIELD, value)),
        (FULL, None, None) => Err(missing_field(at, &FULL_FIELD)),
        (PREFIX, None, Some(replacement)) => {
            let prefix =
                prefix.ok_or_else(|| at.field("type").problem(filter::prefix_without_prefix()))?;
            if !replacement.is_empty() {
                check(&at.field("replacePrefixMatch"), replacement)?;
            }
            Ok(Some(PathEdit::Prefix(PrefixEdit {
                prefix: prefix.to_owned(),
                replacement: replacement.clone(),
            })))
        }
        (PREFIX, Some(value), _) => Err(wrong_field(at, &FULL_FIELD, &PREFIX_FIELD, value)),
        (PREFIX, None, None) => Err(missing_field(at, &PREFIX_FIELD)),
        (other, _, _) => {
            let message = filter::path_type(format!("{other:?}"));
            Err(at.field("type").problem(message))
        }
    }
}

const FULL: &str = "ReplaceFullPath";
const PREFIX: &str = "ReplacePrefixMatch";

/// A type of path edit, and the name of its field.
type TypeAndField = (&'static str, &'static str);
const FULL_FIELD: TypeAndField = (FULL, "replaceFullPath");
const PREFIX_FIELD: TypeAndField = (PREFIX, "replacePrefixMatch");

/// Returns the problem of a path edit of type `own` with the field of type `other`. `value` is the value of the field.
fn wrong_field(at: &FieldPath, other: &TypeAndField, own: &TypeAndField, value: &str) -> Problem {
    let ((other_type, field), (own_type, own_field)) = (other, own);
    let message = filter::path_field_of_another_type(field, other_type, own_type, own_field, value);
    at.field(field).problem(message)
}

fn missing_field(at: &FieldPath, (kind, field): &TypeAndField) -> Problem {
    let message = filter::field_missing(kind, field);
    at.field(field).problem(message)
}

fn check(at: &FieldPath, value: &str) -> Result<(), Problem> {
    path_match::check_target(value).map_err(|error| at.problem(error.message_of_target(value)))
}
