//! The edits of requests and responses that a rule and its backends require: HTTPRouteFilter, HTTPRouteTimeouts and
//! HTTPRouteRetry of Gateway API v1.
//!
//! No edit can choose a cluster, because the filter writes or removes the routing header after all edits.

use std::sync::Arc;

use crate::decision::{Edit, MIRROR_HEADERS};
use crate::edit::url::{PathEdit, Redirect, new_host};
use crate::matching::condition::header_name;
use crate::matching::request_view::RequestView;
use crate::refusal::{Refusal, each, refuse};
use crate::wire;

/// The filters of a rule, or of a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilterLevel {
    request: Vec<Change>,
    response: Vec<Edit>,
    pub(crate) redirect: Option<Redirect>,
}

/// One edit of requests. The new path depends on the path of the request.
#[derive(Clone, Debug)]
enum Change {
    Header(Edit),
    Path(PathEdit),
}

/// The edits for requests of one rule that go to one backend, and for the responses to these requests.
#[derive(Debug)]
pub(crate) struct Edits {
    request: Box<[Change]>,
    pub(crate) response: Option<Arc<[Edit]>>,
}

impl FilterLevel {
    pub(crate) fn compile(filters: Option<&wire::Filters>) -> Result<FilterLevel, Refusal> {
        let Some(filters) = filters else {
            return Ok(FilterLevel::default());
        };
        let wire::Filters {
            request_headers,
            response_headers,
            rewrite,
            redirect,
            // The rule compiles the mirrors, because each of them has a sampler.
            mirrors: _,
        } = filters;
        let edits = edits(request_headers).map_err(|refusal| refusal.within("request_headers"))?;
        let mut request = Vec::with_capacity(edits.len());
        for edit in edits {
            request.push(Change::Header(match edit {
                // In the proxy the Host header is the pseudo-header `:authority`, and each request has exactly one.
                Edit::Set(name, value) if *name == *"host" => Edit::Set(":authority".into(), value),
                Edit::Add(name, _) | Edit::Remove(name) if *name == *"host" => {
                    return refuse(
                        "request_headers",
                        "host can be set, but not added or removed",
                    );
                }
                edit => edit,
            }));
        }
        if let Some(wire::Rewrite { hostname, path }) = rewrite {
            let within = |refusal: Refusal| refusal.within("rewrite");
            if let Some(hostname) = hostname {
                let host = new_host(hostname).map_err(within)?;
                request.push(Change::Header(set(":authority", &host)));
            }
            if let Some(path) = path {
                let edit =
                    PathEdit::compile(path).map_err(|refusal| within(refusal.within("path")));
                request.push(Change::Path(edit?));
            }
        }
        let redirect = redirect.as_ref().map(Redirect::compile).transpose();
        Ok(FilterLevel {
            request,
            response: self::edits(response_headers)
                .map_err(|refusal| refusal.within("response_headers"))?,
            redirect: redirect.map_err(|refusal| refusal.within("redirect"))?,
        })
    }
}

impl Edits {
    /// Returns the edits in this order: the filters of the rule, the filters of the backend, the timeouts and retries
    /// of the rule ([`retry_edits`]). Only the removals in `retry_edits` come before the filters: they remove headers
    /// of the client, and the filters may set the same headers afterwards. Returns None if there is no edit.
    pub(crate) fn new(
        rule: &FilterLevel,
        backend: FilterLevel,
        retry_edits: &[Edit],
    ) -> Option<Box<Edits>> {
        let (removals, set): (Vec<_>, Vec<_>) = retry_edits
            .iter()
            .cloned()
            .partition(|edit| matches!(edit, Edit::Remove(_)));
        let removals = removals.into_iter().map(Change::Header);
        let filters = rule.request.iter().cloned().chain(backend.request);
        let set = set.into_iter().map(Change::Header);
        let request: Box<[_]> = removals.chain(filters).chain(set).collect();
        let response = [rule.response.as_slice(), &backend.response].concat();
        if request.is_empty() && response.is_empty() {
            return None;
        }
        Some(Box::new(Edits {
            request,
            response: (!response.is_empty()).then(|| response.into()),
        }))
    }

    /// Returns the edits for this request. If there is an edit of `:path`, it is the last.
    pub(crate) fn request(&self, view: &mut RequestView) -> Vec<Edit> {
        let mut edits = Vec::with_capacity(self.request.len());
        let mut path: Option<Vec<u8>> = None;
        for change in &self.request {
            match change {
                Change::Header(edit) => edits.push(edit.clone()),
                Change::Path(edit) => {
                    let before = match &path {
                        Some(path) => path,
                        None => view.path(),
                    };
                    path = Some(edit.apply(before));
                }
            }
        }
        if let Some(mut path) = path {
            path.extend(view.query());
            edits.push(Edit::Set(":path".into(), path.into()));
        }
        edits
    }
}

