//! The plan: the rules of all proxies. A scope is the part of the plan that one proxy requests; [`scope`] returns the
//! configuration for a scope.

pub mod backends;
mod cluster_users;
pub mod document;
pub mod needed_clusters;
pub mod partial;
mod pieces;
mod responses;
mod rule_id;
mod scoped_access;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_split::EVERY_NAMESPACE;
use weir_split::wire::{
    Access, Config, Connections, Destination, HostSet, Hosts, Listener, Root, Rule, VERSION,
};

pub use self::cluster_users::ClusterUsers;
pub use self::responses::{EditedShares, Share, edited_shares_of};
pub use self::rule_id::RuleId;
use crate::manifest::hostname;

/// The proxies that use an entry of the plan. An entry is a host set (a host with its matches) or a rule for
/// connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Proxies of clients in every namespace. Producer rules have this audience: rules in the namespace of the Service
    /// that clients call.
    Everyone,
    /// Proxies of clients in one namespace. Consumer rules have this audience: rules in the namespace of the client. A
    /// split of a literal host (a host name that is not a Service) has this audience instead of `NamespaceAndEdge` if
    /// an older split of another namespace has the host at the edge.
    Namespace(String),
    /// Proxies of clients in one namespace, and proxies at the edge. Literal hosts have this audience.
    NamespaceAndEdge(String),
    /// Only proxies at the edge, which request `namespace=*`.
    Edge,
    /// The proxies of one Gateway.
    Gateway { namespace: String, name: String },
}

impl Audience {
    /// True if proxies of this scope belong to the audience.
    pub fn concerns(&self, scope: &Scope) -> bool {
        match (self, scope) {
            (Audience::Everyone, Scope::Producers | Scope::Edge | Scope::Namespace(_)) => true,
            _ => self.is_own(scope),
        }
    }

    /// Returns the namespace in the audience; None for [`Audience::Everyone`] and [`Audience::Edge`].
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Audience::Everyone | Audience::Edge => None,
            Audience::Namespace(namespace)
            | Audience::NamespaceAndEdge(namespace)
            | Audience::Gateway { namespace, .. } => Some(namespace),
        }
    }

    /// Like [`Audience::concerns`], but always false for [`Audience::Everyone`].
    fn is_own(&self, scope: &Scope) -> bool {
        match (self, scope) {
            (
                Audience::Namespace(own) | Audience::NamespaceAndEdge(own),
                Scope::Namespace(other),
            ) => own == other,
            (Audience::NamespaceAndEdge(_) | Audience::Edge, Scope::Edge) => true,
            (
                Audience::Gateway { namespace, name },
                Scope::Gateway {
                    namespace: other_namespace,
                    name: other_name,
                },
            ) => namespace == other_namespace && name == other_name,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct PlannedSet {
    pub audience: Audience,
    pub set: HostSet,
}

/// A destination of connections with its rule, and the proxies that use the rule.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedConnections {
    pub audience: Audience,
    pub connections: Connections,
}

/// The part of the plan that one proxy requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Only the producer rules: rules in the namespace of the Service that clients call.
    Producers,
    /// The producer rules, and the splits of literal hosts in all namespaces. Proxies request this scope as
    /// `namespace=*`.
    Edge,
    /// The producer rules, and the consumer rules of this namespace: the rules for its own clients.
    Namespace(String),
    /// Only the routes of this Gateway.
    Gateway { namespace: String, name: String },
}

impl Scope {
    /// Reads the value of `namespace` in a query: the name of a namespace, or `*` for the edge. Returns None for other
    /// values.
    pub fn of_namespace(text: &str) -> Option<Scope> {
        if text == EVERY_NAMESPACE {
            return Some(Scope::Edge);
        }
        hostname::is_label(text).then(|| Scope::Namespace(text.into()))
    }

