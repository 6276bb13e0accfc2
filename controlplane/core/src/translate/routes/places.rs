//! The places where a route asks to decide, whatever other routes ask for.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::gateway::Listener;
use crate::api::route::{ParentKind, ParentRef, Route, RouteKind};
use crate::api::service::Service;
use crate::translate::attachment;
use crate::translate::host_key::HostKey;
use crate::world::World;

/// Services and Gateways are by namespace and name. There are numbers where there may be a thousand ports.
#[derive(Default)]
pub struct Places<'w> {
    pub services: BTreeMap<(&'w str, &'w str), OfService<'w>>,
    pub gateways: BTreeMap<(&'w str, &'w str), OfGateway<'w>>,
}

/// The ports of a Service where a route asks to decide, at least one.
pub struct OfService<'w> {
    pub service: &'w Service,
    /// All that the route may have; 0 where no reference means all of them.
    all: usize,
    named: BTreeSet<u16>,
}

/// The places at a Gateway, each with the names of its listeners.
#[derive(Default)]
pub struct OfGateway<'w> {
    pub hosts: BTreeMap<HostKey, BTreeSet<&'w str>>,
    /// Of a TCPRoute.
    pub ports: BTreeMap<u16, BTreeSet<&'w str>>,
}

impl OfService<'_> {
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

    /// Except at a port of a Gateway, each gets all matches of the route. A Service outside of the route's `namespace`
    /// counts once: how many ports it has is not for the author of the route to decide.
    pub fn count(&self, namespace: &str) -> usize {
        let of_services = self.services.iter();
        let of_services = of_services.map(|((of, _), it)| match *of == namespace {
            true => it.count(),
            false => 1,
        });
        let of_gateways = self.gateways.values();
        let of_gateways = of_gateways.map(|it| it.hosts.len() + it.ports.len());
        of_services.chain(of_gateways).sum()
    }

    fn add_service(&mut self, world: &'w World, route: &Route, parent: &'w ParentRef) {
        let service = world.service(&parent.namespace, &parent.name);
        let Some(service) = service.filter(|it| it.has_cluster_ip) else {
            return;
        };
        let mut ports = attachment::meant_ports(service, route.kind, parent).peekable();
        if ports.peek().is_none() {
            return;
        }
        let key = (parent.namespace.as_str(), parent.name.as_str());
        let of_service = self.services.entry(key).or_insert_with(|| OfService {
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
