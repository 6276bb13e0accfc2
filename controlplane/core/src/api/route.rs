//! Routes: HTTPRoute, GRPCRoute and TCPRoute of Gateway API, and HTTPRoute of Linkerd.
//!
//! All kinds have one Rust type, [`Route`]. A method match of a GRPCRoute becomes a match on the request path. A
//! TCPRoute becomes a route with one rule for all connections. The modules `http`, `grpc` and `tcp` read the manifests.
//! [`crate::translate`] resolves references to other objects.

pub mod backend_ref;
pub mod filters;
mod grpc;
pub mod header_match;
mod hostnames;
mod http;
pub mod matches;
pub mod mirror;
mod mirror_limit;
pub mod parent_ref;
pub mod parse;
pub mod path_match;
pub mod rank;
pub mod reference;
mod rule_keys;
pub mod rule_reader;
mod tcp;
pub mod timeouts;
pub mod url;

use jiff::Timestamp;
use serde_json::Value;
use weir_split::wire::{Field, Filters, PathMatch, Retry, Timeouts};

pub use self::backend_ref::BackendRef;
pub use self::mirror::MirrorRef;
pub use self::parent_ref::{ParentKind, ParentRef};
pub use self::reference::{PortRef, Reference};
use crate::api::route::rank::Rank;
use crate::manifest::hostname::Hostname;
use crate::manifest::object::{Kind, Object};
use crate::manifest::patterns::Programs;
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem, messages};

/// A route, without the parts that Weir cannot read.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub object: ObjectRef,
    pub kind: RouteKind,
    pub created: Option<Timestamp>,
    /// The parents: Services and Gateways. Parents that belong to other controllers are not included.
    pub parents: Vec<ParentRef>,
    /// The hosts of the route. An empty list means every host.
    pub hostnames: Vec<Hostname>,
    /// One or more rules; a TCPRoute has exactly one. Broken rules are included.
    pub rules: Vec<RouteRule>,
    /// The regular expressions of all rules.
    pub programs: Programs,
}

/// The kinds of routes. If two routes have the same age and name, the kind that is declared first has precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    Http,
    /// The HTTPRoute of Linkerd. Its defaults, its filters, and the meaning of a rule without backends differ from the
    /// HTTPRoute of Gateway API.
    LinkerdHttp,
    Grpc,
    Tcp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Index of the rule in `spec.rules`.
    pub index: usize,
    /// The name of the rule, or the hash of its matches. The key is unique within the route. The key does not depend on
    /// the index, so that the rule keeps its key when the user adds another rule before it.
    pub key: String,
    /// The matches of the rule. The rule is for requests that fit at least one match. If no match can be read, the list
    /// is empty, and the rule matches no request.
    pub matches: Vec<RouteMatch>,
    /// True if a part of the rule is invalid or not supported. All requests of a broken rule get a response with the
    /// status [`RouteKind::broken`].
    pub broken: bool,
    /// The backends; empty if the rule has no `backendRefs`.
    pub backends: Vec<BackendRef>,
    pub filters: Filters,
    pub mirrors: Vec<MirrorRef>,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
}

/// The conditions of one match, see [`weir_split::wire::Match`]. The default value matches every request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// Index of the match in the rule's `matches`.
    pub index: usize,
    pub path: Option<PathMatch>,
    pub method: Option<String>,
    /// The header conditions, sorted by name, without duplicate names.
    pub headers: Vec<Field>,
    /// The conditions for query parameters, sorted by name, without duplicate names.
    pub query: Vec<Field>,
    pub rank: Rank,
}

impl Route {
    /// Parses a route, and adds the problems of its invalid parts to `problems`.
    ///
    /// Returns None if the object is not a route, if all hostnames are invalid, or if all parents belong to other
    /// controllers (such as a Linkerd `Server`).
    pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
        let Some(kind) = RouteKind::of(object.kind) else {
            return Ok(None);
        };
        if parent_ref::are_all_foreign(object, kind) {
            problems.extend(parent_ref::not_served(object, kind));
            return Ok(None);
        }
        object.reject_other_fields(&["spec"])?;
        let route = match kind {
            RouteKind::Http | RouteKind::LinkerdHttp => http::parse(object, kind, problems),
            RouteKind::Grpc => grpc::parse(object, problems),
            RouteKind::Tcp => tcp::parse(object, problems),
        }?;
        problems.extend(annotation_problems(object));
        Ok(route)
    }

    /// Returns a problem for each backendRef and each mirror that has the name of a port instead of the number. Call
    /// this only for a route that translation does not read: Weir still uses an older valid form of this route. For all
    /// other routes, translation reports these problems with the right number.
    pub fn port_names(&self) -> impl Iterator<Item = Problem> {
        self.rules.iter().flat_map(move |rule| {
            let of_backends = rule.backends.iter().filter_map(move |backend| {
                let message = port_by_name(backend.to.as_ref()?)?;
                let at = (rule.index, backend.index);
                let problem = self.object.problem_of_backend(at, ".port", message);
                Some(problem.with_effect(self.kind.share_fails()))
            });
            let of_mirrors = rule.all_mirrors().filter_map(move |(backend, mirror)| {
                let message = port_by_name(&mirror.to)?;
                let at = (rule.index, backend, mirror.index);
                let problem = self.object.problem_of_mirror(at, ".port", message);
                Some(problem.with_effect(mirror::not_copied()))
            });
            of_backends.chain(of_mirrors)
        })
    }

    /// True if the object is a route, and all its parents belong to other controllers.
    pub fn is_foreign(object: &Object) -> bool {
        RouteKind::of(object.kind).is_some_and(|kind| parent_ref::are_all_foreign(object, kind))
    }
}

