//! What the lines for an Envoy depend on.

use std::fmt;
use std::net::IpAddr;

use serde_json::json;

use crate::manifest::hostname;
use crate::plan::Scope;

/// The choices of the operator.
#[derive(Clone, Debug)]
pub struct PasteOptions {
    /// The rules that the proxy gets: a namespace, a Gateway, or an edge.
    pub scope: Scope,
    pub control_plane: ServerAddress,
    /// File of the authority that signed the control plane's certificate; None for a connection without TLS.
    pub authority: Option<String>,
    /// File with a Secret of Envoy that has the name `weir-token`; None if no token is sent.
    pub token: Option<String>,
    pub module: ModuleSource,
    /// The name of the listener; None means the default name, or each listener of an existing configuration.
    pub listener: Option<String>,
}

/// The place from which Envoy gets the module of the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// The control plane sends it (ECDS).
    ControlPlane,
    /// A file that Envoy reads.
    File(String),
}

/// The address of `weir serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// Reads `HOST:PORT`. The host is a DNS name, an IPv4 address, or an IPv6 address in brackets. The port is not 0.
    pub fn parse(text: &str) -> Option<ServerAddress> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|it| *it != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|it| is_ip(it))?,
            None if host.contains(':') => return None,
            None => Some(host).filter(|it| is_ip(it) || hostname::is_dns_name(it))?,
        };
        let host = host.to_owned();
        Some(ServerAddress { host, port })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_ip(&self) -> bool {
        is_ip(&self.host)
    }
}

/// Writes `HOST:PORT`.
impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

impl PasteOptions {
    /// Returns the key and the value of the plugin configuration that choose the rules.
    pub fn scope_key(&self) -> (&'static str, String) {
        match &self.scope {
            Scope::Gateway { namespace, name } => ("gateway", format!("{namespace}/{name}")),
            Scope::Namespace(namespace) => ("namespace", namespace.clone()),
            Scope::Edge | Scope::Producers => ("namespace", weir_split::EVERY_NAMESPACE.to_owned()),
        }
    }

    /// Returns the JSON that tells the control plane which filters this Envoy has.
    pub fn filters_header(&self) -> String {
        let (key, value) = self.scope_key();
        format!("{{\"weir\": {{\"{key}\": {}}}}}", json!(value))
    }

    /// Returns a name for Envoy's node: the name of the Gateway, the namespace of the proxy, or `edge`.
    pub fn node_name(&self) -> &str {
        match &self.scope {
            Scope::Gateway { name, .. } => name,
            Scope::Namespace(namespace) => namespace,
            Scope::Edge | Scope::Producers => "edge",
        }
    }

    pub fn is_gateway(&self) -> bool {
        matches!(self.scope, Scope::Gateway { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_host_and_port() {
        for text in ["127.0.0.1:9900", "weir.weir-system.svc:9900", "[::1]:9900"] {
            assert_eq!(ServerAddress::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "", "weir", ":9900", "weir:0", "weir:x", "::1:9900", "[weir]:1", "a b:1",
        ] {
            assert_eq!(ServerAddress::parse(wrong), None, "{wrong}");
        }
    }
}
