//! The plan: the translation of the whole world, and what one proxy may see of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::{Config, HostSet, Hosts, Rule, VERSION};

/// Whose requests a host set is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Clients in every namespace (a producer's rules).
    Everyone,
    /// Clients in one namespace: a consumer's rules, or a literal host.
    Namespace(String),
    /// Who comes in through one Gateway.
    Gateway { namespace: String, name: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSet {
    pub audience: Audience,
    pub set: HostSet,
}

/// What one proxy asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The producers' rules alone.
    Producers,
    /// The producers' rules and the consumer rules of that namespace.
    Namespace(String),
    /// The routes of that Gateway and nothing else.
    Gateway { namespace: String, name: String },
}

/// Host sets in a fixed order, and the rules that their matches lead to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    sets: Vec<PlannedSet>,
    rules: BTreeMap<String, Rule>,
}

impl Plan {
    /// `rules` are by identity; each match of `sets` leads to one of them.
    pub fn new(mut sets: Vec<PlannedSet>, rules: BTreeMap<String, Rule>) -> Plan {
        sets.sort_by_cached_key(|planned| (place(&planned.set.hosts), planned.audience.clone()));
        Plan { sets, rules }
    }

    /// Every scope whose configuration is not that of another one, or empty: the producers, each
    /// namespace with rules of its own, each Gateway with routes.
    pub fn scopes(&self) -> Vec<Scope> {
        let own = self.sets.iter().map(|planned| match &planned.audience {
            Audience::Everyone => Scope::Producers,
            Audience::Namespace(namespace) => Scope::Namespace(namespace.clone()),
            Audience::Gateway { namespace, name } => Scope::Gateway {
                namespace: namespace.clone(),
                name: name.clone(),
            },
        });
        let all: BTreeSet<Scope> = own.chain([Scope::Producers]).collect();
        all.into_iter().collect()
    }
}

/// The part of the plan that a proxy of this scope gets. An unknown namespace has no rules of its
/// own; an unknown Gateway has none at all.
///
/// Where a namespace has consumer rules for a port of a Service, they replace the producers' (Gateway
/// API, GEP-1294).
pub fn scope(plan: &Plan, scope: &Scope) -> Config {
    let consumed: BTreeSet<(&str, &str, u16)> = plan
        .sets
        .iter()
        .filter(|planned| is_own(&planned.audience, scope))
        .filter_map(|planned| root_port(&planned.set.hosts))
        .collect();
    let sees = |planned: &&PlannedSet| {
        is_own(&planned.audience, scope)
            || (planned.audience == Audience::Everyone
                && !matches!(scope, Scope::Gateway { .. })
                && root_port(&planned.set.hosts).is_none_or(|port| !consumed.contains(&port)))
    };
    let hosts: Vec<HostSet> = plan
        .sets
        .iter()
        .filter(sees)
        .map(|p| p.set.clone())
        .collect();
    let led_to: BTreeSet<&String> = hosts
        .iter()
        .flat_map(|set| set.matches.iter().map(|entry| &entry.rule))
        .collect();
    let rules = plan
        .rules
        .iter()
        .filter(|(identity, _)| led_to.contains(identity));
    Config {
        version: VERSION,
        rules: rules
            .map(|(identity, rule)| (identity.clone(), rule.clone()))
            .collect(),
        hosts,
        connections: Vec::new(),
        access: None,
    }
}

/// Meant for this scope and no other.
fn is_own(audience: &Audience, scope: &Scope) -> bool {
    match (audience, scope) {
        (Audience::Namespace(own), Scope::Namespace(asked)) => own == asked,
        (
            Audience::Gateway { namespace, name },
            Scope::Gateway {
                namespace: asked_namespace,
                name: asked_name,
            },
        ) => namespace == asked_namespace && name == asked_name,
        _ => false,
    }
}

fn root_port(hosts: &Hosts) -> Option<(&str, &str, u16)> {
    match hosts {
        Hosts::Root(root) => Some((&root.namespace, &root.service, root.port)),
        Hosts::Literal(_) | Hosts::Gateway(_) => None,
    }
}

/// The order of host sets: Services by namespace, name and port; literal hosts; a Gateway's hosts
/// with the most specific first (exact, longer wildcard, shorter wildcard, none).
fn place(hosts: &Hosts) -> (u8, Reverse<usize>, String, String, u16) {
    match hosts {
        Hosts::Root(root) => {
            let (namespace, service) = (root.namespace.clone(), root.service.clone());
            (0, Reverse(0), namespace, service, root.port)
        }
        Hosts::Literal(literal) => (
            1,
            Reverse(0),
            literal.name.clone(),
            String::new(),
            literal.port,
        ),
        Hosts::Gateway(gateway) => {
            let name = gateway.hostname.clone().unwrap_or_default();
            let (class, length) = if name.is_empty() {
                (4, 0)
            } else if name.starts_with('*') {
                (3, name.len())
            } else {
                (2, 0)
            };
            (class, Reverse(length), name, String::new(), 0)
        }
    }
}

#[cfg(test)]
mod tests;
