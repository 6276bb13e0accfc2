//! The clusters of the backends of a plan, and the endpoints of these clusters. The shell encodes both for Envoy.

pub mod endpoints;
mod tls_policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_split::wire;

use crate::api::backend_tls_policy::CertificateName;
use crate::api::service::upstream_settings::UpstreamPolicies;
use crate::api::service::{HostAddress, Port, Service, UpstreamAddress, UpstreamSettings};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::backend_tls_policy as messages;
use crate::plan::Plan;
pub use crate::plan::backends::{cluster_name, services_of};
use crate::world::World;
use tls_policies::{TlsPolicies, Unverifiable};

/// Maximum size of the certificates in all clusters of one namespace. Clusters above it get no requests.
const MAX_CERTIFICATES: usize = 4 << 20;

/// The cluster of one backend, as a plan keeps it: a plan can have tens of thousands of clusters.
#[derive(Clone, Debug)]
pub struct PlannedCluster {
    service: Arc<Service>,
    port: u16,
    is_grpc: bool,
    tls: Option<Arc<Tls>>,
    /// True if no request may reach the Service, because the verification that its policy requires is impossible.
    is_closed: bool,
}

/// The settings of the cluster of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub service: wire::Service,
    pub discovery: Discovery,
    /// True for HTTP/2, false for HTTP/1.1. Without meaning for a port that carries connections.
    pub is_http2: bool,
    /// None means no encryption.
    pub tls: Option<Arc<Tls>>,
    pub policies: UpstreamPolicies,
}

/// Where a proxy gets the endpoints of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From EndpointSlices.
    Slices(PortSelection),
    /// From addresses that are a part of the cluster. Without an address, a proxy answers requests with 503.
    Addresses(Box<[SocketAddr]>),
    /// From DNS. A host name has at most 253 bytes; an IP address is also possible.
    Names(Box<[(Box<str>, u16)]>),
}

/// Which endpoints of the EndpointSlices of a Service belong to one of its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSelection {
    /// The name of the port; empty if the port has no name.
    pub port_name: Box<str>,
    /// True if IPv6 is used for pods that have addresses of both families.
    pub prefers_ipv6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The host name that the proxy sends (SNI).
    pub server_name: Box<str>,
    /// None means that the proxy accepts every certificate.
    pub verification: Option<Verification>,
}

/// What a proxy expects of the certificate of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The certificates of the authorities in PEM; None for the certificates of the proxy's operating system.
    pub authorities: Option<Arc<str>>,
    /// One of these names must be in the certificate.
    pub names: Box<[CertificateName]>,
}

