//! The plugin configuration: the JSON that an operator writes for this filter into the proxy's configuration.

mod error;
mod keys;

use std::collections::{BTreeMap, BTreeSet};

pub use self::error::{PLUGIN_EFFECT, PLUGIN_MESSAGES, PluginError, PluginMessage};
use self::keys::Keys;
use crate::identity::{IdentityDomains, is_trust_domain};
use crate::wire;

/// The checked form of the filter's plugin configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The name of the Envoy cluster for `weir serve`; None if the proxy uses only the initial configuration.
    pub control_plane: Option<String>,
    /// The query of `/v1/config`: `namespace=...` or `gateway=...`. Empty if the plugin configuration has neither.
    pub scope: String,
    /// The name, in lower case, of the request header that the proxy's `cluster_header` route reads.
    pub header: String,
    /// The configuration that the filter uses until the control plane sends another configuration.
    pub initial: Option<wire::Config>,
    pub until_configured: UntilConfigured,
    /// Seconds, 60 to 604,800. If the control plane does not confirm the permissions within this time, a proxy with a
    /// service account denies everything. None means no limit.
    pub access_max_age: Option<u64>,
    /// True if the access log names the rule of each request.
    pub log_rule: bool,
    pub clusters_from: ClustersFrom,
    pub protocol: Protocol,
    pub direction: Direction,
    pub site: Site,
}

/// Where the proxy has the clusters of backends from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClustersFrom {
    /// The operator writes the clusters into Envoy's configuration, or another control plane sends them.
    #[default]
    Envoy,
    /// The control plane sends the clusters. It sends a configuration only after the proxy has its clusters.
    Weir,
}

/// The kind of filter chain that contains the filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Tcp,
}

/// The traffic that passes through the filter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Traffic from the workloads of this proxy, or from the clients of this Gateway.
    #[default]
    Outbound,
    /// Traffic to the workload of this proxy. The filter checks permissions and does not split traffic.
    Inbound,
}

/// What happens to a request before the proxy has a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UntilConfigured {
    /// The request takes its ordinary route.
    #[default]
    Pass,
    /// The proxy answers 503.
    Unavailable,
    /// The proxy answers 403. This value is for proxies with a service account: the policy is not known yet, and may
    /// deny any request.
    Denied,
}

/// The properties of one proxy that [`crate::Table::compile`] needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// Namespace of the workloads of this proxy, in which short names resolve; empty if there is no single namespace.
    pub namespace: String,
    pub cluster_domain: String,
    /// The trust domain of the SPIFFE IDs that name ServiceAccounts of this cluster. Empty if the filter reads no
    /// certificates.
    pub trust_domain: String,
    pub listeners: Listeners,
    pub naming: Naming,
    /// `NAMESPACE/NAME` of the ServiceAccount of this proxy's workload. A proxy with a ServiceAccount enforces the
    /// access policy: it denies all traffic until it has a configuration.
    pub service_account: Option<String>,
    /// The Service that all connections call; None if the original destination of each connection shows the Service.
    pub root: Option<wire::Service>,
    /// True if a request without the routing header goes to the Service in its Host header.
    pub ordinary_route_serves_root: bool,
}

/// The listeners of the Gateway at which the requests of this filter come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Listeners {
    /// The plugin configuration names no listener, so a request may belong to any listener.
    #[default]
    Any,
    One(String),
    /// Names of listeners for each port of the proxy's sockets, at least one name for each port. A socket may have
    /// another port than its listeners.
    BySocket(BTreeMap<u16, BTreeSet<String>>),
}

impl Listeners {
    /// Returns the listener of all requests or connections, if there is only one listener.
    pub fn one(&self) -> Option<&str> {
        match self {
            Listeners::One(name) => Some(name),
            Listeners::Any | Listeners::BySocket(_) => None,
        }
    }

    /// True if this proxy may get requests of the listener `name`.
    pub fn may_be(&self, name: &str) -> bool {
        match self {
            Listeners::Any => true,
            Listeners::One(one) => one == name,
            Listeners::BySocket(sockets) => sockets.values().any(|names| names.contains(name)),
        }
    }
}

/// The names of the clusters of backends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    template: String,
    exceptions: BTreeMap<String, String>,
}

/// With this value of the key `namespace`, the proxy gets the splits of host names (not of Services) in all namespaces.
/// The query of `/v1/config` has the same value.
pub const EVERY_NAMESPACE: &str = "*";

const DEFAULT_TEMPLATE: &str = "{service}.{namespace}.svc.cluster.local:{port}";

impl Default for Site {
    fn default() -> Site {
        Site {
            namespace: String::new(),
            cluster_domain: "cluster.local".into(),
            trust_domain: String::new(),
            listeners: Listeners::Any,
            naming: Naming {
                template: DEFAULT_TEMPLATE.into(),
                exceptions: BTreeMap::new(),
            },
            service_account: None,
            root: None,
            ordinary_route_serves_root: false,
        }
    }
}

