//! Finds backends of rules that an Envoy cannot serve: a backend without a cluster, and a backend with edited responses
//! if the module cannot edit responses.

use std::collections::BTreeSet;

use weir_split::wire::{Config, Destination, Filters, Hosts, Match, Root, Service, Target};
use weir_split::{Direction, Plugin, Protocol, module};

use super::{EnvoyDump, Filter, Finding, weir_stream};
use crate::manifest::problem::messages::envoy as messages;
use crate::plan::{self, Share};

/// Returns the Services and weights of the backends of a rule that need a cluster. A redirect needs none.
pub(super) fn backends_of<'c>(config: &'c Config, identity: &str) -> Vec<(&'c Service, u64)> {
    let Some(rule) = config.rules.get(identity) else {
        return Vec::new();
    };
    let is_redirect =
        |filters: &Option<Box<Filters>>| filters.as_ref().is_some_and(|it| it.redirect.is_some());
    let backends = rule.backends.iter();
    let backends = backends.filter(|it| !is_redirect(&rule.filters) && !is_redirect(&it.filters));
    backends
        .filter_map(|backend| match &backend.to {
            Target::Service(service) => Some((service, backend.weight)),
            _ => None,
        })
        .collect()
}

/// Adds a finding for each backend or redirect with edited responses, if the filter has loaded `weir-lean.wasm`. This
/// module cannot edit responses.
pub(super) fn unedited_responses(
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
pub(super) fn missing_clusters(
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
    let managers = dump.managers.iter();
    let hosts = managers.flat_map(|it| &it.routes).flat_map(|it| &it.hosts);
    let mut routes = hosts.flat_map(|it| &it.routes);
    let header = plugin.header.as_str();
    let is_by_value = routes.clone().any(|it| it.value_of(header).is_some())
        && !routes.any(|it| it.follows(header));
    // If routes only compare the header with a value, no cluster needs this name.
    if is_by_value {
        return;
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
        for (service, weight) in backends_of(config, identity) {
            let cluster = plugin.site.naming.cluster(service);
            if weight == 0 || Some(&cluster) == ordinary.as_ref() {
                continue;
            }
            if dump.warming.clusters.contains(&cluster) {
                let message = messages::backend_cluster_warming(service, weight, cluster);
                findings.insert(Finding::at(&filter.at, message).of_rule(identity));
                continue;
            }
            if dump.clusters.contains(&cluster) {
                if let Some(message) = weir_stream::empty(dump, service, weight, &cluster) {
                    findings.insert(Finding::at(&filter.at, message).of_rule(identity));
                }
                continue;
            }
            if let Some(message) = weir_stream::missing(dump, service, weight, &cluster) {
                findings.insert(Finding::at(&filter.at, message).of_rule(identity));
                continue;
            }
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

/// Returns the rules by which this filter chooses clusters. Each rule comes with its root: the Service that clients
/// call, or None for a host. The rules are for requests if the protocol of the filter is HTTP, else for connections. An
/// inbound filter has no such rules.
pub(super) fn rules_of<'c>(
    plugin: &Plugin,
    config: &'c Config,
) -> Vec<(Option<&'c Root>, &'c String)> {
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
