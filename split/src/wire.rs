//! The JSON document that the control plane sends to the filter.
//!
//! The types have public fields, and their values are not checked; [`crate::Table`] is the checked form. The order of a
//! list has a meaning: the first match that fits a request decides. Weights are as the user wrote them. The filter
//! refuses a document with an unknown field in a match, a rule or a backend: if the filter ignored such a field, the
//! rule could apply to more requests. The filter ignores other unknown fields.

pub mod headers;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The document version that this build writes and reads.
pub const VERSION: u32 = 1;

/// The configuration of one scope. A scope is one namespace or one Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub version: u32,
    /// If two host sets have the same host and port, the first set wins.
    #[serde(default)]
    pub hosts: Vec<HostSet>,
    /// The HTTP listeners of the Gateway, by name. Empty if the scope is not a Gateway.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<String, Listener>,
    /// The rules of TCP connections. If two entries have the same destination, the first entry wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connections>,
    /// The rules by identity. If a new revision has a rule with the same identity, backends and weights, the rule
    /// continues its sequence of picks.
    #[serde(default)]
    pub rules: BTreeMap<String, Rule>,
    /// The access policy. If a document has no access policy, a proxy with a service account refuses the document. Any
    /// other proxy lets all traffic pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
}

/// A listener of a Gateway. A request belongs to one of the listeners of its port: the listener with the most specific
/// hostname that fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The port in the Gateway, which a redirect names. It may differ from the port of the proxy's socket.
    pub port: u16,
    /// The hostname of the listener, in the form of [`Gateway::hostname`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

/// Hosts that share one ordered list of matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSet {
    pub hosts: Hosts,
    /// The matches in order of precedence: the first match that fits a request decides.
    pub matches: Vec<Match>,
    /// The result for a request to these hosts, if the request fits no match.
    #[serde(default, skip_serializing_if = "Unmatched::is_pass")]
    pub unmatched: Unmatched,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hosts {
    /// One port of a Service, with all names by which clients call the Service.
    Root(Root),
    /// One hostname that is not a Service.
    Literal(Literal),
    /// Hosts of a Gateway. The port in the Host header of a request is ignored.
    Gateway(Gateway),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    pub service: String,
    pub namespace: String,
    pub port: u16,
    /// True if a Host header without a port means this port.
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
    /// The hostname in lower case, without port and without trailing dot.
    pub name: String,
    pub port: u16,
    /// True if a Host header without a port belongs to this set too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_port: bool,
    /// True if this set is also for every other port, except ports for which this name has another set.
    #[serde(default, skip_serializing_if = "is_false")]
    pub every_port: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The ports of listeners, by name of the listener. If a request for these hosts belongs to one of these listeners,
    /// it belongs to this set. If no match of the set names this listener, the answer is 404.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// The hostname in lower case, exact (`shop.example.com`) or with a wildcard (`*.example.com`). None means every
    /// host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmatched {
    /// The request goes on without changes.
    #[default]
    Pass,
    /// The proxy answers 404.
    NotFound,
}

impl Unmatched {
    fn is_pass(&self) -> bool {
        *self == Unmatched::Pass
    }
}

/// Conditions on a request, and the rule for requests that fit all conditions. An absent condition fits every request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// The method as the client sends it: `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Conditions on headers. Names are in lower case, and `:authority` is the Host header. If a request has several
    /// lines with the same name, the condition sees one value, joined with commas (RFC 9110, 5.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Field>,
    /// Conditions on query parameters. Names and values are compared after decoding. If a request has several
    /// parameters with the same name, the first counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<Field>,
    /// The allowed hosts, in the form of [`Gateway::hostname`]. An empty list allows every host.
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
    /// The first elements of the path: `/echo` fits `/echo` and `/echo/a`, but not `/echoes`.
    Prefix(String),
    /// A regular expression for the whole path, see [`crate::Pattern`].
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
    /// A regular expression for the whole value, see [`crate::Pattern`].
    Regex(String),
}

/// The weighted backends for the requests of one or more matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The weights of the backends add up to at least 1 and less than 2^63. Only a rule that redirects has an empty
    /// list.
    pub backends: Vec<Backend>,
    /// Filters for every request of the rule. The filter applies them before the filters of the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    #[serde(default, skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The Service that the clients of this rule call. None if clients need no permission for this Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called: Option<Called>,
}

/// A Service that clients call. A client needs a permission for one of the ServiceAccounts behind the Service, and a
/// permission for the backend that gets the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Called {
    pub service: Service,
    /// ServiceAccounts of the pods behind the Service, as in [`Backend::accounts`]. An empty list denies every client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

