//! Header routes that take requests away from routes with policies: law 6 on somebody else's routes.
//!
//! A split request would have taken the first ordinary route that it fits. It takes the first header route
//! that it fits instead, where that one stands above. The two have to have the same policies.

use super::route::{Route, VirtualHost};
use super::{Finding, Place};
use crate::manifest::problem::messages::envoy as messages;

/// Adds what the routes that follow `header` lose, in the order of the routes.
pub fn find(host: &VirtualHost, header: &str, findings: &mut Vec<Finding>) {
    for (place, shadowed) in host.routes.iter().enumerate() {
        if shadowed.follows(header) {
            continue;
        }
        let above = host.routes.iter().take(place);
        for (height, header_route) in above.enumerate() {
            if !header_route.follows(header) || !header_route.meets(shadowed) {
                continue;
            }
            let both = [header_route, shadowed];
            let covers = |route: &Route| route.covers(both, header);
            // Those of an ordinary route further up were never this one's; those of a header route further up
            // are that one's to keep the policies for.
            let taken = host.routes.iter().take(place).enumerate();
            let mut taken =
                taken.filter(|(other, route)| *other < height || !route.follows(header));
            if taken.any(|(_, route)| covers(route)) {
                continue;
            }
            let policies = shadowed.policies.missing_in(&header_route.policies);
            if !policies.is_empty() {
                findings.push(Finding {
                    place: Place::VirtualHost {
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