    /// Reads the value of `gateway` in a query: `NAMESPACE/NAME`. Returns None if one of the names is invalid.
    pub fn of_gateway(text: &str) -> Option<Scope> {
        let (namespace, name) = text.split_once('/')?;
        (hostname::is_label(namespace) && hostname::is_dns_name(name)).then(|| Scope::Gateway {
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// Returns the namespace of the proxies of this scope; None if these proxies may be in any namespace.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Scope::Producers | Scope::Edge => None,
            Scope::Namespace(namespace) | Scope::Gateway { namespace, .. } => Some(namespace),
        }
    }
}

/// Host sets and connections in a fixed order, and the rules that they name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    sets: Vec<PlannedSet>,
    connections: Vec<PlannedConnections>,
    /// The rules by identity.
    rules: BTreeMap<String, Rule>,
    listeners: Listeners,
    /// None if configurations have no access policy.
    access: Option<Access>,
}

/// The HTTP listeners of each Gateway. The outer key is the namespace and the name of the Gateway. The inner key is the
/// name of the listener.
pub type Listeners = BTreeMap<(String, String), BTreeMap<String, Listener>>;

impl Plan {
    /// Returns a plan. The keys of `rules` are the identities of the rules. Each match of `sets` and each entry of
    /// `connections` has the identity of its rule.
    pub fn new(
        mut sets: Vec<PlannedSet>,
        mut connections: Vec<PlannedConnections>,
        rules: BTreeMap<String, Rule>,
    ) -> Plan {
        // A plan stays in memory for a long time, and up to half of the capacity of its vectors may be unused.
        sets.shrink_to_fit();
        for planned in &mut sets {
            planned.set.matches.shrink_to_fit();
        }
        let rules = rules.into_iter().collect();
        sets.sort_by_cached_key(|planned| {
            (hosts_order(&planned.set.hosts), planned.audience.clone())
        });
        connections.sort_by_cached_key(|planned| {
            let Connections { to, rule } = &planned.connections;
            (
                destination_order(to),
                planned.audience.clone(),
                rule.clone(),
            )
        });
        Plan {
            sets,
            connections,
            rules,
            listeners: Listeners::new(),
            access: None,
        }
    }

    /// Sets the HTTP listeners of the Gateways.
    pub fn with_listeners(self, listeners: Listeners) -> Plan {
        Plan { listeners, ..self }
    }

    /// Sets the access policy. Call this function after the ServiceAccounts were written into the backends of the rules.
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

    /// Returns the scopes that have a configuration of their own:
    ///
    /// - [`Scope::Producers`]
    /// - each namespace that has rules, or that the access policy names
    /// - each Gateway with routes
    /// - the edge, if it has splits or if the access policy has grants
    ///
    /// Every other namespace gets the configuration of [`Scope::Producers`]. Every other Gateway gets no rules.
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
            let namespaces = scoped_access::namespaces(grants, &self.rules);
            scopes.extend(namespaces.map(|namespace| Scope::Namespace(namespace.to_owned())));
            // The configuration for the edge has no policy, so it differs from the configuration of the producers.
            scopes.insert(Scope::Edge);
        }
        scopes
    }

    /// Returns the audience of each split of a literal host, by namespace and name of the split.
    pub fn splits_of_literals(&self) -> BTreeMap<(String, String), Audience> {
        let mut audiences: BTreeMap<(String, String), Audience> = BTreeMap::new();
        for planned in &self.sets {
            if !matches!(planned.set.hosts, Hosts::Literal(_)) {
                continue;
            }
            let is_at_edge = planned.audience.concerns(&Scope::Edge);
            for entry in &planned.set.matches {
                // Only splits have literal hosts, and the identity of a split always parses.
                let Some(rule) = RuleId::parse(&entry.rule) else {
                    continue;
                };
                let namespace = rule.namespace.clone();
                let split = (rule.namespace, rule.name);
                if is_at_edge {
                    audiences.insert(split, Audience::NamespaceAndEdge(namespace));
                } else {
                    let audience = Audience::Namespace(namespace);
                    audiences.entry(split).or_insert(audience);
                }
            }
        }
        audiences
    }

    /// Returns the number of rules for each audience. A rule with several audiences counts for each of them.
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

    /// Returns the HTTP listeners of the Gateway, by name. Returns an empty map for a scope that is not a Gateway.
    fn listeners_of(&self, scope: &Scope) -> BTreeMap<String, Listener> {
        let listeners = match scope {
            Scope::Gateway { namespace, name } => {
                self.listeners.get(&(namespace.clone(), name.clone()))
            }
            Scope::Producers | Scope::Edge | Scope::Namespace(_) => None,
        };
        listeners.cloned().unwrap_or_default()
    }

    /// Returns the rules with these identities.
    fn rules_of<'p>(
        &'p self,
        identities: impl IntoIterator<Item = &'p String>,
    ) -> BTreeMap<String, Rule> {
        let identities: BTreeSet<&String> = identities.into_iter().collect();
        let rules = identities.into_iter().filter_map(|identity| {
            let rule = self.rules.get(identity)?;
            Some((identity.clone(), rule.clone()))
        });
        rules.collect()
    }
}

