//! Routes: HTTPRoute, GRPCRoute and TCPRoute of Gateway API, and HTTPRoute of Linkerd.
//!
//! All kinds have one Rust type, [`Route`]. A method match of a GRPCRoute becomes a match on the request path, and a
//! TCPRoute is a route with one rule and no matches. `http`, `grpc` and `tcp` read the manifests; [`crate::translate`]
//! resolves references to other objects.

pub mod backend_ref;
pub mod filters;
mod grpc;
pub mod header_match;
mod hostnames;
mod http;
pub mod matches;
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

pub use self::backend_ref::{BackendRef, PortRef, Reference};
pub use self::parent_ref::{ParentKind, ParentRef};
use crate::api::route::rank::Rank;
use crate::manifest::hostname::Hostname;
use crate::manifest::object::{Kind, Object};
use crate::manifest::patterns::Programs;
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem, messages};

/// A route, without the parts that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub object: ObjectRef,
    pub kind: RouteKind,
    pub created: Option<Timestamp>,
    /// The parents that are Services or Gateways, without parents of other controllers.
    pub parents: Vec<ParentRef>,
    /// Empty for every host.
    pub hostnames: Vec<Hostname>,
    /// At least one; a TCPRoute has exactly one. Broken rules are included.
    pub rules: Vec<RouteRule>,
    /// The regular expressions of all rules.
    pub programs: Programs,
}

/// The kinds in order of precedence between two routes with the same age and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    Http,
    /// Linkerd's HTTPRoute has other defaults and other filters, and treats a rule without backends otherwise.
    LinkerdHttp,
    Grpc,
    Tcp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Its index in `spec.rules`.
    pub index: usize,
    /// Unique within the route: the name of the rule, or the hash of its matches. It does not depend on the index, so
    /// that a rule keeps its sequence of picks when another rule is added before it.
    pub key: String,
    /// Alternatives. Empty if no match can be read: then the rule matches no request.
    pub matches: Vec<RouteMatch>,
    /// Whether a part of the rule is invalid or not supported: then all its requests are answered with
    /// [`RouteKind::broken`].
    pub broken: bool,
    /// Empty if the rule has no `backendRefs`.
    pub backends: Vec<BackendRef>,
    pub filters: Filters,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
}

/// The conditions on a request, see [`weir_split::wire::Match`]. The default matches every request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// Its index in the rule's `matches`.
    pub index: usize,
    pub path: Option<PathMatch>,
    pub method: Option<String>,
    /// Sorted by name, each name once.
    pub headers: Vec<Field>,
    /// Sorted by name, each name once.
    pub query: Vec<Field>,
    pub rank: Rank,
}

impl Route {
    /// Parses a route. The problems of parts that are not in force go to `problems`.
    ///
    /// None if the route is not in force: all its hostnames are invalid, all its parents belong to other controllers (such
    /// as a Linkerd `Server`), or the object is no route.
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

    /// A problem for each backendRef that names its port. For a route that is not translated, because its last valid form
    /// is in force; translation reports the same path with the number of the port.
    pub fn port_names(&self) -> impl Iterator<Item = Problem> {
        self.rules.iter().flat_map(move |rule| {
            rule.backends.iter().filter_map(move |backend| {
                let PortRef::Name(name) = backend.to.as_ref()?.port.as_ref()? else {
                    return None;
                };
                let message = messages::backend::port_by_name(name);
                let at = (rule.index, backend.index);
                let problem = self.object.problem_of_backend(at, ".port", message);
                Some(problem.with_effect(self.kind.share_fails()))
            })
        })
    }

    /// Whether the object is a route, of any version, and all its parents belong to other controllers.
    pub fn is_foreign(object: &Object) -> bool {
        RouteKind::of(object.kind).is_some_and(|kind| parent_ref::are_all_foreign(object, kind))
    }
}

/// A problem for each annotation of Linkerd for timeouts and retries. Weir does not support them.
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
    /// None if the kind is no route.
    pub fn of(kind: Kind) -> Option<RouteKind> {
        Some(match kind {
            Kind::HttpRoute => RouteKind::Http,
            Kind::LinkerdHttpRoute => RouteKind::LinkerdHttp,
            Kind::GrpcRoute => RouteKind::Grpc,
            Kind::TcpRoute => RouteKind::Tcp,
            _ => return None,
        })
    }

    /// Its `kind`, as in `allowedRoutes.kinds` and in a ReferenceGrant.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Http | RouteKind::LinkerdHttp => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
            RouteKind::Tcp => "TCPRoute",
        }
    }

    /// Its API group, as in a ReferenceGrant.
    pub fn group(self) -> &'static str {
        match self {
            RouteKind::LinkerdHttp => "policy.linkerd.io",
            RouteKind::Http | RouteKind::Grpc | RouteKind::Tcp => "gateway.networking.k8s.io",
        }
    }

    /// The HTTP status for the share of a broken backend (Gateway API v1, HTTPRouteRule.backendRefs). Envoy turns 503 into
    /// gRPC status UNAVAILABLE. Connections are closed; they have no status.
    pub fn broken(self) -> u16 {
        match self {
            RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Tcp => 500,
            RouteKind::Grpc => 503,
        }
    }

    /// The effect of a broken backend.
    pub fn share_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "this backend's share of the connections is closed".to_owned(),
            kind => format!("the share of this backend is answered {}", kind.broken()),
        };
        Effect::new(Extent::Share, words)
    }

    /// The effect of a broken rule.
    pub fn rule_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "connections of this rule are closed".to_owned(),
            kind => format!("requests of this rule are answered {}", kind.broken()),
        };
        Effect::new(Extent::Rule, words)
    }

    /// For messages: `an HTTPRoute`.
    pub fn with_article(self) -> &'static str {
        match self {
            RouteKind::Http => "an HTTPRoute",
            RouteKind::LinkerdHttp => "an HTTPRoute of policy.linkerd.io",
            RouteKind::Grpc => "a GRPCRoute",
            RouteKind::Tcp => "a TCPRoute",
        }
    }
}
