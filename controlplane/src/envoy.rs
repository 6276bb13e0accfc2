//! What a running Envoy lacks for the plan, and which of its own policies a split would lose; for
//! `weir check --envoy`.
//!
//! ```text
//! /config_dump --Running::read--> Running --findings(Plan)--> lines of `weir check`
//! ```
//!
//! Pure: the answer comes in as JSON, whoever fetched it.

mod dump;
mod elsewhere;
mod listeners;
mod policy;
mod route;
mod shadow;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

pub use dump::{Filter, NotADump, Running};
pub use elsewhere::Elsewhere;
pub use listeners::{Kind, Untold};
use weir_split::wire::{Config, Destination, Filters, Hosts, Match, Root, Service, Target};
use weir_split::{Direction, Plugin, Protocol, module};

use crate::plan::{self, Plan, Share, scope};

/// One thing that is wrong in an Envoy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// No filter in it has a plugin configuration of Weir's.
    NoFilter,
    /// The cluster by which a filter would poll is not there.
    NoControlPlane {
        at: BTreeSet<String>,
        cluster: String,
    },
    /// What the plugin configuration says of its chain is not so: the filter would trap on every stream.
    WrongChain {
        at: BTreeSet<String>,
        /// The `protocol` that it should have.
        protocol: &'static str,
    },
    /// The objects make rules, and none of them is for the scope of this proxy.
    NoRules {
        at: BTreeSet<String>,
        elsewhere: Elsewhere,
    },
    /// A backend gets a share, and its cluster is not there: that share is answered 503.
    NoCluster {
        at: BTreeSet<String>,
        /// Identity of the rule; it begins with kind, namespace and name of the object.
        rule: String,
        backend: Service,
        weight: u64,
        /// The name that was looked for.
        cluster: String,
    },
    /// The responses to a share's requests would have to be edited, and the module that is loaded cannot do it.
    NoResponseEdits {
        at: BTreeSet<String>,
        /// Identity of the rule.
        rule: String,
        share: Share,
    },
    /// It is not known by which listener of the Gateway requests come in, or the plugin configuration is wrong there.
    ListenerUnknown {
        at: BTreeSet<String>,
        untold: Untold,
    },
    /// A route that follows the filter's header takes requests from one whose policies it has not.
    PoliciesLost {
        /// Name of the route configuration.
        configuration: String,
        virtual_host: String,
        header_route: String,
        shadowed: String,
        policies: Vec<String>,
    },
}

/// All that is wrong, sorted: filters and clusters first, then routes in their order.
pub fn findings(running: &Running, plan: &Plan) -> Vec<Finding> {
    if running.filters.is_empty() {
        return vec![Finding::NoFilter];
    }
    let mut of_filters = BTreeSet::new();
    let mut headers = BTreeSet::new();
    for filter in &running.filters {
        let plugin = &filter.plugin;
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            headers.insert(plugin.header.as_str());
        }
        if filter.chain != plugin.protocol {
            of_filters.insert(Finding::WrongChain {
                at: filter.at.clone(),
                protocol: match filter.chain {
                    Protocol::Http => "http",
                    Protocol::Tcp => "tcp",
                },
            });
        }
        let config = config(filter, plan);
        if let Some(elsewhere) = Elsewhere::of(filter, &config, plan) {
            of_filters.insert(Finding::NoRules {
                at: filter.at.clone(),
                elsewhere,
            });
        }
        missing_clusters(running, filter, &config, &mut of_filters);
        unedited_responses(running, filter, &config, &mut of_filters);
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            listeners::find(filter, &config, &mut of_filters);
        }
    }
    let mut findings: Vec<Finding> = of_filters.into_iter().collect();
    for header in headers {
        for virtual_host in &running.virtual_hosts {
            shadow::find(virtual_host, header, &mut findings);
        }
    }
    findings
}

/// What this filter is given.
fn config(filter: &Filter, plan: &Plan) -> Config {
    match &filter.plugin.control_plane {
        Some(_) => scope(plan, &filter.scope()),
        // It never asks for another one.
        None => filter.plugin.initial.clone().unwrap_or(Config {
            version: weir_split::wire::VERSION,
            ..Config::default()
        }),
    }
}

/// The shares whose responses would have to be edited, where the module cannot.
fn unedited_responses(
    running: &Running,
    filter: &Filter,
    config: &Config,
    findings: &mut BTreeSet<Finding>,
) {
    let at = running.lean_at(filter);
    if at.is_empty() || filter.plugin.protocol != Protocol::Http {
        return;
    }
    for (_, identity) in chosen_by(&filter.plugin, config) {
        let shares = config.rules.get(identity).map(plan::edited);
        for share in shares.into_iter().flatten() {
            findings.insert(Finding::NoResponseEdits {
                at: at.clone(),
                rule: identity.clone(),
                share,
            });
        }
    }
}

