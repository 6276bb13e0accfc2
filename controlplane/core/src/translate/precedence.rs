//! The order of objects by age, and the order in which proxies try matches.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::route::rank::Rank;
use crate::api::route::{Route, RouteKind};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::ObjectRef;

/// The order of objects that select the same port or host: the oldest object first. Objects of the same age are sorted
/// by namespace and name. An object without a creation time counts as the youngest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    undated: bool,
    created: Option<Timestamp>,
    /// The text `{namespace}/{name}`. It is compared as one string, so `a-b/x` is before `a/x`.
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

/// How specific the hostname of a match is. Exact hostnames come first, then longer wildcards, then shorter wildcards,
/// then matches without a hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    /// An exact hostname. Its length does not matter, because two different exact hostnames never fit the same request.
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

/// The position of one match among all matches of all routes on one host.
///
/// Matches are compared in these steps (Gateway API v1, HTTPRouteRule.matches and GRPCRouteRule.matches):
/// - the match with the most specific hostname is first (only at a Gateway, and for Linkerd routes at a Service);
/// - the match with the most specific conditions is first, see [`Rank`];
/// - the match of the oldest route is first; routes of the same age are sorted by `{namespace}/{name}`;
/// - matches of one route keep their order in the route.
///
/// If a route of Gateway API and a route of Linkerd have the same age and name, the route of Gateway API is first.
// The derived `Ord` compares the fields from top to bottom.
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
    /// `rule` is the index of the rule in the route, and `position` the index of the match in the rule.
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

/// Returns the hostnames that a route uses at a Service, by rank. Routes of Linkerd use their hostnames at a Service,
/// and routes of Gateway API ignore them there. Without hostnames, the result has only [`HostRank::Any`].
pub fn ranked_hostnames(route: &Route) -> BTreeMap<HostRank, Vec<String>> {
    let mut ranked: BTreeMap<HostRank, Vec<String>> = BTreeMap::new();
    if route.kind == RouteKind::LinkerdHttp {
        for hostname in &route.hostnames {
            let hostnames = ranked.entry(HostRank::new(hostname)).or_default();
            hostnames.push(hostname.to_string());
        }
    }
    if ranked.is_empty() {
        ranked.insert(HostRank::Any, Vec::new());
    }
    ranked
}

#[cfg(test)]
mod tests;
