//! Reads HTTPRouteFilter and GRPCRouteFilter of Gateway API v1 from a manifest. The configuration has the filters as
//! `weir_split::wire::Filters`, and `weir_split::edit` applies them to requests.
//!
//! The order of the filters does not matter. A list has each type at most once, header edits and rewrites do not affect
//! each other, and a redirect answers the request.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Filters, Header, HeaderEdits};

use super::RouteKind;
use super::header_match::{check_header_value, header_name};
use super::url::{self, RedirectSpec, RewriteSpec};
use crate::manifest::field_path::FieldPath;
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, filter};
use crate::manifest::unknown_fields::UnknownFields;

/// The most entries of Gateway API v1, HTTPRouteRule.filters.
const MAX_FILTERS: usize = 16;
/// The most entries of Gateway API v1, HTTPHeaderFilter.set, add and remove.
const MAX_EDITS: usize = 16;

/// The type of a filter, without its other fields.
#[derive(Deserialize)]
struct TypeSpec {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterSpec {
    /// [`TypeSpec`] reads this field.
    #[serde(rename = "type")]
    _kind: String,
    request_header_modifier: Option<EditsSpec>,
    response_header_modifier: Option<EditsSpec>,
    request_redirect: Option<RedirectSpec>,
    url_rewrite: Option<RewriteSpec>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct EditsSpec {
    set: Option<Vec<HeaderSpec>>,
    add: Option<Vec<HeaderSpec>>,
    remove: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct HeaderSpec {
    name: String,
    value: String,
    #[serde(flatten)]
    unknown: UnknownFields,
}

// Type and field of each filter that Weir supports.
const REQUEST_HEADERS: (&str, &str) = ("RequestHeaderModifier", "requestHeaderModifier");
const RESPONSE_HEADERS: (&str, &str) = ("ResponseHeaderModifier", "responseHeaderModifier");
const REDIRECT: (&str, &str) = ("RequestRedirect", "requestRedirect");
const REWRITE: (&str, &str) = ("URLRewrite", "urlRewrite");

/// Returns the filters that a kind of route may have. Linkerd allows ResponseHeaderModifier only on backends. Weir
/// allows it on rules too, because the filter has the same meaning there.
fn supported(route: RouteKind) -> &'static [(&'static str, &'static str)] {
    match route {
        RouteKind::Http => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE],
        RouteKind::LinkerdHttp => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT],
        RouteKind::Grpc => &[REQUEST_HEADERS, RESPONSE_HEADERS],
        RouteKind::Tcp => &[],
    }
}

/// The types of Gateway API v1 that Weir does not support.
const UNSUPPORTED: [&str; 4] = ["RequestMirror", "CORS", "ExtensionRef", "ExternalAuth"];
const SUPPORTED: [(&str, &str); 4] = [REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE];

/// Parses `filters` of a rule or of a backend. Adds problems to `faults`. Each of them breaks the rule or the backend,
/// because a request must not reach a backend without one of its filters.
///
/// `prefix` is the path prefix of the rule's only match, for ReplacePrefixMatch; None if the rule has no such match.
pub fn parse(
    at: &FieldPath,
    route: RouteKind,
    prefix: Option<&str>,
    value: Option<&Value>,
    faults: &mut Vec<Problem>,
) -> Filters {
    let mut filters = Filters::default();
    let result = at.list(value).and_then(|list| {
        at.at_most(list, MAX_FILTERS)?;
        Ok(list)
    });
    let list = match result {
        Ok(list) => list,
        Err(problem) => {
            faults.push(problem);
            return filters;
        }
    };
    let mut types = BTreeSet::new();
    for (index, entry) in list.iter().enumerate() {
        let at = at.entry(index);
        let result = add_filter(&at, route, prefix, entry, &mut types, &mut filters);
        faults.extend(result.err());
    }
    if filters.redirect.is_some() && filters.rewrite.is_some() {
        faults.push(at.problem(filter::redirect_and_rewrite()));
    }
    filters
}

/// Adds one filter to `filters`. `types` has the types of the filters that come before this filter.
fn add_filter(
    at: &FieldPath,
    route: RouteKind,
    prefix: Option<&str>,
    value: &Value,
    types: &mut BTreeSet<&'static str>,
    filters: &mut Filters,
) -> Result<(), Problem> {
    // The type is checked first, because Weir does not check the fields of filters that it does not support.
    let TypeSpec { kind } = at.decode(value)?;
    let supported = supported(route).iter().find(|(name, _)| *name == kind);
    let Some((kind, field)) = supported else {
        return Err(at.field("type").problem(not_supported(route, &kind)));
    };
    if !types.insert(*kind) {
        return Err(at.field("type").problem(filter::type_twice(kind)));
    }
    let spec: FilterSpec = at.decode(value)?;
    spec.check_field(at, kind, field)?;
    let at = at.field(field);
    if let Some(edits) = spec.request_header_modifier {
        filters.request_headers = edits.parse(&at, true)?;
    }
    if let Some(edits) = spec.response_header_modifier {
        filters.response_headers = edits.parse(&at, false)?;
    }
    if let Some(redirect) = spec.request_redirect {
        filters.redirect = Some(url::parse_redirect(&at, route, prefix, redirect)?);
    }
    if let Some(rewrite) = spec.url_rewrite {
        filters.rewrite = Some(url::parse_rewrite(&at, prefix, rewrite)?);
    }
    Ok(())
}

