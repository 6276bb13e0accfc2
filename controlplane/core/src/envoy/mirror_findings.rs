//! Finds requests that Envoy does not copy to mirrors, copies for which requests wait, backends that get the headers of
//! mirrors, and clients that can write these headers.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::MIRROR_HEADERS;
use weir_split::wire::{Filters, Rule, Target};

use super::manager::Manager;
use super::rule_backends::{backends_of, rules_of};
use super::splitter::{ServedHost, Splitter};
use super::upstream_filters::{Exposure, UpstreamFilters};
use super::{EnvoyDump, Finding};
use crate::manifest::problem::messages::envoy as messages;

/// Adds the findings about the mirrors of one filter: their clusters, the routes, and the filters that get requests with
/// a mirror.
pub fn find(splitter: &Splitter<'_>, dump: &EnvoyDump, findings: &mut BTreeSet<Finding>) {
    mirror_clusters(splitter, dump, findings);
    for (list, filters) in upstream_lists(splitter, dump) {
        let mut add = |message| {
            findings.insert(Finding::at(&splitter.at(), message));
        };
        for header in MIRROR_HEADERS.iter().take(most(splitter)) {
            let earlier = filters.before_copies.iter();
            for (filter, _) in earlier.filter(|(_, it)| it.removes(header)) {
                add(messages::mirror_header_removed(filter, &list, header));
            }
        }
        let header = MIRROR_HEADERS.first().copied().unwrap_or_default();
        match &filters.exposure {
            Some(Exposure::NoFilter) => add(messages::mirror_headers_visible(&list, header)),
            Some(Exposure::Disabled(filter)) => {
                add(messages::mirror_filter_disabled(filter, &list, header));
            }
            Some(Exposure::Skipped(filter)) => {
                add(messages::mirror_filter_skips(filter, &list, header));
            }
            None => {}
        }
    }
    for served in splitter.served() {
        uncopied(splitter, dump, &served, findings);
    }
}

/// Adds a finding if a client can choose the clusters of mirrors: a route reads their headers, and nothing removes the
/// headers before.
pub fn find_clients(manager: &Manager, findings: &mut BTreeSet<Finding>) {
    let earlier = || {
        let earlier = manager.filters.iter();
        earlier.take_while(|it| it.splitter().is_none() && !it.is_conditional)
    };
    let hosts = manager.routes.iter().flat_map(|it| &it.hosts);
    let routes: Vec<_> = hosts.flat_map(|it| &it.routes).collect();
    let is_open = |header: &&&str| {
        let mut routes = routes.iter().filter(|it| it.settings.mirrors_to(header));
        routes.any(|route| {
            let settings = &route.settings.filters;
            let mut removing = earlier().filter(|it| it.is_enabled(settings));
            !removing.any(|it| it.mutations(settings).removes(header))
        })
    };
    let headers = MIRROR_HEADERS.iter();
    let headers = headers.filter(|it| !manager.early.removes(it));
    let headers: Vec<&str> = headers.filter(is_open).copied().collect();
    if !headers.is_empty() {
        let at = [manager.at.clone()].into();
        let message = messages::mirrors_from_clients(headers.join(" and "), removals(&headers));
        findings.insert(Finding::at(&at, message));
    }
}

/// Adds a finding for each mirror without a cluster, and a warning for each cluster whose copies may delay requests.
fn mirror_clusters(splitter: &Splitter<'_>, dump: &EnvoyDump, findings: &mut BTreeSet<Finding>) {
    let naming = &splitter.plugin.site.naming;
    let rules = rules_of(splitter.plugin, splitter.config);
    let of_backends = rules
        .iter()
        .flat_map(|(_, identity)| backends_of(splitter.config, identity));
    let of_backends = of_backends.filter(|(_, weight)| *weight > 0);
    let of_backends: BTreeSet<String> = of_backends.map(|(it, _)| naming.cluster(it)).collect();
    for (_, identity) in rules {
        let rule = splitter.config.rules.get(identity);
        let filters = rule.into_iter().flat_map(Rule::all_filters);
        for mirror in filters.flat_map(|filters| &filters.mirrors) {
            let cluster = naming.cluster(&mirror.to);
            if !dump.clusters.contains(&cluster) {
                let message = messages::mirror_cluster_missing(&mirror.to, cluster);
                findings.insert(Finding::at(&splitter.at(), message).of_rule(identity));
                continue;
            }
            let settings = dump.cluster_settings.get(&cluster);
            if settings.is_some_and(|it| it.may_delay) {
                let message = if of_backends.contains(&cluster) {
                    messages::shared_mirror_delays(cluster, &mirror.to)
                } else {
                    messages::mirror_delays(cluster, &mirror.to)
                };
                findings.insert(Finding::at(&splitter.at(), message));
            }
        }
    }
}

