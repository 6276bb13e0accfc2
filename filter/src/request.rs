//! One request: the filter reads the authority, the table decides, and the filter writes or removes the routing header.

use std::rc::Rc;
#[cfg(feature = "full")]
use std::sync::Arc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use weir_split::{
    Decided, Decision, Direction, Edit, Listeners, MIRROR_HEADERS, Plugin, UnknownListener, module,
};

use crate::host::{self, Headers};
use crate::shared::Shared;

pub struct Request {
    shared: Rc<Shared>,
    /// Edits of the response to this request.
    #[cfg(feature = "full")]
    response: Option<Arc<[Edit]>>,
}

impl Request {
    pub fn new(shared: Rc<Shared>) -> Request {
        Request {
            shared,
            #[cfg(feature = "full")]
            response: None,
        }
    }

    /// Stores the edits of the response. Returns false if there are edits and this build cannot apply them.
    #[cfg(feature = "full")]
    fn keep_response_edits(&mut self, decided: &mut Decided<'_>) -> bool {
        self.response = decided.response.take();
        true
    }

    #[cfg(not(feature = "full"))]
    fn keep_response_edits(&mut self, decided: &mut Decided<'_>) -> bool {
        decided.response.is_none()
    }
}

impl Context for Request {}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        #[cfg(feature = "trap")]
        crate::trap::on_request();
        let shared = self.shared.clone();
        let header = shared.plugin.header.as_str();
        let authority = host::request_header(":authority").unwrap_or_default();
        // This borrow cannot fail, because no other code runs on this thread at the same time. If it failed, the filter
        // would answer 503.
        let mut live = shared.live.try_borrow_mut();
        let Ok(live) = &mut live else {
            answer(503, false);
            return Action::Pause;
        };
        let mut decided = match shared.plugin.direction {
            Direction::Outbound => live.decide(&authority, host::socket_port, read),
            Direction::Inbound => {
                let peer = || host::peer(&shared.plugin.site);
                live.admit(peer, &authority, read)
            }
        };
        if shared.plugin.log_rule {
            host::set_log_properties(&decided);
        }
        if !self.keep_response_edits(&mut decided) {
            let rule = decided.rule.unwrap_or_default();
            let status = module::status_without_edits(rule);
            shared.log.warn(|| {
                format!(
                    "{rule} edits response headers, which weir-lean.wasm cannot do: requests that need such an edit \
                     are answered {status}; load weir.wasm instead of weir-lean.wasm"
                )
            });
            host::answer(status, "weir_lean", BROKEN_BACKEND);
            return Action::Pause;
        }
        for edit in &decided.request {
            if !is_done(edit) {
                host::edit(Headers::Request, edit);
            }
        }
        for (header, cluster) in MIRROR_HEADERS.into_iter().zip(decided.mirrors) {
            host::set_request_header(header, cluster);
        }
        match decided.decision {
            Decision::Cluster(cluster) => host::set_request_header(header, cluster),
            Decision::Ordinary => host::remove_header(Headers::Request, header),
            Decision::Answer(status) => {
                answer(status, decided.rule.is_some());
                return Action::Pause;
            }
            Decision::Redirect(status, location) => {
                host::redirect(status, &location);
                return Action::Pause;
            }
            Decision::UnknownListener(unknown) => {
                let plugin = &shared.plugin;
                shared
                    .log
                    .warn(|| unknown_listener(unknown, &authority, plugin));
                host::answer(500, "weir_unknown_listener", UNKNOWN_LISTENER);
                return Action::Pause;
            }
            Decision::Denied(missing) => {
                shared.log.warn(|| format!("denied: {missing}"));
                host::deny(&missing);
                return Action::Pause;
            }
        }
        Action::Continue
    }

    /// Edits each response, also a response of the proxy itself, such as the answer after a timeout.
    #[cfg(feature = "full")]
    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        for edit in self.response.iter().flat_map(|edits| edits.iter()) {
            host::edit(Headers::Response, edit);
        }
        Action::Continue
    }
}

