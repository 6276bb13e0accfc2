//! Finds filters for TCP connections whose Service (the key `root`) has no rule.

use std::collections::BTreeSet;

use weir_split::wire::{Config, Destination, Hosts, Service};
use weir_split::{Direction, Protocol};

use super::{Filter, Finding};
use crate::manifest::problem::messages::{envoy as messages, one_of};
use crate::manifest::spelling::is_misspelling_of;

/// Adds a finding if the Service of the filter has no rule for connections.
pub fn find(filter: &Filter, config: &Config, findings: &mut BTreeSet<Finding>) {
    let plugin = &filter.plugin;
    if (plugin.direction, plugin.protocol) != (Direction::Outbound, Protocol::Tcp) {
        return;
    }
    let Some(root) = &plugin.site.root else {
        return;
    };
    let roots: BTreeSet<Service> = config
        .connections
        .iter()
        .filter_map(|it| match &it.to {
            Destination::Root(root) => Some(service(root)),
            Destination::Listeners(_) => None,
        })
        .collect();
    if roots.is_empty() && config.rules.is_empty() || roots.contains(root) {
        return;
    }
    let mut requests = config.hosts.iter().filter_map(|it| match &it.hosts {
        Hosts::Root(root) => Some(service(root)),
        Hosts::Literal(_) | Hosts::Gateway(_) => None,
    });
    let similar: Vec<&Service> = roots
        .iter()
        .filter(|it| is_misspelling_of(&it.to_string(), &root.to_string()) || is_same(it, root))
        .collect();
    let message = if requests.any(|it| it == *root) {
        messages::root_of_requests(root)
    } else if similar.is_empty() {
        messages::root_without_rule(root)
    } else {
        messages::other_root(root, one_of(similar))
    };
    findings.insert(Finding::at(&filter.at, message));
}

/// True if both are the same Service, perhaps with different ports.
fn is_same(one: &Service, other: &Service) -> bool {
    (&one.name, &one.namespace) == (&other.name, &other.namespace)
}

fn service(root: &weir_split::wire::Root) -> Service {
    Service {
        name: root.service.clone(),
        namespace: root.namespace.clone(),
        port: root.port,
    }
}
