//! Computes the cost of a TrafficTarget. A TrafficTarget becomes a grant: the ServiceAccounts that may send requests
//! (sources) to one ServiceAccount. Proxies in the namespace of the TrafficTarget get all sources of the grant. Proxies
//! in another namespace get only the sources of their namespace.

use std::collections::{BTreeMap, BTreeSet};

use super::{Costs, count, text};
use crate::api::smi::traffic_target::{RuleKind, TrafficTarget};
use crate::plan::Audience;
use crate::translate::budget::{Cost, Parts};

/// Bytes of the field names and the punctuation of a grant.
const GRANT: u64 = 60;

pub fn min_bytes(target: &TrafficTarget) -> u64 {
    let sources: u64 = target.sources.iter().map(|it| text(it)).sum();
    let rules = target.rules.iter().map(|rule| {
        let matches: u64 = rule.matches.iter().map(|it| text(it)).sum();
        text(&rule.name) + matches
    });
    GRANT + sources + rules.sum::<u64>()
}

impl Costs<'_> {
    pub fn of_target(&mut self, target: &TrafficTarget) -> Parts {
        let own = target.object.namespace.as_str();
        let mut permissions = 0_u64;
        for rule in &target.rules {
            let more = match rule.kind {
                RuleKind::HttpRouteGroup => {
                    let named: BTreeSet<&str> = rule.matches.iter().map(String::as_str).collect();
                    let matches = self.group(own, &rule.name).iter();
                    let matches = matches.filter(|it| named.is_empty() || named.contains(it.name));
                    matches.map(|it| it.bytes + 1).sum()
                }
                RuleKind::TcpRoute => {
                    let route = self.world.smi_tcp_route(own, &rule.name);
                    route.map_or(0, |route| count(route.ports.len()) * 6)
                }
            };
            permissions = permissions.saturating_add(more);
        }
        let names = text(own) + text(&target.object.name) + text(own) + text(&target.destination);
        let grant = GRANT.saturating_add(names).saturating_add(permissions);
        let mut sources: BTreeMap<&str, u64> = BTreeMap::new();
        for source in &target.sources {
            let namespace = source
                .split_once('/')
                .map_or("", |(namespace, _)| namespace);
            *sources.entry(namespace).or_default() += text(source);
        }
        let all: u64 = sources.values().sum();
        let mut parts = Parts::new();
        for (namespace, bytes) in sources.into_iter().filter(|(it, _)| *it != own) {
            let audience = Audience::Namespace(namespace.to_owned());
            parts.insert(audience, Cost::of_bytes(grant.saturating_add(bytes)).into());
        }
        let whole = Cost::of_bytes(grant.saturating_add(all));
        parts.insert(Audience::Namespace(own.to_owned()), whole.into());
        parts
    }
}
