//! What a route costs: for each port of a Service all of its rules and matches; for each Gateway all of its rules, and
//! for each hostname there all of its matches.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::Match;

use super::{
    BACKEND, CALLED, Costs, MATCH, SET, bytes_of_match, count, filters, programs, set_of_service,
    text,
};
use crate::budget::{Cost, Parts};
use crate::plan::Audience;
use crate::route::{Route, RouteMatch, RouteRule};
use crate::translate::MAX_MATCHES;
use crate::translate::routes::places::{Place, places};
use crate::translate::routes::ranked_hostnames;

pub fn written(route: &Route) -> u64 {
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

/// A rule without its identity and the accounts behind its backends.
fn of_rule(rule: &RouteRule) -> u64 {
    let backends = rule.backends.iter().map(|backend| {
        let to = backend.to.as_ref();
        let to = to.map_or(0, |to| text(&to.namespace) + text(&to.name));
        BACKEND + to + filters(&backend.filters)
    });
    let codes = rule
        .retry
        .as_ref()
        .map_or(0, |retry| count(retry.codes.len()) * 5);
    backends.fold(100 + filters(&rule.filters) + codes, u64::saturating_add)
}

/// The matches of a rule without its identity.
fn of_matches(rule: &RouteRule) -> u64 {
    let matches = rule.matches.iter().map(|it| MATCH + of_match(it));
    matches.fold(0, u64::saturating_add)
}

fn of_match(wanted: &RouteMatch) -> u64 {
    bytes_of_match(&Match {
        path: wanted.path.clone(),
        method: wanted.method.clone(),
        headers: wanted.headers.clone(),
        query: wanted.query.clone(),
        ..Match::default()
    })
}

/// What a route puts into each place where it wants to decide.
struct Pieces {
    /// Bytes of all rules.
    rules: u64,
    /// Bytes of all matches.
    matches: u64,
    /// The number of matches.
    count: u64,
}

impl Costs<'_> {
    pub fn of_route(&mut self, route: &Route) -> Parts {
        let found = places(self.world, route);
        let (places, gateways) = each_once(&found);
        let hostnames = hostnames(route);
        let written = route.rules.iter().map(|rule| count(rule.matches.len()));
        let matches = written.sum::<u64>().saturating_mul(hostnames.0);
        if matches.saturating_mul(count(places.len())) > count(MAX_MATCHES) {
            // It is not in force for another reason.
            return Parts::new();
        }
        let pieces = self.pieces(route, hostnames);
        let mut parts = Parts::new();
        let mut add = |audience: &Audience, bytes: u64| {
            let part = parts.entry(audience.clone()).or_default();
            *part = Cost::and(*part, Cost::of_bytes(bytes));
        };
        for (place, names) in &places {
            let of_names = names.iter().map(|name| text(name)).sum::<u64>();
            match place {
                Place::Service(audience, at) => {
                    let service = self.world.service(&at.namespace, &at.name);
                    let set = service.map_or(SET, set_of_service);
                    let called = self.called(&at.namespace, &at.name);
                    let called = called.saturating_mul(count(route.rules.len()));
                    let bytes = set + pieces.rules + pieces.matches;
                    add(audience, bytes.saturating_add(called));
                }
                Place::Hosts(audience, host) => {
                    let listeners = of_names.saturating_mul(pieces.count.saturating_add(1));
                    let set = SET + count(host.len());
                    add(audience, (set + pieces.matches).saturating_add(listeners));
                }
                Place::Port(audience, _) => add(audience, SET + of_names),
            }
        }
        for gateway in gateways {
            add(gateway, pieces.rules);
        }
        for part in parts.values_mut() {
            *part = part.and(programs(route.programs));
        }
        parts
    }

    /// What a rule says of the Service that its clients call.
    fn called(&mut self, namespace: &str, name: &str) -> u64 {
        match self.accounts(namespace, name) {
            0 => 0,
            accounts => accounts + CALLED + text(namespace) + text(name),
        }
    }

    fn pieces(&mut self, route: &Route, (ranks, hostnames): (u64, u64)) -> Pieces {
        let (mut rules, mut matches, mut number) = (0_u64, 0_u64, 0_u64);
        for rule in &route.rules {
            let parents = route.parents.iter();
            let parent = parents.map(|it| text(&it.namespace) + text(&it.name)).max();
            let identity = count(route.object.identity().len())
                + parent.unwrap_or_default()
                + text(&rule.key)
                + 20;
            let mut accounts = 0_u64;
            for to in rule.backends.iter().filter_map(|it| it.to.as_ref()) {
                accounts = accounts.saturating_add(self.accounts(&to.namespace, &to.name));
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
        Pieces {
            rules,
            matches,
            count: number,
        }
    }
}

/// How often each match of the route is written at one place, and the bytes of the hostnames in these copies.
fn hostnames(route: &Route) -> (u64, u64) {
    let ranked = ranked_hostnames(route);
    let names = ranked.values().flatten().map(|name| text(name)).sum();
    (count(ranked.len()), names)
}

/// Each place once, with the names of its listeners; and the Gateways among them.
fn each_once<'a>(
    found: &'a [(Place, Option<&'a str>)],
) -> (
    BTreeMap<&'a Place, BTreeSet<&'a str>>,
    BTreeSet<&'a Audience>,
) {
    let mut places: BTreeMap<&Place, BTreeSet<&str>> = BTreeMap::new();
    let mut gateways = BTreeSet::new();
    for (place, listener) in found {
        places.entry(place).or_default().extend(*listener);
        if let Place::Hosts(audience, _) | Place::Port(audience, _) = place {
            gateways.insert(audience);
        }
    }
    (places, gateways)
}
