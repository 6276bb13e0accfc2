//! The Services that get requests, and the names of their clusters.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::Site;
use weir_split::wire::{Config, Rule, Service, Target};

use super::Plan;

/// Returns the name of the cluster of a backend. It is the default name in the filter.
pub fn cluster_name(service: &Service) -> String {
    Site::default().naming.cluster(service)
}

/// Returns the Service of a cluster. Returns None if the name cannot come from [`cluster_name`].
pub fn service_of_cluster(name: &str) -> Option<Service> {
    let (host, port) = name.rsplit_once(':')?;
    let (name, namespace) = host.strip_suffix(".svc.cluster.local")?.rsplit_once('.')?;
    Some(Service {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        port: port.parse().ok()?,
    })
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
    /// Returns each backend and each mirror of the plan. The value is true if a rule of a GRPCRoute in the namespace of
    /// the Service names the Service. A route of another namespace must not change the protocol for everybody.
    pub fn backends(&self) -> BTreeMap<Service, bool> {
        let mut backends: BTreeMap<Service, bool> = BTreeMap::new();
        for (identity, rule) in &self.rules {
            let grpc_namespace = identity
                .strip_prefix("GRPCRoute/")
                .and_then(|rest| rest.split_once('/'))
                .map(|(namespace, _)| namespace);
            for service in services_of_rule(rule) {
                let is_grpc = grpc_namespace == Some(&service.namespace);
                match backends.get_mut(service) {
                    Some(known) => *known |= is_grpc,
                    None => drop(backends.insert(service.clone(), is_grpc)),
                }
            }
        }
        backends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names_parse_to_services() {
        let service = Service {
            name: "web".into(),
            namespace: "shop".into(),
            port: 80,
        };
        assert_eq!(service_of_cluster(&cluster_name(&service)), Some(service));
        for other in ["", "web", "web.shop:80", "web.svc.cluster.local:80"] {
            assert_eq!(service_of_cluster(other), None, "{other}");
        }
    }
}
