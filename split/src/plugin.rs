//! The plugin configuration: what an operator writes into the proxy's configuration for this filter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use crate::wire;

/// The checked form of the filter's plugin configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// The proxy's cluster that reaches `weir serve`; None where the initial configuration is all there is.
    pub control_plane: Option<String>,
    /// Query of `/v1/config` that names this proxy's scope; empty for the producer rules alone.
    pub scope: String,
    /// The request header that the proxy's `cluster_header` route reads. Lower case.
    pub header: String,
    /// In force from the first request until a newer one comes.
    pub initial: Option<wire::Config>,
    pub until_configured: UntilConfigured,
    /// True where the access log shall name the rule of each request.
    pub log_rule: bool,
    pub protocol: Protocol,
    pub direction: Direction,
    pub site: Site,
}

/// What kind of filter chain the filter stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Tcp,
}

/// Whose traffic it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// What the workloads behind this proxy, or the clients of this Gateway, send.
    #[default]
    Outbound,
    /// What comes in to the workload behind this proxy: no splitting, only who may come in.
    Inbound,
}

/// What a request gets while there is no configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UntilConfigured {
    /// Its ordinary route.
    #[default]
    Pass,
    /// The answer 503.
    Unavailable,
    /// The answer 403: of every proxy that names its service account, for a policy that it does not know yet
    /// may deny anything.
    Denied,
}

/// What one proxy adds to a configuration to make it a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Namespace of the workloads behind this proxy; empty where there is none. Short names resolve in it.
    pub namespace: String,
    pub cluster_domain: String,
    pub listeners: Listeners,
    pub naming: Naming,
    /// `NAMESPACE/NAME` of the ServiceAccount of the workload behind this proxy. Whoever names one takes part in
    /// the access policy: nothing passes without a configuration.
    pub service_account: Option<String>,
    /// The Service whose connections these are; without it their original destination says so.
    pub root: Option<wire::Service>,
    /// True where a request without the routing header goes to the Service that it names.
    pub ordinary_route_serves_root: bool,
}

/// The listeners of the Gateway by which the requests of this filter come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Listeners {
    /// Any of them: nothing is known.
    #[default]
    Any,
    One(String),
    /// By the port of the proxy's own socket, which need not be the listener's. No set is empty.
    BySocket(BTreeMap<u16, BTreeSet<String>>),
}

impl Listeners {
    /// Where it is one and the same for all requests or connections.
    pub fn one(&self) -> Option<&str> {
        match self {
            Listeners::One(name) => Some(name),
            Listeners::Any | Listeners::BySocket(_) => None,
        }
    }

    /// Whether requests of the listener with this name may come in.
    pub fn may_be(&self, name: &str) -> bool {
        match self {
            Listeners::Any => true,
            Listeners::One(one) => one == name,
            Listeners::BySocket(sockets) => sockets.values().any(|names| names.contains(name)),
        }
    }
}

/// How the proxy calls the cluster of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    template: String,
    exceptions: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    control_plane: Option<String>,
    initial: Option<serde_json::Value>,
    until_configured: Option<String>,
    #[serde(default)]
    log_rule: bool,
    namespace: Option<String>,
    gateway: Option<String>,
    listener: Option<String>,
    listeners: Option<BTreeMap<String, BTreeSet<String>>>,
    cluster: Option<String>,
    #[serde(default)]
    clusters: BTreeMap<String, String>,
    cluster_domain: Option<String>,
    header: Option<String>,
    #[serde(default)]
    ordinary_route_serves_root: bool,
    protocol: Option<String>,
    root: Option<String>,
    service_account: Option<String>,
    direction: Option<String>,
}

/// Why a plugin configuration is refused: the key, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError(String);

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin configuration: {}", self.0)
    }
}

impl std::error::Error for PluginError {}

const DEFAULT_TEMPLATE: &str = "{service}.{namespace}.svc.cluster.local:{port}";

