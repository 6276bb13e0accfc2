//! The places where a route asks to decide, whatever other routes ask for.

use std::collections::BTreeSet;

use super::{Attached, Claim, spots};
use crate::plan::Audience;
use crate::route::Route;
use crate::translate::ServicePort;
use crate::world::World;

/// A place where a route asks to decide. Except at a port, it gets all matches of the route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One port of a Service.
    Service(Audience, ServicePort),
    /// Hosts of a Gateway: the hostname, empty for every host.
    Hosts(Audience, String),
    /// Connections at one port of a Gateway.
    Port(Audience, u16),
}

/// Every place of the route, with the name of the Gateway's listener.
pub fn places<'w>(world: &'w World, route: &'w Route) -> Vec<(Place, Option<&'w str>)> {
    let mut places = Vec::new();
    for parent in &route.parents {
        let Ok(spots) = spots(world, route, parent, &mut BTreeSet::new()) else {
            continue;
        };
        for spot in spots {
            let listener = spot.listener.map(|it| it.name.as_str());
            let entry = Attached {
                route,
                parent,
                spot,
            };
            let of_spot = of_spot(&entry).into_iter();
            places.extend(of_spot.map(|place| (place, listener)));
        }
    }
    places
}

fn of_spot(entry: &Attached) -> Vec<Place> {
    let gateway = |namespace: &String, name: &String| Audience::Gateway {
        namespace: namespace.clone(),
        name: name.clone(),
    };
    match &entry.spot.claim {
        Claim::Service(audience, at) => vec![Place::Service(audience.clone(), at.clone())],
        Claim::Listener {
            namespace, name, ..
        } => {
            let hosts = entry.hosts().into_iter();
            let hostname = hosts.map(|hosts| hosts.hostname().unwrap_or_default());
            hostname
                .map(|it| Place::Hosts(gateway(namespace, name), it))
                .collect()
        }
        Claim::GatewayPort {
            namespace,
            name,
            port,
        } => vec![Place::Port(gateway(namespace, name), *port)],
    }
}
