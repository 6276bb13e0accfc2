//! Computes the cost of a TrafficSplit: the bytes of all its backends and matches, times the number of its ports.

use super::{BACKEND, Costs, MATCH, count, set_of_service, text};
use crate::api::smi::service_name::RootName;
use crate::api::smi::traffic_split::TrafficSplit;
use crate::plan::Audience;
use crate::translate::budget::{Cost, Parts};

pub fn min_bytes(split: &TrafficSplit) -> u64 {
    let own = text(&split.object.namespace);
    let backends = split.backends.iter();
    let backends: u64 = backends.map(|it| BACKEND + own + text(&it.name)).sum();
    let groups: u64 = split.groups.iter().map(|it| text(it)).sum();
    backends + groups
}

impl Costs<'_> {
    pub fn of_split(&mut self, split: &TrafficSplit) -> Parts {
        let own = split.object.namespace.as_str();
        let (audience, set) = match &split.root.name {
            RootName::Service(name) => {
                let Some(service) = self.world.service(own, name) else {
                    return Parts::new();
                };
                (Audience::Everyone, set_of_service(service))
            }
            RootName::Host(host) => {
                let audience = Audience::NamespaceAndEdge(own.to_owned());
                (audience, super::SET + text(&host.name))
            }
        };
        // Translation does some work even for a split without ports, so this split counts as if it had one port.
        let ports = self.split_ports.ports(self.world, split).max(1);
        let (matches, of_matches) = self.matches(split);
        let identity = count(split.object.identity().len()) + 30;
        let backends = split.backends.iter();
        let accounts: u64 = backends.map(|it| self.accounts(own, &it.name)).sum();
        let rule = identity
            .saturating_add(min_bytes(split))
            .saturating_add(accounts);
        let matches = of_matches.saturating_add(matches.saturating_mul(identity + MATCH));
        let of_port = rule.saturating_add(matches).saturating_add(set);
        let bytes = of_port.saturating_mul(ports);
        [(audience, Cost::of_bytes(bytes).into())].into()
    }

    /// Returns the number of matches at each port, and the sum of their bytes.
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
}