impl Site {
    pub fn identity_domains(&self) -> IdentityDomains<'_> {
        IdentityDomains {
            trust_domain: &self.trust_domain,
            cluster_domain: &self.cluster_domain,
        }
    }
}

impl Plugin {
    /// Reads the JSON text of the plugin configuration.
    pub fn parse(json: &[u8]) -> Result<Plugin, PluginError> {
        let mut keys = Keys::parse(json)?;
        let control_plane = keys.text("control_plane")?;
        let initial = keys.value("initial").map(parse_initial).transpose()?;
        let has_source = match &control_plane {
            Some(cluster) => !cluster.is_empty(),
            None => initial.is_some(),
        };
        if !has_source {
            return fail(&error::NO_CONTROL_PLANE, "");
        }
        let namespace = keys.text("namespace")?;
        let gateway = keys.text("gateway")?;
        let scope = scope_query(namespace.as_deref(), gateway.as_deref())?;
        let header = keys.text("header")?;
        let header = header.unwrap_or_else(|| "x-weir-cluster".into());
        let header = header.to_ascii_lowercase();
        if !is_header_name(&header) {
            return fail(&error::HEADER, header);
        }
        let until_configured = keys.text("until_configured")?;
        let until_configured = match until_configured.as_deref() {
            None | Some("pass") => UntilConfigured::Pass,
            Some("503") => UntilConfigured::Unavailable,
            Some(other) => return fail(&error::UNTIL_CONFIGURED, other),
        };
        let protocol = match keys.text("protocol")?.as_deref() {
            None | Some("http") => Protocol::Http,
            Some("tcp") => Protocol::Tcp,
            Some(other) => return fail(&error::PROTOCOL, other),
        };
        let listeners = match (keys.text("listener")?, keys.names("listeners")?) {
            (Some(_), Some(_)) => return fail(&error::TWO_LISTENERS, ""),
            (Some(_), None) if gateway.is_none() => {
                return fail(&error::LISTENER_WITHOUT_GATEWAY, "");
            }
            (None, Some(_)) if gateway.is_none() => {
                return fail(&error::LISTENERS_WITHOUT_GATEWAY, "");
            }
            (None, Some(_)) if protocol == Protocol::Tcp => {
                return fail(&error::LISTENERS_OF_TCP, "");
            }
            (Some(name), None) => Listeners::One(name),
            (None, Some(sockets)) => parse_sockets(sockets)?,
            (None, None) => Listeners::Any,
        };
        let direction = match keys.text("direction")?.as_deref() {
            None | Some("outbound") => Direction::Outbound,
            Some("inbound") => Direction::Inbound,
            Some(other) => return fail(&error::DIRECTION, other),
        };
        let root = match keys.text("root")? {
            None => None,
            Some(_) if protocol != Protocol::Tcp => return fail(&error::ROOT_OF_REQUESTS, ""),
            Some(text) => match parse_root(&text) {
                None => return fail(&error::ROOT, text),
                root => root,
            },
        };
        let service_account = match (keys.text("service_account")?, &namespace) {
            (None, _) if direction == Direction::Inbound => return fail(&error::INBOUND, ""),
            (None, _) => None,
            (Some(_), None) => return fail(&error::ACCOUNT_WITHOUT_NAMESPACE, ""),
            (Some(_), Some(namespace)) if namespace == EVERY_NAMESPACE => {
                return fail(&error::ACCOUNT_OF_EVERY_NAMESPACE, "");
            }
            (Some(account), _) if !is_dns_name(&account) => {
                return fail(&error::ACCOUNT, account);
            }
            (Some(account), Some(namespace)) => Some(format!("{namespace}/{account}")),
        };
        let access_max_age = match keys.value("access_max_age") {
            None => None,
            Some(_) if service_account.is_none() || control_plane.is_none() => {
                return fail(&error::MAX_AGE_OF_ANYONE, "");
            }
            Some(value) => match value.as_u64() {
                Some(seconds @ 60..=604_800) => Some(seconds),
                _ => return fail(&error::MAX_AGE, value.to_string()),
            },
        };
        let trust_domain = match keys.text("trust_domain")? {
            None if direction == Direction::Inbound => return fail(&error::NO_TRUST_DOMAIN, ""),
            None => String::new(),
            Some(domain) if !is_trust_domain(&domain) => return fail(&error::TRUST_DOMAIN, domain),
            Some(domain) => domain,
        };
        let cluster = keys.text("cluster")?;
        let clusters = keys.texts("clusters")?;
        let clusters_from = match keys.text("clusters_from")?.as_deref() {
            None | Some("envoy") => ClustersFrom::Envoy,
            Some("weir") if control_plane.is_none() => {
                return fail(&error::CLUSTERS_WITHOUT_CONTROL_PLANE, "");
            }
            Some("weir") if cluster.is_some() || !clusters.is_empty() => {
                return fail(&error::NAMES_OF_CLUSTERS, "");
            }
            Some("weir") => ClustersFrom::Weir,
            Some(other) => return fail(&error::CLUSTERS_FROM, other),
        };
        let template = cluster.unwrap_or_else(|| DEFAULT_TEMPLATE.into());
        let naming = Naming::new(template, clusters)?;
        let cluster_domain = keys.text("cluster_domain")?;
        let cluster_domain = cluster_domain
            .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
            .filter(|domain| !domain.is_empty());
        Ok(Plugin {
            control_plane,
            scope,
            header,
            initial,
            until_configured: match service_account {
                Some(_) => UntilConfigured::Denied,
                None => until_configured,
            },
            access_max_age,
            log_rule: keys.flag("log_rule")?,
            clusters_from,
            protocol,
            direction,
            site: Site {
                service_account,
                trust_domain,
                root,
                namespace: namespace
                    .filter(|namespace| namespace != EVERY_NAMESPACE)
                    .unwrap_or_default(),
                cluster_domain: cluster_domain.unwrap_or(Site::default().cluster_domain),
                listeners,
                naming,
                ordinary_route_serves_root: keys.flag("ordinary_route_serves_root")?,
            },
        })
    }
}

