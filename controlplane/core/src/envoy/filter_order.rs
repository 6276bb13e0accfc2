//! Finds requests that skip the filter, and other filters that undo or miss what the filter does.

use std::collections::BTreeSet;

use weir_split::wire::{Config, Hosts};

use super::Finding;
use super::http_filter::{self, FilterSettings, HttpFilter};
use super::listener_findings::some_hosts;
use super::manager::Manager;
use super::matcher_outcome::KnownRequest;
use super::runtime_switch::RuntimeValues;
use super::splitter::{ServedHost, Splitter, names};
use crate::manifest::problem::messages::{envoy as messages, list};

/// Adds the findings about the place of one Weir filter among the other filters.
pub fn find(splitter: &Splitter<'_>, runtime: &RuntimeValues, findings: &mut BTreeSet<Finding>) {
    let all_served = splitter.served();
    let is_any_enabled = all_served.iter().any(|it| !is_disabled(splitter, it));
    for served in &all_served {
        // An Envoy may split only some of the hosts of a wildcard.
        if is_any_enabled && served.is_by_wildcard() && is_disabled(splitter, served) {
            continue;
        }
        disabled(splitter, served, findings);
        skipped(splitter, served, runtime, findings);
    }
    for (upgrade, filters) in &splitter.manager.upgrades {
        let own = filters.iter().position(|it| it.splitter().is_some());
        let Some((own, later)) = own.and_then(|it| filters.get(it..)?.split_first()) else {
            let message = messages::upgrade_without_filter(upgrade, &splitter.filter.name);
            findings.insert(Finding::at(&splitter.at(), message));
            continue;
        };
        if !is_enabled_anywhere(splitter, own) {
            let message = messages::upgrade_filter_disabled(upgrade, &own.name);
            findings.insert(Finding::at(&splitter.at(), message));
        }
        let list = format!("the filters of the upgrade {upgrade}");
        changed_headers(splitter, later, &list, findings);
    }
    let later: &[HttpFilter] = splitter.later_filters();
    changed_headers(splitter, later, "http_filters", findings);
}

/// True if the filter runs for a route that requests have before the Weir filter.
fn is_enabled_anywhere(splitter: &Splitter<'_>, filter: &HttpFilter) -> bool {
    let routes = splitter.virtual_hosts().flat_map(|it| &it.routes);
    let mut routes = routes.filter(|it| it.fits_without(splitter.header()));
    routes.any(|it| filter.is_enabled(&it.settings.filters))
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

/// Adds a finding if the matcher around the filter runs it for no request of a virtual host, or for no request without
/// certain headers.
fn skipped(
    splitter: &Splitter<'_>,
    served: &ServedHost<'_>,
    runtime: &RuntimeValues,
    findings: &mut BTreeSet<Finding>,
) {
    let host = served.virtual_host;
    let routes = host.routes.iter();
    let routes = routes.filter(|it| it.fits_without(splitter.header()));
    let settings: Vec<&FilterSettings> = routes.map(|it| &it.settings.filters).collect();
    let hosts = served.sets.iter().flat_map(|(_, set)| match &set.hosts {
        Hosts::Gateway(gateway) => vec![gateway.hostname.clone()],
        _ => {
            let names = names(set, &splitter.plugin.site).into_iter();
            names.map(Some).collect()
        }
    });
    let hosts: Vec<Option<String>> = hosts.collect();
    let never_runs = |is_plain: bool, runtime: Option<&RuntimeValues>| {
        !hosts.iter().any(|host| {
            let request = KnownRequest {
                host: host.as_deref().filter(|it| !it.contains('*')),
                is_plain,
                runtime,
            };
            let mut settings = settings.iter();
            settings.any(|it| splitter.filter.may_run(it, request))
        })
    };
    if settings.is_empty() || !never_runs(true, Some(runtime)) {
        return;
    }
    let (filter, names) = (&splitter.filter.name, some_hosts(&served.names()));
    let message = if !never_runs(true, None) {
        messages::matcher_inverted(filter, names)
    } else if never_runs(false, Some(runtime)) {
        messages::matcher_skips(filter, names)
    } else {
        messages::matcher_needs_header(filter, names)
    };
    findings.insert(Finding::of_host(host, 0, message));
}

/// Adds findings for the headers that the filters after the Weir filter remove or write. `place` is the name of the list
/// of filters.
fn changed_headers(
    splitter: &Splitter<'_>,
    later: &[HttpFilter],
    place: &str,
    findings: &mut BTreeSet<Finding>,
) {
    let header = splitter.header();
    let matched = matched_headers(splitter.config);
    let mut add = |message| {
        findings.insert(Finding::at(&splitter.at(), message));
    };
    let routes = splitter.virtual_hosts().flat_map(|it| &it.routes);
    for settings in routes.map(|it| &it.settings.filters) {
        let first_fixed = http_filter::first_with_fixed_route(later, settings);
        let later = later.iter().enumerate();
        for (at, filter) in later.filter(|(_, it)| it.is_enabled(settings)) {
            let mutations = filter.mutations(settings);
            let has_route = first_fixed.is_some_and(|first| at >= first);
            if mutations.removes(header) && !has_route {
                add(messages::header_removed(&filter.name, header, place));
            }
            if mutations.written.contains(header) && !has_route {
                add(messages::header_overwritten(&filter.name, header, place));
            }
            let late = mutations.written.union(&mutations.written_after_routing);
            let late: Vec<&str> = late
                .map(String::as_str)
                .filter(|it| *it != header && matched.contains(it))
                .collect();
            if !late.is_empty() {
                add(messages::header_written_late(
                    &filter.name,
                    list(late),
                    place,
                ));
            }
        }
    }
}

/// Returns the names of the headers that the matches in the configuration read.
fn matched_headers(config: &Config) -> BTreeSet<&str> {
    let matches = config.hosts.iter().flat_map(|set| &set.matches);
    let matched = matches.flat_map(|it| {
        let path = (it.path.is_some() || !it.query.is_empty()).then_some(":path");
        let method = it.method.as_ref().map(|_| ":method");
        let headers = it.headers.iter().map(|it| it.name.as_str());
        headers.chain(path).chain(method)
    });
    matched.collect()
}
