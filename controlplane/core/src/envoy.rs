//! What a running Envoy lacks for the plan, and which of its own policies a split would lose; for
//! `weir check --envoy`.
//!
//! ```text
//! /config_dump --Running::read--> Running --findings(Plan)--> lines of `weir check`
//! ```
//!
//! Pure: the answer comes in as JSON, whoever fetched it.

mod chains;
mod dump;
mod elsewhere;
mod json;
mod listeners;
mod policy;
mod route;
mod shadow;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

pub use dump::{Filter, NotADump, Running};
use weir_split::wire::{Config, Destination, Filters, Hosts, Match, Root, Service, Target};
use weir_split::{Direction, Plugin, Protocol, module};

use self::elsewhere::Elsewhere;
use crate::manifest::problem::messages::{Message, envoy as messages};
use crate::manifest::problem::plain;
use crate::plan::{self, Plan, Share, scope};

/// One thing that is wrong in an Envoy. The order is that of `weir check`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    place: Place,
    /// Identity of the rule that it is about.
    rule: Option<String>,
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Envoy,
    /// As [`Filter::at`].
    Filters(BTreeSet<String>),
    VirtualHost {
        /// Name of its route configuration.
        configuration: String,
        name: String,
    },
}

impl Finding {
    fn at(at: &BTreeSet<String>, message: Message) -> Finding {
        Finding {
            place: Place::Filters(at.clone()),
            rule: None,
            message,
        }
    }

    fn of_rule(self, identity: &str) -> Finding {
        let rule = Some(identity.to_owned());
        Finding { rule, ..self }
    }
}

/// All that is wrong, sorted: filters and clusters first, then routes in their order.
pub fn findings(running: &Running, plan: &Plan) -> Vec<Finding> {
    if running.filters.is_empty() {
        return vec![Finding {
            place: Place::Envoy,
            rule: None,
            message: messages::no_filter(),
        }];
    }
    let mut of_filters = BTreeSet::new();
    let mut headers = BTreeSet::new();
    for filter in &running.filters {
        let plugin = &filter.plugin;
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            headers.insert(plugin.header.as_str());
        }
        if filter.chain != plugin.protocol {
            let message = messages::wrong_chain(match filter.chain {
                Protocol::Http => "http",
                Protocol::Tcp => "tcp",
            });
            of_filters.insert(Finding::at(&filter.at, message));
        }
        let config = config(filter, plan);
        if let Some(elsewhere) = Elsewhere::of(filter, &config, plan) {
            of_filters.insert(Finding::at(&filter.at, elsewhere.message()));
        }
        missing_clusters(running, filter, &config, &mut of_filters);
        unedited_responses(running, filter, &config, &mut of_filters);
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            listeners::find(filter, &config, &mut of_filters);
        }
    }
    for chain in &running.chains {
        chain.find(&mut of_filters);
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
            let status = module::status_without_edits(identity);
            let message = match share {
                Share::Redirect => messages::lean_redirect(status),
                Share::Backend { name, weight } => messages::lean_backend(name, weight, status),
            };
            findings.insert(Finding::at(&at, message).of_rule(identity));
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
        let message = messages::control_plane_missing(cluster);
        findings.insert(Finding::at(&filter.at, message));
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
            let weight = backend.weight;
            let message = match plugin.protocol {
                Protocol::Http => messages::backend_cluster_missing(service, weight, cluster),
                Protocol::Tcp => {
                    messages::backend_cluster_missing_for_connections(service, weight, cluster)
                }
            };
            findings.insert(Finding::at(&filter.at, message).of_rule(identity));
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

/// One line, in the form of [`crate::manifest::problem::Problem`]: `PLACE: OBJECT: Reason: cause: effect; remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", plain(&self.place.to_string()))?;
        if let Some(rule) = &self.rule {
            write!(f, "{} (rule {}): ", plain(&object(rule)), plain(rule))?;
        }
        self.message.fmt(f)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Envoy => f.write_str("envoy"),
            Place::Filters(at) => {
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                write!(f, "envoy, {}", at.join(", "))
            }
            Place::VirtualHost {
                configuration,
                name,
            } => write!(
                f,
                "envoy, route configuration {configuration}, virtual host {name}"
            ),
        }
    }
}
