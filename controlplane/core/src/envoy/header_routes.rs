//! Finds hosts that have rules, but no route to the cluster that the filter picks.

use std::collections::BTreeSet;

use weir_split::wire::Hosts;

use super::Finding;
use super::envoy_route::{EnvoyRoute, RouteTarget};
use super::filter_order;
use super::listener_findings::some_hosts;
use super::rule_backends::backends_of;
use super::splitter::{ServedHost, Splitter, names, wildcard};
use super::twins;
use super::virtual_host::VirtualHost;
use crate::manifest::problem::messages::{Message, envoy as messages};

/// Adds the findings about the routes of one filter.
pub fn find(splitter: &Splitter<'_>, findings: &mut BTreeSet<Finding>) {
    let all_served = splitter.served();
    let header = splitter.header();
    let mut routes = all_served.iter().flat_map(|it| &it.virtual_host.routes);
    let is_any_split = routes.any(|it| it.takes_splits(header));
    for served in all_served {
        // A catch-all virtual host that has no backends does not serve the host.
        if !is_any_split || has_clusters(served.virtual_host) {
            // An Envoy may split only some of the hosts of a wildcard.
            match is_any_split && served.is_by_wildcard() {
                true => not_split(splitter, &served, messages::wildcard_not_split, findings),
                false => missing_header_routes(splitter, &served, findings),
            }
        }
        missing_values(splitter, &served, findings);
        twins::find(splitter, &served, findings);
    }
    for served in splitter.served_by_other_names() {
        if is_any_split {
            not_split(splitter, &served, messages::names_not_split, findings);
        }
    }
    for host in splitter.virtual_hosts() {
        for (place, route) in host.routes.iter().enumerate() {
            if route.takes_splits(header) {
                unreachable(host, place, route, header, findings);
            }
            if route.follows(header) {
                conditions(host, place, route, header, findings);
            }
            if let Some(other) = route.other_cluster_header(header) {
                let message = messages::header_route_to_other(&route.label, other, header);
                findings.insert(Finding::of_host(host, place, message));
            }
        }
    }
}

