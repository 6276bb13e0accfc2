//! Header routes that take requests from routes with policies (law 6, for the routes of an operator).
//!
//! Without a split, a request takes the first ordinary route that it fits. A split request takes a header route above
//! this route instead. So both routes need the same policies.

use super::virtual_host::{EnvoyRoute, VirtualHost};
use super::{Finding, FindingPlace};
use crate::manifest::problem::messages::envoy as messages;

/// Adds the policies that requests lose at routes that follow `header`, in the order of the routes.
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
            // Skips the header route if an ordinary route above `shadowed`, or a header route above the header route,
            // takes all these requests.
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
