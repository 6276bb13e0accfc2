//! The configuration as it goes over the wire: one type in one place for both sides.
//!
//! This is the dumb form, public fields and nothing checked; [`crate::Table`] is the checked one.
//! Order is meaning: a host's matches stand in order of precedence and the first that fits decides.
//! Weights stay as the user wrote them. An unknown field inside a match, a rule or a backend
//! refuses the document, for ignoring it could widen a rule; elsewhere it is ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The document version that this build writes and reads.
pub const VERSION: u32 = 1;

/// What one proxy may see of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    /// Earlier sets win where two claim the same host and port.
    #[serde(default)]
    pub hosts: Vec<HostSet>,
    /// The listeners for HTTP of the Gateway that this is for, by name. Empty
    /// for a proxy that is no Gateway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, Listener>,
    /// TCP: who decides for a connection. Earlier ones win where two claim the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connections>,
    /// By identity. The identity keeps a rule's sequence of picks going across revisions.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
    /// Who may reach whom. Without a statement, a proxy that names a service account refuses the document, and any
    /// other proxy lets everyone reach everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A listener of a Gateway, as far as it tells which requests belong to it: of those of one port the most
/// specific whose hostname fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The Gateway's, which a redirect names. It need not be the port of the proxy's socket.
    pub port: u16,
    /// As in [`Gateway`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// Hosts that share one ordered list of matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSet {
    pub hosts: Hosts,
    /// In order of precedence; the first that fits decides.
    pub matches: Vec<Match>,
    /// What a request to these hosts gets that fits no match.
    #[serde(default, skip_serializing_if = "Unmatched::is_pass")]
    pub unmatched: Unmatched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// One port of a Service, under all the names by which clients call it.
    Root(Root),
    /// One host name that is no Service.
    Literal(Literal),
    /// Hosts of a Gateway, compared without port.
    Gateway(Gateway),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub service: String,
    pub namespace: String,
    pub port: u16,
    /// True where a Host without a port means this one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// For proxies that know a connection's original destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
}

impl Root {
    pub(crate) fn as_service(&self) -> Service {
        Service {
            name: self.service.clone(),
            namespace: self.namespace.clone(),
            port: self.port,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Literal {
    /// Lower case, without port and without trailing dot.
    pub name: String,
    pub port: u16,
    /// True where a Host without a port is meant too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// True where each port is meant that no set of the same name has.
    #[serde(default, skip_serializing_if = "is_false")]
    pub every_port: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The listeners to which requests for these hosts belong, with their ports: those whose requests have no set
    /// with a more specific hostname. One that no match names answers 404.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Lower case; exact (`shop.example.com`) or wildcard (`*.example.com`); none means every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// The request goes on untouched.
    #[default]
    Pass,
    /// The request is answered 404.
    NotFound,
}

impl Unmatched {
    fn is_pass(&self) -> bool {
        *self == Unmatched::Pass
    }
}

/// What a request must show; all of it has to hold. A condition that is absent holds for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// As the client sends it: `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Names are in lower case; `:authority` is the Host. Several lines of one name are compared as one
    /// value with commas between (RFC 9110, 5.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Field>,
    /// Query parameters, name and value decoded; of several with one name the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Field>,
    /// Of which one must be the request's host; lower case, exact or wildcard as in [`Gateway`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Names of the Gateway's listeners that this match belongs to; none for other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Identity of the rule that it leads to.
    pub rule: String,
}

/// HTTPPathMatch of Gateway API v1. The query string is no part of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    Exact(String),
    /// By path element: `/echo` fits `/echo` and `/echo/a`, not `/echoes`.
    Prefix(String),
    /// The whole path, see [`crate::Pattern`].
    Regex(String),
}

/// A header or a query parameter, and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ValueMatch {
    Exact(String),
    /// The whole value, see [`crate::Pattern`].
    Regex(String),
}

/// The weighted backends that one or more matches lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Their weights add up to at least 1 and less than 2^63. None only where the rule redirects.
    pub backends: Vec<Backend>,
    /// For every request of the rule; those of the backend follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The Service that the clients of this rule call, where the access policy asks permission for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
}

