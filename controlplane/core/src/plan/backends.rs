//! The Services that get requests, and the names of their clusters.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::Site;
use weir_split::wire::{Config, Rule, Service, Target};

use super::Plan;

/// Returns the name of the cluster of a backend. It is the default name in the filter.
pub fn cluster_name(service: &Service) -> String {
    Site::default().naming.cluster(service)
}

/// Returns each backend and each mirror of a configuration.
pub fn services_of(config: &Config) -> BTreeSet<Service> {
    let services = config.rules.values().flat_map(services_of_rule);
    services.cloned().collect()
}

fn services_of_rule(rule: &Rule) -> impl Iterator<Item = &Service> {
    let backends = rule
        .backends
        .iter()
        .filter_map(|backend| match &backend.to {
            Target::Service(service) => Some(service),
            Target::Status(_) => None,
        });
    let mirrors = rule.all_filters().flat_map(|filters| &filters.mirrors);
    backends.chain(mirrors.map(|mirror| &mirror.to))
}

impl Plan {
    /// Returns each backend and each mirror of the plan. The value is true if a rule of a GRPCRoute names the Service.
    pub fn backends(&self) -> BTreeMap<Service, bool> {
        let mut backends: BTreeMap<Service, bool> = BTreeMap::new();
        for (identity, rule) in &self.rules {
            let is_grpc = identity.starts_with("GRPCRoute/");
            for service in services_of_rule(rule) {
                match backends.get_mut(service) {
                    Some(known) => *known |= is_grpc,
                    None => drop(backends.insert(service.clone(), is_grpc)),
                }
            }
        }
        backends
    }
}