/// Returns the configuration for one scope. A namespace that the plan does not name gets the producer rules. A Gateway
/// that the plan does not name gets no rules.
///
/// The consumer rules of a namespace for a Service port replace all producer rules for this port (Gateway API,
/// GEP-1294).
pub fn scope(plan: &Plan, scope: &Scope) -> Config {
    let own_sets = plan.sets.iter().filter(|it| it.audience.is_own(scope));
    let own_connections = plan
        .connections
        .iter()
        .filter(|it| it.audience.is_own(scope));
    let ports_with_consumer_rules: BTreeSet<RootPort> = own_sets
        .filter_map(|planned| set_root(&planned.set))
        .chain(own_connections.filter_map(|planned| connections_root(&planned.connections)))
        .map(root_port)
        .collect();
    let is_included = |audience: &Audience, root: Option<&Root>| {
        let is_replaced =
            root.is_some_and(|root| ports_with_consumer_rules.contains(&root_port(root)));
        audience.concerns(scope) && (audience.is_own(scope) || !is_replaced)
    };
    let sets = plan
        .sets
        .iter()
        .filter(|planned| is_included(&planned.audience, set_root(&planned.set)))
        .map(|planned| &planned.set);
    let connections = plan
        .connections
        .iter()
        .filter(|planned| is_included(&planned.audience, connections_root(&planned.connections)))
        .map(|planned| &planned.connections);
    let identities = sets
        .clone()
        .flat_map(|set| &set.matches)
        .map(|entry| &entry.rule)
        .chain(connections.clone().map(|entry| &entry.rule));
    let mut config = Config {
        version: VERSION,
        rules: plan.rules_of(identities),
        hosts: sets.cloned().collect(),
        connections: connections.cloned().collect(),
        listeners: plan.listeners_of(scope),
        access: None,
    };
    apply_access(plan, scope, &mut config);
    config
}

/// Sets the access policy of a configuration for this scope. [`scope`] has already done this for its own rules. Call
/// this function again after rules of another configuration were added.
pub fn apply_access(plan: &Plan, scope: &Scope, config: &mut Config) {
    match &plan.access {
        Some(Access::Grants(grants)) => scoped_access::apply(grants, scope, config),
        Some(Access::Everyone) => config.access = Some(Access::Everyone),
        None => config.access = None,
    }
}

/// Namespace, name and port of a Service.
type RootPort<'a> = (&'a str, &'a str, u16);

fn root_port(root: &Root) -> RootPort<'_> {
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

/// The sort key of connections: Services by namespace, name and port; then listeners by name.
fn destination_order(to: &Destination) -> (u8, String, String, u16, Vec<String>) {
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

/// The sort key of host sets: Services by namespace, name and port; then literal hosts; then hosts of Gateways, the
/// most specific first (exact, longer wildcard, shorter wildcard, every host).
fn hosts_order(hosts: &Hosts) -> (u8, Reverse<usize>, String, String, u16) {
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
