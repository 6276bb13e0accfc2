//! Counts the ports for which a split chooses the backend. The cost of a split grows with this number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::count;
use crate::api::service::{Port, Service, default_port};
use crate::api::smi::service_name::RootName;
use crate::api::smi::traffic_split::{SplitBackend, TrafficSplit};
use crate::world::{Key, World};

/// For each host of a split, by namespace and host name: the ports of all splits of the host.
pub struct SplitPorts(BTreeMap<Key, BTreeSet<u16>>);

impl SplitPorts {
    pub fn of(world: &World) -> SplitPorts {
        let mut ports: BTreeMap<Key, BTreeSet<u16>> = BTreeMap::new();
        for split in &world.splits {
            if let RootName::Host(host) = &split.root.name {
                let key = (split.object.namespace.clone(), host.name.clone());
                ports
                    .entry(key)
                    .or_default()
                    .extend(own_ports(world, split));
            }
        }
        SplitPorts(ports)
    }

    /// Returns the number of ports of a split. A split of a host may have up to two more: one for requests without a
    /// port in the Host header, and one for requests with a port that no split of the host has.
    pub fn ports(&self, world: &World, split: &TrafficSplit) -> u64 {
        let namespace = &split.object.namespace;
        match &split.root.name {
            RootName::Service(name) => world
                .service(namespace, name)
                .map_or(0, |service| ports_of_service(world, split, service)),
            RootName::Host(host) => {
                let all = self.0.get(&(namespace.clone(), host.name.clone()));
                let is_for_all = split.root.port.is_none();
                if is_for_all && default_port(common_ports(world, split)).is_some() {
                    all.map_or(0, |all| count(all.len())) + 2
                } else {
                    count(own_ports(world, split).len()) + 1
                }
            }
        }
    }
}

fn ports_of_service(world: &World, split: &TrafficSplit, service: &Service) -> u64 {
    if split.root.port.is_some() {
        return 1;
    }
    let is_for = |it: &&Port| split.groups.is_empty() || !it.carries_connections;
    let others = services(world, split, |_| true);
    let others = others.into_iter().filter(|it| it.object != service.object);
    let other_ports: BTreeSet<u16> = others.flat_map(Service::port_numbers).collect();
    let is_common = |it: &&Port| other_ports.contains(&it.number);
    let ports = service.ports.iter();
    count(if service.ports.iter().any(|it| is_common(&it)) {
        ports.filter(is_common).filter(is_for).count()
    } else {
        ports.filter(is_for).count()
    })
}

/// Returns the ports for which one split of a host chooses the backend.
fn own_ports(world: &World, split: &TrafficSplit) -> BTreeSet<u16> {
    match split.root.port {
        Some(port) => [port].into(),
        None => common_ports(world, split),
    }
}

/// Returns the ports that every backend with a weight above 0 has.
fn common_ports(world: &World, split: &TrafficSplit) -> BTreeSet<u16> {
    let mut services = services(world, split, |it| it.weight > 0).into_iter();
    let first = services.next().into_iter();
    let mut common: BTreeSet<u16> = first.flat_map(Service::port_numbers).collect();
    for service in services {
        let ports: BTreeSet<u16> = service.port_numbers().collect();
        common.retain(|it| ports.contains(it));
    }
    common
}

/// Returns the Services of the selected backends, without duplicates and without Services that may name any host.
fn services<'w>(
    world: &'w World,
    split: &TrafficSplit,
    is_selected: impl Fn(&SplitBackend) -> bool,
) -> Vec<&'w Service> {
    let backends = split.backends.iter().filter(|it| is_selected(it));
    let names: BTreeSet<&str> = backends.map(|it| it.name.as_str()).collect();
    let services = names
        .into_iter()
        .filter_map(|name| world.service(&split.object.namespace, name));
    let services = services.map(Arc::as_ref);
    services.filter(|it| !it.may_name_any_host()).collect()
}
