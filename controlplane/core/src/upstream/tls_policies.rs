//! Finds the BackendTLSPolicy of each Service port.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::backend_tls_policy::{Authorities, BackendTlsPolicy, CertificateName, Validation};
use crate::api::service::{Port, Service};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::backend_tls_policy as messages;
use crate::world::World;

use super::{Tls, Verification};

/// Namespace and name of a Service, and the name of a port; None for every port.
type Target<'w> = (&'w str, &'w str, Option<&'w str>);

/// The policy of each target. If several policies have the same target, the oldest policy decides.
pub(super) struct TlsPolicies<'w> {
    by_target: BTreeMap<Target<'w>, &'w BackendTlsPolicy>,
}

/// A policy that proxies cannot follow. They must send no requests to the Service.
pub(super) struct Unverifiable;

impl<'w> TlsPolicies<'w> {
    pub(super) fn of(world: &'w World, problems: &mut BTreeSet<Problem>) -> TlsPolicies<'w> {
        let mut policies: Vec<&BackendTlsPolicy> =
            world.tls_policies.iter().map(Arc::as_ref).collect();
        // An object without a creation time comes last, as in the precedence of routes.
        policies.sort_by_key(|it| (it.created.is_none(), it.created, &it.object));
        let mut by_target: BTreeMap<Target<'w>, &'w BackendTlsPolicy> = BTreeMap::new();
        for policy in policies {
            let object = &policy.object;
            for (index, target) in policy.targets.iter().enumerate() {
                let path = || format!("spec.targetRefs[{index}]");
                let key = (
                    object.namespace.as_str(),
                    &*target.service,
                    target.port.as_deref(),
                );
                let at = format!("{}/{}", object.namespace, target.service);
                let service = world.service(&object.namespace, &target.service);
                let has_port = |service: &Service| {
                    let name = target.port.as_deref();
                    name.is_none_or(|name| service.ports.iter().any(|it| *it.name == *name))
                };
                let port = target.port.as_deref().unwrap_or_default();
                let problem = match (service, by_target.get(&key)) {
                    (None, _) => Some(messages::target_missing(&at)),
                    (Some(service), _) if !has_port(service) => {
                        Some(messages::target_port_missing(&at, port))
                    }
                    (Some(_), Some(other)) => {
                        let other = format!("{}/{}", other.object.namespace, other.object.name);
                        Some(messages::older_policy(other, &at))
                    }
                    (Some(_), None) => None,
                };
                match problem {
                    Some(message) => drop(problems.insert(object.problem(path(), message))),
                    None => drop(by_target.insert(key, policy)),
                }
            }
            for (index, name) in policy.config_maps().iter().enumerate() {
                if world.certificates(&object.namespace, name).is_none() {
                    let message = messages::no_certificates(format!("{}/{name}", object.namespace));
                    let path = format!("spec.validation.caCertificateRefs[{index}]");
                    problems.insert(object.problem(path, message));
                }
            }
        }
        TlsPolicies { by_target }
    }

    /// Returns the settings of the policy for a port; None without a policy. A policy for the port goes before a policy
    /// for the whole Service.
    pub(super) fn tls(
        &self,
        world: &World,
        service: &Service,
        port: &Port,
    ) -> Option<Result<Tls, Unverifiable>> {
        let (namespace, name) = (
            service.object.namespace.as_str(),
            service.object.name.as_str(),
        );
        let of_port = self.by_target.get(&(namespace, name, Some(&*port.name)));
        let policy = of_port.or_else(|| self.by_target.get(&(namespace, name, None)))?;
        let validation = policy.validation.as_ref();
        Some(
            validation
                .and_then(|it| tls(world, namespace, it))
                .ok_or(Unverifiable),
        )
    }
}

/// Returns None if a ConfigMap has no certificates.
fn tls(world: &World, namespace: &str, validation: &Validation) -> Option<Tls> {
    let authorities = match &validation.authorities {
        Authorities::System => None,
        Authorities::ConfigMaps(names) => {
            let mut all = String::new();
            for name in names {
                all += world.certificates(namespace, name)?;
                all.push('\n');
            }
            Some(all.into())
        }
    };
    let names = if validation.names.is_empty() {
        [CertificateName::Hostname(validation.hostname.clone())].into()
    } else {
        validation.names.clone()
    };
    Some(Tls {
        server_name: validation.hostname.clone(),
        verification: Some(Verification { authorities, names }),
    })
}
