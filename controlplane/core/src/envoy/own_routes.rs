//! Finds routes whose requests the filter answers first: routes that Envoy should answer itself, such as `/healthz`, and
//! routes to clusters for requests that no rule matches.

use std::collections::BTreeSet;

use weir_split::{Decision, Live, Table, UntilConfigured};

use super::Finding;
use super::envoy_route::{EnvoyRoute, RouteTarget};
use super::path_matcher::PathMatcher;
use super::splitter::{ServedHost, Splitter, shown};
use crate::manifest::problem::messages::envoy as messages;

/// Adds a finding for each route whose requests the filter answers.
pub fn find(splitter: &Splitter<'_>, findings: &mut BTreeSet<Finding>) {
    // This cannot fail, because every published plan compiles.
    let Ok(table) = Table::compile(splitter.config, &splitter.plugin.site) else {
        return;
    };
    let mut live = Live::new(0, UntilConfigured::Pass);
    live.install(table);
    let header = splitter.header();
    let name = &splitter.filter.name;
    for served in splitter.served() {
        let routes = &served.virtual_host.routes;
        for (place, route) in routes.iter().enumerate() {
            if !splitter.filter.is_enabled(&route.settings.filters)
                || route.takes_splits(header)
                || !route.fits_without(header)
            {
                continue;
            }
            let above: Vec<&EnvoyRoute> = routes.iter().take(place).collect();
            let Some((request, status)) = taken(&mut live, &served, route, &above, header) else {
                continue;
            };
            let message = match route.target {
                RouteTarget::Answer { status: own } if own == u64::from(status) => continue,
                RouteTarget::Answer { .. } => {
                    messages::own_route_taken(&route.label, "answers", request, status, name)
                }
                RouteTarget::Redirect => {
                    messages::own_route_taken(&route.label, "redirects", request, status, name)
                }
                RouteTarget::Clusters { .. } => {
                    messages::cluster_route_taken(&route.label, request, status, name)
                }
            };
            findings.insert(Finding::of_host(served.virtual_host, place, message));
        }
    }
    health_checks(splitter, &mut live, findings);
}

/// Adds a finding for each later filter that answers probes itself, but does not get them.
fn health_checks(splitter: &Splitter<'_>, live: &mut Live, findings: &mut BTreeSet<Finding>) {
    let name = &splitter.filter.name;
    let all_served = splitter.served();
    for later in splitter.later_filters() {
        for path in later.answered_paths() {
            let mut served = all_served.iter();
            let found = served.find_map(|it| answered(live, it, &path, true, &|_| None));
            if let Some((request, status)) = found {
                let message = messages::health_check_taken(&later.name, request, status, name);
                findings.insert(Finding::at(&splitter.at(), message));
            }
        }
    }
}

/// Sends example requests of this route through the filter. Returns the first request that the filter answers, and the
/// status of the answer.
fn taken(
    live: &mut Live,
    served: &ServedHost<'_>,
    route: &EnvoyRoute,
    above: &[&EnvoyRoute],
    header: &str,
) -> Option<(String, u16)> {
    // If a rule itself answers a request, such as by a redirect, no backend of the route is missing.
    let by_rule = !matches!(route.target, RouteTarget::Clusters { .. });
    let examples = route.path.examples().into_iter();
    // Below a header route, Envoy uses a route only for requests that are not split.
    let mut examples = examples.filter(|path| {
        let path = PathMatcher::Exact((*path).to_owned());
        let mut twins = above.iter().filter(|it| it.takes_splits(header));
        !twins.any(|it| it.overlaps(route) && it.may_have(&path))
    });
    examples.find_map(|path| answered(live, served, path, by_rule, &|name| route.example_of(name)))
}

/// Returns a request that the filter answers, such as `shop.example.com/healthz`, and the status of the answer. `header`
/// returns the values of the request's headers. Answers of a rule count only with `by_rule`.
fn answered<'r>(
    live: &mut Live,
    served: &ServedHost<'_>,
    path: &str,
    by_rule: bool,
    header: &dyn Fn(&str) -> Option<&'r str>,
) -> Option<(String, u16)> {
    let read = |name: &str| match name {
        ":path" => Some(path.as_bytes().to_vec()),
        ":method" => Some(header(name).unwrap_or("GET").as_bytes().to_vec()),
        name => Some(header(name)?.as_bytes().to_vec()),
    };
    served.sets.iter().find_map(|(host, set)| {
        let decided = live.decide(host.as_bytes(), || None, read);
        if decided.rule.is_some() && !by_rule {
            return None;
        }
        match decided.decision {
            Decision::Answer(status) | Decision::Redirect(status, _) => {
                Some((format!("{}{path}", shown(host, set)), status))
            }
            _ => None,
        }
    })
}
