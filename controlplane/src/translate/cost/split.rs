//! What a TrafficSplit costs: for each port all of its backends and all of its matches.

use super::{BACKEND, Costs, MATCH, count, set_of_service, text};
use crate::budget::{Cost, Parts};
use crate::plan::Audience;
use crate::root::RootName;
use crate::smi::TrafficSplit;
use crate::translate::MAX_MATCHES;

pub fn written(split: &TrafficSplit) -> u64 {
    let own = text(&split.object.namespace);
    let backends = split.backends.iter();
    let backends: u64 = backends.map(|it| BACKEND + own + text(&it.name)).sum();
    let groups: u64 = split.groups.iter().map(|it| text(it)).sum();
    backends + groups
}

impl Costs<'_> {
    pub fn of_split(&mut self, split: &TrafficSplit) -> Parts {
        let own = split.object.namespace.as_str();
        let (audience, ports, set) = match &split.root.name {
            RootName::Service(name) => {
                let Some(service) = self.world.service(own, name) else {
                    return Parts::new();
                };
                let ports = match split.root.port {
                    Some(_) => 1,
                    None => count(service.ports.len()),
                };
                (Audience::Everyone, ports, set_of_service(service))
            }
            RootName::Host(host) => {
                let ports = self.ports_of_host(own, &host.name);
                let audience = Audience::NamespaceAndEdge(own.to_owned());
                (audience, ports, super::SET + text(&host.name))
            }
        };
        let (matches, of_matches) = self.matches(split);
        if matches.saturating_mul(ports) > count(MAX_MATCHES) {
            // It is not in force for another reason.
            return Parts::new();
        }
        let identity = count(split.object.identity().len()) + 30;
        let backends = split.backends.iter();
        let accounts: u64 = backends.map(|it| self.accounts(own, &it.name)).sum();
        let rule = identity
            .saturating_add(written(split))
            .saturating_add(accounts);
        let matches = of_matches.saturating_add(matches.saturating_mul(identity + MATCH));
        let of_port = rule.saturating_add(matches).saturating_add(set);
        let bytes = of_port.saturating_mul(ports);
        [(audience, Cost::of_bytes(bytes))].into()
    }

    /// How many matches it has at each port, and the bytes of all of them.
    fn matches(&mut self, split: &TrafficSplit) -> (u64, u64) {
        if split.groups.is_empty() {
            return (1, 0);
        }
        let (mut matches, mut bytes) = (0_u64, 0_u64);
        for name in &split.groups {
            for it in self.group(&split.object.namespace, name) {
                matches = matches.saturating_add(it.methods);
                bytes = bytes.saturating_add(it.bytes.saturating_mul(it.methods));
            }
        }
        (matches, bytes)
    }

    /// An upper bound of the ports that the splits of a host have in one namespace, plus two: one claim for a Host
    /// header without a port, and one for a Host header with another port.
    fn ports_of_host(&mut self, namespace: &str, host: &str) -> u64 {
        let key = (namespace.to_owned(), host.to_owned());
        if let Some(known) = self.host_ports.get(&key) {
            return *known;
        }
        let world = self.world;
        let of_host = world.splits.iter().filter(|it| {
            it.object.namespace == namespace
                && matches!(&it.root.name, RootName::Host(it) if it.name == host)
        });
        let ports = of_host.map(|split| match split.root.port {
            Some(_) => 1,
            // The split has the ports that all its backends with a weight have in common.
            None => {
                let weighted = split.backends.iter().find(|it| it.weight > 0);
                let service = weighted.and_then(|it| world.service(namespace, &it.name));
                service.map_or(0, |service| count(service.ports.len()))
            }
        });
        let ports = ports.fold(2, u64::saturating_add);
        self.host_ports.insert(key, ports);
        ports
    }
}
