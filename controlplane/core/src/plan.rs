//! The plan: the translation of the whole world, and what one proxy may see of it.

mod access;
pub mod document;
mod pieces;
mod responses;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_split::wire::{
    Access, Config, Connections, Destination, HostSet, Hosts, Listener, Root, Rule, VERSION,
};

pub use self::responses::{EditedShares, Share, edited};

/// Whose requests a host set is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Clients in every namespace (a producer's rules).
    Everyone,
    /// Clients in one namespace: a consumer's rules, or a literal host that an older split of another namespace has
    /// at the edge.
    Namespace(String),
    /// Clients in one namespace, and proxies at the edge: a literal host.
    NamespaceAndEdge(String),
    /// Proxies at the edge alone: a literal host of several namespaces.
    Edge,
    /// Who comes in through one Gateway.
    Gateway { namespace: String, name: String },
}

impl Audience {
    /// Whether what is for it is for proxies of this scope.
    pub fn concerns(&self, scope: &Scope) -> bool {
        match (self, scope) {
            (Audience::Everyone, Scope::Producers | Scope::Edge | Scope::Namespace(_)) => true,
            _ => self.is_own(scope),
        }
    }

    /// The only namespace that it is of; None where it is of several.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Audience::Everyone | Audience::Edge => None,
            Audience::Namespace(namespace)
            | Audience::NamespaceAndEdge(namespace)
            | Audience::Gateway { namespace, .. } => Some(namespace),
        }
    }

    /// Meant for this scope, and not for everyone.
    fn is_own(&self, scope: &Scope) -> bool {
        match (self, scope) {
            (
                Audience::Namespace(own) | Audience::NamespaceAndEdge(own),
                Scope::Namespace(asked),
            ) => own == asked,
            (Audience::NamespaceAndEdge(_) | Audience::Edge, Scope::Edge) => true,
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
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSet {
    pub audience: Audience,
    pub set: HostSet,
}

/// Connections that one rule decides for, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedConnections {
    pub audience: Audience,
    pub connections: Connections,
}

/// What one proxy asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The producers' rules alone.
    Producers,
    /// The producers' rules and the splits of literal hosts of every namespace: `namespace=*`.
    Edge,
    /// The producers' rules and the consumer rules of that namespace.
    Namespace(String),
    /// The routes of that Gateway and nothing else.
    Gateway { namespace: String, name: String },
}

impl Scope {
    /// That of the proxies; None where they may be in any.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Scope::Producers | Scope::Edge => None,
            Scope::Namespace(namespace) | Scope::Gateway { namespace, .. } => Some(namespace),
        }
    }
}

/// Host sets and connections in a fixed order, and the rules that they lead to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    sets: Vec<PlannedSet>,
    connections: Vec<PlannedConnections>,
    rules: BTreeMap<String, Rule>,
    listeners: Listeners,
    /// None if the documents do not say who may reach whom.
    access: Option<Access>,
}

/// Listeners of Gateways by name, the Gateways by namespace and name.
pub type Listeners = BTreeMap<(String, String), BTreeMap<String, Listener>>;

impl Plan {
    /// `rules` are by identity; each match of `sets` and each of `connections` leads to one of them.
    pub fn new(
        mut sets: Vec<PlannedSet>,
        mut connections: Vec<PlannedConnections>,
        rules: BTreeMap<String, Rule>,
    ) -> Plan {
        // They are kept for long, and grew one by one: more than half of their memory would be for none.
        sets.shrink_to_fit();
        for planned in &mut sets {
            planned.set.matches.shrink_to_fit();
        }
        let rules = rules.into_iter().collect();
        sets.sort_by_cached_key(|planned| (place(&planned.set.hosts), planned.audience.clone()));
        connections.sort_by_cached_key(|planned| {
            let Connections { to, rule } = &planned.connections;
            (destination(to), planned.audience.clone(), rule.clone())
        });
        Plan {
            sets,
            connections,
            rules,
            listeners: Listeners::new(),
            access: None,
        }
    }

