//! Compares the configuration of a running Envoy with the plan, for `weir check --envoy`. The plan has the rules of all
//! proxies. The findings are missing clusters, wrong settings, and policies of routes that split requests would lose.
//!
//! ```text
//! /config_dump --EnvoyDump::read--> EnvoyDump --findings(Plan)--> lines of `weir check`
//! ```
//!
//! The functions are pure: the caller fetches the dump and passes it as JSON.

mod chains;
mod dump;
mod dump_fields;
mod listener_findings;
mod lost_policies;
mod mirror_routes;
mod mirrors;
mod missing_rules;
mod policy;
#[cfg(test)]
mod tests;
mod virtual_host;

use std::collections::BTreeSet;
use std::fmt;

pub use dump::{EnvoyDump, Filter, NotADump};
use weir_split::wire::{Config, Destination, Filters, Hosts, Match, Root, Service, Target};
use weir_split::{Direction, Plugin, Protocol, module};

use self::missing_rules::MissingRules;
use crate::manifest::problem::messages::{Message, envoy as messages};
use crate::manifest::problem::plain;
use crate::plan::{self, Plan, RuleId, Share, scope};

/// One mistake in the configuration of an Envoy. The derived order is the order in which `weir check` prints findings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    place: FindingPlace,
    /// Identity of the affected rule; None if the finding does not affect a certain rule.
    rule: Option<String>,
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FindingPlace {
    Envoy,
    /// The places of filters, as in [`Filter::at`].
    Filters(BTreeSet<String>),
    VirtualHost {
        /// Name of the route configuration with the virtual host.
        configuration: String,
        name: String,
    },
}

impl Finding {
    fn at(at: &BTreeSet<String>, message: Message) -> Finding {
        Finding {
            place: FindingPlace::Filters(at.clone()),
            rule: None,
            message,
        }
    }

    fn of_rule(self, identity: &str) -> Finding {
        let rule = Some(identity.to_owned());
        Finding { rule, ..self }
    }
}

/// Returns all findings, sorted: first filters and clusters, then routes in their order.
pub fn findings(dump: &EnvoyDump, plan: &Plan) -> Vec<Finding> {
    if dump.filters.is_empty() {
        return vec![Finding {
            place: FindingPlace::Envoy,
            rule: None,
            message: messages::no_filter(),
        }];
    }
    let mut filter_findings = BTreeSet::new();
    let mut headers = BTreeSet::new();
    for filter in &dump.filters {
        let plugin = &filter.plugin;
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            headers.insert(plugin.header.as_str());
        }
        if filter.chain != plugin.protocol {
            let message = messages::wrong_chain(match filter.chain {
                Protocol::Http => "http",
                Protocol::Tcp => "tcp",
            });
            filter_findings.insert(Finding::at(&filter.at, message));
        }
        let config = config(filter, plan);
        if let Some(missing_rules) = MissingRules::of(filter, &config, plan) {
            filter_findings.insert(Finding::at(&filter.at, missing_rules.message()));
        }
        missing_clusters(dump, filter, &config, &mut filter_findings);
        unedited_responses(dump, filter, &config, &mut filter_findings);
        if (plugin.direction, plugin.protocol) == (Direction::Outbound, Protocol::Http) {
            listener_findings::find(filter, &config, &mut filter_findings);
        }
        mirrors::find(dump, filter, &config, &mut filter_findings);
    }
    for chain in &dump.chains {
        chain.find(&mut filter_findings);
    }
    let mut findings: Vec<Finding> = filter_findings.into_iter().collect();
    for header in headers {
        for virtual_host in &dump.virtual_hosts {
            lost_policies::find(virtual_host, header, &mut findings);
        }
    }
    findings
}

/// Returns the configuration that this filter gets.
fn config(filter: &Filter, plan: &Plan) -> Config {
    match &filter.plugin.control_plane {
        Some(_) => scope(plan, &filter.scope()),
        // The filter has only its initial configuration.
        None => filter.plugin.initial.clone().unwrap_or(Config {
            version: weir_split::wire::VERSION,
            ..Config::default()
        }),
    }
}

