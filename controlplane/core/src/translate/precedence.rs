//! Which of several matches or objects comes first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::route::rank::Rank;
use crate::api::route::{Route, RouteKind};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::ObjectRef;

/// Among objects that claim the same: the oldest (one without a time counts as the youngest), then
/// the first by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    undated: bool,
    created: Option<Timestamp>,
    /// `{namespace}/{name}`, compared as one string: `a-b/x` stands before `a/x`.
    name: String,
}

impl Seniority {
    pub fn new(object: &ObjectRef, created: Option<Timestamp>) -> Seniority {
        Seniority {
            undated: created.is_none(),
            created,
            name: format!("{}/{}", object.namespace, object.name),
        }
    }
}

/// How narrowly a match names the host of a request: exactly, by a longer wildcard, by a shorter one, not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    /// Two of them fit one request only if they are the same.
    Exact,
    Wildcard(Reverse<usize>),
    Any,
}

impl HostRank {
    pub fn new(hostname: &Hostname) -> HostRank {
        match hostname {
            Hostname::Exact(_) => HostRank::Exact,
            Hostname::Wildcard(suffix) => HostRank::Wildcard(Reverse(suffix.len())),
        }
    }
}

/// The place of one match among all matches of all routes on one host.
///
/// Gateway API v1, HTTPRouteRule.matches and GRPCRouteRule.matches: what the match asks for, see [`Rank`]; then,
/// across routes, the oldest by creation timestamp and the first by `{namespace}/{name}`; and within one route the
/// first rule in order, and the first match in it. Before all that comes the hostname of the route: at a Gateway, and at
/// a Service where it counts (Linkerd).
///
/// Where a route of either group has the same age and name, that of Gateway API is first.
// Derived `Ord` compares the fields in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    host: HostRank,
    rank: Rank,
    seniority: Seniority,
    kind: RouteKind,
    rule: usize,
    position: usize,
}

impl Precedence {
    /// `rule` and `position` are the places of the rule in the route and of the match in the rule.
    pub fn new(route: &Route, rule: usize, position: usize, rank: Rank, host: HostRank) -> Self {
        Precedence {
            host,
            rank,
            seniority: Seniority::new(&route.object, route.created),
            kind: route.kind,
            rule,
            position,
        }
    }
}

/// Hosts that a route's matches hold for, those of equal rank together. Gateway API ignores the hostnames of a route
/// with a Service for a parent, Linkerd does not; a Gateway's are in the claim.
pub fn ranked_hostnames(route: &Route) -> BTreeMap<HostRank, Vec<String>> {
    let mut ranked: BTreeMap<HostRank, Vec<String>> = BTreeMap::new();
    if route.kind == RouteKind::LinkerdHttp {
        for hostname in &route.hostnames {
            let of_rank = ranked.entry(HostRank::new(hostname)).or_default();
            of_rank.push(hostname.to_string());
        }
    }
    if ranked.is_empty() {
        ranked.insert(HostRank::Any, Vec::new());
    }
    ranked
}

#[cfg(test)]
mod tests;
