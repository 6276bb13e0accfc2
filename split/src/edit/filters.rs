//! What a rule and its backends do to a request and its response: HTTPRouteFilter, HTTPRouteTimeouts and
//! HTTPRouteRetry of Gateway API v1.
//!
//! No edit can name a cluster: the filter writes or removes the routing header after all of them.

use std::sync::Arc;

use crate::decision::Edit;
use crate::edit::url::{PathEdit, Redirect, new_host};
use crate::matching::condition::header_name;
use crate::matching::request_view::RequestView;
use crate::refusal::{Refusal, each, refuse};
use crate::wire;

/// The filters of one level, the rule's or a backend's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    request: Vec<Change>,
    response: Vec<Edit>,
    pub(crate) redirect: Option<Redirect>,
}

/// One change of a request.
#[derive(Clone, Debug)]
enum Change {
    Header(Edit),
    Path(PathEdit),
}

/// What is done to the requests of a rule that go to one backend, and to their responses.
#[derive(Debug)]
pub(crate) struct Edits {
    request: Box<[Change]>,
    pub(crate) response: Option<Arc<[Edit]>>,
}

impl Level {
    pub(crate) fn compile(filters: Option<&wire::Filters>) -> Result<Level, Refusal> {
        let Some(filters) = filters else {
            return Ok(Level::default());
        };
        let wire::Filters {
            request_headers,
            response_headers,
            rewrite,
            redirect,
        } = filters;
        let edits = edits(request_headers).map_err(|refusal| refusal.within("request_headers"))?;
        let mut request = Vec::with_capacity(edits.len());
        for edit in edits {
            request.push(Change::Header(match edit {
                // In the proxy the Host is a pseudo-header, and a request without it is none.
                Edit::Set(name, value) if *name == *"host" => Edit::Set(":authority".into(), value),
                Edit::Add(name, _) | Edit::Remove(name) if *name == *"host" => {
                    return refuse(
                        "request_headers",
                        "host can be set, neither added nor removed",
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
        Ok(Level {
            request,
            response: self::edits(response_headers)
                .map_err(|refusal| refusal.within("response_headers"))?,
            redirect: redirect.map_err(|refusal| refusal.within("redirect"))?,
        })
    }
}

impl Edits {
    /// The rule's level, then the backend's, then what the rule says of time and retries ([`retries`]). What that
    /// takes out was the client's, so it goes first: the filters may have written the same header. None where there
    /// is nothing to do.
    pub(crate) fn new(rule: &Level, backend: Level, retries: &[Edit]) -> Option<Box<Edits>> {
        let (out, set): (Vec<_>, Vec<_>) = retries
            .iter()
            .cloned()
            .partition(|edit| matches!(edit, Edit::Remove(_)));
        let out = out.into_iter().map(Change::Header);
        let filters = rule.request.iter().cloned().chain(backend.request);
        let set = set.into_iter().map(Change::Header);
        let request: Box<[_]> = out.chain(filters).chain(set).collect();
        let response = [rule.response.as_slice(), &backend.response].concat();
        if request.is_empty() && response.is_empty() {
            return None;
        }
        Some(Box::new(Edits {
            request,
            response: (!response.is_empty()).then(|| response.into()),
        }))
    }

    /// The edits of this request, `:path` last.
    pub(crate) fn request(&self, asked: &mut RequestView) -> Vec<Edit> {
        let mut edits = Vec::with_capacity(self.request.len());
        let mut path: Option<Vec<u8>> = None;
        for change in &self.request {
            match change {
                Change::Header(edit) => edits.push(edit.clone()),
                Change::Path(edit) => {
                    let before = match &path {
                        Some(path) => path,
                        None => asked.path(),
                    };
                    path = Some(edit.apply(before));
                }
            }
        }
        if let Some(mut path) = path {
            path.extend(asked.query());
            edits.push(Edit::Set(":path".into(), path.into()));
        }
        edits
    }
}

/// The value of the header `name` once the edits are done; `value` is what the client sent, several lines joined
/// by commas.
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

/// HTTPHeaderFilter: set, then add, then remove.
fn edits(wire: &wire::HeaderEdits) -> Result<Vec<Edit>, Refusal> {
    let wire::HeaderEdits { set, add, remove } = wire;
    let mut edits = each("set", set, |header| {
        Ok(Edit::Set(edited(&header.name)?, header_value(header)?))
    })?;
    edits.extend(each("add", add, |header| {
        Ok(Edit::Add(edited(&header.name)?, header_value(header)?))
    })?);
    edits.extend(each("remove", remove, |name| {
        Ok(Edit::Remove(edited(name)?))
    })?);
    Ok(edits)
}

fn edited(name: &str) -> Result<Box<str>, Refusal> {
    let name = header_name(name)?;
    if is_framing_header(&name) {
        let reason = format!("{name} belongs to the connection, no edit may touch it");
        return refuse("name", reason);
    }
    Ok(name)
}

/// True for the headers (names in lower case) that say where a message ends and what becomes of its connection
/// (RFC 9110, 7.6.1 and 8.6; RFC 9112, 6). They are the proxy's: after an edit of one, proxy and backend would
/// not agree where the next request begins.
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

/// The headers by which Envoy's router lets a request choose for itself.
const OF_ROUTER: [&str; 8] = [
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
];

/// As headers for Envoy's router; they replace whatever a client that Envoy trusts sends of [`OF_ROUTER`], so that
/// the rule alone decides. Empty where it says nothing.
pub(crate) fn retries(
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
            return refuse("retry.attempts", "0 is no retry");
        }
        if let Some(code) = codes.iter().find(|code| !(400..=599).contains(*code)) {
            return refuse(
                "retry.codes",
                format!("{code} is not the status of an error"),
            );
        }
        edits.push(set("x-envoy-max-retries", &attempts.to_string()));
        // GEP-1731: failed connections are tried again too, and tries that took too long: `reset` is both.
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
        let others = OF_ROUTER.into_iter().filter(|name| !is_set(name));
        let others: Vec<_> = others.map(|name| Edit::Remove(name.into())).collect();
        edits.extend(others);
    }
    Ok(edits)
}

#[cfg(test)]
mod tests;
