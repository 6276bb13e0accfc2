//! Service and Namespace of Kubernetes core/v1, with the fields that routing and the clusters of proxies use.

pub mod upstream_settings;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

pub use upstream_settings::{HostAddress, UpstreamAddress, UpstreamSettings};

use crate::manifest::object::Object;
use crate::manifest::problem::messages::one_of;
use crate::manifest::problem::messages::service as messages;
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::at_most;

/// The maximum number of ports of one Service. Each split or route of the Service needs memory for each port.
const MAX_PORTS: usize = 1_000;

/// A Service and its TCP ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub object: ObjectRef,
    /// The TCP ports, sorted by number, without duplicates.
    pub ports: Box<[Port]>,
    /// True if the type is ExternalName.
    pub is_external: bool,
    pub selector: Selector,
    /// The addresses of the Service. Manifests in files usually have no addresses, because the API server assigns them.
    pub cluster_ips: Box<[IpAddr]>,
    /// False for headless and ExternalName Services.
    pub has_cluster_ip: bool,
    /// True if the first IP family of the Service is IPv6.
    pub prefers_ipv6: bool,
    /// None if the Service has only defaults.
    pub upstream: Option<Box<UpstreamSettings>>,
}

/// Names and values of the labels that a Pod must have. An empty selector selects no Pod. The type is a slice, because
/// a map needs much more memory, and a cluster can have thousands of Services.
pub type Selector = Box<[(Box<str>, Box<str>)]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// The name of the port; empty if the port has no name.
    pub name: Box<str>,
    /// True if Weir splits connections at this port, false if Weir splits HTTP requests. The field `appProtocol`
    /// decides. A port without `appProtocol` has connections if its name is `tcp` or begins with `tcp-`.
    pub carries_connections: bool,
    /// The `appProtocol` of the port, if it is not HTTP.
    pub non_http_protocol: Option<Box<str>>,
    pub backend_protocol: BackendProtocol,
}

/// The protocol that a proxy uses with the endpoints of a port, by the field `appProtocol` of the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendProtocol {
    pub is_http2: bool,
    pub is_tls: bool,
}

#[derive(Deserialize)]
struct ServiceManifest {
    spec: Option<ServiceSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    ports: Option<Vec<PortSpec>>,
    selector: Option<BTreeMap<String, String>>,
    external_name: Option<String>,
    ip_families: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortSpec {
    name: Option<String>,
    port: u16,
    protocol: Option<String>,
    app_protocol: Option<String>,
}

/// Values of `appProtocol` that are not HTTP, in upper or lower case. Every other value means HTTP, for example
/// `https`, `grpc` and `kubernetes.io/h2c`.
const NO_HTTP: [&str; 9] = [
    "tcp",
    "tcp-server-first",
    "tls",
    "mongo",
    "mongodb",
    "mysql",
    "postgres",
    "postgresql",
    "redis",
];

/// Returns the value of [`Port::carries_connections`].
fn carries_connections(app_protocol: Option<&str>, name: &str) -> bool {
    match app_protocol {
        Some(protocol) => is_no_http(protocol),
        None => name == "tcp" || name.starts_with("tcp-"),
    }
}

fn is_no_http(app_protocol: &str) -> bool {
    NO_HTTP
        .iter()
        .any(|no| no.eq_ignore_ascii_case(app_protocol))
}

impl BackendProtocol {
    /// Every unknown value means HTTP/1.1 without TLS.
    fn of(app_protocol: Option<&str>) -> BackendProtocol {
        let (is_http2, is_tls) = match app_protocol.map(str::to_ascii_lowercase).as_deref() {
            Some("kubernetes.io/h2c" | "h2c" | "http2" | "grpc") => (true, false),
            Some("https" | "kubernetes.io/wss" | "wss") => (false, true),
            _ => (false, false),
        };
        BackendProtocol { is_http2, is_tls }
    }
}

impl Service {
    /// Parses a Service. A wrong annotation is a problem, and switches off only its own setting.
    pub fn parse(object: &Object, problems: &mut Vec<Problem>) -> Result<Service, Problem> {
        let ServiceManifest { spec } = object.decode()?;
        let spec = spec.unwrap_or_default();
        let reference = object.reference();
        let ips: Vec<String> = match spec.cluster_ips {
            Some(ips) if !ips.is_empty() => ips,
            _ => spec.cluster_ip.into_iter().collect(),
        };
        let is_headless = ips.iter().any(|ip| ip == "None");
        let mut cluster_ips = Vec::new();
        for ip in ips.iter().filter(|ip| !is_headless && !ip.is_empty()) {
            match ip.parse::<IpAddr>() {
                Ok(address) => cluster_ips.push(address),
                Err(_) => {
                    let message = messages::bad_cluster_ip(ip);
                    return Err(reference.problem("spec.clusterIP", message));
                }
            }
        }
        let specs = spec.ports.unwrap_or_default();
        at_most(&specs, MAX_PORTS, &reference, "spec.ports")?;
        let mut ports = BTreeMap::new();
        for (index, spec) in specs.into_iter().enumerate() {
            if spec.port == 0 {
                let path = format!("spec.ports[{index}].port");
                return Err(reference.problem(path, messages::port_zero()));
            }
            let is_tcp = spec.protocol.as_deref().unwrap_or("TCP") == "TCP";
            if is_tcp && !ports.contains_key(&spec.port) {
                let name = spec.name.unwrap_or_default();
                let protocol = spec.app_protocol;
                let port = Port {
                    number: spec.port,
                    carries_connections: carries_connections(protocol.as_deref(), &name),
                    name: name.into(),
                    backend_protocol: BackendProtocol::of(protocol.as_deref()),
                    non_http_protocol: protocol.filter(|it| is_no_http(it)).map(Into::into),
                };
                ports.insert(spec.port, port);
            }
        }
        let is_external = spec.kind.as_deref() == Some("ExternalName");
        let selector = spec.selector.filter(|_| !is_external).into_iter().flatten();
        let external_name = spec.external_name.filter(|_| is_external);
        let first_family = spec.ip_families.and_then(|it| it.into_iter().next());
        Ok(Service {
            prefers_ipv6: match first_family {
                Some(family) => family == "IPv6",
                None => cluster_ips.first().is_some_and(IpAddr::is_ipv6),
            },
            upstream: UpstreamSettings::parse(object, external_name.as_deref(), problems),
            has_cluster_ip: !is_headless && !is_external,
            object: reference,
            ports: ports.into_values().collect(),
            is_external,
            selector: selector
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            cluster_ips: cluster_ips.into(),
        })
    }