fn port_by_name(to: &Reference) -> Option<messages::Message> {
    match to.port.as_ref()? {
        PortRef::Name(name) => Some(messages::backend::port_by_name(name)),
        PortRef::Number(_) => None,
    }
}

impl RouteRule {
    /// Returns the mirrors of the rule and of its backends. The index is the index of the backend that has the mirror;
    /// None if the mirror belongs to the rule.
    pub fn all_mirrors(&self) -> impl Iterator<Item = (Option<usize>, &MirrorRef)> {
        let of_rule = self.mirrors.iter().map(|mirror| (None, mirror));
        let of_backends = self.backends.iter().flat_map(|backend| {
            let mirrors = backend.mirrors.iter();
            mirrors.map(|mirror| (Some(backend.index), mirror))
        });
        of_rule.chain(of_backends)
    }
}

/// Returns a problem for each annotation of Linkerd for timeouts and retries, because Weir does not support them.
fn annotation_problems(object: &Object) -> Vec<Problem> {
    let annotations = object
        .body
        .pointer("/metadata/annotations")
        .and_then(Value::as_object);
    annotations
        .into_iter()
        .flat_map(|it| it.keys())
        .filter(|name| {
            name.starts_with("retry.linkerd.io/") || name.starts_with("timeout.linkerd.io/")
        })
        .map(|name| {
            object
                .reference()
                .problem("metadata.annotations", messages::route::annotation(name))
        })
        .collect()
}

impl RouteKind {
    /// Returns the kind of route; None if objects of this kind are not routes.
    pub fn of(kind: Kind) -> Option<RouteKind> {
        Some(match kind {
            Kind::HttpRoute => RouteKind::Http,
            Kind::LinkerdHttpRoute => RouteKind::LinkerdHttp,
            Kind::GrpcRoute => RouteKind::Grpc,
            Kind::TcpRoute => RouteKind::Tcp,
            _ => return None,
        })
    }

    /// Returns the name of the kind in manifests, such as in `allowedRoutes.kinds` and in a ReferenceGrant.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Http | RouteKind::LinkerdHttp => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Tcp => "TCPRoute",
        }
    }

    /// Returns the API group of the kind.
    pub fn group(self) -> &'static str {
        match self {
            RouteKind::LinkerdHttp => "policy.linkerd.io",
            RouteKind::Http | RouteKind::Grpc | RouteKind::Tcp => "gateway.networking.k8s.io",
        }
    }

    /// Returns the HTTP status for requests to a broken backend (Gateway API v1, HTTPRouteRule.backendRefs). Envoy
    /// turns 503 into the gRPC status UNAVAILABLE. The status has no meaning for a TCPRoute, because its connections
    /// are closed.
    pub fn broken(self) -> u16 {
        match self {
            RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Tcp => 500,
            RouteKind::Grpc => 503,
        }
    }

    /// Returns the effect of a broken backend on traffic.
    pub fn share_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "connections for this backend are closed".to_owned(),
            kind => format!("requests for this backend are answered {}", kind.broken()),
        };
        Effect::new(Extent::Share, words)
    }

    /// Returns the effect of a broken rule on traffic.
    pub fn rule_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "connections of this rule are closed".to_owned(),
            kind => format!("requests of this rule are answered {}", kind.broken()),
        };
        Effect::new(Extent::Rule, words)
    }

    /// Returns the name of the kind with its article, such as `an HTTPRoute`, for messages.
    pub fn with_article(self) -> &'static str {
        match self {
            RouteKind::Http => "an HTTPRoute",
            RouteKind::LinkerdHttp => "an HTTPRoute of policy.linkerd.io",
            RouteKind::Grpc => "a GRPCRoute",
            RouteKind::Tcp => "a TCPRoute",
        }
    }
}