/// Adds a finding for the hosts that have rules, but no virtual host. `splitters` are all filters with the same plugin
/// configuration. A host needs a virtual host at only one of these filters.
pub fn find_missing_hosts(splitters: &[&Splitter<'_>], findings: &mut BTreeSet<Finding>) {
    let Some(first) = splitters.first() else {
        return;
    };
    // The routes may not have arrived yet.
    if splitters.iter().any(|it| it.manager.routes.is_empty()) {
        return;
    }
    let configurations = splitters
        .iter()
        .flat_map(|it| it.manager.routes.iter().map(move |routes| (it, routes)));
    let configurations: Vec<_> = configurations.collect();
    if configurations.iter().any(|(_, it)| it.has_vhost_header) {
        return;
    }
    let has = |name: &String| {
        let mut configurations = configurations.iter();
        configurations.any(|(splitter, it)| splitter.virtual_host(it, name).is_some())
    };
    let serves_nothing = splitters.iter().all(|it| it.served().is_empty());
    let sets = first.config.hosts.iter();
    // An Envoy does not need a virtual host for every Service.
    let sets = sets.filter(|set| serves_nothing || !matches!(set.hosts, Hosts::Root(_)));
    let sets = sets.filter(|set| serves_nothing || wildcard(set).is_none());
    let names = sets.map(|set| names(set, &first.plugin.site));
    let missing = names.filter(|names| !names.iter().any(has));
    let missing: BTreeSet<String> = missing.filter_map(|it| it.into_iter().next()).collect();
    if !missing.is_empty() {
        let at = splitters.iter().map(|it| it.manager.at.clone()).collect();
        let missing: Vec<String> = missing.into_iter().collect();
        let hosts = some_hosts(&missing);
        // An Envoy may serve only some of the hosts.
        let message = match serves_nothing {
            true => messages::no_virtual_host(hosts),
            false => messages::no_virtual_host_of_some(hosts),
        };
        findings.insert(Finding::at(&at, message));
    }
}

/// Adds a warning if no route of this virtual host takes splits. Other virtual hosts take splits of the same hosts.
fn not_split(
    splitter: &Splitter<'_>,
    served: &ServedHost<'_>,
    message: fn(String, String) -> Message,
    findings: &mut BTreeSet<Finding>,
) {
    let (host, header) = (served.virtual_host, splitter.header());
    let is_split = host.routes.iter().any(|it| it.takes_splits(header));
    if has_clusters(host) && !is_split && !filter_order::is_disabled(splitter, served) {
        let message = message(some_hosts(&served.names()), header.to_owned());
        findings.insert(Finding::of_host(host, 0, message));
    }
}

fn has_clusters(host: &VirtualHost) -> bool {
    let mut targets = host.routes.iter().map(|it| &it.target);
    targets.any(|it| matches!(it, RouteTarget::Clusters { .. }))
}

fn missing_header_routes(
    splitter: &Splitter<'_>,
    served: &ServedHost<'_>,
    findings: &mut BTreeSet<Finding>,
) {
    let header = splitter.header();
    let routes = &served.virtual_host.routes;
    let redirects_all = routes.iter().all(|it| it.target == RouteTarget::Redirect);
    if redirects_all || routes.iter().any(|it| it.takes_splits(header)) {
        return;
    }
    let hosts = some_hosts(&served.names());
    let other = routes.iter().find_map(|route| match &route.target {
        RouteTarget::Clusters { headers, .. } => headers.first().map(|it| (route, it)),
        _ => None,
    });
    let message = match other {
        Some((route, other)) if other != header => {
            messages::other_header_route(&route.label, other, header, hosts)
        }
        _ => messages::no_header_route(header, hosts),
    };
    findings.insert(Finding::of_host(served.virtual_host, 0, message));
}

/// If each route is for one value of the header, adds a finding for each backend whose value has no route.
fn missing_values(
    splitter: &Splitter<'_>,
    served: &ServedHost<'_>,
    findings: &mut BTreeSet<Finding>,
) {
    let header = splitter.header();
    let host = served.virtual_host;
    let values: BTreeSet<&str> = host
        .routes
        .iter()
        .filter_map(|it| it.value_of(header))
        .collect();
    if values.is_empty() || host.routes.iter().any(|it| it.follows(header)) {
        return;
    }
    let rules: BTreeSet<&String> = served
        .sets
        .iter()
        .flat_map(|(_, set)| set.matches.iter().map(|it| &it.rule))
        .collect();
    for identity in rules {
        for (service, weight) in backends_of(splitter.config, identity) {
            let cluster = splitter.plugin.site.naming.cluster(service);
            if weight > 0 && !values.contains(cluster.as_str()) {
                let message = messages::no_route_for_value(service, weight, header, cluster);
                findings.insert(Finding::of_host(host, 0, message).of_rule(identity));
            }
        }
    }
}

/// Adds a finding if an ordinary route above takes all requests of a header route.
fn unreachable(
    host: &VirtualHost,
    place: usize,
    route: &EnvoyRoute,
    header: &str,
    findings: &mut BTreeSet<Finding>,
) {
    let mut above = host.routes.iter().take(place);
    let covering = above.find(|it| !it.takes_splits(header) && it.covers_all_of(route));
    if let Some(covering) = covering {
        let message = messages::header_route_below(&route.label, &covering.label);
        findings.insert(Finding::of_host(host, place, message));
    }
}

/// Adds a finding for each mistake in the conditions and clusters of a header route.
fn conditions(
    host: &VirtualHost,
    place: usize,
    route: &EnvoyRoute,
    header: &str,
    findings: &mut BTreeSet<Finding>,
) {
    let mut add = |message| {
        findings.insert(Finding::of_host(host, place, message));
    };
    if let RouteTarget::Clusters {
        is_partial: true, ..
    } = route.target
    {
        add(messages::header_route_in_part(&route.label, header));
    }
    if let Some(wrong) = route.misspelling_of(header) {
        add(messages::header_route_misspelled(
            &route.label,
            wrong,
            header,
        ));
        return;
    }
    let mut below = host.routes.iter().skip(place.saturating_add(1));
    if route.fits_without(header)
        && let Some(ordinary) = below.find(|it| route.covers([it, it], header))
    {
        let message =
            messages::header_route_without_condition(&route.label, &ordinary.label, header);
        add(message);
    }
}