    /// True for a Service of type ExternalName in a cluster: its author could reach any host through the proxy
    /// (CVE-2021-25740, and Gateway API, BackendObjectReference). The author of the files in a folder may do this.
    pub fn may_name_any_host(&self) -> bool {
        self.is_external && self.object.source.is_empty()
    }

    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|port| port.number == number)
    }

    pub fn port_numbers(&self) -> impl Iterator<Item = u16> {
        self.ports.iter().map(|port| port.number)
    }

    /// Returns the numbers of the Service's ports, for a message: `80`, or `one of 80, 443`.
    pub fn possible_ports(&self) -> String {
        one_of(self.port_numbers())
    }
}

/// Returns the port for requests without a port in the Host header: the only port of the Service, or port 80 if there
/// are several ports. Returns None if there are no ports, or several ports without port 80.
pub fn default_port(ports: impl IntoIterator<Item = u16>) -> Option<u16> {
    let mut ports = ports.into_iter();
    let first = ports.next()?;
    let mut rest = ports.peekable();
    if rest.peek().is_none() || first == 80 {
        return Some(first);
    }
    rest.find(|port| *port == 80)
}

#[derive(Deserialize)]
struct NamespaceManifest {
    metadata: NamespaceMetadata,
}

#[derive(Deserialize)]
struct NamespaceMetadata {
    labels: Option<BTreeMap<String, String>>,
}

/// Returns the labels in the manifest of a Namespace.
pub fn namespace_labels(object: &Object) -> Result<BTreeMap<String, String>, Problem> {
    let NamespaceManifest { metadata } = object.decode()?;
    Ok(metadata.labels.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;

    fn service(spec: &str) -> Result<Service, Problem> {
        let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}\n");
        Service::parse(&read("a.yaml", &text).unwrap().objects[0], &mut Vec::new())
    }

    #[test]
    fn ports_and_addresses_are_parsed() {
        let plain = service(
            "{clusterIPs: [10.0.0.1, 'FD00::1'], clusterIP: 10.0.0.1, ports: [{port: 80, name: http}, {port: 53, protocol: UDP}]}",
        )
        .unwrap();
        let ports = plain.ports.iter().map(|it| (it.number, &*it.name));
        assert_eq!(ports.collect::<Vec<_>>(), [(80, "http")]);
        let ips = plain.cluster_ips.iter().map(IpAddr::to_string);
        assert_eq!(ips.collect::<Vec<_>>(), ["10.0.0.1", "fd00::1"]);
        assert!(plain.has_cluster_ip);
        assert!(!service("{clusterIP: None}").unwrap().has_cluster_ip);
        assert!(!service("{type: ExternalName}").unwrap().has_cluster_ip);
        assert!(service("null").unwrap().has_cluster_ip);
        let path = |spec: &str| service(spec).unwrap_err().path;
        assert_eq!(path("{ports: [{port: http}]}"), "spec.ports[0].port");
        assert_eq!(path("{ports: [{port: 70000}]}"), "spec.ports[0].port");
        assert_eq!(path("{ports: [{port: 0}]}"), "spec.ports[0].port");
        assert_eq!(path("{clusterIP: here}"), "spec.clusterIP");
        let ports = |count| format!("{{ports: [{}]}}", vec!["{port: 1}"; count].join(", "));
        assert_eq!(path("{selector: {version: 1}}"), "spec.selector.version");
        assert_eq!(path(&ports(1001)), "spec.ports");
        assert!(service(&ports(1000)).is_ok());
    }

    #[test]
    fn tcp_ports_carry_connections() {
        for (port, expected) in [
            ("{port: 1}", false),
            ("{port: 1, name: tcp}", true),
            ("{port: 1, name: tcp-mysql}", true),
            ("{port: 1, name: tcp-server-first-mysql}", true),
            ("{port: 1, name: tcpx}", false),
            ("{port: 1, name: mysql}", false),
            ("{port: 1, name: http-tcp}", false),
            ("{port: 1, appProtocol: TCP}", true),
            ("{port: 1, appProtocol: mysql}", true),
            ("{port: 1, appProtocol: tcp-server-first}", true),
            ("{port: 1, appProtocol: kubernetes.io/h2c}", false),
            ("{port: 1, appProtocol: https}", false),
            ("{port: 1, name: tcp, appProtocol: http}", false),
        ] {
            let service = service(&format!("{{ports: [{port}]}}")).unwrap();
            assert_eq!(service.ports[0].carries_connections, expected, "{port}");
        }
    }

    #[test]
    fn default_port_is_single_or_80() {
        assert_eq!(default_port([]), None);
        assert_eq!(default_port([8080]), Some(8080));
        assert_eq!(default_port([80, 8080]), Some(80));
        assert_eq!(default_port([25, 80, 8080]), Some(80));
        assert_eq!(default_port([8080, 9090]), None);
    }
}
