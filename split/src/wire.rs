//! The JSON document that the control plane sends to the filter.
//!
//! The types have public fields, and no value is checked; [`crate::Table`] is the checked form. The order of a list has
//! a meaning: the first match that fits decides. Weights are as the user wrote them. A document with an unknown field
//! in a match, a rule or a backend is refused, because without this field the rule could apply to more requests. Other
//! unknown fields are ignored.

pub mod headers;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The document version that this build writes and reads.
pub const VERSION: u32 = 1;

/// The part of the plan for one scope of proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    /// The first set wins if two have the same host and port.
    #[serde(default)]
    pub hosts: Vec<HostSet>,
    /// The HTTP listeners of the Gateway, by name. Empty if the scope is not a Gateway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, Listener>,
    /// The rules of TCP connections. The first entry wins if two have the same destination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connections>,
    /// By identity. A rule with the same identity in a new revision goes on with its sequence of picks.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
    /// The access policy. Without it, a proxy that names a service account refuses the document, and any other proxy
    /// lets all traffic pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A listener of a Gateway. A request belongs to the listener of its port with the most specific hostname that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port in the Gateway, which a redirect names. It may differ from the port of the proxy's socket.
    pub port: u16,
    /// As in [`Gateway`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// Hosts that share one ordered list of matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSet {
    pub hosts: Hosts,
    /// In order of precedence: the first match that fits decides.
    pub matches: Vec<Match>,
    /// The result for a request to these hosts that fits no match.
    #[serde(default, skip_serializing_if = "Unmatched::is_pass")]
    pub unmatched: Unmatched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// One port of a Service, under all the names by which clients call it.
    Root(Root),
    /// One hostname that is not a Service.
    Literal(Literal),
    /// Hosts of a Gateway, compared without port.
    Gateway(Gateway),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub service: String,
    pub namespace: String,
    pub port: u16,
    /// True if a Host without a port means this port.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// IP addresses of the Service, for proxies that know the original destination of a connection.
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
    /// True if a Host without a port belongs to this set too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// True if each port that no other set of this name has belongs to this set too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub every_port: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The listeners, with their ports, whose requests for these hosts have no set with a more specific hostname. A
    /// listener that no match names answers 404.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Lower case; exact (`shop.example.com`) or wildcard (`*.example.com`); None means every host.
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

/// Conditions on a request and the rule for the requests that fit all of them. An absent condition holds for every
/// request.
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
    /// One of them must be the host of the request. Lower case; exact or wildcard as in [`Gateway`]. An empty list
    /// allows every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Names of the listeners of the Gateway that this match belongs to. Empty if the host set is not for a Gateway.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<String>,
    /// Identity of the rule.
    pub rule: String,
}

/// HTTPPathMatch of Gateway API v1. The path does not include the query string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    Exact(String),
    /// By path element: `/echo` fits `/echo` and `/echo/a`, not `/echoes`.
    Prefix(String),
    /// The whole path, see [`crate::Pattern`].
    Regex(String),
}

/// The name of a header or a query parameter, and the condition on its value.
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
    /// Their weights add up to at least 1 and less than 2^63. The list is empty only if the rule redirects.
    pub backends: Vec<Backend>,
    /// Filters for every request of the rule. The filters of the backend are applied after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The Service that the clients of this rule call, if the access policy requires a permission for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
}

/// A Service that clients call. A client needs a permission for one of the ServiceAccounts behind it, and a permission
/// for the backend that its request goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Called {
    pub service: Service,
    /// As in [`Backend::accounts`]. An empty list denies every client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Rule {
    /// Whether a redirect of the rule or of a backend has neither port nor scheme, so that it goes to the port of the
    /// listener.
    pub fn redirects_to_listener(&self) -> bool {
        let backend_filters = self.backends.iter().map(|backend| &backend.filters);
        backend_filters
            .chain([&self.filters])
            .filter_map(|filters| filters.as_ref()?.redirect.as_ref())
            .any(|redirect| redirect.port.is_none() && redirect.scheme.is_none())
    }
}

/// HTTPRouteFilter of Gateway API v1. A redirect uses the request of the client, and the other filters only edit its
/// response. Without a redirect the headers are edited first, and then the URL is rewritten.
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
    /// For [`Rule::filters`] and [`Backend::filters`]; None without a filter. Boxed because filters are rare and large.
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
    /// Replaces all values of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<Header>,
    /// Adds a value to the values of the header.
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
    /// The prefix in the only match of the rule.
    pub prefix: String,
    pub replacement: String,
}

/// HTTPRequestRedirectFilter of Gateway API v1. Absent parts come from the request, except for the port: an absent port
/// is the default port of `scheme`, or without a `scheme` the port of the listener.
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

/// HTTPRouteTimeouts of Gateway API v1, in milliseconds; 0 means no limit.
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

/// HTTPRouteRetry of Gateway API v1. Failed connections are retried as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Maximum number of retries; at least 1.
    pub attempts: u32,
    /// HTTP statuses after which the proxy retries, 400 to 599.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u16>,
}

/// Connections, and the rule that decides for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub to: Destination,
    /// Identity of the rule.
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// One port of a Service. The plugin configuration names it, or the original destination of the connection.
    Root(Root),
    /// Listeners of a Gateway: ports by name of the listener.
    Listeners(BTreeMap<String, u16>),
}

/// The access policy: `"everyone"`, or `{"grants": ...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Every client may reach every destination.
    Everyone,
    /// TrafficTargets of SMI, by the destination's ServiceAccount, `NAMESPACE/NAME`. Traffic without a grant is denied.
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
    /// The allowed requests: a request must fit one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Permission>,
    /// Ports of the allowed connections. An empty list allows every port, and None allows no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
}

/// A match of an HTTPRouteGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// One of them must be the method of the request. An empty list allows every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    Service(Service),
    /// A broken backend: the proxy answers with this HTTP status, 400 to 599.
    Status(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Relative to the weights of the other backends of the rule, as the user wrote it; 0 means no requests.
    pub weight: u64,
    pub to: Target,
    /// Filters for the requests that go to this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    /// ServiceAccounts of the pods behind this backend, `NAMESPACE/NAME`: only those with grants that the scope needs.
    /// Used together with [`Config::access`].
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

/// `SERVICE.NAMESPACE:PORT`, as messages and metrics name a backend.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.name, self.namespace, self.port)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