/// Returns the value of the header `name` after the edits. `value` is the value from the client. Several lines are
/// joined with commas.
pub(crate) fn value_after(
    edits: &[Edit],
    name: &str,
    mut value: Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    for edit in edits {
        match edit {
            Edit::Set(of, new) if **of == *name => value = Some(new.to_vec()),
            Edit::Add(of, line) if **of == *name => match &mut value {
                None => value = Some(line.to_vec()),
                Some(lines) => {
                    lines.push(b',');
                    lines.extend(line);
                }
            },
            Edit::Remove(of) if **of == *name => value = None,
            Edit::Set(..) | Edit::Add(..) | Edit::Remove(_) => {}
        }
    }
    value
}

fn set(name: &str, value: &str) -> Edit {
    Edit::Set(name.into(), value.as_bytes().into())
}

/// Returns the edits of an HTTPHeaderFilter: set, then add, then remove.
fn edits(wire: &wire::HeaderEdits) -> Result<Vec<Edit>, Refusal> {
    let wire::HeaderEdits { set, add, remove } = wire;
    let mut edits = each("set", set, |header| {
        Ok(Edit::Set(
            editable_name(&header.name)?,
            header_value(header)?,
        ))
    })?;
    edits.extend(each("add", add, |header| {
        Ok(Edit::Add(
            editable_name(&header.name)?,
            header_value(header)?,
        ))
    })?);
    edits.extend(each("remove", remove, |name| {
        Ok(Edit::Remove(editable_name(name)?))
    })?);
    Ok(edits)
}

fn editable_name(name: &str) -> Result<Box<str>, Refusal> {
    let name = header_name(name)?;
    if is_framing_header(&name) {
        let reason = format!("{name} belongs to the connection, and no edit may change it");
        return refuse("name", reason);
    }
    if is_mirror_header(&name) {
        let reason = format!("{name} names the cluster of a mirror, and no edit may change it");
        return refuse("name", reason);
    }
    Ok(name)
}

/// True for headers that define where a message ends and what happens to its connection (RFC 9110, 7.6.1 and 8.6; RFC
/// 9112, 6). `name` must be in lower case. After an edit of such a header, the proxy and the backend would not agree
/// where the next request begins.
pub fn is_framing_header(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// True if `name` is one of the [`MIRROR_HEADERS`]. By an edit of such a header, a route could send copies of requests
/// to any cluster. `name` must be in lower case.
pub fn is_mirror_header(name: &str) -> bool {
    MIRROR_HEADERS.contains(&name)
}

fn header_value(header: &wire::Header) -> Result<Box<[u8]>, Refusal> {
    let is_bad = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    if header.value.bytes().any(is_bad) {
        return refuse(
            "value",
            format!("{:?} has control characters", header.value),
        );
    }
    Ok(header.value.as_bytes().into())
}

/// The request headers with which a client chooses timeouts and retries of Envoy's router.
const ROUTER_HEADERS: [&str; 8] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];

/// Returns the timeouts and retries of a rule as edits of headers for Envoy's router. The edits replace all
/// [`ROUTER_HEADERS`] of a client that Envoy trusts, so that only the rule decides. Returns an empty list if the rule
/// has neither timeouts nor retries.
pub(crate) fn retry_edits(
    timeouts: &wire::Timeouts,
    retry: &Option<wire::Retry>,
) -> Result<Vec<Edit>, Refusal> {
    let mut edits = Vec::new();
    let wire::Timeouts {
        request,
        backend_request,
    } = timeouts;
    if let Some(limit) = request {
        edits.push(set("x-envoy-upstream-rq-timeout-ms", &limit.to_string()));
    }
    if let Some(limit) = backend_request {
        let name = "x-envoy-upstream-rq-per-try-timeout-ms";
        edits.push(set(name, &limit.to_string()));
    }
    if let Some(wire::Retry { attempts, codes }) = retry {
        if *attempts == 0 {
            return refuse("retry.attempts", "attempts must be at least 1");
        }
        if let Some(code) = codes.iter().find(|code| !(400..=599).contains(*code)) {
            return refuse(
                "retry.codes",
                format!("{code} is not the status of an error"),
            );
        }
        edits.push(set("x-envoy-max-retries", &attempts.to_string()));
        // GEP-1731 requires retries after failed connections and after tries that took too long. `reset` covers both.
        let failures = "connect-failure,refused-stream,reset";
        if codes.is_empty() {
            edits.push(set("x-envoy-retry-on", failures));
        } else {
            let on = format!("{failures},retriable-status-codes");
            edits.push(set("x-envoy-retry-on", &on));
            let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
            edits.push(set("x-envoy-retriable-status-codes", &codes.join(",")));
        }
    }
    if !edits.is_empty() {
        let is_set = |name: &str| {
            edits
                .iter()
                .any(|edit| matches!(edit, Edit::Set(of, _) if **of == *name))
        };
        let unset = ROUTER_HEADERS.into_iter().filter(|name| !is_set(name));
        let removals: Vec<_> = unset.map(|name| Edit::Remove(name.into())).collect();
        edits.extend(removals);
    }
    Ok(edits)
}

#[cfg(test)]
mod tests;
