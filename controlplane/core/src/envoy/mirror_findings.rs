//! Finds routes that would not copy requests to mirrors, and routers that would send the headers of mirrors to
//! backends.

use std::collections::BTreeSet;

use weir_split::wire::{Config, Filters, Rule};
use weir_split::{Direction, MIRROR_HEADERS, Protocol};

use super::finding::FindingPlace;
use super::rule_backends::rules_of;
use super::{EnvoyDump, Filter, Finding};
use crate::manifest::problem::messages::envoy as messages;

/// Adds a finding for each route that does not copy requests to mirrors, for each missing cluster of a mirror, and for
/// the listeners that do not remove the headers of mirrors.
pub fn find(dump: &EnvoyDump, filter: &Filter, config: &Config, findings: &mut BTreeSet<Finding>) {
    let plugin = &filter.plugin;
    if (plugin.direction, plugin.protocol) != (Direction::Outbound, Protocol::Http) {
        return;
    }
    let mut needed = 0;
    for (_, identity) in rules_of(plugin, config) {
        let Some(rule) = config.rules.get(identity) else {
            continue;
        };
        needed = needed.max(mirrors(rule));
        for mirror in rule.all_filters().flat_map(|filters| &filters.mirrors) {
            let cluster = plugin.site.naming.cluster(&mirror.to);
            if !dump.clusters.contains(&cluster) {
                let message = messages::mirror_cluster_missing(&mirror.to, cluster);
                findings.insert(Finding::at(&filter.at, message).of_rule(identity));
            }
        }
    }
    let headers = MIRROR_HEADERS.get(..needed).unwrap_or(&MIRROR_HEADERS);
    let Some(first) = headers.first() else {
        return;
    };
    for route in &dump.mirrors.routes {
        let missing = headers
            .iter()
            .filter(|name| !route.mirror_headers.contains(**name));
        let missing: Vec<&str> = missing.copied().collect();
        if route.cluster_headers.contains(&plugin.header)
            && let Some(name) = missing.first()
        {
            let message = messages::mirrors_not_copied(&route.label, missing.join(" and "), name);
            findings.insert(Finding {
                place: FindingPlace::VirtualHost {
                    configuration: route.configuration.clone(),
                    name: route.host.clone(),
                    route: route.index,
                },
                rule: None,
                message,
            });
        }
    }
    let visible: BTreeSet<String> = filter
        .at
        .intersection(&dump.mirrors.visible_at)
        .cloned()
        .collect();
    if !visible.is_empty() {
        let message = messages::mirror_headers_visible(first);
        findings.insert(Finding::at(&visible, message));
    }
}

/// Returns the maximum number of mirrors that a request of this rule can have.
fn mirrors(rule: &Rule) -> usize {
    let count = |filters: Option<&Filters>| filters.map_or(0, |filters| filters.mirrors.len());
    let of_backends = rule.backends.iter();
    let of_backends = of_backends.map(|backend| count(backend.filters.as_deref()));
    count(rule.filters.as_deref()).saturating_add(of_backends.max().unwrap_or_default())
}
