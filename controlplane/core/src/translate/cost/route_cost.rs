//! Computes the cost of a route. All rules and all matches count for each port of a Service. At a Gateway, all rules
//! count once, and all matches count for each hostname.

use std::collections::BTreeSet;

use weir_split::wire::Match;

use super::{
    BACKEND, CALLED, Costs, MATCH, MIRROR, SET, bytes_of_match, count, filters, programs,
    set_of_service, text,
};
use crate::api::route::{Route, RouteMatch, RouteRule};
use crate::plan::Audience;
use crate::translate::budget::{Cost, CostShare, Parts};
use crate::translate::precedence::ranked_hostnames;
use crate::translate::routes::places::Places;

pub fn min_bytes(route: &Route) -> u64 {
    let parents = route.parents.iter().map(|parent| {
        let section = parent.section_name.as_deref().map_or(0, text);
        40 + text(&parent.namespace) + text(&parent.name) + section
    });
    let rules = route
        .rules
        .iter()
        .map(|rule| of_rule(rule) + of_matches(rule));
    let programs = programs(route.programs).bytes;
    let hostnames = count(route.hostnames.len()) * 20;
    parents
        .chain(rules)
        .chain([programs, hostnames])
        .fold(0, u64::saturating_add)
}

/// Returns the bytes of a rule without its identity and without the ServiceAccounts of its backends.
fn of_rule(rule: &RouteRule) -> u64 {
    let backends = rule.backends.iter().map(|backend| {
        let to = backend.to.as_ref();
        let to = to.map_or(0, |to| text(&to.namespace) + text(&to.name));
        BACKEND + to + filters(&backend.filters)
    });
    let mirrors = rule.all_mirrors();
    let mirrors = mirrors
        .map(|(_, mirror)| MIRROR + text(&mirror.to.namespace) + text(&mirror.to.name))
        .fold(0, u64::saturating_add);
    let codes = rule
        .retry
        .as_ref()
        .map_or(0, |retry| count(retry.codes.len()) * 5);
    let rest = [filters(&rule.filters), codes, mirrors];
    backends.chain(rest).fold(100, u64::saturating_add)
}

/// Returns the bytes of the matches of a rule, without the identity of the rule.
fn of_matches(rule: &RouteRule) -> u64 {
    let matches = rule.matches.iter().map(|it| MATCH + of_match(it));
    matches.fold(0, u64::saturating_add)
}

fn of_match(it: &RouteMatch) -> u64 {
    bytes_of_match(&Match {
        path: it.path.clone(),
        method: it.method.clone(),
        headers: it.headers.clone(),
        query: it.query.clone(),
        ..Match::default()
    })
}

/// The bytes that a route adds at each of its places. A place is a port of a Service, or a host or port of a Gateway.
struct PlaceBytes {
    /// Bytes of all rules, with the ServiceAccounts of backends and mirrors in the namespace of the route.
    rules: u64,
    /// Bytes of the ServiceAccounts of backends and mirrors in other namespaces.
    accounts_elsewhere: u64,
    /// Bytes of all matches.
    matches: u64,
    /// Number of all matches.
    count: u64,
}

impl Costs<'_> {
    pub fn of_route(&mut self, route: &Route) -> Parts {
        let places = Places::of(self.world, route);
        let place_bytes = self.place_bytes(route, hostnames(route));
        let own = &route.object.namespace;
        let mut parts = Parts::new();
        let mut add = |audience: &Audience, own: u64, more: u64| {
            let part = parts.entry(audience.clone()).or_default();
            *part = CostShare::plus(
                *part,
                CostShare {
                    own: Cost::of_bytes(own),
                    all: Cost::of_bytes(own.saturating_add(more)),
                },
            );
        };
        let rules = count(route.rules.len());
        for ((namespace, name), of_service) in &places.services {
            let called = self.called(namespace, name).saturating_mul(rules);
            let set = set_of_service(of_service.service);
            let of_port = set.saturating_add(place_bytes.rules + place_bytes.matches);
            let more = place_bytes.accounts_elsewhere;
            let ports = count(of_service.count());
            if own == namespace {
                let of_port = of_port.saturating_add(called).saturating_mul(ports);
                add(&Audience::Everyone, of_port, more.saturating_mul(ports));
            } else {
                let of_all = of_port.saturating_add(called).saturating_add(more);
                let more = of_all.saturating_mul(ports).saturating_sub(of_port);
                add(&Audience::Namespace(own.clone()), of_port, more);
            }
        }
        for ((namespace, name), of_gateway) in &places.gateways {
            let audience = Audience::Gateway {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
            };
            let names = |names: &BTreeSet<&str>| names.iter().map(|it| text(it)).sum::<u64>();
            for (hosts, listeners) in &of_gateway.hosts {
                let listeners =
                    names(listeners).saturating_mul(place_bytes.count.saturating_add(1));
                let set = SET + hosts.hostname().map_or(0, |host| count(host.len()));
                let bytes = (set + place_bytes.matches).saturating_add(listeners);
                add(&audience, bytes, 0);
            }
            for listeners in of_gateway.ports.values() {
                add(&audience, SET + names(listeners), 0);
            }
            add(&audience, place_bytes.rules, place_bytes.accounts_elsewhere);
        }
        for part in parts.values_mut() {
            *part = part.plus(programs(route.programs).into());
        }
        parts
    }

    /// Returns the bytes that a rule needs for the Service that clients call, which is the parent of the route.
    fn called(&mut self, namespace: &str, name: &str) -> u64 {
        match self.accounts(namespace, name) {
            0 => 0,
            accounts => accounts + CALLED + text(namespace) + text(name),
        }
    }

    fn place_bytes(&mut self, route: &Route, (ranks, hostnames): (u64, u64)) -> PlaceBytes {
        let (mut rules, mut matches, mut number) = (0_u64, 0_u64, 0_u64);
        let mut accounts_elsewhere = 0_u64;
        for rule in &route.rules {
            let parents = route.parents.iter();
            let parent = parents.map(|it| text(&it.namespace) + text(&it.name)).max();
            let identity = count(route.object.identity().len())
                + parent.unwrap_or_default()
                + text(&rule.key)
                + 20;
            let mut accounts = 0_u64;
            let backends = rule.backends.iter().filter_map(|it| it.to.as_ref());
            let mirrors = rule.all_mirrors().map(|(_, mirror)| &mirror.to);
            for to in backends.chain(mirrors) {
                let sum = if to.namespace == route.object.namespace {
                    &mut accounts
                } else {
                    &mut accounts_elsewhere
                };
                *sum = sum.saturating_add(self.accounts(&to.namespace, &to.name));
            }
            rules = [identity, of_rule(rule), accounts]
                .into_iter()
                .fold(rules, u64::saturating_add);
            let of_rule = count(rule.matches.len());
            let of_rank = of_matches(rule).saturating_add(of_rule.saturating_mul(identity));
            matches = matches
                .saturating_add(of_rank.saturating_mul(ranks))
                .saturating_add(of_rule.saturating_mul(hostnames));
            number = number.saturating_add(of_rule);
        }
        PlaceBytes {
            rules,
            accounts_elsewhere,
            matches,
            count: number,
        }
    }
}

/// Returns the number of copies of each match at one place, and the bytes of the hostnames in these copies.
fn hostnames(route: &Route) -> (u64, u64) {
    let ranked = ranked_hostnames(route);
    let names = ranked.values().flatten().map(|name| text(name)).sum();
    (count(ranked.len()), names)
}