/// True if this request follows an internal redirect, and the first pass of the filter has added this value.
fn is_done(edit: &Edit) -> bool {
    let Edit::Add(name, value) = edit else {
        return false;
    };
    // Envoy sets this header for an internal redirect. A client can set it too, but `is_done` is still false unless the
    // request already has the value.
    host::request_header("x-envoy-original-url").is_some()
        && host::request_header_lines(name).is_some_and(|lines| has_line(&lines, value))
}

/// True if one of the lines, which are joined with commas, is `value`.
fn has_line(lines: &[u8], value: &[u8]) -> bool {
    let starts = lines.iter().enumerate().filter(|(_, byte)| **byte == b',');
    let starts = starts.map(|(comma, _)| comma.saturating_add(1));
    [0].into_iter().chain(starts).any(|start| {
        let rest = lines.get(start..).unwrap_or_default();
        let rest = rest.trim_ascii_start().strip_prefix(value);
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b',')))
    })
}

/// All lines of the request header `name`.
fn read(name: &str) -> Option<Vec<u8>> {
    // A pseudo-header has at most one line, and this read is on the hot path.
    if name.starts_with(':') {
        host::request_header(name)
    } else {
        host::request_header_lines(name)
    }
}

const UNKNOWN_LISTENER: &str = "weir: the proxy does not know by which listener of the Gateway this request came in; \
                                its log has the remedy\n";

/// The log line for a request of an unknown listener: the cause, the answer, and the remedy.
fn unknown_listener(unknown: UnknownListener, authority: &[u8], plugin: &Plugin) -> String {
    let host = host::visible(&String::from_utf8_lossy(authority));
    let gateway = plugin.scope.trim_start_matches("gateway=");
    let is_by_socket = matches!(plugin.site.listeners, Listeners::BySocket(_));
    let (why, remedy) = match unknown {
        UnknownListener::Several(names) => {
            let ports = names.iter().map(|name| format!("\"PORT\": [\"{name}\"]"));
            let ports: Vec<_> = ports.collect();
            let remedy = if is_by_socket {
                "for each port in \"listeners\", name only listeners with the same routes".into()
            } else {
                format!(
                    "write \"listeners\": {{ {} }} into the plugin configuration, with the ports of this \
                     proxy's sockets, or \"listener\": \"NAME\" if all requests belong to one listener",
                    ports.join(", ")
                )
            };
            let names = names.join(", ");
            (
                format!(
                    "the listeners {names} of Gateway {gateway} have different routes for this host"
                ),
                remedy,
            )
        }
        UnknownListener::Socket(Some(port)) => (
            format!(
                "\"listeners\" in the plugin configuration has nothing for port {port}, at which the request arrived"
            ),
            format!("add \"{port}\": [\"NAME\"] with the name of a listener of Gateway {gateway}"),
        ),
        UnknownListener::Socket(None) => (
            "the proxy does not tell the filter the port at which the request arrived".into(),
            "write \"listener\": \"NAME\" instead of \"listeners\"".into(),
        ),
    };
    format!("a request for {host} is answered 500: {why}; {remedy}")
}

const BROKEN_BACKEND: &str = "weir: the backend that was picked for this request cannot be used\n";

/// Answers a request with this status. `has_rule` is true if a rule decided.
fn answer(status: u16, has_rule: bool) {
    let (details, body) = match (status, has_rule) {
        (431, false) => (
            "weir_value_too_long",
            "weir: a value in the request is too long for the regular expressions of the routes\n",
        ),
        // An inbound filter checks the path.
        (400, false) => (
            "weir_dot_segment",
            "weir: a segment of the path is . or .. (encoded or not, also next to a ; or a \\). Servers read such \
             paths in different ways; send the path without such segments\n",
        ),
        (404, false) => (
            "weir_no_match",
            "weir: no rule of the routes for this host fits the request\n",
        ),
        (503, false) => (
            "weir_no_configuration",
            "weir: there is no configuration yet\n",
        ),
        (400, true) => (
            "weir_invalid_host",
            "weir: invalid Host header: cannot build a redirect location\n",
        ),
        (414, true) => (
            "weir_location_too_long",
            "weir: the redirect location is too long\n",
        ),
        // The filter answers 500 for a broken backend, or 503 for gRPC.
        _ => ("weir_broken_backend", BROKEN_BACKEND),
    };
    host::answer(status, details, body);
}
