//! Finds ordinary routes that have no twin for some requests of a split. The twin of an ordinary route is a header
//! route above it, for the same requests after the filter has picked their cluster.

use std::collections::BTreeSet;

use weir_split::wire::Match;

use super::Finding;
use super::envoy_route::{EnvoyRoute, RouteTarget};
use super::header_leaks;
use super::path_matcher::PathMatcher;
use super::rule_backends::backends_of;
use super::splitter::{ServedHost, Splitter};
use crate::manifest::problem::messages::{envoy as messages, list};

/// Requests of one rule that take one ordinary route.
struct Part<'r> {
    route: &'r EnvoyRoute,
    /// The path of the requests.
    path: PathMatcher,
    rule: &'r str,
    /// The header routes that may take requests of this part.
    twins: Vec<&'r EnvoyRoute>,
}

/// Adds the findings about ordinary routes of a virtual host. If it has no header routes at all, only leaks count.
pub fn find(splitter: &Splitter<'_>, served: &ServedHost<'_>, findings: &mut BTreeSet<Finding>) {
    let header = splitter.header();
    let host = served.virtual_host;
    let has_twins = host.routes.iter().any(|it| it.takes_splits(header));
    let mut alone = BTreeSet::new();
    let mut leaking = BTreeSet::new();
    for (place, route) in host.routes.iter().enumerate() {
        let is_ordinary = matches!(route.target, RouteTarget::Clusters { .. })
            && route.fits_without(header)
            && !route.takes_splits(header)
            && splitter.filter.is_enabled(&route.settings.filters);
        if !is_ordinary {
            continue;
        }
        let mut above = host.routes.iter().take(place);
        // `header_routes` has a finding for a twin that takes its cluster from another header.
        if above.any(|it| it.overlaps(route) && it.other_cluster_header(header).is_some()) {
            continue;
        }
        for part in parts(splitter, served, place, route) {
            let narrower = |it: &&EnvoyRoute| it.narrower_than(route, &part.path, header);
            let least = part.twins.iter().map(|it| (it, narrower(it)));
            let least = least.min_by_key(|(_, conditions)| conditions.len());
            match least {
                // `header_routes` has a finding for this twin.
                Some((twin, _)) if twin.misspelling_of(header).is_some() => continue,
                None => {
                    alone.insert((place, route.label.as_str()));
                }
                Some((twin, conditions)) if !conditions.is_empty() => {
                    let message = messages::twin_is_narrower(
                        &route.label,
                        &twin.label,
                        conditions.join(", "),
                    );
                    findings.insert(Finding::of_host(host, place, message));
                }
                Some(_) => {
                    unfitting_values(splitter, served, &part, findings);
                    continue;
                }
            }
            if !route.settings.removed.contains(header) {
                leaking.insert((place, route.label.as_str()));
            }
        }
    }
    let labels = |routes: BTreeSet<(usize, &'_ str)>| -> Vec<String> {
        routes.into_iter().map(|(_, it)| it.to_owned()).collect()
    };
    if has_twins && !alone.is_empty() {
        let message = messages::no_twin(list(labels(alone)), header);
        findings.insert(Finding::of_host(host, 0, message));
    }
    if !leaking.is_empty() && !header_leaks::is_removed_upstream(splitter.manager, header) {
        let message = messages::header_leaks(list(labels(leaking)), header);
        findings.insert(Finding::of_host(host, 0, message));
    }
}

/// Returns the requests of each rule that take this route, without requests that another ordinary route takes.
fn parts<'r>(
    splitter: &Splitter<'_>,
    served: &'r ServedHost<'_>,
    place: usize,
    route: &'r EnvoyRoute,
) -> Vec<Part<'r>> {
    let header = splitter.header();
    let host = served.virtual_host;
    let matches = served.sets.iter().flat_map(|(_, set)| &set.matches);
    let read = |entry: &'r Match| (PathMatcher::of_rule(entry.path.as_ref()), &entry.rule);
    let read = matches.map(read).filter(|(path, rule)| {
        let is_taken = |above: &EnvoyRoute| {
            !above.takes_splits(header)
                && above.fits_without(header)
                && above.narrower_than(route, path, header).is_empty()
        };
        route.may_have(path)
            && !backends_of(splitter.config, rule).is_empty()
            && !host.routes.iter().take(place).any(is_taken)
    });
    let above = host.routes.iter().take(place);
    let ordinary = above.filter(|it| !it.takes_splits(header) && it.fits_without(header));
    let ordinary: Vec<&EnvoyRoute> = ordinary.collect();
    let parts = read.map(|(path, rule)| {
        let twins = host.routes.iter().enumerate().filter(|(other, it)| {
            it.takes_splits(header)
                && it.overlaps(route)
                && it.may_have(&path)
                && !ordinary.iter().any(|above| above.covers([it, route], header))
                // `header_routes` has a finding for a header route that is below this route.
                && (*other < place || route.requires_absence_of(header) || route.covers_all_of(it))
        });
        let twins = twins.map(|(_, twin)| twin).collect();
        Part {
            route,
            path,
            rule,
            twins,
        }
    });
    parts.collect()
}

/// Adds a finding for each backend of the rule whose cluster fits the conditions of no twin.
fn unfitting_values(
    splitter: &Splitter<'_>,
    served: &ServedHost<'_>,
    part: &Part<'_>,
    findings: &mut BTreeSet<Finding>,
) {
    let header = splitter.header();
    let twins = part.twins.iter();
    let full = twins.filter(|it| it.narrower_than(part.route, &part.path, header).is_empty());
    let full: Vec<&&EnvoyRoute> = full.collect();
    for (service, weight) in backends_of(splitter.config, part.rule) {
        let cluster = splitter.plugin.site.naming.cluster(service);
        let fits = |it: &EnvoyRoute| it.fits_value(header, &cluster) != Some(false);
        if weight == 0 || full.iter().any(|it| fits(it)) {
            continue;
        }
        let message = match full.iter().find(|it| it.follows(header)) {
            Some(twin) => {
                messages::value_does_not_fit(service, weight, &twin.label, header, cluster)
            }
            None => messages::no_route_for_value(service, weight, header, cluster),
        };
        let finding = Finding::of_host(served.virtual_host, 0, message);
        findings.insert(finding.of_rule(part.rule));
    }
}
