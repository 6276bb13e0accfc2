//! Finds routes that would not copy requests to mirrors, and routers that would send the headers of mirrors to
//! backends.

use std::collections::BTreeSet;

use weir_split::MIRROR_HEADERS;
use weir_split::wire::{Filters, Rule};

use super::Finding;
use super::rule_backends::rules_of;
use super::splitter::{ServedHost, Splitter};
use crate::manifest::problem::messages::envoy as messages;

/// Adds a finding for each route that does not copy requests to the mirrors of its host, for each missing cluster of a
/// mirror, and for a router that does not remove the headers of mirrors.
pub fn find(
    splitter: &Splitter<'_>,
    clusters: &BTreeSet<String>,
    findings: &mut BTreeSet<Finding>,
) {
    let mut has_mirrors = false;
    for (_, identity) in rules_of(splitter.plugin, splitter.config) {
        let rule = splitter.config.rules.get(identity);
        let filters = rule.into_iter().flat_map(Rule::all_filters);
        for mirror in filters.flat_map(|filters| &filters.mirrors) {
            has_mirrors = true;
            let cluster = splitter.plugin.site.naming.cluster(&mirror.to);
            if !clusters.contains(&cluster) {
                let message = messages::mirror_cluster_missing(&mirror.to, cluster);
                findings.insert(Finding::at(&splitter.at(), message).of_rule(identity));
            }
        }
    }
    for served in splitter.served() {
        uncopied(splitter, &served, findings);
    }
    let mut filters = splitter.manager.filters.iter();
    if let Some(first) = MIRROR_HEADERS.first()
        && has_mirrors
        && !filters.any(|filter| filter.hides_mirrors())
    {
        let message = messages::mirror_headers_visible(first);
        findings.insert(Finding::at(&splitter.at(), message));
    }
}

/// Adds a finding for each route for split requests that ignores a header of a mirror.
fn uncopied(splitter: &Splitter<'_>, served: &ServedHost<'_>, findings: &mut BTreeSet<Finding>) {
    let matches = served.sets.iter().flat_map(|(_, set)| &set.matches);
    let rules = matches.filter_map(|entry| splitter.config.rules.get(&entry.rule));
    let needed = rules.map(most_mirrors).max().unwrap_or_default();
    let headers = MIRROR_HEADERS.get(..needed).unwrap_or(&MIRROR_HEADERS);
    let host = served.virtual_host;
    for (place, route) in host.routes.iter().enumerate() {
        if !route.takes_splits(splitter.header()) {
            continue;
        }
        let is_missing = |name: &&&str| !route.settings.mirrors_to(name);
        let missing: Vec<&str> = headers.iter().filter(is_missing).copied().collect();
        if let Some(first) = missing.first() {
            let message = messages::mirrors_not_copied(&route.label, missing.join(" and "), first);
            findings.insert(Finding::of_host(host, place, message));
        }
    }
}

/// Returns the maximum number of mirrors that a request of this rule can have.
fn most_mirrors(rule: &Rule) -> usize {
    let count = |filters: Option<&Filters>| filters.map_or(0, |filters| filters.mirrors.len());
    let of_backends = rule.backends.iter();
    let of_backends = of_backends.map(|backend| count(backend.filters.as_deref()));
    count(rule.filters.as_deref()).saturating_add(of_backends.max().unwrap_or_default())
}
