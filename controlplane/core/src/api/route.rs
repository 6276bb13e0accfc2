//! Routes in their checked form: HTTPRoute, GRPCRoute and TCPRoute of Gateway API, and HTTPRoute of Linkerd.
//!
//! One form for all of them: a GRPCRoute's conditions are conditions on the path of a request, and a TCPRoute is
//! a route with one rule and no conditions. `http`, `grpc` and `tcp` read the manifests. What a route refers to is
//! decided in [`crate::translate`], where the
//! other objects are known.

pub mod backend_ref;
pub mod filters;
mod grpc;
pub mod header_match;
mod http;
pub mod matches;
pub mod parent_ref;
pub mod parse;
pub mod path_match;
pub mod rank;
pub mod reference;
pub mod rule;
pub mod rules;
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

/// A route, as far as it is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub object: ObjectRef,
    pub kind: RouteKind,
    pub created: Option<Timestamp>,
    /// Those that are Services or Gateways; others are another controller's business.
    pub parents: Vec<ParentRef>,
    pub hostnames: Vec<Hostname>,
    /// At least one; of a TCPRoute exactly one. One that is wrong is among them.
    pub rules: Vec<RouteRule>,
    /// The regular expressions of all rules.
    pub programs: Programs,
}

/// The order is that of two routes that are alike in age and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    Http,
    /// Linkerd's HTTPRoute differs in defaults, in its filters and in what no backends mean.
    LinkerdHttp,
    Grpc,
    Tcp,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RouteRule {
    /// Its place in `spec.rules`.
    pub index: usize,
    /// What tells it from the route's other rules: its name, or the hash of its matches. Never its
    /// place, so that a rule keeps its sequence of picks when another is added before it.
    pub key: String,
    /// None where none of them can be read: then it fits no request.
    pub matches: Vec<RouteMatch>,
    /// Something in it cannot be done: all its requests are answered as a broken share is.
    pub broken: bool,
    /// Empty where the rule names none.
    pub backends: Vec<BackendRef>,
    pub filters: Filters,
    pub timeouts: Timeouts,
    pub retry: Option<Retry>,
}

/// What a request must show, see [`weir_split::wire::Match`]; the default fits every request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteMatch {
    /// Its place in the rule's `matches`.
    pub index: usize,
    pub path: Option<PathMatch>,
    pub method: Option<String>,
    /// By name, each name once.
    pub headers: Vec<Field>,
    /// By name, each name once.
    pub query: Vec<Field>,
    pub rank: Rank,
}

impl Route {
    /// The route, and to `problems` what of it is not in force.
    ///
    /// `None` is a route that is not in force at all: none of its hostnames can be one; or its parents are all
    /// another controller's business (a Linkerd `Server`, say), and whatever else it contains is not for Weir to
    /// judge; or the object is of another kind.
    pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Option<Route>, Problem> {
        let Some(kind) = RouteKind::of(object.kind) else {
            return Ok(None);
        };
        if parent_ref::are_all_foreign(object, kind) {
            problems.extend(parent_ref::not_served(object, kind));
            return Ok(None);
        }
        object.nothing_beside(&["spec"])?;
        let route = match kind {
            RouteKind::Http | RouteKind::LinkerdHttp => http::parse(object, kind, problems),
            RouteKind::Grpc => grpc::parse(object, problems),
            RouteKind::Tcp => tcp::parse(object, problems),
        }?;
        problems.extend(annotations(object));
        Ok(route)
    }

    /// A problem for each backendRef that names its port. Translation reports the same path with the number of the
    /// port; these are for a route that is not translated because an older form of it is in force.
    pub fn port_names(&self) -> impl Iterator<Item = Problem> {
        let of_rule = |rule: &RouteRule| {
            let (index, effect) = (rule.index, self.kind.share_fails());
            let backends: Vec<Problem> = rule
                .backends
                .iter()
                .filter_map(|backend| {
                    let PortRef::Name(name) = backend.to.as_ref()?.port.as_ref()? else {
                        return None;
                    };
                    let message = messages::backend::port_by_name(name);
                    let place = (index, backend.index);
                    let problem = self.object.problem_of_backend(place, ".port", message);
                    Some(problem.with_effect(effect.clone()))
                })
                .collect();
            backends
        };
        self.rules.iter().flat_map(of_rule)
    }

    /// Whether the object is a route whose parents are all another controller's business, at whatever version.
    pub fn is_foreign(object: &Object) -> bool {
        RouteKind::of(object.kind).is_some_and(|kind| parent_ref::are_all_foreign(object, kind))
    }
}

/// Linkerd's way to say times and retries, which Weir does not know.
fn annotations(object: &Object) -> Vec<Problem> {
    let written = object.body.pointer("/metadata/annotations");
    let names = written.and_then(Value::as_object).into_iter().flatten();
    let unknown = names.filter(|(name, _)| {
        name.starts_with("retry.linkerd.io/") || name.starts_with("timeout.linkerd.io/")
    });
    unknown
        .map(|(name, _)| {
            object
                .reference()
                .problem("metadata.annotations", messages::route::annotation(name))
        })
        .collect()
}

impl RouteKind {
    /// None of a kind that is no route.
    pub fn of(kind: Kind) -> Option<RouteKind> {
        Some(match kind {
            Kind::HttpRoute => RouteKind::Http,
            Kind::LinkerdHttpRoute => RouteKind::LinkerdHttp,
            Kind::GrpcRoute => RouteKind::Grpc,
            Kind::TcpRoute => RouteKind::Tcp,
            _ => return None,
        })
    }

    /// Its name in `allowedRoutes.kinds` and in a ReferenceGrant.
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

    /// What the share of a broken backend is answered with (Gateway API: `rules.backendRefs`). For gRPC Envoy makes
    /// UNAVAILABLE of 503; a connection is closed, whatever the status.
    pub fn broken(self) -> u16 {
        match self {
            RouteKind::Http | RouteKind::LinkerdHttp | RouteKind::Tcp => 500,
            RouteKind::Grpc => 503,
        }
    }

    /// What becomes of such a share.
    pub fn share_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "this backend's share of the connections is closed".to_owned(),
            kind => format!("the share of this backend is answered {}", kind.broken()),
        };
        Effect::new(Extent::Share, words)
    }

    /// What becomes of a rule that is broken.
    pub fn rule_fails(self) -> Effect {
        let words = match self {
            RouteKind::Tcp => "connections of this rule are closed".to_owned(),
            kind => format!("requests of this rule are answered {}", kind.broken()),
        };
        Effect::new(Extent::Rule, words)
    }

    /// `an HTTPRoute`.
    pub fn with_article(self) -> &'static str {
        match self {
            RouteKind::Http => "an HTTPRoute",
            RouteKind::LinkerdHttp => "an HTTPRoute of policy.linkerd.io",
            RouteKind::Grpc => "a GRPCRoute",
            RouteKind::Tcp => "a TCPRoute",
        }
    }
}
