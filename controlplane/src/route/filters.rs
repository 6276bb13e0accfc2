//! HTTPRouteFilter and GRPCRouteFilter of Gateway API v1.
//!
//! The order in which filters are listed does not matter here: of each kind there is at most one, header edits
//! and rewrites do not see each other's work, and a redirect ends the request.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Deserialize;
use weir_split::wire::{Filters, Header, HeaderEdits};

use super::RouteKind;
use super::fields::{check_header_value, header_name};
use super::place::Place;
use super::url::{self, RedirectSpec, RewriteSpec};
use crate::fields::Rest;
use crate::hostname::Hostname;
use crate::problem::{Problem, Reason};

/// Gateway API v1: HTTPRouteRule.filters.
const MAX_FILTERS: usize = 16;
/// Gateway API v1: HTTPHeaderFilter.set, add and remove.
const MAX_EDITS: usize = 16;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterSpec {
    #[serde(rename = "type")]
    kind: String,
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

#[derive(Debug, Default)]
pub struct Parsed {
    pub filters: Filters,
    /// Places and types of those that Weir does not do. A request must not be served without them.
    pub unsupported: Vec<(usize, String)>,
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

/// `prefix` is that of the rule's only match, where it has one of type PathPrefix.
pub fn parse(
    place: &Place,
    route: RouteKind,
    prefix: Option<&str>,
    written: Option<Vec<FilterSpec>>,
) -> Result<Parsed, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_FILTERS)?;
    let mut parsed = Parsed::default();
    let mut seen = BTreeSet::new();
    for (index, spec) in written.into_iter().enumerate() {
        let place = place.entry(index);
        let known = supported(route).iter().find(|(kind, _)| *kind == spec.kind);
        let Some((kind, field)) = known else {
            parsed.unsupported.push((index, spec.kind));
            continue;
        };
        if !seen.insert(*kind) {
            return Err(place.field("type").invalid(
                format!("there are two filters of type {kind}"),
                "make one of the two",
            ));
        }
        spec.check_field(&place, kind, field)?;
        let place = place.field(field);
        let filters = &mut parsed.filters;
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
    }
    let Filters {
        redirect, rewrite, ..
    } = &parsed.filters;
    if redirect.is_some() && rewrite.is_some() {
        return Err(place.legacy(
            Reason::IncompatibleFilters,
            "RequestRedirect and URLRewrite exclude each other",
            "take one of the two out",
        ));
    }
    Ok(parsed)
}

impl Parsed {
    /// Why the rule at `place` is answered with an error as a whole; empty where it is not. The message begins as
    /// Gateway API's condition `PartiallyInvalid` wants it.
    pub fn dropped(
        &self,
        place: &Place,
        route: RouteKind,
        rule: usize,
        asks_for_sessions: bool,
    ) -> Vec<Problem> {
        let filters = place.field("filters");
        let filters = self.unsupported.iter().map(|(index, kind)| {
            let place = filters.entry(*index).field("type");
            (place, format!("filter {kind}"))
        });
        let session = "sessionPersistence";
        let sessions = asks_for_sessions.then(|| (place.field(session), session.to_owned()));
        let problem = |(place, what): (Place, String)| {
            let message = format!(
                "Dropped Rule {rule}: {what} is not supported, its requests are answered {}",
                route.broken()
            );
            place.unsupported(message, format!("take the {what} out"))
        };
        filters.chain(sessions).map(problem).collect()
    }
}

impl FilterSpec {
    /// The field that belongs to the type is there, and no other.
    fn check_field(&self, place: &Place, kind: &str, field: &str) -> Result<(), Problem> {
        let written = [
            (REQUEST_HEADERS.1, self.request_header_modifier.is_some()),
            (RESPONSE_HEADERS.1, self.response_header_modifier.is_some()),
            (REDIRECT.1, self.request_redirect.is_some()),
            (REWRITE.1, self.url_rewrite.is_some()),
        ];
        for (name, is_written) in written {
            if is_written != (name == field) {
                let verb = if is_written { "has no" } else { "needs the" };
                return Err(place.field(name).invalid(
                    format!("a filter of type {kind} {verb} field {name}"),
                    "write the one field that belongs to the type",
                ));
            }
        }
        place.nothing_but_known(&self.rest, &[])
    }
}

impl EditsSpec {
    /// Names are in lower case, each once in a list: of several the first counts (Gateway API: HTTPHeader.name).
    ///
    /// What is set may be added to, in this order. The API does not say what comes of a header that is removed as
    /// well, so that is a problem.
    fn parse(self, place: &Place, of_request: bool) -> Result<HeaderEdits, Problem> {
        place.nothing_but_known(&self.rest, &[])?;
        let is_host = |name: &str| of_request && name == "host";
        let one_host = |place: &Place| {
            place.unsupported(
                "a request has exactly one header host",
                "set it, or use a filter URLRewrite with hostname",
            )
        };
        let set = headers(
            &place.field("set"),
            self.set,
            |place, header| match is_host(&header.name) {
                true => check_host(&place.field("value"), &header.value),
                false => Ok(()),
            },
        )?;
        let add = headers(
            &place.field("add"),
            self.add,
            |place, header| match is_host(&header.name) {
                true => Err(one_host(&place.field("name"))),
                false => Ok(()),
            },
        )?;
        let (place, written) = (place.field("remove"), self.remove.unwrap_or_default());
        place.at_most(&written, MAX_EDITS)?;
        let mut remove: Vec<String> = Vec::with_capacity(written.len());
        for (index, name) in written.iter().enumerate() {
            let place = place.entry(index);
            let name = header_name(&place, name)?;
            if is_host(&name) {
                return Err(one_host(&place));
            }
            if set.iter().chain(&add).any(|header| header.name == name) {
                return Err(place.invalid(
                    format!("the header {name} is removed, and set or added as well"),
                    "do one of the two",
                ));
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
    Err(place.invalid(
        format!("{value:?} is not a host"),
        "write a name, with a port behind ':' where one is needed",
    ))
}
