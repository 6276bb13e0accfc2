//! Encodes the endpoints of a cluster as `envoy.config.endpoint.v3.ClusterLoadAssignment`.

use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{Address, Locality, SocketAddress, address};
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use envoy_types::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::encoded_resource::Resource;
use weir_core::upstream::endpoints::Endpoints;

/// Returns the resource with the endpoints of a cluster. `cluster` is the name of the cluster.
pub fn endpoints_resource(cluster: &Arc<str>, endpoints: &Endpoints) -> Resource {
    Resource::of(cluster.clone(), &load_assignment(cluster, endpoints))
}

/// Returns the message with the endpoints of a cluster. All endpoints have the same priority and weight. Envoy uses the
/// names of zones only if its own configuration names its zone.
pub(super) fn load_assignment(cluster: &str, endpoints: &Endpoints) -> ClusterLoadAssignment {
    let localities = endpoints.iter().map(|(zone, addresses)| {
        let addresses = addresses.iter().copied().map(numeric_address);
        LocalityLbEndpoints {
            locality: (!zone.is_empty()).then(|| Locality {
                zone: zone.clone().into(),
                ..Locality::default()
            }),
            ..locality(addresses)
        }
    });
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: localities.collect(),
        ..ClusterLoadAssignment::default()
    }
}

/// Returns the message with host names, for a cluster that resolves them by DNS. Envoy allows only one locality for
/// such a cluster.
pub(super) fn named_assignment(cluster: &str, names: &[(Box<str>, u16)]) -> ClusterLoadAssignment {
    let addresses = names
        .iter()
        .map(|(name, port)| address(name.clone().into(), *port));
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![locality(addresses)],
        ..ClusterLoadAssignment::default()
    }
}

fn locality(addresses: impl Iterator<Item = Address>) -> LocalityLbEndpoints {
    let endpoint = |address| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    LocalityLbEndpoints {
        lb_endpoints: addresses.map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    }
}

fn numeric_address(socket: SocketAddr) -> Address {
    address(socket.ip().to_string(), socket.port())
}

/// `host` is an IP address or a host name.
fn address(host: String, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: host,
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}