/// Returns the lists of filters through which requests with a mirror go to backends. Each list comes with its words in
/// findings.
fn upstream_lists<'d>(
    splitter: &Splitter<'d>,
    dump: &'d EnvoyDump,
) -> BTreeMap<String, &'d UpstreamFilters> {
    let mut lists = BTreeMap::new();
    let router = splitter.manager.filters.iter().find(|it| it.is_router());
    for (_, identity) in rules_of(splitter.plugin, splitter.config) {
        let Some(rule) = splitter.config.rules.get(identity) else {
            continue;
        };
        let of_rule = count(rule.filters.as_deref());
        for backend in &rule.backends {
            let Target::Service(service) = &backend.to else {
                continue;
            };
            if of_rule.saturating_add(count(backend.filters.as_deref())) == 0 {
                continue;
            }
            let cluster = splitter.plugin.site.naming.cluster(service);
            let settings = dump.cluster_settings.get(&cluster);
            if let Some(own) = settings.and_then(|it| it.filters.as_ref()) {
                lists.insert(format!("http_filters of the cluster {cluster}"), own);
            } else if let Some(router) = router {
                let list = "upstream_http_filters of the router".to_owned();
                lists.insert(list, &router.upstream);
            }
        }
    }
    lists
}

/// Adds a finding for each route for split requests that ignores or loses a header of a mirror.
fn uncopied(
    splitter: &Splitter<'_>,
    dump: &EnvoyDump,
    served: &ServedHost<'_>,
    findings: &mut BTreeSet<Finding>,
) {
    let matches = served.sets.iter().flat_map(|(_, set)| &set.matches);
    let rules = matches.filter_map(|entry| splitter.config.rules.get(&entry.rule));
    let needed = rules.map(most_mirrors).max().unwrap_or_default();
    let headers = MIRROR_HEADERS.get(..needed).unwrap_or(&MIRROR_HEADERS);
    let host = served.virtual_host;
    for (place, route) in host.routes.iter().enumerate() {
        if !route.takes_splits(splitter.header()) {
            continue;
        }
        let settings = &route.settings;
        let mut add = |message| {
            findings.insert(Finding::of_host(host, place, message));
        };
        let unread = headers.iter().filter(|it| !settings.mirrors.reads(it));
        let unread: Vec<&str> = unread.copied().collect();
        if !unread.is_empty() {
            let lines: Vec<String> = unread.iter().map(|it| policy(it)).collect();
            let (names, level) = (unread.join(" and "), settings.mirrors.level);
            let lines = lines.join(", ");
            add(messages::mirrors_not_copied(
                &route.label,
                names,
                level,
                lines,
            ));
        }
        for header in headers.iter().filter(|it| settings.mirrors.reads(it)) {
            if settings.removed.contains(*header) {
                add(messages::mirror_header_unsent(&route.label, header));
            }
            if settings.mirrors.copies_in_part(header, &dump.runtime) {
                add(messages::mirrored_in_part(&route.label, header));
            }
        }
        let later = splitter.later_filters();
        for filter in later.iter().filter(|it| it.is_enabled(&settings.filters)) {
            let mutations = filter.mutations(&settings.filters);
            for header in headers.iter().filter(|it| mutations.removes(it)) {
                let message = messages::mirror_header_removed(&filter.name, "http_filters", header);
                findings.insert(Finding::at(&splitter.at(), message));
            }
        }
    }
}

/// Returns the policy that copies requests to the mirror of this header.
fn policy(header: &str) -> String {
    let removals = removals(&MIRROR_HEADERS);
    format!(
        "{{ cluster_header: {header}, disable_shadow_host_suffix_append: true, request_headers_mutations: [{removals}] }}"
    )
}

fn removals(headers: &[&str]) -> String {
    let removals: Vec<String> = headers
        .iter()
        .map(|it| format!("{{ remove: {it} }}"))
        .collect();
    removals.join(", ")
}

/// Returns the maximum number of mirrors that a request of this filter can have.
fn most(splitter: &Splitter<'_>) -> usize {
    let rules = rules_of(splitter.plugin, splitter.config).into_iter();
    let rules = rules.filter_map(|(_, identity)| splitter.config.rules.get(identity));
    rules.map(most_mirrors).max().unwrap_or_default()
}

/// Returns the maximum number of mirrors that a request of this rule can have.
fn most_mirrors(rule: &Rule) -> usize {
    let of_backends = rule.backends.iter();
    let of_backends = of_backends.map(|backend| count(backend.filters.as_deref()));
    count(rule.filters.as_deref()).saturating_add(of_backends.max().unwrap_or_default())
}

fn count(filters: Option<&Filters>) -> usize {
    filters.map_or(0, |filters| filters.mirrors.len())
}
