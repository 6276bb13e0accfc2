//! The decision for a request or a connection.

use std::sync::Arc;

/// What happens to a request or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// The request takes its ordinary route, without a routing header. Either no rule decides for the request, or the
    /// ordinary route already uses the picked cluster.
    Ordinary,
    /// The name of the cluster for the routing header.
    Cluster(&'a str),
    /// The proxy answers with this HTTP status, or closes the connection.
    Answer(u16),
    /// The proxy answers with this HTTP status and `location`.
    Redirect(u16, String),
    /// The proxy answers 500. Listeners of the Gateway have different rules for the request, and the proxy does not
    /// know the listener at which the request came in.
    UnknownListener(UnknownListener<'a>),
    /// The proxy answers 403, or closes the connection. The text names the missing permission.
    Denied(String),
}

/// The request headers that `request_mirror_policies` of the proxy read, in lower case. Each names the cluster of one
/// copy of the request.
pub const MIRROR_HEADERS: [&str; 2] = ["x-weir-mirror", "x-weir-mirror-2"];

/// A decision, its rule, and the edits of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    pub decision: Decision<'a>,
    /// Identity of the rule that decided; None if no rule fits.
    pub rule: Option<&'a str>,
    /// The picked backend (`SERVICE.NAMESPACE:PORT`, or the status of a broken backend); None if none was picked.
    pub backend: Option<&'a str>,
    /// Edits of the request's headers, in this order. They may change `:authority` and `:path`.
    pub request: Vec<Edit>,
    /// The clusters that get a copy of the request, at most as many as there are [`MIRROR_HEADERS`]. Each is the value
    /// of the header at the same index. If the list is not empty, the decision is [`Decision::Cluster`].
    pub mirrors: Vec<&'a str>,
    /// Edits of the response's headers, in this order; None if the response stays as it is.
    pub response: Option<Arc<[Edit]>>,
}

/// One change of a header. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Set(Box<str>, Box<[u8]>),
    Add(Box<str>, Box<[u8]>),
    Remove(Box<str>),
}

impl<'a> From<Decision<'a>> for Decided<'a> {
    fn from(decision: Decision<'a>) -> Self {
        Decided {
            decision,
            rule: None,
            backend: None,
            request: Vec::new(),
            mirrors: Vec::new(),
            response: None,
        }
    }
}

/// Why no rule can decide for a request: its listener is unknown, and the possible listeners have different matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownListener<'t> {
    /// The request may have come in at each of these listeners.
    Several(&'t [Box<str>]),
    /// The plugin configuration names no listener for the socket of the proxy with this port. None if the port is
    /// unknown.
    Socket(Option<u16>),
}