/// Returns the cluster of each Service port that gets requests or copies of requests under the plan, by name of the
/// cluster. A Service of type ExternalName in Kubernetes has no cluster, because its author could choose any host. Adds
/// the problems of the policies and of unverified TLS.
pub fn clusters(
    world: &World,
    plan: &Plan,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<Arc<str>, PlannedCluster> {
    let policies = TlsPolicies::of(world, problems);
    let mut clusters = BTreeMap::new();
    let mut certificates: BTreeMap<String, usize> = BTreeMap::new();
    for (backend, is_grpc) in plan.backends() {
        let Some(mut cluster) = planned_cluster(world, &policies, &backend, is_grpc, problems)
        else {
            continue;
        };
        let bytes = cluster.certificate_bytes();
        if bytes > 0 {
            let total = certificates.entry(backend.namespace.clone()).or_default();
            *total = total.saturating_add(bytes);
            if *total > MAX_CERTIFICATES {
                let message = messages::too_many_certificates(MAX_CERTIFICATES);
                problems.insert(cluster.service.object.problem("", message));
                cluster.close();
            }
        }
        clusters.insert(cluster_name(&backend).into(), cluster);
    }
    clusters
}

impl PartialEq for PlannedCluster {
    /// Compares the addresses of the Services, because a plan has too many clusters to compare their contents.
    fn eq(&self, other: &PlannedCluster) -> bool {
        Arc::ptr_eq(&self.service, &other.service)
            && self.port == other.port
            && self.is_grpc == other.is_grpc
            && self.tls == other.tls
            && self.is_closed == other.is_closed
    }
}

impl PlannedCluster {
    /// Returns the Service that gets the requests.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Returns which endpoints of the EndpointSlices of the Service belong to the cluster. Returns None if the endpoints
    /// are a part of the cluster.
    pub fn selection(&self) -> Option<PortSelection> {
        match self.discovery()? {
            Discovery::Slices(selection) => Some(selection),
            Discovery::Addresses(_) | Discovery::Names(_) => None,
        }
    }

    /// Returns None if the endpoints of the Service are unknown.
    fn discovery(&self) -> Option<Discovery> {
        if self.is_closed {
            return Some(Discovery::Addresses(Box::default()));
        }
        discovery(&self.service, self.service.port(self.port)?)
    }

    pub fn settings(&self) -> Option<Cluster> {
        let service = &*self.service;
        let port = service.port(self.port)?;
        let settings = service.upstream.as_ref();
        Some(Cluster {
            service: wire::Service {
                name: service.object.name.clone(),
                namespace: service.object.namespace.clone(),
                port: port.number,
            },
            discovery: self.discovery()?,
            is_http2: port.backend_protocol.is_http2 || self.is_grpc,
            tls: self.tls.clone(),
            policies: settings.map(|it| it.policies.clone()).unwrap_or_default(),
        })
    }

    /// Returns the number of bytes of the certificates in the cluster.
    fn certificate_bytes(&self) -> usize {
        let verification = self.tls.as_ref().and_then(|it| it.verification.as_ref());
        let authorities = verification.and_then(|it| it.authorities.as_ref());
        authorities.map_or(0, |it| it.len())
    }

    /// Makes a cluster without endpoints: no request can reach the Service without the verification that its policy
    /// requires.
    fn close(&mut self) {
        self.is_closed = true;
        self.tls = None;
    }
}

/// Returns None if the Service or its port does not exist, or if its endpoints are unknown.
fn planned_cluster(
    world: &World,
    policies: &TlsPolicies<'_>,
    backend: &wire::Service,
    is_grpc: bool,
    problems: &mut BTreeSet<Problem>,
) -> Option<PlannedCluster> {
    let service = world.service(&backend.namespace, &backend.name)?;
    let port = service.port(backend.port)?;
    let mut cluster = PlannedCluster {
        service: service.clone(),
        port: port.number,
        is_grpc,
        tls: None,
        is_closed: false,
    };
    cluster.discovery()?;
    match policies.tls(world, service, port) {
        Some(Ok(tls)) => cluster.tls = Some(Arc::new(tls)),
        Some(Err(Unverifiable)) => cluster.close(),
        None if port.backend_protocol.is_tls => {
            let message = messages::not_verified(port.number);
            problems.insert(service.object.problem("spec.ports", message));
            cluster.tls = Some(Arc::new(Tls {
                server_name: server_name(service),
                verification: None,
            }));
        }
        None => {}
    }
    Some(cluster)
}

fn discovery(service: &Service, port: &Port) -> Option<Discovery> {
    let of_port = |host: &HostAddress| UpstreamAddress {
        host: host.clone(),
        port: None,
    };
    let is_in_cluster = service.object.source.is_empty();
    let settings = service.upstream.as_deref();
    let addresses = settings.map_or(&[][..], |it| &it.addresses);
    match settings.and_then(|it| it.external_name.as_ref()) {
        _ if !addresses.is_empty() => Some(listed(addresses, port.number)),
        Some(host) if !is_in_cluster => Some(listed(&[of_port(host)], port.number)),
        _ if service.is_external => None,
        _ => Some(Discovery::Slices(PortSelection {
            port_name: port.name.clone(),
            prefers_ipv6: service.prefers_ipv6,
        })),
    }
}

fn listed(addresses: &[UpstreamAddress], default_port: u16) -> Discovery {
    let with_port = addresses
        .iter()
        .map(|it| (&it.host, it.port.unwrap_or(default_port)));
    let numeric = with_port.clone().map(|(host, port)| match host {
        HostAddress::Ip(address) => Some(SocketAddr::new(*address, port)),
        HostAddress::Name(_) => None,
    });
    if let Some(addresses) = numeric.collect::<Option<_>>() {
        return Discovery::Addresses(addresses);
    }
    let names = with_port.map(|(host, port)| match host {
        HostAddress::Ip(address) => (address.to_string().into(), port),
        HostAddress::Name(name) => (name.clone(), port),
    });
    Discovery::Names(names.collect())
}

/// Returns the first host name of the addresses of the Service, or else the name of the Service in a cluster.
fn server_name(service: &Service) -> Box<str> {
    let hosts = |settings: &UpstreamSettings| {
        let of_addresses = settings.addresses.iter().map(|it| it.host.clone());
        let external = settings.external_name.clone();
        let mut hosts = of_addresses.chain(external);
        hosts.find_map(|host| match host {
            HostAddress::Name(name) => Some(name),
            HostAddress::Ip(IpAddr::V4(_) | IpAddr::V6(_)) => None,
        })
    };
    let named = service.upstream.as_deref().and_then(hosts);
    let object = &service.object;
    named
        .unwrap_or_else(|| format!("{}.{}.svc.cluster.local", object.name, object.namespace).into())
}

#[cfg(test)]
mod tests;