/// Adds a finding for each backend or redirect with edited responses, if the filter has loaded `weir-lean.wasm`. This
/// module cannot edit responses.
fn unedited_responses(
    dump: &EnvoyDump,
    filter: &Filter,
    config: &Config,
    findings: &mut BTreeSet<Finding>,
) {
    let at = dump.lean_at(filter);
    if at.is_empty() || filter.plugin.protocol != Protocol::Http {
        return;
    }
    for (_, identity) in rules_of(&filter.plugin, config) {
        let shares = config.rules.get(identity).map(plan::edited_shares_of);
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

/// Adds a finding for each cluster that the filter needs and Envoy does not have.
fn missing_clusters(
    dump: &EnvoyDump,
    filter: &Filter,
    config: &Config,
    findings: &mut BTreeSet<Finding>,
) {
    let plugin = &filter.plugin;
    if let Some(cluster) = &plugin.control_plane
        && !dump.clusters.contains(cluster)
    {
        let message = messages::control_plane_missing(cluster);
        findings.insert(Finding::at(&filter.at, message));
    }
    for (root, identity) in rules_of(plugin, config) {
        // With this setting, an ordinary route serves the root Service, so the filter does not need its cluster.
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
            // A redirect needs no cluster.
            if is_redirect(&rule.filters) || is_redirect(&backend.filters) {
                continue;
            }
            let Target::Service(service) = &backend.to else {
                continue;
            };
            let cluster = plugin.site.naming.cluster(service);
            if backend.weight == 0
                || Some(&cluster) == ordinary.as_ref()
                || dump.clusters.contains(&cluster)
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

/// Returns the rules by which this filter chooses clusters. With each rule is its root: the Service that clients call,
/// or None for a host. The rules are for requests if the protocol of the filter is HTTP, else for connections. An
/// inbound filter has no such rules.
fn rules_of<'c>(plugin: &Plugin, config: &'c Config) -> Vec<(Option<&'c Root>, &'c String)> {
    let listeners = &plugin.site.listeners;
    match (plugin.direction, plugin.protocol) {
        (Direction::Inbound, _) => Vec::new(),
        (Direction::Outbound, Protocol::Http) => {
            let is_used = |entry: &&Match| {
                let own = &entry.listeners;
                own.is_empty() || own.iter().any(|name| listeners.may_be(name))
            };
            let rules = config.hosts.iter().flat_map(|set| {
                let root = match &set.hosts {
                    Hosts::Root(root) => Some(root),
                    Hosts::Literal(_) | Hosts::Gateway(_) => None,
                };
                let matches = set.matches.iter().filter(is_used);
                matches.map(move |entry| (root, &entry.rule))
            });
            rules.collect()
        }
        (Direction::Outbound, Protocol::Tcp) => {
            let own_root = plugin.site.root.as_ref();
            let is_used = |root: &Root| {
                own_root.is_none_or(|own| {
                    (&own.name, &own.namespace, own.port)
                        == (&root.service, &root.namespace, root.port)
                })
            };
            let rules = config
                .connections
                .iter()
                .filter_map(|connections| match &connections.to {
                    Destination::Root(root) => {
                        is_used(root).then_some((Some(root), &connections.rule))
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

/// Returns `KIND NAMESPACE/NAME` of the object at the beginning of a rule's identity.
fn object(identity: &str) -> String {
    match RuleId::parse(identity) {
        Some(id) => format!("{} {}/{}", id.kind, id.namespace, id.name),
        None => identity.to_owned(),
    }
}

/// Writes one line in the form of [`crate::manifest::problem::Problem`]: `PLACE: OBJECT: Reason: cause: effect;
/// remedy`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", plain(&self.place.to_string()))?;
        if let Some(rule) = &self.rule {
            write!(f, "{} (rule {}): ", plain(&object(rule)), plain(rule))?;
        }
        self.message.fmt(f)
    }
}

impl fmt::Display for FindingPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FindingPlace::Envoy => f.write_str("envoy"),
            FindingPlace::Filters(at) => {
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                write!(f, "envoy, {}", at.join(", "))
            }
            FindingPlace::VirtualHost {
                configuration,
                name,
            } => write!(
                f,
                "envoy, route configuration {configuration}, virtual host {name}"
            ),
        }
    }
}
