//! The order of matches and objects.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::route::rank::Rank;
use crate::api::route::{Route, RouteKind};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::ObjectRef;

/// The order of objects that ask to decide at the same place: the oldest first, then the first by namespace and name.
/// An object without a creation time counts as the youngest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seniority {
    undated: bool,
    created: Option<Timestamp>,
    /// `{namespace}/{name}`, compared as one string: `a-b/x` is before `a/x`.
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

/// How specific the hostname of a match is: exact, then longer wildcards, then shorter wildcards, then no hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostRank {
    /// An exact hostname. It needs no length, because two different exact hostnames never fit the same request.
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
/// The order is (Gateway API v1, HTTPRouteRule.matches and GRPCRouteRule.matches):
/// - the most specific hostname of the route, at a Gateway, and for Linkerd routes at a Service;
/// - the conditions of the match, see [`Rank`];
/// - the oldest route, then the first route by `{namespace}/{name}`;
/// - the first rule of the route, then the first match of the rule.
///
/// If two routes of different groups have the same age and name, the route of Gateway API is first.
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

/// Returns the hostnames of a route at a Service, by rank. Gateway API ignores the hostnames of a route whose parent is
/// a Service, but Linkerd uses them. The hostnames of a route at a Gateway are not included.
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
