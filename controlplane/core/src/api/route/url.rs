//! HTTPRequestRedirectFilter, HTTPURLRewriteFilter and HTTPPathModifier of Gateway API v1.

use serde::Deserialize;
use weir_split::wire::{PathEdit, PrefixEdit, Redirect, Rewrite};

use super::RouteKind;
use crate::api::route::path_match;
use crate::manifest::field_path::Place;
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::filter;
use crate::manifest::unknown_fields::Rest;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedirectSpec {
    scheme: Option<String>,
    hostname: Option<String>,
    path: Option<PathEditSpec>,
    port: Option<u16>,
    status_code: Option<u16>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
pub struct RewriteSpec {
    hostname: Option<String>,
    path: Option<PathEditSpec>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathEditSpec {
    #[serde(rename = "type")]
    kind: String,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

/// `prefix` is that of the rule's only match, where it has one of type PathPrefix.
pub fn parse_redirect(
    place: &Place,
    route: RouteKind,
    prefix: Option<&str>,
    spec: RedirectSpec,
) -> Result<Redirect, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    if let Some(scheme) = &spec.scheme
        && !matches!(scheme.as_str(), "http" | "https")
    {
        let message = filter::scheme(format!("{scheme:?}"));
        return Err(place.field("scheme").problem(message));
    }
    if spec.port == Some(0) {
        return Err(place.field("port").problem(filter::port_zero()));
    }
    let codes: &[u16] = match route {
        RouteKind::LinkerdHttp => &[301, 302],
        _ => &[301, 302, 303, 307, 308],
    };
    let status = spec.status_code.unwrap_or(302);
    if !codes.contains(&status) {
        let known: Vec<String> = codes.iter().map(u16::to_string).collect();
        let message = filter::status(status, known.join(", "));
        return Err(place.field("statusCode").problem(message));
    }
    Ok(Redirect {
        scheme: spec.scheme,
        hostname: parse_hostname(&place.field("hostname"), spec.hostname)?,
        port: spec.port,
        path: parse_path(&place.field("path"), prefix, spec.path)?,
        status,
    })
}

pub fn parse_rewrite(
    place: &Place,
    prefix: Option<&str>,
    spec: RewriteSpec,
) -> Result<Rewrite, Problem> {
    place.nothing_but_known(&spec.rest, &[])?;
    Ok(Rewrite {
        hostname: parse_hostname(&place.field("hostname"), spec.hostname)?,
        path: parse_path(&place.field("path"), prefix, spec.path)?,
    })
}

/// PreciseHostname: no wildcard, no port.
fn parse_hostname(place: &Place, written: Option<String>) -> Result<Option<String>, Problem> {
    let Some(text) = written else { return Ok(None) };
    match Hostname::parse(&text) {
        Some(Hostname::Exact(name)) => Ok(Some(name)),
        _ => Err(place.problem(filter::hostname(format!("{text:?}")))),
    }
}

fn parse_path(
    place: &Place,
    prefix: Option<&str>,
    spec: Option<PathEditSpec>,
) -> Result<Option<PathEdit>, Problem> {
    let Some(spec) = spec else { return Ok(None) };
    place.nothing_but_known(&spec.rest, &[])?;
    let (full, replacement) = (&spec.replace_full_path, &spec.replace_prefix_match);
    match (spec.kind.as_str(), full, replacement) {
        (FULL, Some(full), None) => {
            check(&place.field("replaceFullPath"), full)?;
            Ok(Some(PathEdit::Full(full.clone())))
        }
        (FULL, _, Some(value)) => Err(of_another_type(place, &PREFIX_FIELDS, &FULL_FIELDS, value)),
        (FULL, None, None) => Err(missing(place, &FULL_FIELDS)),
        (PREFIX, None, Some(replacement)) => {
            let prefix = prefix
                .ok_or_else(|| place.field("type").problem(filter::prefix_without_prefix()))?;
            if !replacement.is_empty() {
                check(&place.field("replacePrefixMatch"), replacement)?;
            }
            Ok(Some(PathEdit::Prefix(PrefixEdit {
                prefix: prefix.to_owned(),
                replacement: replacement.clone(),
            })))
        }
        (PREFIX, Some(value), _) => {
            Err(of_another_type(place, &FULL_FIELDS, &PREFIX_FIELDS, value))
        }
        (PREFIX, None, None) => Err(missing(place, &PREFIX_FIELDS)),
        (other, _, _) => {
            let message = filter::path_type(format!("{other:?}"));
            Err(place.field("type").problem(message))
        }
    }
}

const FULL: &str = "ReplaceFullPath";
const PREFIX: &str = "ReplacePrefixMatch";

/// A type of path edit, and its field.
type TypeAndField = (&'static str, &'static str);
const FULL_FIELDS: TypeAndField = (FULL, "replaceFullPath");
const PREFIX_FIELDS: TypeAndField = (PREFIX, "replacePrefixMatch");

fn of_another_type(
    place: &Place,
    written: &TypeAndField,
    wanted: &TypeAndField,
    value: &str,
) -> Problem {
    let ((owner, field), (kind, right)) = (written, wanted);
    let message = filter::path_field_of_another_type(field, owner, kind, right, value);
    place.field(field).problem(message)
}

fn missing(place: &Place, (kind, field): &TypeAndField) -> Problem {
    let message = filter::field_missing(kind, field);
    place.field(field).problem(message)
}

fn check(place: &Place, value: &str) -> Result<(), Problem> {
    let checked = path_match::check_target(value);
    checked.map_err(|error| place.problem(error.message_of_target(value)))
}