fn fail<T>(message: &'static PluginMessage, found: impl Into<String>) -> Result<T, PluginError> {
    Err(PluginError::new(message, found))
}

fn parse_initial(value: serde_json::Value) -> Result<wire::Config, PluginError> {
    serde_json::from_value(value).map_err(|_| PluginError::new(&error::INITIAL, ""))
}

/// Returns the query of `/v1/config`.
fn scope_query(namespace: Option<&str>, gateway: Option<&str>) -> Result<String, PluginError> {
    Ok(match (namespace, gateway) {
        (Some(_), Some(_)) => return fail(&error::TWO_SCOPES, ""),
        (Some(EVERY_NAMESPACE), None) => format!("namespace={EVERY_NAMESPACE}"),
        (Some(namespace), None) if !is_dns_name(namespace) || namespace.contains('.') => {
            return fail(&error::NAMESPACE, namespace);
        }
        (Some(namespace), None) => format!("namespace={namespace}"),
        (None, Some(gateway)) => match gateway.split_once('/') {
            Some((namespace, name)) if is_dns_name(namespace) && is_dns_name(name) => {
                format!("gateway={namespace}/{name}")
            }
            _ => return fail(&error::GATEWAY, gateway),
        },
        (None, None) => String::new(),
    })
}

impl Naming {
    fn new(template: String, exceptions: BTreeMap<String, String>) -> Result<Naming, PluginError> {
        let mut rest = template.as_str();
        while let Some((_, tail)) = rest.split_once('{') {
            let Some(("service" | "namespace" | "port", tail)) = tail.split_once('}') else {
                return fail(&error::PLACEHOLDER, template);
            };
            rest = tail;
        }
        let names = exceptions.values().chain([&template]);
        if names.clone().any(|name| name.is_empty())
            || names
                .flat_map(|name| name.bytes())
                .any(|byte| byte <= b' ' || byte == 127)
        {
            return fail(&error::CLUSTER_NAME, "");
        }
        for backend in exceptions.keys() {
            let is_backend = backend.rsplit_once(':').is_some_and(|(service, port)| {
                service.contains('.') && port.parse::<u16>().is_ok()
            });
            if !is_backend {
                return fail(&error::CLUSTERS, backend.as_str());
            }
        }
        Ok(Naming {
            template,
            exceptions,
        })
    }

    /// Returns the name of the backend's Envoy cluster.
    pub fn cluster(&self, backend: &wire::Service) -> String {
        if let Some(name) = self.exceptions.get(&backend.to_string()) {
            return name.clone();
        }
        self.template
            .replace("{service}", &backend.name)
            .replace("{namespace}", &backend.namespace)
            .replace("{port}", &backend.port.to_string())
    }
}

fn parse_sockets(
    names_by_port: BTreeMap<String, BTreeSet<String>>,
) -> Result<Listeners, PluginError> {
    if names_by_port.is_empty() {
        return fail(&error::NO_LISTENERS, "");
    }
    let mut sockets = BTreeMap::new();
    for (port, names) in names_by_port {
        // `+80` and `080` would parse too, but port 80 must have only one name.
        let number = port.parse::<u16>().ok();
        let Some(number @ 1..) = number.filter(|it| it.to_string() == port) else {
            return fail(&error::LISTENERS_PORT, port);
        };
        sockets.insert(number, names);
    }
    Ok(Listeners::BySocket(sockets))
}

/// Parses `SERVICE.NAMESPACE:PORT`.
fn parse_root(text: &str) -> Option<wire::Service> {
    let (host, port) = text.rsplit_once(':')?;
    let (name, namespace) = host.split_once('.')?;
    let is_one = is_dns_name(name) && is_dns_name(namespace) && !namespace.contains('.');
    is_one.then_some(wire::Service {
        name: name.into(),
        namespace: namespace.into(),
        port: port.parse().ok()?,
    })
}

/// True if `name` may be the name of a Kubernetes object. Such a name is safe in a query, in the name of a metric and
/// in the value of a header.
pub(crate) fn is_dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        })
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
        })
}

#[cfg(test)]
mod tests;
