//! A second matcher, written from the text of the specification and from nothing else: slow, and so plain that it
//! can be held against the text line by line.
//!
//! It works on routes, splits and TrafficTargets as people write them. It shares no code with the control plane or
//! the filter, or their agreement would say nothing. It decides which rule a request falls to, and who may reach
//! whom; what a rule then does is not its business.
//! Section numbers are those of Gateway API v1's HTTPRoute and of GEP-1294 (Services as parents).

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
pub use generate::Dice;
pub use pattern::Pattern;
pub use shrink::shrink;
pub use split::{GroupMatch, Split};

/// Everything that there is: one Gateway `shop/edge`, Services, routes, and splits.
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
    /// True where routes of every namespace may attach, not only those of the Gateway's own.
    pub from_all: bool,
}

pub const GATEWAY_NAMESPACE: &str = "shop";

/// A Service that routes may have as a parent.
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
    /// Days since some day; None has no `creationTimestamp` and is the youngest.
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
    /// The Service that all its requests go to; no other rule has it.
    pub backend: String,
    /// None at all is one match of nothing.
    pub matches: Vec<Match>,
}

#[derive(Clone, Debug, Default)]
pub struct Match {
    pub path: Option<Path>,
    pub method: Option<String>,
    pub headers: Vec<Field>,
    pub query: Vec<Field>,
    /// Of a GRPCRoute, which has neither path, method nor query.
    pub call: Option<Call>,
}

/// What a gRPC call must be: a service, a method, or both.
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

/// Whose proxy a request goes through.
#[derive(Clone, Debug)]
pub enum Asker {
    /// The Gateway, and what the proxy is told of its listeners.
    Gateway(Told),
    /// Clients of a namespace, or of an unknown one.
    Client(Option<String>),
}

/// By which listeners requests may come in.
#[derive(Clone, Debug)]
pub enum Told {
    Nothing,
    Listener(String),
    /// The names of each socket; the request comes in by one of them, or by another that nothing is said of.
    Sockets(Vec<Vec<String>>, Option<usize>),
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// As in `Host`, with or without a port.
    pub host: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is there for the host, or splits for other requests.
    Untouched,
    /// Routes are there, and none of their matches fits.
    NotFound,
    /// The rule or the split with this backend.
    Rule(String),
    /// Listeners differ, and nothing tells by which of them the request came in.
    UnknownListener,
    /// No specification says so: a GRPCRoute and what is no call, or routes of both kinds on one host.
    Unsaid,
}

/// A match that is in force for the request's host.
struct Candidate<'a> {
    route: &'a Route,
    rule: usize,
    position: usize,
    wanted: &'a Match,
    /// The hostname that decides between hosts.
    hostname: Option<&'a str>,
}

impl World {
    pub fn answer(&self, asker: &Asker, request: &Request) -> Answer {
        match asker {
            Asker::Gateway(told) => gateway::answer(self, told, request),
            Asker::Client(namespace) => self.by_client(namespace.as_deref(), request),
        }
    }

    /// GEP-1294: a Service is called by its names; a consumer's routes replace the producer's; without a route
    /// for the port the request passes.
    fn by_client(&self, client: Option<&str>, request: &Request) -> Answer {
        let written = without_port(&request.host).to_ascii_lowercase();
        let name = written.strip_suffix('.').unwrap_or(&written);
        let called = self.services.iter().find(|service| {
            let full = format!("{}.{}", service.name, service.namespace);
            let is_own = client == Some(service.namespace.as_str());
            // In another namespace `github.com.` is a host of the internet, even if there is a Service `github` in a
            // namespace `com`.
            (is_own && name == service.name)
                || (name == full && (is_own || name == written))
                || ["svc", "svc.cluster", "svc.cluster.local"]
                    .iter()
                    .any(|tail| name == format!("{full}.{tail}"))
        });
        let Some(service) = called else {
            return Answer::Untouched;
        };
        let written = request.host.rsplit_once(':');
        let written = written.map(|(_, port)| port.parse::<u16>().expect("a port"));
        let port = match (written, service.ports.as_slice()) {
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
        let mut routes = match client == Some(service.namespace.as_str()) {
            true => Vec::new(),
            false => of(client),
        };
        if routes.is_empty() {
            routes = of(Some(&service.namespace));
        }
        // A route on the port replaces its splits.
        if routes.is_empty() {
            return split::decide(&self.splits, service, port, request);
        }
        // GRPCRoutes go before all others.
        if routes.iter().any(|route| route.kind == Kind::Grpc) {
            routes.retain(|route| route.kind == Kind::Grpc);
        }
        // Gateway API passes hostnames over for a Service; Linkerd asks the Host for them.
        let mut meant = Vec::new();
        for route in routes {
            if route.kind != Kind::Linkerd || route.hostnames.is_empty() {
                meant.push((route, None));
                continue;
            }
            let fitting = route.hostnames.iter().filter(|own| is_meant(own, name));
            let best = fitting.max_by_key(|own| specificity(Some(own)));
            meant.extend(best.map(|own| (route, Some(own.as_str()))));
        }
        decide(meant, request)
    }
}

fn decide(routes: Vec<(&Route, Option<&str>)>, request: &Request) -> Answer {
    let calls = routes.iter().filter(|(route, _)| route.kind == Kind::Grpc);
    let calls = calls.count();
    if calls > 0 && (calls < routes.len() || condition::call(request).is_none()) {
        return Answer::Unsaid;
    }
    let all = candidates(routes).into_iter();
    let mut fitting = all.filter(|candidate| candidate.wanted.fits(request));
    fitting.next().map_or(Answer::NotFound, |best| {
        Answer::Rule(best.route.rules[best.rule].backend.clone())
    })
}

/// Every match of the routes, the first that decides before the others.
fn candidates<'a>(routes: Vec<(&'a Route, Option<&'a str>)>) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (route, hostname) in routes {
        for (rule, own) in route.rules.iter().enumerate() {
            let matches = match own.matches.as_slice() {
                [] => std::slice::from_ref(&NOTHING),
                some => some,
            };
            for (position, wanted) in matches.iter().enumerate() {
                candidates.push(Candidate {
                    route,
                    rule,
                    position,
                    wanted,
                    hostname,
                });
            }
        }
    }
    candidates.sort_by(|a, b| match precedence::goes_before(a, b) {
        true => Ordering::Less,
        false => Ordering::Greater,
    });
    candidates
}

/// What a rule without matches asks for.
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

/// Whether a wildcard takes in all of another hostname, itself a wildcard or not.
fn covers(wide: &str, narrow: &str) -> bool {
    let Some(suffix) = wide.strip_prefix('*') else {
        return false;
    };
    wide != narrow && narrow.strip_prefix('*').unwrap_or(narrow).ends_with(suffix)
}

/// `*.example.com` is any name that ends in `.example.com`, several labels deep too, never the apex.
fn is_meant(hostname: &str, host: &str) -> bool {
    match hostname.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => hostname == host,
    }
}

/// 1.3: exact before wildcard, then the longer one, then none.
fn specificity(hostname: Option<&str>) -> (bool, usize) {
    match hostname {
        None => (false, 0),
        Some(name) => (!name.starts_with('*'), name.len()),
    }
}
