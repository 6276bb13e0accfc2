//! A second matcher, written from the text of the specification and from nothing else: slow, and so plain that it
//! can be held against the text line by line.
//!
//! It works on routes, splits and TrafficTargets as people write them. It shares no code with the control plane or
//! the filter, or their agreement would say nothing. It decides which rule a request falls to, and who may reach
//! whom; what a rule then does is not its business.
//! Section numbers are those of Gateway API v1's HTTPRoute and of GEP-1294 (Services as parents).

mod access;
mod condition;
mod generate;
mod manifest;
mod pattern;
mod precedence;
mod shrink;
mod split;

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
    /// The Gateway, or one listener of it.
    Gateway(Option<String>),
    /// Clients of a namespace, or of an unknown one.
    Client(Option<String>),
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
            Asker::Gateway(listener) => self.at_gateway(listener.as_deref(), request),
            Asker::Client(namespace) => self.by_client(namespace.as_deref(), request),
        }
    }

    /// 1.3 and 1.6. The most specific hostname wins before anything else is looked at, and what does not fit there
    /// does not fall through to a wider one.
    fn at_gateway(&self, only: Option<&str>, request: &Request) -> Answer {
        let host = without_port(&request.host).to_ascii_lowercase();
        // Of all listeners, and of the asker's own.
        let mut everywhere: Vec<(Option<String>, &Route)> = Vec::new();
        let mut effective: Vec<(Option<String>, &Route)> = Vec::new();
        for listener in &self.listeners {
            let mut here: Vec<(Option<String>, &Route)> = Vec::new();
            for route in &self.routes {
                if !route
                    .parents
                    .iter()
                    .any(|parent| attaches(route, parent, listener))
                {
                    continue;
                }
                match (&listener.hostname, route.hostnames.is_empty()) {
                    (own, true) => here.push((own.clone(), route)),
                    (None, false) => {
                        let all = route.hostnames.iter();
                        here.extend(all.map(|name| (Some(name.clone()), route)));
                    }
                    (Some(own), false) => {
                        for name in &route.hostnames {
                            if name == own || covers(own, name) {
                                here.push((Some(name.clone()), route));
                            } else if covers(name, own) {
                                here.push((Some(own.clone()), route));
                            }
                        }
                    }
                }
            }
            if only.is_none_or(|only| only == listener.name) {
                effective.extend(here.iter().cloned());
            }
            everywhere.extend(here);
        }
        effective.retain(|own| holds(own, &everywhere));
        effective.retain(|(name, _)| name.as_ref().is_none_or(|name| is_meant(name, &host)));
        let best = effective
            .iter()
            .map(|(name, _)| specificity(name.as_deref()))
            .max();
        let Some(best) = best else {
            return Answer::Untouched;
        };
        effective.retain(|(name, _)| specificity(name.as_deref()) == best);
        let routes = effective.iter().map(|(_, route)| (*route, None));
        decide(routes.collect(), request)
    }

    /// GEP-1294: a Service is called by its names; a consumer's routes replace the producer's; without a route
    /// for the port the request passes.
    fn by_client(&self, client: Option<&str>, request: &Request) -> Answer {
        let name = without_port(&request.host).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let called = self.services.iter().find(|service| {
            let full = format!("{}.{}", service.name, service.namespace);
            (client == Some(service.namespace.as_str()) && name == service.name)
                || name == full
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
    let nothing = Match::default();
    let mut best: Option<Candidate> = None;
    for (route, hostname) in routes {
        for (rule, own) in route.rules.iter().enumerate() {
            let matches = match own.matches.as_slice() {
                [] => std::slice::from_ref(&nothing),
                some => some,
            };
            for (position, wanted) in matches.iter().enumerate() {
                let candidate = Candidate {
                    route,
                    rule,
                    position,
                    wanted,
                    hostname,
                };
                let wins = wanted.fits(request)
                    && best
                        .as_ref()
                        .is_none_or(|best| precedence::goes_before(&candidate, best));
                if wins {
                    best = Some(candidate);
                }
            }
        }
    }
    best.map_or(Answer::NotFound, |best| {
        Answer::Rule(best.route.rules[best.rule].backend.clone())
    })
}

/// On one host of a Gateway, whatever the listener, the kind of the oldest route holds.
fn holds(own: &(Option<String>, &Route), all: &[(Option<String>, &Route)]) -> bool {
    let same = all.iter().filter(|(name, _)| *name == own.0);
    let oldest = same.min_by_key(|(_, route)| {
        let name = format!("{}/{}", route.namespace, route.name);
        (route.created.unwrap_or(u8::MAX), name, route.kind)
    });
    oldest.is_some_and(|(_, route)| (route.kind == Kind::Grpc) == (own.1.kind == Kind::Grpc))
}

/// 1.6: the section, the port and the namespace all have to be right.
fn attaches(route: &Route, parent: &Parent, listener: &Listener) -> bool {
    match parent {
        Parent::Service { .. } => false,
        Parent::Gateway { section, port } => {
            section.as_ref().is_none_or(|name| *name == listener.name)
                && port.is_none_or(|port| port == listener.port)
                && (listener.from_all || route.namespace == GATEWAY_NAMESPACE)
        }
    }
}

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
