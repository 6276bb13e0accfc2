//! HTTPRouteFilter and GRPCRouteFilter of Gateway API v1.
//!
//! The order in which filters are listed does not matter here: of each kind there is at most one, header edits
//! and rewrites do not see each other's work, and a redirect ends the request.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::{Filters, Header, HeaderEdits};

use super::RouteKind;
use super::header_match::{check_header_value, header_name};
use super::url::{self, RedirectSpec, RewriteSpec};
use crate::manifest::field_path::Place;
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, filter};
use crate::manifest::unknown_fields::Rest;

/// Gateway API v1: HTTPRouteRule.filters.
const MAX_FILTERS: usize = 16;
/// Gateway API v1: HTTPHeaderFilter.set, add and remove.
const MAX_EDITS: usize = 16;

#[derive(Deserialize)]
struct TypeSpec {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FilterSpec {
    /// See [`TypeSpec`].
    #[serde(rename = "type")]
    _kind: String,
    request_header_modifier: Option<EditsSpec>,
    response_header_modifier: Option<EditsSpec>,
    request_redirect: Option<RedirectSpec>,
    url_rewrite: Option<RewriteSpec>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct EditsSpec {
    set: Option<Vec<HeaderSpec>>,
    add: Option<Vec<HeaderSpec>>,
    remove: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct HeaderSpec {
    name: String,
    value: String,
    #[serde(flatten)]
    rest: Rest,
}

/// Type and field of the filters that Weir does.
const REQUEST_HEADERS: (&str, &str) = ("RequestHeaderModifier", "requestHeaderModifier");
const RESPONSE_HEADERS: (&str, &str) = ("ResponseHeaderModifier", "responseHeaderModifier");
const REDIRECT: (&str, &str) = ("RequestRedirect", "requestRedirect");
const REWRITE: (&str, &str) = ("URLRewrite", "urlRewrite");

/// Those that a kind of route may have. Linkerd's has ResponseHeaderModifier on backends alone; it means the
/// same on a rule, so it is taken there too.
fn supported(route: RouteKind) -> &'static [(&'static str, &'static str)] {
    match route {
        RouteKind::Http => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE],
        RouteKind::LinkerdHttp => &[REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT],
        RouteKind::Grpc => &[REQUEST_HEADERS, RESPONSE_HEADERS],
        RouteKind::Tcp => &[],
    }
}

/// The types of Gateway API v1 that Weir does not do.
const UNSUPPORTED: [&str; 4] = ["RequestMirror", "CORS", "ExtensionRef", "ExternalAuth"];
const KNOWN: [(&str, &str); 4] = [REQUEST_HEADERS, RESPONSE_HEADERS, REDIRECT, REWRITE];

/// Each filter for itself; to `faults` goes what is wrong. A request must not be served without one of them.
///
/// `prefix` is that of the rule's only match, where it has one of type PathPrefix.
pub fn parse(
    place: &Place,
    route: RouteKind,
    prefix: Option<&str>,
    written: Option<&Value>,
    faults: &mut Vec<Problem>,
) -> Filters {
    let mut filters = Filters::default();
    let checked = place.list(written).and_then(|written| {
        place.at_most(written, MAX_FILTERS)?;
        Ok(written)
    });
    let written = match checked {
        Ok(written) => written,
        Err(problem) => {
            faults.push(problem);
            return filters;
        }
    };
    let mut seen = BTreeSet::new();
    for (index, written) in written.iter().enumerate() {
        let place = place.entry(index);
        let read = read_one(&place, route, prefix, written, &mut seen, &mut filters);
        faults.extend(read.err());
    }
    if filters.redirect.is_some() && filters.rewrite.is_some() {
        faults.push(place.problem(filter::redirect_and_rewrite()));
    }
    filters
}

fn read_one(
    place: &Place,
    route: RouteKind,
    prefix: Option<&str>,
    written: &Value,
    seen: &mut BTreeSet<&'static str>,
    filters: &mut Filters,
) -> Result<(), Problem> {
    // Its type first: the fields of a filter that Weir does not do are not for Weir to judge.
    let TypeSpec { kind } = place.decode(written)?;
    let known = supported(route).iter().find(|(known, _)| *known == kind);
    let Some((kind, field)) = known else {
        return Err(place.field("type").problem(not_supported(route, &kind)));
    };
    if !seen.insert(*kind) {
        return Err(place.field("type").problem(filter::type_twice(kind)));
    }
    let spec: FilterSpec = place.decode(written)?;
    spec.check_field(place, kind, field)?;
    let place = place.field(field);
    if let Some(edits) = spec.request_header_modifier {
        filters.request_headers = edits.parse(&place, true)?;
    }
    if let Some(edits) = spec.response_header_modifier {
        filters.response_headers = edits.parse(&place, false)?;
    }
    if let Some(redirect) = spec.request_redirect {
        filters.redirect = Some(url::parse_redirect(&place, route, prefix, redirect)?);
    }
    if let Some(rewrite) = spec.url_rewrite {
        filters.rewrite = Some(url::parse_rewrite(&place, prefix, rewrite)?);
    }
    Ok(())
}

fn not_supported(route: RouteKind, kind: &str) -> Message {
    let is_known = |known: &[(&str, &str)]| known.iter().any(|(it, _)| *it == kind);
    if kind == "CORS" {
        filter::cors()
    } else if UNSUPPORTED.contains(&kind) {
        filter::not_supported(kind)
    } else if is_known(&KNOWN) {
        filter::not_of_route(kind, route.with_article())
    } else {
        let known: Vec<&str> = supported(route).iter().map(|(it, _)| *it).collect();
        filter::unknown_type(format!("{kind:?}"), known.join(", "))
    }
}

impl FilterSpec {
    /// The field that belongs to the type is there, and no other.
    fn check_field(&self, place: &Place, kind: &str, field: &str) -> Result<(), Problem> {
        let written = [
            (REQUEST_HEADERS, self.request_header_modifier.is_some()),
            (RESPONSE_HEADERS, self.response_header_modifier.is_some()),
            (REDIRECT, self.request_redirect.is_some()),
            (REWRITE, self.url_rewrite.is_some()),
        ];
        let written = written.iter().filter(|(_, is_written)| *is_written);
        let fields: Vec<(&str, &str)> = written.map(|(known, _)| *known).collect();
        if let Some((owner, other)) = fields.iter().find(|(_, it)| *it != field) {
            let message = filter::field_of_another_type(other, owner, kind);
            return Err(place.field(other).problem(message));
        }
        if fields.is_empty() {
            let message = filter::field_missing(kind, field);
            return Err(place.field(field).problem(message));
        }
        place.nothing_but_known(&self.rest, &[])
    }
}

impl EditsSpec {
    /// Names are in lower case, each once in a list: of several the first counts (Gateway API: HTTPHeader.name).
    ///
    /// Gateway API v1, HTTPHeaderFilter: one action for each header name.
    fn parse(self, place: &Place, of_request: bool) -> Result<HeaderEdits, Problem> {
        place.nothing_but_known(&self.rest, &[])?;
        let is_host = |name: &str| of_request && name == "host";
        let set = headers(
            &place.field("set"),
            self.set,
            |place, header| match is_host(&header.name) {
                true => check_host(&place.field("value"), &header.value),
                false => Ok(()),
            },
        )?;
        let has = |list: &[Header], name: &str| list.iter().any(|header| header.name == name);
        let add = headers(&place.field("add"), self.add, |place, header| {
            let place = place.field("name");
            if is_host(&header.name) {
                return Err(place.problem(filter::one_host()));
            }
            match has(&set, &header.name) {
                true => Err(place.problem(filter::header_twice(&header.name, "set", "add"))),
                false => Ok(()),
            }
        })?;
        let (place, written) = (place.field("remove"), self.remove.unwrap_or_default());
        place.at_most(&written, MAX_EDITS)?;
        let mut remove: Vec<String> = Vec::with_capacity(written.len());
        for (index, name) in written.iter().enumerate() {
            let place = place.entry(index);
            let name = header_name(&place, name)?;
            if is_host(&name) {
                return Err(place.problem(filter::one_host()));
            }
            for (list, action) in [(&set, "set"), (&add, "add")] {
                if has(list, &name) {
                    return Err(place.problem(filter::header_twice(name, action, "remove")));
                }
            }
            if !remove.contains(&name) {
                remove.push(name);
            }
        }
        Ok(HeaderEdits { set, add, remove })
    }
}

fn headers(
    place: &Place,
    written: Option<Vec<HeaderSpec>>,
    check: impl Fn(&Place, &Header) -> Result<(), Problem>,
) -> Result<Vec<Header>, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_EDITS)?;
    let mut headers: Vec<Header> = Vec::with_capacity(written.len());
    for (index, HeaderSpec { name, value, rest }) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&rest, &[])?;
        check_header_value(&place.field("value"), &value)?;
        let name = header_name(&place.field("name"), &name)?;
        let header = Header { name, value };
        check(&place, &header)?;
        if !headers.iter().any(|earlier| earlier.name == header.name) {
            headers.push(header);
        }
    }
    Ok(headers)
}

/// A name or an address, with a port or without (RFC 9110, 7.2).
fn check_host(place: &Place, value: &str) -> Result<(), Problem> {
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
    Err(place.problem(filter::not_a_host(format!("{value:?}"))))
}