fn not_supported(route: RouteKind, kind: &str) -> Message {
    if kind == "CORS" {
        filter::cors()
    } else if UNSUPPORTED.contains(&kind) {
        filter::not_supported(kind)
    } else if SUPPORTED.iter().any(|(name, _)| *name == kind) {
        filter::not_of_route(kind, route.with_article())
    } else {
        let names: Vec<&str> = supported(route).iter().map(|(name, _)| *name).collect();
        filter::unknown_type(format!("{kind:?}"), names.join(", "))
    }
}

impl FilterSpec {
    /// Requires the field of the type, and rejects all other fields.
    fn check_field(&self, at: &FieldPath, kind: &str, field: &str) -> Result<(), Problem> {
        let fields: Vec<(&str, &str)> = [
            (REQUEST_HEADERS, self.request_header_modifier.is_some()),
            (RESPONSE_HEADERS, self.response_header_modifier.is_some()),
            (REDIRECT, self.request_redirect.is_some()),
            (REWRITE, self.url_rewrite.is_some()),
        ]
        .into_iter()
        .filter_map(|(field, is_present)| is_present.then_some(field))
        .collect();
        if let Some((owner, other)) = fields.iter().find(|(_, it)| *it != field) {
            let message = filter::field_of_another_type(other, owner, kind);
            return Err(at.field(other).problem(message));
        }
        if fields.is_empty() {
            let message = filter::field_missing(kind, field);
            return Err(at.field(field).problem(message));
        }
        at.reject_unknown(&self.unknown)
    }
}

impl EditsSpec {
    /// Parses header edits. Names become lower case. If a list has a name several times, the first entry counts
    /// (Gateway API v1, HTTPHeader.name). A name in two lists is an error (Gateway API v1, HTTPHeaderFilter).
    ///
    /// `of_request` is true for RequestHeaderModifier, which may set the Host header, but may not add or remove it.
    fn parse(self, at: &FieldPath, of_request: bool) -> Result<HeaderEdits, Problem> {
        at.reject_unknown(&self.unknown)?;
        let is_host = |name: &str| of_request && name == "host";
        let set = parse_headers(&at.field("set"), self.set, |at, header| {
            if is_host(&header.name) {
                check_host(&at.field("value"), &header.value)?;
            }
            Ok(())
        })?;
        let add = parse_headers(&at.field("add"), self.add, |at, header| {
            let at = at.field("name");
            if is_host(&header.name) {
                return Err(at.problem(filter::one_host()));
            }
            if has_header(&set, &header.name) {
                return Err(at.problem(filter::header_twice(&header.name, "set", "add")));
            }
            Ok(())
        })?;
        let (at, names) = (at.field("remove"), self.remove.unwrap_or_default());
        at.at_most(&names, MAX_EDITS)?;
        let mut remove: Vec<String> = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let at = at.entry(index);
            let name = header_name(&at, name)?;
            if is_host(&name) {
                return Err(at.problem(filter::one_host()));
            }
            for (list, action) in [(&set, "set"), (&add, "add")] {
                if has_header(list, &name) {
                    return Err(at.problem(filter::header_twice(name, action, "remove")));
                }
            }
            if !remove.contains(&name) {
                remove.push(name);
            }
        }
        Ok(HeaderEdits { set, add, remove })
    }
}

fn has_header(list: &[Header], name: &str) -> bool {
    list.iter().any(|header| header.name == name)
}

fn parse_headers(
    at: &FieldPath,
    list: Option<Vec<HeaderSpec>>,
    check: impl Fn(&FieldPath, &Header) -> Result<(), Problem>,
) -> Result<Vec<Header>, Problem> {
    let list = list.unwrap_or_default();
    at.at_most(&list, MAX_EDITS)?;
    let mut headers: Vec<Header> = Vec::with_capacity(list.len());
    for (index, spec) in list.into_iter().enumerate() {
        let HeaderSpec {
            name,
            value,
            unknown,
        } = spec;
        let at = at.entry(index);
        at.reject_unknown(&unknown)?;
        check_header_value(&at.field("value"), &value)?;
        let name = header_name(&at.field("name"), &name)?;
        let header = Header { name, value };
        check(&at, &header)?;
        if !has_header(&headers, &header.name) {
            headers.push(header);
        }
    }
    Ok(headers)
}

/// Accepts a host name or an IP address, with or without a port (RFC 9110, 7.2).
fn check_host(at: &FieldPath, value: &str) -> Result<(), Problem> {
    let (is_host, port) = match value
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, port)) => (address.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = value.split_at(value.find(':').unwrap_or(value.len()));
            let is_name = matches!(Hostname::parse(host), Some(Hostname::Exact(_)));
            (is_name || host.parse::<Ipv4Addr>().is_ok(), port)
        }
    };
    let is_port = |port: &str| {
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)) {
        return Ok(());
    }
    Err(at.problem(filter::not_a_host(format!("{value:?}"))))
}