    /// The same with the listeners for HTTP of the Gateways.
    pub fn with_listeners(self, listeners: Listeners) -> Plan {
        Plan { listeners, ..self }
    }

    /// The same under an access policy, for which the rules' backends name their accounts.
    pub fn with_access(self, access: Access) -> Plan {
        Plan {
            access: Some(access),
            ..self
        }
    }

    fn audiences(&self) -> impl Iterator<Item = &Audience> {
        let of_sets = self.sets.iter().map(|planned| &planned.audience);
        of_sets.chain(self.connections.iter().map(|planned| &planned.audience))
    }

    /// Every scope whose configuration is not that of another one, or empty: the producers, each
    /// namespace with rules of its own or that a policy knows, each Gateway with routes. Any other namespace's
    /// is the producers'.
    pub fn scopes(&self) -> BTreeSet<Scope> {
        let mut scopes = BTreeSet::from([Scope::Producers]);
        for audience in self.audiences() {
            match audience {
                Audience::Everyone => {}
                Audience::Edge => {
                    scopes.insert(Scope::Edge);
                }
                Audience::Namespace(namespace) => {
                    scopes.insert(Scope::Namespace(namespace.clone()));
                }
                Audience::NamespaceAndEdge(namespace) => {
                    scopes.insert(Scope::Namespace(namespace.clone()));
                    scopes.insert(Scope::Edge);
                }
                Audience::Gateway { namespace, name } => {
                    let (namespace, name) = (namespace.clone(), name.clone());
                    scopes.insert(Scope::Gateway { namespace, name });
                }
            }
        }
        if let Some(Access::Grants(grants)) = &self.access {
            let namespaces = access::namespaces(grants, &self.rules);
            scopes.extend(namespaces.map(|namespace| Scope::Namespace(namespace.to_owned())));
            // The policy is nothing that it takes part in.
            scopes.insert(Scope::Edge);
        }
        scopes
    }

    /// Whom the splits of literal hosts are for, by their namespaces and names.
    pub fn splits_of_literals(&self) -> BTreeMap<(String, String), Audience> {
        let mut audiences: BTreeMap<(String, String), Audience> = BTreeMap::new();
        for planned in &self.sets {
            if !matches!(planned.set.hosts, Hosts::Literal(_)) {
                continue;
            }
            let is_at_edge = planned.audience.concerns(&Scope::Edge);
            for entry in &planned.set.matches {
                let Some(split) = split_of(&entry.rule) else {
                    continue;
                };
                let namespace = split.0.clone();
                match audiences.get_mut(&split) {
                    Some(known) if is_at_edge => *known = Audience::NamespaceAndEdge(namespace),
                    Some(_) => {}
                    None if is_at_edge => {
                        audiences.insert(split, Audience::NamespaceAndEdge(namespace));
                    }
                    None => {
                        audiences.insert(split, Audience::Namespace(namespace));
                    }
                }
            }
        }
        audiences
    }

    /// How many rules there are for each audience. Those at the edge alone are also rules of a namespace.
    pub fn rules_by_audience(&self) -> BTreeMap<Audience, usize> {
        let of_sets = self.sets.iter().flat_map(|planned| {
            let matches = planned.set.matches.iter();
            matches.map(|entry| (&planned.audience, &entry.rule))
        });
        let of_connections = self.connections.iter();
        let of_connections =
            of_connections.map(|planned| (&planned.audience, &planned.connections.rule));
        let rules: BTreeSet<_> = of_sets.chain(of_connections).collect();
        let mut counts = BTreeMap::new();
        for (audience, _) in rules {
            *counts.entry(audience.clone()).or_default() += 1;
        }
        counts
    }

    /// The listeners of the Gateway that the scope is about.
    fn listeners_of(&self, scope: &Scope) -> BTreeMap<String, Listener> {
        let listeners = match scope {
            Scope::Gateway { namespace, name } => {
                self.listeners.get(&(namespace.clone(), name.clone()))
            }
            Scope::Producers | Scope::Edge | Scope::Namespace(_) => None,
        };
        listeners.cloned().unwrap_or_default()
    }

