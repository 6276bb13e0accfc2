//! The clusters of the backends of a plan, and the endpoints of these clusters. The shell encodes both for Envoy.

pub mod endpoints;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_split::wire;

use crate::api::service::upstream_settings::Policies;
use crate::api::service::{Host, Port, Service, UpstreamAddress, UpstreamSettings};
use crate::plan::Plan;
pub use crate::plan::backends::{cluster_name, services_of};
use crate::world::World;

/// The settings of the cluster of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub service: wire::Service,
    pub discovery: Discovery,
    /// True for HTTP/2, false for HTTP/1.1. Without meaning for a port that carries connections.
    pub is_http2: bool,
    /// None means no encryption.
    pub tls: Option<Tls>,
    pub policies: Policies,
}

/// Where a proxy gets the endpoints of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From EndpointSlices.
    Slices(PortSelection),
    /// From addresses that are a part of the cluster.
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
}

/// Returns the cluster of each Service port that gets requests or copies of requests under the plan, by name of the
/// cluster. A Service of type ExternalName in a cluster has none, because its author could choose any host.
pub fn clusters(world: &World, plan: &Plan) -> BTreeMap<Arc<str>, Cluster> {
    let backends = plan.backends().into_iter();
    let clusters = backends.filter_map(|(backend, is_grpc)| {
        let name = cluster_name(&backend).into();
        Some((name, cluster(world, backend, is_grpc)?))
    });
    clusters.collect()
}

/// Returns None if the Service or its port does not exist, or if its endpoints are unknown.
fn cluster(world: &World, backend: wire::Service, is_grpc: bool) -> Option<Cluster> {
    let service = world.service(&backend.namespace, &backend.name)?;
    let port = service.port(backend.port)?;
    let protocol = port.backend_protocol;
    Some(Cluster {
        discovery: discovery(service, port)?,
        is_http2: protocol.is_http2 || is_grpc,
        tls: protocol.is_tls.then(|| Tls {
            server_name: server_name(service),
        }),
        policies: service
            .upstream
            .as_ref()
            .map(|it| it.policies.clone())
            .unwrap_or_default(),
        service: backend,
    })
}

fn discovery(service: &Service, port: &Port) -> Option<Discovery> {
    let of_port = |host: &Host| UpstreamAddress {
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
        Host::Ip(address) => Some(SocketAddr::new(*address, port)),
        Host::Name(_) => None,
    });
    if let Some(addresses) = numeric.collect::<Option<_>>() {
        return Discovery::Addresses(addresses);
    }
    let names = with_port.map(|(host, port)| match host {
        Host::Ip(address) => (address.to_string().into(), port),
        Host::Name(name) => (name.clone(), port),
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
            Host::Name(name) => Some(name),
            Host::Ip(IpAddr::V4(_) | IpAddr::V6(_)) => None,
        })
    };
    let named = service.upstream.as_deref().and_then(hosts);
    let object = &service.object;
    named
        .unwrap_or_else(|| format!("{}.{}.svc.cluster.local", object.name, object.namespace).into())
}

#[cfg(test)]
mod tests;
