//! Finds the places that the parentRefs of a route select: ports of Services, and hosts or ports of Gateways. Another
//! route may get the requests at such a place, but this module ignores other routes.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::gateway::Listener;
use crate::api::route::{ParentKind, ParentRef, Route, RouteKind};
use crate::api::service::Service;
use crate::translate::attachment;
use crate::translate::host_key::HostKey;
use crate::world::World;

/// The places that one route selects. The keys of both maps are namespace and name.
#[derive(Default)]
pub struct Places<'w> {
    pub services: BTreeMap<(&'w str, &'w str), ServicePlaces<'w>>,
    pub gateways: BTreeMap<(&'w str, &'w str), GatewayPlaces<'w>>,
}

/// One or more ports of one Service that a route selects. If the route selects all ports, this type stores only the
/// count of the ports, because a Service may have a thousand ports.
pub struct ServicePlaces<'w> {
    pub service: &'w Service,
    /// The count of all ports of the Service that the route can use; 0 if no parentRef selects all ports.
    all: usize,
    /// Ports that parentRefs select by number or name.
    named: BTreeSet<u16>,
}

/// The hosts and ports of one Gateway that a route selects. The values are the names of the listeners.
#[derive(Default)]
pub struct GatewayPlaces<'w> {
    pub hosts: BTreeMap<HostKey, BTreeSet<&'w str>>,
    /// Ports of listeners. Only a TCPRoute has entries here.
    pub ports: BTreeMap<u16, BTreeSet<&'w str>>,
}

impl ServicePlaces<'_> {
    pub fn count(&self) -> usize {
        self.all.max(self.named.len())
    }
}

impl<'w> Places<'w> {
    pub fn of(world: &'w World, route: &'w Route) -> Places<'w> {
        let mut places = Places::default();
        for parent in &route.parents {
            match parent.kind {
                ParentKind::Service => places.add_service(world, route, parent),
                ParentKind::Gateway => places.add_gateway(world, route, parent),
            }
        }
        places
    }

    /// Returns the number of places. `namespace` is the namespace of the route. A Service in another namespace counts
    /// as one place, because the author of the route does not control the number of its ports.
    pub fn count(&self, namespace: &str) -> usize {
        let of_services = self.services.iter();
        let of_services = of_services.map(
            |((of, _), it)| {
                if *of == namespace { it.count() } else { 1 }
            },
        );
        let of_gateways = self.gateways.values();
        let of_gateways = of_gateways.map(|it| it.hosts.len() + it.ports.len());
        of_services.chain(of_gateways).sum()
    }

    fn add_service(&mut self, world: &'w World, route: &Route, parent: &'w ParentRef) {
        let service = world.service(&parent.namespace, &parent.name);
        let Some(service) = service.filter(|it| it.has_cluster_ip) else {
            return;
        };
        let mut ports = attachment::selected_ports(service, route.kind, parent).peekable();
        if ports.peek().is_none() {
            return;
        }
        let key = (parent.namespace.as_str(), parent.name.as_str());
        let of_service = self.services.entry(key).or_insert_with(|| ServicePlaces {
            service,
            all: 0,
            named: BTreeSet::new(),
        });
        match (parent.port, &parent.section_name) {
            (None, None) => of_service.all = ports.count(),
            _ => of_service.named.extend(ports.map(|it| it.number)),
        }
    }

    fn add_gateway(&mut self, world: &'w World, route: &Route, parent: &'w ParentRef) {
        let Ok(listeners) = attachment::gateway_listeners(world, route, parent) else {
            return;
        };
        let key = (parent.namespace.as_str(), parent.name.as_str());
        let of_gateway = self.gateways.entry(key).or_default();
        for (listener, own) in listeners {
            let listener: &Listener = listener;
            if route.kind == RouteKind::Tcp {
                let names = of_gateway.ports.entry(listener.port).or_default();
                names.insert(&listener.name);
                continue;
            }
            let of_listener = HostKey::new(listener.hostname.as_ref());
            let hosts = own
                .iter()
                .filter_map(|own| HostKey::new(*own).intersect(&of_listener));
            for hosts in hosts {
                let names = of_gateway.hosts.entry(hosts).or_default();
                names.insert(&listener.name);
            }
        }
    }
}