    /// Those of the rules that are led to.
    fn rules_of<'p>(
        &'p self,
        led_to: impl IntoIterator<Item = &'p String>,
    ) -> BTreeMap<String, Rule> {
        let led_to: BTreeSet<&String> = led_to.into_iter().collect();
        let rules = led_to.into_iter().filter_map(|identity| {
            let rule = self.rules.get(identity)?;
            Some((identity.clone(), rule.clone()))
        });
        rules.collect()
    }
}

/// Namespace and name of the split of a literal host, by the identity of its rule: nothing else has one.
fn split_of(identity: &str) -> Option<(String, String)> {
    // `TrafficSplit/NAMESPACE/NAME:PORT/PROTOCOL`
    let (object, _) = identity.split_once(':')?;
    let mut parts = object.splitn(3, '/').skip(1);
    Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
}

/// The part of the plan that a proxy of this scope gets. An unknown namespace has no rules of its
/// own; an unknown Gateway has none at all.
///
/// Where a namespace has consumer rules for a port of a Service, for requests or for connections, they
/// replace the producers' (Gateway API, GEP-1294).
pub fn scope(plan: &Plan, scope: &Scope) -> Config {
    let own_sets = plan.sets.iter().filter(|it| it.audience.is_own(scope));
    let own_connections = plan
        .connections
        .iter()
        .filter(|it| it.audience.is_own(scope));
    let consumed: BTreeSet<Port> = own_sets
        .filter_map(|planned| set_root(&planned.set))
        .chain(own_connections.filter_map(|planned| connections_root(&planned.connections)))
        .map(port)
        .collect();
    let sees = |audience: &Audience, root: Option<&Root>| {
        let is_left = || root.is_none_or(|root| !consumed.contains(&port(root)));
        audience.concerns(scope) && (audience.is_own(scope) || is_left())
    };
    let sets = plan
        .sets
        .iter()
        .filter(|planned| sees(&planned.audience, set_root(&planned.set)))
        .map(|planned| &planned.set);
    let connections = plan
        .connections
        .iter()
        .filter(|planned| sees(&planned.audience, connections_root(&planned.connections)))
        .map(|planned| &planned.connections);
    let of_sets = sets.clone().flat_map(|set| &set.matches);
    let led_to = of_sets
        .map(|entry| &entry.rule)
        .chain(connections.clone().map(|entry| &entry.rule));
    let mut config = Config {
        version: VERSION,
        rules: plan.rules_of(led_to),
        hosts: sets.cloned().collect(),
        connections: connections.cloned().collect(),
        listeners: plan.listeners_of(scope),
        access: None,
    };
    match &plan.access {
        Some(Access::Grants(whole)) => access::reduce(whole, scope, &mut config),
        Some(Access::Everyone) => config.access = Some(Access::Everyone),
        None => {}
    }
    config
}

/// Namespace, name and port of a Service.
type Port<'a> = (&'a str, &'a str, u16);

fn port(root: &Root) -> Port<'_> {
    (&root.namespace, &root.service, root.port)
}

fn set_root(set: &HostSet) -> Option<&Root> {
    match &set.hosts {
        Hosts::Root(root) => Some(root),
        Hosts::Literal(_) | Hosts::Gateway(_) => None,
    }
}

fn connections_root(connections: &Connections) -> Option<&Root> {
    match &connections.to {
        Destination::Root(root) => Some(root),
        Destination::Listeners(_) => None,
    }
}

/// The order of connections: Services by namespace, name and port; listeners by name.
fn destination(to: &Destination) -> (u8, String, String, u16, Vec<String>) {
    match to {
        Destination::Root(root) => {
            let (namespace, service) = (root.namespace.clone(), root.service.clone());
            (0, namespace, service, root.port, Vec::new())
        }
        Destination::Listeners(ports) => {
            let names = ports.keys().cloned().collect();
            (1, String::new(), String::new(), 0, names)
        }
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
