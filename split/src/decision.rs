//! What is decided for a request or a connection.

use std::sync::Arc;

/// What becomes of a request or a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Not ours, or the ordinary route leads to the same cluster: no routing header.
    Ordinary,
    /// The cluster that the routing header has to name.
    Cluster(&'a str),
    /// Answered by the proxy with this HTTP status; a connection is closed.
    Answer(u16),
    /// Answered by the proxy with this HTTP status and `location`.
    Redirect(u16, String),
    /// Answered 500 by the proxy: listeners of the Gateway treat the request differently, and it is not known by
    /// which of them it came in.
    UnknownListener(UnknownListener<'a>),
    /// Answered 403 by the proxy, a connection is closed: the permission that is missing, in words.
    Denied(String),
}

/// A decision, and what comes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided<'a> {
    pub decision: Decision<'a>,
    /// Identity of the rule that it comes from; None where no rule fits.
    pub rule: Option<&'a str>,
    /// What to do to the request's headers, `:authority` and `:path` among them, in this order.
    pub request: Vec<Edit>,
    /// What to do to the response's headers, in this order; None where nothing is to be done.
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
            request: Vec::new(),
            response: None,
        }
    }
}

/// Why a request cannot be decided: it may belong to listeners whose matches differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownListener<'t> {
    /// It may have come in by any listener of these names.
    Several(&'t [Box<str>]),
    /// The plugin configuration names no listener for this port of the proxy's sockets; None where the proxy
    /// does not know the port.
    Socket(Option<u16>),
}
