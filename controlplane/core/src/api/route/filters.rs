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
use super::mirror::{self, MirrorRef};
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
    /// [`mirror::parse`] reads this value, because its problems do not break the rule.
    request_mirror: Option<Value>,
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
const MIRROR: (&str, &str) = ("RequestMirror", "requestMirror");

/// Returns the filters that a kind of route may have. Linkerd allows ResponseHeaderModifier only on backends. Weir
/// allows it on rules too, because the filter has the same meaning there.
fn supported(route: RouteKind) -> &'static [(&'static str, &'static str)] {
    match route {
        RouteKind::Http => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE, MIRROR],
        RouteKind::LinkerdHttp => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT],
        RouteKind::Grpc => &[REQUEST_HEADERS, RESPONSE_HEADERS, MIRROR],
        RouteKind::Tcp => &[],
    }
}

/// The types of Gateway API v1 that Weir does not support.
const UNSUPPORTED: [&str; 3] = ["CORS", "ExtensionRef", "ExternalAuth"];
const SUPPORTED: [(&str, &str); 5] = [REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE, MIRROR];

/// The rule or the backend that has the filters.
pub struct FilterContext<'f> {
    pub route: RouteKind,
    /// The namespace of the route.
    pub namespace: &'f str,
    /// The path prefix of the rule's only match, for ReplacePrefixMatch; None if the rule has no such match.
    pub prefix: Option<&'f str>,
    /// Index of the backend; None if the filters belong to the rule.
    pub backend: Option<usize>,
}

/// The filters of a rule or of a backend.
#[derive(Default)]
pub struct RouteFilters {
    /// All filters but the mirrors.
    pub edits: Filters,
    pub mirrors: Vec<MirrorRef>,
    /// The problems that make Weir leave out mirrors. Each problem already has its effect on traffic.
    pub mirror_problems: Vec<Problem>,
}

/// Parses `filters` of a rule or of a backend. Adds problems to `faults`. Each problem in `faults` breaks the rule or
/// the backend, because no request may reach a backend while a filter is missing. A problem of a mirror breaks nothing,
/// because it does not change the request itself.
pub fn parse(
    at: &FieldPath,
    context: &FilterContext,
    value: Option<&Value>,
    faults: &mut Vec<Problem>,
) -> RouteFilters {
    let mut filters = RouteFilters::default();
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
        let result = add_filter(&at, index, context, entry, &mut types, &mut filters);
        faults.extend(result.err());
    }
    let Filters {
        redirect, rewrite, ..
    } = &filters.edits;
    if redirect.is_some() && rewrite.is_some() {
        faults.push(at.problem(filter::redirect_and_rewrite()));
    }
    if redirect.is_some() {
        for mirror in std::mem::take(&mut filters.mirrors) {
            let at = at.entry(mirror.index);
            filters.add_mirror_problem(at.problem(filter::mirror_and_redirect()));
        }
    }
    filters
}

impl RouteFilters {
    fn add_mirror_problem(&mut self, problem: Problem) {
        let problem = problem.with_effect(mirror::not_copied());
        self.mirror_problems.push(problem);
    }
}

/// Adds one filter to `filters`. `types` has the types of the filters that come before this filter.
fn add_filter(
    at: &FieldPath,
    index: usize,
    context: &FilterContext,
    value: &Value,
    types: &mut BTreeSet<&'static str>,
    filters: &mut RouteFilters,
) -> Result<(), Problem> {
    let FilterContext { route, prefix, .. } = *context;
    // The type is checked first, because Weir does not check the fields of filters that it does not support.
    let TypeSpec { kind } = at.decode(value)?;
    let supported = supported(route).iter().find(|(name, _)| *name == kind);
    let Some((kind, field)) = supported else {
        return Err(at.field("type").problem(not_supported(route, &kind)));
    };
    let may_repeat = *kind == MIRROR.0;
    if !types.insert(*kind) && !may_repeat {
        return Err(at.field("type").problem(filter::type_twice(kind)));
    }
    let spec: FilterSpec = at.decode(value)?;
    if let Err(problem) = spec.check_field(at, kind, field) {
        let mut fields = spec.fields();
        if *kind != MIRROR.0 || fields.any(|(field, is_present)| is_present && field != MIRROR) {
            return Err(problem);
        }
        filters.add_mirror_problem(problem);
        return Ok(());
    }
    let at = at.field(field);
    if let Some(edits) = spec.request_header_modifier {
        filters.edits.request_headers = edits.parse(&at, true)?;
    }
    if let Some(edits) = spec.response_header_modifier {
        filters.edits.response_headers = edits.parse(&at, false)?;
    }
    if let Some(redirect) = spec.request_redirect {
        filters.edits.redirect = Some(url::parse_redirect(&at, route, prefix, redirect)?);
    }
    if let Some(rewrite) = spec.url_rewrite {
        filters.edits.rewrite = Some(url::parse_rewrite(&at, prefix, rewrite)?);
    }
    if let Some(mirror) = spec.request_mirror {
        let place = (index, context.backend);
        match mirror::parse(&at, place, context.namespace, &mirror) {
            Ok(mirror) => filters.mirrors.push(mirror),
            Err(problem) => filters.add_mirror_problem(problem),
        }
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
    /// Returns the type and the field of each filter, and whether the field is present.
    fn fields(&self) -> impl Iterator<Item = ((&'static str, &'static str), bool)> {
        [
            (REQUEST_HEADERS, self.request_header_modifier.is_some()),
            (RESPONSE_HEADERS, self.response_header_modifier.is_some()),
            (REDIRECT, self.request_redirect.is_some()),
            (REWRITE, self.url_rewrite.is_some()),
            (MIRROR, self.request_mirror.is_some()),
        ]
        .into_iter()
    }

    /// Requires the field of the type, and rejects all other fields.
    fn check_field(&self, at: &FieldPath, kind: &str, field: &str) -> Result<(), Problem> {
        let mut other_fields = self
            .fields()
            .filter(|((_, it), is_present)| *is_present && *it != field);
        if let Some(((owner, other), _)) = other_fields.next() {
            let message = filter::field_of_another_type(other, owner, kind);
            return Err(at.field(other).problem(message));
        }
        if !self.fields().any(|(_, is_present)| is_present) {
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
