//! Finds policies of Envoy's routes, such as timeouts, that split requests would lose.
//!
//! A header route takes its cluster from the header that the filter writes. All other routes are ordinary routes. A
//! request without a split uses the first ordinary route that it fits. A split request uses a header route above this
//! ordinary route. So the header route needs all policies of the ordinary route.

use super::virtual_host::{EnvoyRoute, VirtualHost};
use super::{Finding, FindingPlace};
use crate::manifest::problem::messages::envoy as messages;

/// Adds a finding for each header route that takes requests of an ordinary route, but lacks some policies of this
/// ordinary route. Header routes take their cluster from `header`.
pub fn find(host: &VirtualHost, header: &str, findings: &mut Vec<Finding>) {
    for (place, shadowed) in host.routes.iter().enumerate() {
        if shadowed.follows(header) {
            continue;
        }
        let above = host.routes.iter().take(place);
        for (height, header_route) in above.enumerate() {
            if !header_route.follows(header) || !header_route.overlaps(shadowed) {
                continue;
            }
            let both = [header_route, shadowed];
            let covers = |route: &EnvoyRoute| route.covers(both, header);
            // Skips this pair of routes if another route already takes all requests that fit both routes. This is a
            // route above the header route, or an ordinary route above `shadowed`.
            let earlier = host.routes.iter().take(place).enumerate();
            let mut earlier =
                earlier.filter(|(other, route)| *other < height || !route.follows(header));
            if earlier.any(|(_, route)| covers(route)) {
                continue;
            }
            let policies = shadowed.policies.missing_in(&header_route.policies);
            if !policies.is_empty() {
                findings.push(Finding {
                    place: FindingPlace::VirtualHost {
                        configuration: host.configuration.clone(),
                        name: host.name.clone(),
                    },
                    rule: None,
                    message: messages::policies_lost(
                        &header_route.label,
                        &shadowed.label,
                        policies.join(", "),
                    ),
                });
            }
        }
    }
}
