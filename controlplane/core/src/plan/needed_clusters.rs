//! The clusters that a proxy must have before it uses a configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_split::wire::{Config, Filters, Rule, Service, Target};

use super::backends::cluster_name;

/// The names of clusters.
pub type Names = BTreeSet<Arc<str>>;

/// Returns the clusters that may get a request or a copy of a request. A backend without a weight gets no request.
pub fn needed_clusters(config: &Config) -> Names {
    let services = config.rules.values().flat_map(needed_services);
    services.map(|it| cluster_name(it).into()).collect()
}

/// Returns the backends and mirrors whose clusters the rule needs. A Service may occur several times.
pub(super) fn needed_services(rule: &Rule) -> impl Iterator<Item = &Service> {
    let mirrors = rule.all_filters().flat_map(|filters| &filters.mirrors);
    needed_backends(rule).chain(mirrors.map(|mirror| &mirror.to))
}

/// Returns the backends of a rule that may get a request.
pub(super) fn needed_backends(rule: &Rule) -> impl Iterator<Item = &Service> {
    let backends = rule.backends.iter().filter(|backend| {
        backend.weight > 0 && !redirects(&rule.filters) && !redirects(&backend.filters)
    });
    backends.filter_map(|backend| service_of(&backend.to))
}

/// True if the proxy answers with a redirect, and uses no cluster.
pub(super) fn redirects(filters: &Option<Box<Filters>>) -> bool {
    filters.as_deref().is_some_and(|it| it.redirect.is_some())
}

pub(super) fn service_of(target: &Target) -> Option<&Service> {
    match target {
        Target::Service(service) => Some(service),
        Target::Status(_) => None,
    }
}
