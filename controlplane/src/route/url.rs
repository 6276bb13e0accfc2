//! HTTPRequestRedirectFilter, HTTPURLRewriteFilter and HTTPPathModifier of Gateway API v1.

use serde::Deserialize;
use weir_split::wire::{PathEdit, PrefixEdit, Redirect, Rewrite};

use super::RouteKind;
use super::place::Place;
use crate::fields::Rest;
use crate::hostname::Hostname;
use crate::path;
use crate::problem::Problem;

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
        return Err(place.field("scheme").unsupported(
            format!("scheme {scheme:?} is not supported"),
            "use http or https",
        ));
    }
    if spec.port == Some(0) {
        return Err(place
            .field("port")
            .invalid("0 is not a port", "write a number from 1 to 65535"));
    }
    let codes: &[u16] = match route {
        RouteKind::LinkerdHttp => &[301, 302],
        _ => &[301, 302, 303, 307, 308],
    };
    let status = spec.status_code.unwrap_or(302);
    if !codes.contains(&status) {
        let known: Vec<String> = codes.iter().map(u16::to_string).collect();
        return Err(place.field("statusCode").unsupported(
            format!("status {status} is not supported"),
            format!("use one of {}", known.join(", ")),
        ));
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
        _ => Err(place.invalid(
            format!("{text:?} is not the name of one host"),
            "write a name without port and without *",
        )),
    }
}

fn parse_path(
    place: &Place,
    prefix: Option<&str>,
    spec: Option<PathEditSpec>,
) -> Result<Option<PathEdit>, Problem> {
    let Some(spec) = spec else { return Ok(None) };
    place.nothing_but_known(&spec.rest, &[])?;
    let disagree = |field: &str| {
        place.field(field).invalid(
            format!("type {} and the field do not agree", spec.kind),
            "write the one field that belongs to the type",
        )
    };
    let (full, replacement) = (&spec.replace_full_path, &spec.replace_prefix_match);
    match (spec.kind.as_str(), full, replacement) {
        ("ReplaceFullPath", Some(full), None) => {
            check(&place.field("replaceFullPath"), full, path::check_target)?;
            Ok(Some(PathEdit::Full(full.clone())))
        }
        ("ReplaceFullPath", None, _) => Err(disagree("replaceFullPath")),
        ("ReplaceFullPath", _, _) => Err(disagree("replacePrefixMatch")),
        ("ReplacePrefixMatch", None, Some(replacement)) => {
            let prefix = prefix.ok_or_else(|| {
                place.field("type").invalid(
                    "ReplacePrefixMatch needs a rule with exactly one match, of type PathPrefix",
                    "split the rule, or use ReplaceFullPath",
                )
            })?;
            if !replacement.is_empty() {
                let place = place.field("replacePrefixMatch");
                check(&place, replacement, path::check_target)?;
            }
            Ok(Some(PathEdit::Prefix(PrefixEdit {
                prefix: prefix.to_owned(),
                replacement: replacement.clone(),
            })))
        }
        ("ReplacePrefixMatch", _, None) => Err(disagree("replacePrefixMatch")),
        ("ReplacePrefixMatch", _, _) => Err(disagree("replaceFullPath")),
        (other, _, _) => Err(place.field("type").unsupported(
            format!("type {other:?} is not supported"),
            "use ReplaceFullPath or ReplacePrefixMatch",
        )),
    }
}

fn check<E: std::fmt::Display>(
    place: &Place,
    value: &str,
    by: impl Fn(&str) -> Result<(), E>,
) -> Result<(), Problem> {
    by(value).map_err(|error| place.invalid(error.to_string(), "write an absolute path"))
}
