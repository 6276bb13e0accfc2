//! Finds policies of Envoy's routes, such as timeouts, that a split request would lose.
//!
//! A header route takes its cluster from the header that the filter writes, or is for one value of this header. All
//! other routes are ordinary routes. A request without a split uses the first ordinary route that it fits. A split
//! request uses a header route above this ordinary route. So the header route needs all policies of the ordinary route.

use std::collections::BTreeSet;

use super::Finding;
use super::envoy_route::{EnvoyRoute, RouteTarget};
use super::policy::MIRRORS;
use super::virtual_host::VirtualHost;
use crate::manifest::problem::messages::envoy as messages;

/// Adds a finding for each header route that takes requests of an ordinary route, but lacks some policies of this
/// ordinary route.
pub fn find(host: &VirtualHost, header: &str, findings: &mut BTreeSet<Finding>) {
    for (place, shadowed) in host.routes.iter().enumerate() {
        if shadowed.takes_splits(header) {
            continue;
        }
        let above = host.routes.iter().take(place);
        for (height, header_route) in above.enumerate() {
            // A route without a condition on the header also takes the requests that are not split.
            let takes_all = header_route.fits_without(header) && !header_route.follows(header);
            if takes_all || !header_route.takes_splits(header) || !header_route.overlaps(shadowed) {
                continue;
            }
            let both = [header_route, shadowed];
            let covers = |route: &EnvoyRoute| route.covers(both, header);
            // Skips this pair of routes if another route already takes all requests that fit both routes. This is a
            // route above the header route, or an ordinary route above `shadowed`.
            let earlier = host.routes.iter().take(place).enumerate();
            let mut earlier =
                earlier.filter(|(other, route)| *other < height || !route.takes_splits(header));
            if earlier.any(|(_, route)| covers(route)) {
                continue;
            }
            let answers = match shadowed.target {
                RouteTarget::Redirect => Some("redirects"),
                RouteTarget::Answer { .. } => Some("answers"),
                RouteTarget::Clusters { .. } => None,
            };
            if let Some(answers) = answers {
                // If the ordinary route covers the header route, it is for all requests that are not split.
                if !shadowed.covers(both.map(|_| header_route), header) {
                    let message =
                        messages::answer_lost(&header_route.label, &shadowed.label, answers);
                    findings.insert(Finding::of_host(host, place, message));
                }
                continue;
            }
            let policies = &shadowed.policies;
            let mut policies = policies.missing_in(&header_route.policies, header);
            let mirrors = &shadowed.settings.mirrors;
            if !mirrors.others_are_in(&header_route.settings.mirrors) {
                policies.push(MIRRORS.to_owned());
            }
            if !policies.is_empty() {
                let message = messages::policies_lost(
                    &header_route.label,
                    &shadowed.label,
                    policies.join(", "),
                );
                findings.insert(Finding::of_host(host, place, message));
            }
        }
    }
}