fn missing_clusters(
    running: &Running,
    filter: &Filter,
    config: &Config,
    findings: &mut BTreeSet<Finding>,
) {
    let plugin = &filter.plugin;
    if let Some(cluster) = &plugin.control_plane
        && !running.clusters.contains(cluster)
    {
        findings.insert(Finding::NoControlPlane {
            at: filter.at.clone(),
            cluster: cluster.clone(),
        });
    }
    for (root, identity) in chosen_by(plugin, config) {
        // What the filter leaves to the ordinary route is not looked up by name.
        let ordinary = root.filter(|_| plugin.site.ordinary_route_serves_root);
        let ordinary = ordinary.map(|root| {
            plugin.site.naming.cluster(&Service {
                name: root.service.clone(),
                namespace: root.namespace.clone(),
                port: root.port,
            })
        });
        let Some(rule) = config.rules.get(identity) else {
            continue;
        };
        let is_redirect = |filters: &Option<Box<Filters>>| {
            filters.as_ref().is_some_and(|it| it.redirect.is_some())
        };
        for backend in &rule.backends {
            // Answered without a cluster.
            if is_redirect(&rule.filters) || is_redirect(&backend.filters) {
                continue;
            }
            let Target::Service(service) = &backend.to else {
                continue;
            };
            let cluster = plugin.site.naming.cluster(service);
            if backend.weight == 0
                || Some(&cluster) == ordinary.as_ref()
                || running.clusters.contains(&cluster)
            {
                continue;
            }
            findings.insert(Finding::NoCluster {
                at: filter.at.clone(),
                rule: identity.clone(),
                backend: service.clone(),
                weight: backend.weight,
                cluster,
            });
        }
    }
}

/// The rules by which this filter chooses clusters, with the root that they are about where it is a Service:
/// of requests or of connections, as its chain carries, and none where it lets in instead.
fn chosen_by<'c>(plugin: &Plugin, config: &'c Config) -> Vec<(Option<&'c Root>, &'c String)> {
    let listeners = &plugin.site.listeners;
    match (plugin.direction, plugin.protocol) {
        (Direction::Inbound, _) => Vec::new(),
        (Direction::Outbound, Protocol::Http) => {
            let seen = |entry: &&Match| {
                let own = &entry.listeners;
                own.is_empty() || own.iter().any(|name| listeners.may_be(name))
            };
            let rules = config.hosts.iter().flat_map(|set| {
                let root = match &set.hosts {
                    Hosts::Root(root) => Some(root),
                    Hosts::Literal(_) | Hosts::Gateway(_) => None,
                };
                let seen = set.matches.iter().filter(seen);
                seen.map(move |entry| (root, &entry.rule))
            });
            rules.collect()
        }
        (Direction::Outbound, Protocol::Tcp) => {
            let told = plugin.site.root.as_ref();
            let is_told = |root: &Root| {
                told.is_none_or(|told| {
                    (&told.name, &told.namespace, told.port)
                        == (&root.service, &root.namespace, root.port)
                })
            };
            let rules = config
                .connections
                .iter()
                .filter_map(|connections| match &connections.to {
                    Destination::Root(root) => {
                        is_told(root).then_some((Some(root), &connections.rule))
                    }
                    Destination::Listeners(ports) => ports
                        .keys()
                        .any(|name| listeners.may_be(name))
                        .then_some((None, &connections.rule)),
                });
            rules.collect()
        }
    }
}

/// `KIND NAMESPACE/NAME` of the object that a rule's identity begins with.
fn object(identity: &str) -> String {
    let mut parts = identity.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(namespace), Some(rest)) => {
            let name = rest.split(['@', ':', '/']).next().unwrap_or(rest);
            format!("{kind} {namespace}/{name}")
        }
        _ => identity.to_owned(),
    }
}

/// One line, in the form of [`crate::problem::Problem`]: `PLACE: OBJECT: Reason: message; remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.join(", ")
        };
        match self {
            Finding::NoFilter => f.write_str(
                "envoy: NoFilter: none of its filters has a plugin configuration of Weir; \
                 put the filter in as envoy-config/existing.yaml does",
            ),
            Finding::NoControlPlane { at, cluster } => write!(
                f,
                "envoy, {}: ClusterNotFound: control_plane names the cluster {cluster}, which is not \
                 there; define it with the address of `weir serve`",
                join(at)
            ),
            Finding::WrongChain { at, protocol } => write!(
                f,
                "envoy, {}: WrongChain: the filter stands in a chain for another protocol than its plugin \
                 configuration says, and fails every stream there; write \"protocol\": \"{protocol}\"",
                join(at)
            ),
            Finding::NoRules { at, elsewhere } => {
                write!(f, "envoy, {}: NoRules: {elsewhere}", join(at))
            }
            Finding::NoCluster {
                at,
                rule,
                backend,
                weight,
                cluster,
            } => write!(
                f,
                "envoy, {}: {} (rule {rule}): ClusterNotFound: backend {backend} has weight {weight}, \
                 and its cluster {cluster} is not there, so its share is answered 503; define the \
                 cluster, or put the name that it has into \"clusters\" of the plugin configuration: \
                 {{ \"{backend}\": \"NAME\" }}",
                join(at),
                object(rule)
            ),
            Finding::NoResponseEdits { at, rule, share } => {
                let share = match share {
                    Share::Redirect => {
                        "the rule redirects and edits the headers of the redirect".to_owned()
                    }
                    Share::Backend { name, weight } => {
                        format!(
                            "backend {name} has weight {weight}, and the headers of its responses are edited"
                        )
                    }
                };
                write!(
                    f,
                    "envoy, {}: {} (rule {rule}): Unsupported: {share}, which weir-lean.wasm, loaded there, cannot do, \
                     so these requests are answered {}; load weir.wasm instead of weir-lean.wasm",
                    join(at),
                    object(rule),
                    module::status_without_edits(rule),
                )
            }
            Finding::ListenerUnknown { at, untold } => {
                write!(f, "envoy, {}: ListenerUnknown: {untold}", join(at))
            }
            Finding::PoliciesLost {
                configuration,
                virtual_host,
                header_route,
                shadowed,
                policies,
            } => write!(
                f,
                "envoy, route configuration {configuration}, virtual host {virtual_host}: PoliciesLost: \
                 {header_route} takes split requests from {shadowed} without its {}; put a route with \
                 cluster_header, and with the match and all policies of {shadowed}, right above it",
                policies.join(", ")
            ),
        }
    }
}
