//! A second, slow implementation of the specifications. A reader can compare each line with the text of a
//! specification.
//!
//! The implementation works on routes, splits and TrafficTargets in the form that users write. It shares no code with
//! the control plane or the filter, because shared code would have the same errors. It decides which rule matches a
//! request, and which client may reach which workload. It does not apply the rule.
//!
//! Section numbers refer to the HTTPRoute of Gateway API v1 and to GEP-1294 (Services as parents).

mod access;
mod condition;
mod gateway;
mod generate;
mod manifest;
mod pattern;
mod precedence;
mod shrink;
mod split;

use std::cmp::Ordering;

pub use access::{ACCOUNTS, CLIENTS, PORTS, Policy};
pub use generate::Random;
pub use pattern::Pattern;
pub use shrink::shrink;
pub use split::{GroupMatch, Split};

/// All objects: one Gateway `shop/edge`, Services, routes, and splits.
#[derive(Clone, Debug)]
pub struct World {
    pub listeners: Vec<Listener>,
    pub services: Vec<Service>,
    pub routes: Vec<Route>,
    pub splits: Vec<Split>,
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub name: String,
    pub port: u16,
    pub hostname: Option<String>,
    /// True if routes of every namespace may attach; false if only routes of the Gateway's namespace may.
    pub from_all: bool,
}

pub const GATEWAY_NAMESPACE: &str = "shop";

/// A Service that can be the parent of routes.
#[derive(Clone, Debug)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Http,
    /// HTTPRoute of policy.linkerd.io.
    Linkerd,
    Grpc,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    /// The day of the creation, counted from a fixed day. None means no `creationTimestamp`; such a route is the
    /// youngest.
    pub created: Option<u8>,
    pub parents: Vec<Parent>,
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub enum Parent {
    Gateway {
        section: Option<String>,
        port: Option<u16>,
    },
    Service {
        namespace: String,
        name: String,
        port: Option<u16>,
    },
}

#[derive(Clone, Debug)]
pub struct Rule {
    /// The only backend of this rule, a Service that no other rule uses.
    pub backend: String,
    /// An empty list matches every request.
    pub matches: Vec<Match>,
}

#[derive(Clone, Debug, Default)]
pub struct Match {
    pub path: Option<Path>,
    pub method: Option<String>,
    pub headers: Vec<Field>,
    pub query: Vec<Field>,
    /// The match of a GRPCRoute, which has neither path, method nor query.
    pub call: Option<Call>,
}

/// A gRPC service, a method, or both.
#[derive(Clone, Debug)]
pub struct Call {
    pub service: Option<Value>,
    pub method: Option<Value>,
}

#[derive(Clone, Debug)]
pub enum Path {
    Exact(String),
    Prefix(String),
    Regex(Pattern),
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Exact(String),
    Regex(Pattern),
}

/// The proxy that a request goes through.
#[derive(Clone, Debug)]
pub enum Proxy {
    /// A proxy of the Gateway, with the listeners in its plugin configuration.
    Gateway(ListenerNames),
    /// A sidecar in this namespace, or without a namespace.
    Client(Option<String>),
}

/// The listeners at which requests may arrive.
#[derive(Clone, Debug)]
pub enum ListenerNames {
    Unset,
    Listener(String),
    /// The listeners of each socket, and the index of the request's socket. None means that the list lacks this socket.
    Sockets(Vec<Vec<String>>, Option<usize>),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The `Host` header, with or without a port.
    pub host: String,
    /// The path with the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No route applies to the host, and no split matches the request.
    Untouched,
    /// Routes apply to the host, but no match fits the request.
    NotFound,
    /// The backend of the matching rule or split.
    Rule(String),
    /// Listeners differ, and the proxy cannot tell at which one the request arrived.
    UnknownListener,
    /// The specifications define no answer: a request that is not a gRPC call reaches a GRPCRoute, or one host has
    /// GRPCRoutes and other routes.
    Unspecified,
}

/// A match that applies to the request's host.
struct Candidate<'a> {
    route: &'a Route,
    rule: usize,
    position: usize,
    conditions: &'a Match,
    /// The hostname of the route that the host matches.
    hostname: Option<&'a str>,
}

impl World {
    pub fn answer(&self, proxy: &Proxy, request: &Request) -> Answer {
        match proxy {
            Proxy::Gateway(names) => gateway::answer(self, names, request),
            Proxy::Client(namespace) => self.by_client(namespace.as_deref(), request),
        }
    }