/// A Service that clients call. A client needs permission for one of the ServiceAccounts behind it, besides
/// permission for the backend that its request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Called {
    pub service: Service,
    /// As in [`Backend::accounts`]. An empty list denies every client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Rule {
    /// Whether a redirect names neither port nor scheme, so that it goes to the port of the listener.
    pub fn redirects_to_listener(&self) -> bool {
        let of_backends = self.backends.iter().map(|backend| &backend.filters);
        let goes_there = |redirect: &Redirect| redirect.port.is_none() && redirect.scheme.is_none();
        of_backends
            .chain([&self.filters])
            .filter_map(|filters| filters.as_ref()?.redirect.as_ref())
            .any(goes_there)
    }
}

/// HTTPRouteFilter of Gateway API v1, in this order: the redirect, if there is one, is made of the request
/// as it came; else the headers are edited and the URL is rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filters {
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
}

impl Filters {
    /// As a rule or a backend has them: seldom, and they are larger than all the rest of it.
    pub fn boxed(&self) -> Option<Box<Filters>> {
        (!self.is_empty()).then(|| Box::new(self.clone()))
    }

    pub fn is_empty(&self) -> bool {
        let Filters {
            request_headers,
            response_headers,
            rewrite,
            redirect,
        } = self;
        request_headers.is_empty()
            && response_headers.is_empty()
            && rewrite.is_none()
            && redirect.is_none()
    }
}

/// HTTPHeaderFilter of Gateway API v1; names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderEdits {
    /// Replaces every value that is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Header>,
    /// Stands beside the values that are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<Header>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl HeaderEdits {
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    pub value: String,
}

/// HTTPURLRewriteFilter of Gateway API v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewrite {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
}

/// HTTPPathModifier of Gateway API v1. The query string stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathEdit {
    Full(String),
    Prefix(PrefixEdit),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixEdit {
    /// The prefix that the rule's only match asks for.
    pub prefix: String,
    pub replacement: String,
}

/// HTTPRequestRedirectFilter of Gateway API v1. What is absent is as the request has it, but for the port:
/// without one it is that of `scheme`, else that of the listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathEdit>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// HTTPRouteTimeouts of Gateway API v1, in milliseconds; 0 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<u64>,
}

impl Timeouts {
    pub fn is_empty(&self) -> bool {
        self.request.is_none() && self.backend_request.is_none()
    }
}

/// HTTPRouteRetry of Gateway API v1. Failed connections are tried again too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Tries after the first; at least 1.
    pub attempts: u32,
    /// Statuses after which to try again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u16>,
}

/// Connections that one rule decides for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub to: Destination,
    /// Identity of the rule.
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// One port of a Service: named by the plugin configuration, or by the original destination.
    Root(Root),
    /// Listeners of a Gateway, ports by name.
    Listeners(BTreeMap<String, u16>),
}

/// Who may reach whom: `"everyone"`, or `{"grants": ...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everyone may reach everything.
    Everyone,
    /// TrafficTargets of SMI, by the destination's ServiceAccount, `NAMESPACE/NAME`. What no grant allows is denied.
    Grants(Grants),
}

/// Grants by the destination's ServiceAccount, `NAMESPACE/NAME`.
pub type Grants = BTreeMap<String, Vec<Grant>>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The TrafficTarget, `NAMESPACE/NAME`.
    pub by: String,
    /// ServiceAccounts, `NAMESPACE/NAME`.
    pub sources: Vec<String>,
    /// Requests that are let through; of which one condition must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Permission>,
    /// Ports to which connections are let through; an empty list is every port, None is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
}

/// A match of an HTTPRouteGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// Of which one must be the request's; none means every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    Service(Service),
    /// The share of a broken backend: answered with this HTTP status.
    Status(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Relative to the other backends of the rule, as written; 0 means never.
    pub weight: u64,
    pub to: Target,
    /// For the requests that go to this backend alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    /// ServiceAccounts of the pods behind it, `NAMESPACE/NAME`, as far as the scope has to know them; of use only
    /// beside [`Config::access`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Backend {
    pub fn new(weight: u64, to: Target) -> Backend {
        Backend {
            weight,
            to,
            filters: None,
            accounts: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub name: String,
    pub namespace: String,
    pub port: u16,
}

/// `SERVICE.NAMESPACE:PORT`, the way in which people and metrics name a backend.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.name, self.namespace, self.port)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