impl Default for Site {
    fn default() -> Site {
        Site {
            namespace: String::new(),
            cluster_domain: "cluster.local".into(),
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

impl Plugin {
    /// Reads the JSON text of the plugin configuration.
    pub fn parse(json: &[u8]) -> Result<Plugin, PluginError> {
        let keys: Keys =
            serde_json::from_slice(json).map_err(|error| PluginError(error.to_string()))?;
        let fail = |text: &str| Err(PluginError(text.into()));
        let named = keys
            .control_plane
            .as_ref()
            .map(|cluster| !cluster.is_empty());
        if !named.unwrap_or(keys.initial.is_some()) {
            return fail(
                "control_plane: name the cluster that reaches `weir serve`, or give an initial configuration",
            );
        }
        let scope = match (&keys.namespace, &keys.gateway) {
            (Some(_), Some(_)) => {
                return fail("namespace, gateway: at most one of the two can be given");
            }
            (Some(namespace), None) if !is_dns_name(namespace) || namespace.contains('.') => {
                return fail("namespace: not the name of a namespace");
            }
            (Some(namespace), None) => format!("namespace={namespace}"),
            (None, Some(gateway)) => match gateway.split_once('/') {
                Some((namespace, name)) if is_dns_name(namespace) && is_dns_name(name) => {
                    format!("gateway={namespace}/{name}")
                }
                _ => return fail("gateway: write NAMESPACE/NAME"),
            },
            (None, None) => String::new(),
        };
        let header = keys
            .header
            .unwrap_or_else(|| "x-weir-cluster".into())
            .to_ascii_lowercase();
        if !is_header_name(&header) {
            return fail("header: not a header name (letters, digits and -)");
        }
        let initial = keys.initial.map(serde_json::from_value).transpose();
        let initial = initial.map_err(|error| PluginError(format!("initial: {error}")))?;
        let until_configured = match keys.until_configured.as_deref() {
            None | Some("pass") => UntilConfigured::Pass,
            Some("503") => UntilConfigured::Unavailable,
            Some(_) => return fail(r#"until_configured: write "pass" or "503""#),
        };
        let protocol = match keys.protocol.as_deref() {
            None | Some("http") => Protocol::Http,
            Some("tcp") => Protocol::Tcp,
            Some(_) => return fail(r#"protocol: write "http" or "tcp""#),
        };
        let listeners = match (keys.listener, keys.listeners) {
            (Some(_), Some(_)) => {
                return fail("listener, listeners: at most one of the two can be given");
            }
            (Some(_), None) if keys.gateway.is_none() => {
                return fail("listener: needs the key gateway beside it");
            }
            (None, Some(_)) if keys.gateway.is_none() => {
                return fail("listeners: needs the key gateway beside it");
            }
            (None, Some(_)) if protocol == Protocol::Tcp => {
                return fail(
                    "listeners: is for requests alone; for connections write listener, with the name of one",
                );
            }
            (Some(name), None) => Listeners::One(name),
            (None, Some(written)) => by_socket(written)?,
            (None, None) => Listeners::Any,
        };
        let direction = match keys.direction.as_deref() {
            None | Some("outbound") => Direction::Outbound,
            Some("inbound") => Direction::Inbound,
            Some(_) => return fail(r#"direction: write "outbound" or "inbound""#),
        };
        let root = match &keys.root {
            None => None,
            Some(_) if protocol != Protocol::Tcp => {
                return fail(r#"root: needs "protocol": "tcp" beside it"#);
            }
            Some(written) => match parse_root(written) {
                None => return fail("root: write SERVICE.NAMESPACE:PORT"),
                root => root,
            },
        };
        let service_account = match (&keys.service_account, &keys.namespace) {
            (None, _) if direction == Direction::Inbound => {
                return fail(r#"direction: "inbound" needs namespace and service_account"#);
            }
            (None, _) => None,
            (Some(_), None) => return fail("service_account: needs the key namespace beside it"),
            (Some(account), _) if !is_dns_name(account) => {
                return fail("service_account: not the name of a ServiceAccount");
            }
            (Some(account), Some(namespace)) => Some(format!("{namespace}/{account}")),
        };
        let defaults = Site::default();
        Ok(Plugin {
            control_plane: keys.control_plane,
            scope,
            header,
            initial,
            until_configured: match service_account {
                Some(_) => UntilConfigured::Denied,
                None => until_configured,
            },
            log_rule: keys.log_rule,
            protocol,
            direction,
            site: Site {
                service_account,
                root,
                namespace: keys.namespace.unwrap_or_default(),
                cluster_domain: keys
                    .cluster_domain
                    .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
                    .filter(|domain| !domain.is_empty())
                    .unwrap_or(defaults.cluster_domain),
                listeners,
                naming: Naming::new(
                    keys.cluster.unwrap_or_else(|| DEFAULT_TEMPLATE.into()),
                    keys.clusters,
                )?,
                ordinary_route_serves_root: keys.ordinary_route_serves_root,
            },
        })
    }
}

impl Naming {
    fn new(template: String, exceptions: BTreeMap<String, String>) -> Result<Naming, PluginError> {
        let mut rest = template.as_str();
        while let Some((_, tail)) = rest.split_once('{') {
            let Some(("service" | "namespace" | "port", tail)) = tail.split_once('}') else {
                return Err(PluginError(
                    "cluster: the placeholders are {service}, {namespace} and {port}".into(),
                ));
            };
            rest = tail;
        }
        let names = exceptions.values().chain([&template]);
        if names.clone().any(|name| name.is_empty())
            || names
                .flat_map(|name| name.bytes())
                .any(|byte| byte <= b' ' || byte == 127)
        {
            return Err(PluginError(
                "cluster, clusters: a cluster name is not empty and has no white space".into(),
            ));
        }
        for backend in exceptions.keys() {
            let known = backend.rsplit_once(':').is_some_and(|(service, port)| {
                service.contains('.') && port.parse::<u16>().is_ok()
            });
            if !known {
                return Err(PluginError(format!(
                    "clusters.{backend}: write the backend as SERVICE.NAMESPACE:PORT"
                )));
            }
        }
        Ok(Naming {
            template,
            exceptions,
        })
    }

    /// The name of the backend's cluster.
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

fn by_socket(written: BTreeMap<String, BTreeSet<String>>) -> Result<Listeners, PluginError> {
    let fail = |at: &str, text: &str| Err(PluginError(format!("listeners{at}: {text}")));
    let example = r#"write { "8080": ["http"] }: the port of a socket of this proxy, and the names of the listeners of the Gateway that it serves"#;
    if written.is_empty() {
        return fail("", &format!("no port is there; {example}"));
    }
    let mut sockets = BTreeMap::new();
    for (port, names) in written {
        let at = format!("[{port:?}]");
        let Some(number @ 1..) = port.parse::<u16>().ok().filter(|it| it.to_string() == port)
        else {
            return fail(&at, &format!("is not a port from 1 to 65535; {example}"));
        };
        if names.is_empty() || names.contains("") {
            return fail(&at, &format!("a name is missing; {example}"));
        }
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

/// A Kubernetes name: what is safe in a query, a metric's name and a header's value.
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
