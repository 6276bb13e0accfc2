//! Finds routes that Envoy should answer itself, such as `/healthz`, but whose requests the filter answers first.

use std::collections::BTreeSet;

use weir_split::{Decision, Live, Table, UntilConfigured};

use super::Finding;
use super::envoy_route::{EnvoyRoute, RouteTarget};
use super::splitter::{ServedHost, Splitter};
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
    for served in splitter.served() {
        let routes = &served.virtual_host.routes;
        for (place, route) in routes.iter().enumerate() {
            let answers = match route.target {
                RouteTarget::Answer => "answers",
                RouteTarget::Redirect => "redirects",
                RouteTarget::Clusters { .. } => continue,
            };
            // Below a header route, Envoy answers only requests that are not split.
            let mut above = routes.iter().take(place);
            if above.any(|it| it.takes_splits(header) && it.overlaps(route))
                || !splitter.filter.is_enabled(&route.settings.filters)
            {
                continue;
            }
            if let Some((host, status)) = taken(&mut live, &served, route) {
                let name = &splitter.filter.name;
                let message = messages::own_route_taken(&route.label, answers, host, status, name);
                findings.insert(Finding::of_host(served.virtual_host, place, message));
            }
        }
    }
}

/// Sends an example request of this route through the filter. Returns the host and the status if the filter answers;
/// else None.
fn taken(live: &mut Live, served: &ServedHost<'_>, route: &EnvoyRoute) -> Option<(String, u16)> {
    let path = route.path.example()?.as_bytes().to_vec();
    let read = |name: &str| match name {
        ":path" => Some(path.clone()),
        ":method" => Some(b"GET".to_vec()),
        _ => None,
    };
    served.sets.iter().find_map(|(host, _)| {
        let decided = live.decide(host.as_bytes(), || None, read);
        match decided.decision {
            Decision::Answer(status) | Decision::Redirect(status, _) => {
                Some((host.clone(), status))
            }
            _ => None,
        }
    })
}
