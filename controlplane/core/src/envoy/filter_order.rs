//! Finds requests that skip the filter, and other filters that undo or miss what the filter does.

use std::collections::BTreeSet;

use weir_split::wire::Config;

use super::Finding;
use super::http_filter::{FilterSettings, HttpFilter};
use super::listener_findings::some_hosts;
use super::manager::Manager;
use super::splitter::{ServedHost, Splitter};
use crate::manifest::problem::messages::{envoy as messages, list};

/// Adds the findings about the place of one Weir filter among the other filters.
pub fn find(splitter: &Splitter<'_>, findings: &mut BTreeSet<Finding>) {
    let all_served = splitter.served();
    let is_any_enabled = all_served.iter().any(|it| !is_disabled(splitter, it));
    for served in &all_served {
        // An Envoy may split only some of the hosts of a wildcard.
        if !(is_any_enabled && served.is_by_wildcard()) {
            disabled(splitter, served, findings);
        }
    }
    for (upgrade, filters) in &splitter.manager.upgrades {
        if !filters.iter().any(|it| it.splitter().is_some()) {
            let message = messages::upgrade_without_filter(upgrade, &splitter.filter.name);
            findings.insert(Finding::at(&splitter.at(), message));
        }
    }
    let matched = matched_headers(splitter.config);
    for later in splitter.later_filters() {
        changed_headers(splitter, later, &matched, findings);
    }
}

/// Adds a finding if several Weir filters decide for the same requests.
pub fn find_twice(manager: &Manager, findings: &mut BTreeSet<Finding>) {
    let splitters = manager.filters.iter().filter(|it| it.splitter().is_some());
    let splitters: Vec<&HttpFilter> = splitters.filter(|it| !it.is_conditional).collect();
    let hosts = manager.routes.iter().flat_map(|it| &it.hosts);
    let mut settings = hosts.flat_map(|it| it.routes.iter().map(|route| &route.settings.filters));
    let twice = settings.find_map(|settings| {
        let names = splitters.iter().filter(|it| it.is_enabled(settings));
        let names: Vec<&str> = names.map(|it| it.name.as_str()).collect();
        (names.len() > 1).then_some(names)
    });
    if let Some(names) = twice {
        let at = [manager.at.clone()].into();
        findings.insert(Finding::at(&at, messages::filter_twice(list(names))));
    }
}

/// Adds a finding if the filter runs for no request of a virtual host.
fn disabled(splitter: &Splitter<'_>, served: &ServedHost<'_>, findings: &mut BTreeSet<Finding>) {
    if is_disabled(splitter, served) {
        let hosts = some_hosts(&served.names());
        let message = messages::filter_disabled(&splitter.filter.name, hosts);
        findings.insert(Finding::of_host(served.virtual_host, 0, message));
    }
}

/// True if the filter runs for no request of the virtual host.
pub(super) fn is_disabled(splitter: &Splitter<'_>, served: &ServedHost<'_>) -> bool {
    let header = splitter.header();
    let host = served.virtual_host;
    // Before the filter writes the header, the request has a route. This route enables or disables the filter.
    let routes = host.routes.iter().filter(|it| it.fits_without(header));
    let mut settings: Vec<&FilterSettings> = routes.map(|it| &it.settings.filters).collect();
    let none = FilterSettings::new();
    if settings.is_empty() {
        settings.push(&none);
    }
    settings.iter().all(|it| !splitter.filter.is_enabled(it))
}

/// Adds findings for the headers that a filter after the Weir filter removes or writes.
fn changed_headers(
    splitter: &Splitter<'_>,
    later: &HttpFilter,
    matched: &BTreeSet<&str>,
    findings: &mut BTreeSet<Finding>,
) {
    let header = splitter.header();
    let mut add = |message| {
        findings.insert(Finding::at(&splitter.at(), message));
    };
    let routes = splitter.virtual_hosts().flat_map(|it| &it.routes);
    let settings = routes.map(|it| &it.settings.filters);
    for settings in settings.filter(|it| later.is_enabled(it)) {
        let mutations = later.mutations(settings);
        if mutations.removes(header) {
            add(messages::header_removed(&later.name, header));
        }
        if mutations.written.contains(header) {
            add(messages::header_overwritten(&later.name, header));
        }
        let late = mutations.written.union(&mutations.written_after_routing);
        let late: Vec<&str> = late
            .map(String::as_str)
            .filter(|it| *it != header && matched.contains(it))
            .collect();
        if !late.is_empty() {
            add(messages::header_written_late(&later.name, list(late)));
        }
    }
}

/// Returns the names of the headers that the matches in the configuration read.
fn matched_headers(config: &Config) -> BTreeSet<&str> {
    let matches = config.hosts.iter().flat_map(|set| &set.matches);
    let headers = matches.flat_map(|it| &it.headers);
    headers.map(|it| it.name.as_str()).collect()
}