impl Rule {
    /// Returns the filters of the rule, and then the filters of each backend.
    pub fn all_filters(&self) -> impl Iterator<Item = &Filters> {
        let of_backends = self.backends.iter().map(|backend| &backend.filters);
        [&self.filters]
            .into_iter()
            .chain(of_backends)
            .filter_map(Option::as_deref)
    }

    /// Like [`Rule::all_filters`], but the filters can be changed.
    pub fn all_filters_mut(&mut self) -> impl Iterator<Item = &mut Filters> {
        let of_backends = self.backends.iter_mut();
        let of_backends = of_backends.filter_map(|backend| backend.filters.as_deref_mut());
        self.filters.as_deref_mut().into_iter().chain(of_backends)
    }

    /// True if a redirect of the rule or of a backend has neither port nor scheme. Such a redirect goes to the port of
    /// the listener.
    pub fn redirects_to_listener(&self) -> bool {
        self.all_filters()
            .filter_map(|filters| filters.redirect.as_ref())
            .any(|redirect| redirect.port.is_none() && redirect.scheme.is_none())
    }
}

/// HTTPRouteFilter of Gateway API v1. A redirect uses the request as the client sent it. With a redirect the other
/// filters edit only the response. Without a redirect, the header edits come first, and then the rewrite of the URL.
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
    /// Services that get copies of requests. A rule and a backend together have at most as many mirrors as there are
    /// [`crate::MIRROR_HEADERS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

impl Filters {
    /// Returns the value for [`Rule::filters`] and [`Backend::filters`]; None if there is no filter. The value is boxed
    /// because filters are rare and large.
    pub fn boxed(&self) -> Option<Box<Filters>> {
        (!self.is_empty()).then(|| Box::new(self.clone()))
    }

    pub fn is_empty(&self) -> bool {
        let Filters {
            request_headers,
            response_headers,
            rewrite,
            redirect,
            mirrors,
        } = self;
        request_headers.is_empty()
            && response_headers.is_empty()
            && rewrite.is_none()
            && redirect.is_none()
            && mirrors.is_empty()
    }
}

/// HTTPHeaderFilter of Gateway API v1. Names are in lower case.
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

/// HTTPRequestRedirectFilter of Gateway API v1. The redirect copies each absent part from the request, except the port.
/// Without a port the redirect goes to the default port of `scheme`. Without a port and a scheme the redirect goes to
/// the port of the listener.
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

/// HTTPRequestMirrorFilter of Gateway API v1: the Service that gets a copy of a share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub to: Service,
    /// The share of the requests; None means every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
    /// ServiceAccounts of the pods behind the Service, as in [`Backend::accounts`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

/// A share of requests. The numerator is at most the denominator, and the denominator is at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
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

/// Connections with the same destination, and the rule that decides for these connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    pub to: Destination,
    /// Identity of the rule.
    pub rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// One port of a Service. The proxy knows the Service from the plugin configuration, or from the original
    /// destination of the connection.
    Root(Root),
    /// Listeners of a Gateway. The key is the name of a listener, and the value is its port.
    Listeners(BTreeMap<String, u16>),
}

impl Destination {
    /// True if this is the port of the Service `root`.
    pub(crate) fn is_root(&self, root: &Service) -> bool {
        // One proxy may have a filter for each root, so this comparison copies no text.
        matches!(self, Destination::Root(own) if own.port == root.port
            && own.service == root.name && own.namespace == root.namespace)
    }
}

/// The access policy: `"everyone"`, or `{"grants": ...}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Every client may reach every destination.
    Everyone,
    /// Grants from the TrafficTargets of SMI. Traffic without a grant is denied.
    Grants(Grants),
}

/// Grants by the ServiceAccount of the destination, written `NAMESPACE/NAME`.
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
    /// The allowed methods. An empty list allows every method.
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
    /// The weight as the user wrote it, relative to the weights of the other backends of the rule. 0 means no requests.
    pub weight: u64,
    pub to: Target,
    /// Filters for the requests that go to this backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filters: Option<Box<Filters>>,
    /// ServiceAccounts of the pods behind this backend, written `NAMESPACE/NAME`. The list has only the ServiceAccounts
    /// whose grants the scope needs. The field is used together with [`Config::access`].
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

/// Writes `SERVICE.NAMESPACE:PORT`, as messages and metrics name a backend.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.name, self.namespace, self.port)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
