//! Finds routes that pass the routing header on to backends, and routes that read a header of the client.

use std::collections::BTreeSet;

use super::Finding;
use super::envoy_route::EnvoyRoute;
use super::http_filter::{self, FilterSettings, HttpFilter};
use super::manager::Manager;
use crate::manifest::problem::messages::{envoy as messages, list};

/// Adds a finding for each virtual host with routes that do not remove `header`.
pub fn find_leaks(manager: &Manager, header: &str, findings: &mut BTreeSet<Finding>) {
    if is_removed_upstream(manager, header) {
        return;
    }
    for configuration in &manager.routes {
        for host in &configuration.hosts {
            let leaking = host.routes.iter().filter(|it| it.takes_splits(header));
            let leaking = leaking.filter(|it| !it.settings.removed.contains(header));
            let leaking = leaking.filter(|it| !is_removed_late(manager, it, header));
            let leaking: Vec<&str> = leaking.map(|it| it.label.as_str()).collect();
            if !leaking.is_empty() {
                let message = messages::header_leaks(list(leaking), header);
                findings.insert(Finding::of_host(host, 0, message));
            }
        }
    }
}

/// True if a filter between the router and the backend removes `header`.
pub fn is_removed_upstream(manager: &Manager, header: &str) -> bool {
    let filters = manager.filters.iter();
    let mut upstream = filters.flat_map(|it| it.upstream_mutations());
    upstream.any(|it| it.removes(header))
}

/// True if a filter removes the header after Envoy has chosen the route.
fn is_removed_late(manager: &Manager, route: &EnvoyRoute, header: &str) -> bool {
    let settings = &route.settings.filters;
    let filters = &manager.filters;
    let own = filters.iter().position(|it| it.splitter().is_some());
    let Some(later) = own.and_then(|own| filters.get(own..)) else {
        return false;
    };
    let Some(fixed) = http_filter::first_with_fixed_route(later, settings) else {
        return false;
    };
    let mut late = later.iter().skip(fixed);
    late.any(|it| it.is_enabled(settings) && it.mutations(settings).removes(header))
}

/// Adds a finding if a client can choose a cluster. A client can do so if a route reads `header`, no Weir filter
/// replaces the header, and no early mutation removes the header.
pub fn find_clients(manager: &Manager, header: &str, findings: &mut BTreeSet<Finding>) {
    if manager.early.removes(header) {
        return;
    }
    let filters = manager.filters.iter().filter(|it| {
        let plugin = it.splitter().filter(|_| !it.is_conditional);
        plugin.is_some_and(|plugin| plugin.header == header)
    });
    let filters: Vec<_> = filters.collect();
    let skips_upgrade = |filters: &[HttpFilter], settings: &FilterSettings| {
        let mut splitters = filters.iter().filter(|it| it.splitter().is_some());
        !splitters.any(|it| it.is_enabled(settings))
    };
    let is_open = |route: &&EnvoyRoute| {
        let settings = &route.settings.filters;
        let mut upgrades = manager.upgrades.iter();
        let is_upgrade_open = upgrades.any(|(_, it)| skips_upgrade(it, settings));
        let is_guarded = filters.iter().any(|it| it.is_enabled(settings));
        route.takes_splits(header) && (is_upgrade_open || !is_guarded)
    };
    let hosts = manager.routes.iter().flat_map(|it| &it.hosts);
    let open = hosts.flat_map(|it| it.routes.iter()).filter(is_open);
    let open: BTreeSet<&str> = open.map(|it| it.label.as_str()).collect();
    if !open.is_empty() {
        let at = [manager.at.clone()].into();
        let message = messages::header_from_clients(list(open), header);
        findings.insert(Finding::at(&at, message));
    }
}