    /// GEP-1294: clients call a Service by its names. Routes in the client's namespace replace routes in the Service's
    /// namespace. Without routes the splits of the Service apply.
    fn by_client(&self, client: Option<&str>, request: &Request) -> Answer {
        let host = without_port(&request.host).to_ascii_lowercase();
        let name = host.strip_suffix('.').unwrap_or(&host);
        let called = self.services.iter().find(|service| {
            let full = format!("{}.{}", service.name, service.namespace);
            let is_own = client == Some(service.namespace.as_str());
            // In another namespace `github.com.` is a host of the internet, even if there is a Service `github` in a
            // namespace `com`.
            (is_own && name == service.name)
                || (name == full && (is_own || name == host))
                || ["svc", "svc.cluster", "svc.cluster.local"]
                    .iter()
                    .any(|tail| name == format!("{full}.{tail}"))
        });
        let Some(service) = called else {
            return Answer::Untouched;
        };
        let port = request.host.rsplit_once(':');
        let port = port.map(|(_, port)| port.parse::<u16>().expect("a port"));
        let port = match (port, service.ports.as_slice()) {
            (Some(port), ports) if ports.contains(&port) => port,
            (Some(_), _) => return Answer::Untouched,
            (None, [only]) => *only,
            (None, ports) if ports.contains(&80) => 80,
            (None, _) => return Answer::Untouched,
        };
        let attached = |route: &&Route| {
            route.parents.iter().any(|parent| match parent {
                Parent::Gateway { .. } => false,
                Parent::Service {
                    namespace,
                    name,
                    port: only,
                } => {
                    *namespace == service.namespace
                        && *name == service.name
                        && only.is_none_or(|only| only == port)
                }
            })
        };
        let attached: Vec<&Route> = self.routes.iter().filter(attached).collect();
        let of = |namespace: Option<&str>| -> Vec<&Route> {
            let all = attached.iter().copied();
            all.filter(|route| Some(route.namespace.as_str()) == namespace)
                .collect()
        };
        let mut routes = if client == Some(service.namespace.as_str()) {
            Vec::new()
        } else {
            of(client)
        };
        if routes.is_empty() {
            routes = of(Some(&service.namespace));
        }
        // Routes for the port replace the splits of the Service.
        if routes.is_empty() {
            return split::decide(&self.splits, service, port, request);
        }
        // GRPCRoutes replace all other routes.
        if routes.iter().any(|route| route.kind == Kind::Grpc) {
            routes.retain(|route| route.kind == Kind::Grpc);
        }
        // Gateway API ignores hostnames at a Service; Linkerd compares them with the Host.
        let mut matching = Vec::new();
        for route in routes {
            if route.kind != Kind::Linkerd || route.hostnames.is_empty() {
                matching.push((route, None));
                continue;
            }
            let fitting = route.hostnames.iter().filter(|own| is_meant(own, name));
            let best = fitting.max_by_key(|own| specificity(Some(own)));
            matching.extend(best.map(|own| (route, Some(own.as_str()))));
        }
        decide(matching, request)
    }
}

fn decide(routes: Vec<(&Route, Option<&str>)>, request: &Request) -> Answer {
    let calls = routes.iter().filter(|(route, _)| route.kind == Kind::Grpc);
    let calls = calls.count();
    if calls > 0 && (calls < routes.len() || condition::call(request).is_none()) {
        return Answer::Unspecified;
    }
    let all = candidates(routes).into_iter();
    let mut fitting = all.filter(|candidate| candidate.conditions.fits(request));
    fitting.next().map_or(Answer::NotFound, |best| {
        Answer::Rule(best.route.rules[best.rule].backend.clone())
    })
}

/// Returns every match of the routes, in the order of precedence.
fn candidates<'a>(routes: Vec<(&'a Route, Option<&'a str>)>) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (route, hostname) in routes {
        for (rule, own) in route.rules.iter().enumerate() {
            let matches = match own.matches.as_slice() {
                [] => std::slice::from_ref(&NOTHING),
                some => some,
            };
            for (position, conditions) in matches.iter().enumerate() {
                candidates.push(Candidate {
                    route,
                    rule,
                    position,
                    conditions,
                    hostname,
                });
            }
        }
    }
    candidates.sort_by(|a, b| {
        if precedence::goes_before(a, b) {
            Ordering::Less
        } else {
            Ordering::Greater
        }
    });
    candidates
}

/// The match of a rule without matches.
static NOTHING: Match = Match {
    path: None,
    method: None,
    headers: Vec::new(),
    query: Vec::new(),
    call: None,
};

fn without_port(host: &str) -> &str {
    host.split(':').next().unwrap_or(host)
}

/// True if a wildcard covers another hostname, which may also be a wildcard.
fn covers(wide: &str, narrow: &str) -> bool {
    let Some(suffix) = wide.strip_prefix('*') else {
        return false;
    };
    wide != narrow && narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix)
}

/// True if the hostname matches the host. `*.example.com` matches every name that ends in `.example.com`, at any depth,
/// but not `example.com`.
fn is_meant(hostname: &str, host: &str) -> bool {
    match hostname.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => hostname == host,
    }
}

/// Section 1.3: exact names before wildcards, longer names before shorter ones, no hostname last.
fn specificity(hostname: Option<&str>) -> (bool, usize) {
    match hostname {
        None => (false, 0),
        Some(name) => (!name.starts_with('*'), name.len()),
    }
}
