//! Listeners that Weir cannot use because of a problem.
//!
//! Requests for the hosts of a broken listener are answered 404. If they went to a listener with a less specific
//! hostname, the wrong routes would get them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{AllowedNamespaces, Listener};
use crate::manifest::hostname::Hostname;

#[derive(Clone, Debug, PartialEq)]
pub struct BrokenListener {
    /// None if the listener has no valid name.
    pub name: Option<String>,
    /// None if the listener has no valid port.
    pub port: Option<u16>,
    /// Listeners that replace the broken listener. They have the same hostname, and no routes. If the port of the
    /// broken listener is invalid, there is one replacement for each possible port. The list is empty if the hostname
    /// is invalid, or if the protocol has no hostnames.
    pub owners: Vec<Listener>,
}

/// Returns the broken listeners. `values` are the invalid entries of `spec.listeners`, each with its index. `others`
/// are the valid listeners.
pub(super) fn read(values: &[(usize, &Value)], others: &[Listener]) -> Vec<BrokenListener> {
    let mut names: BTreeSet<String> = others.iter().map(|it| it.name.clone()).collect();
    let ports: BTreeSet<u16> = others
        .iter()
        .filter(|it| it.is_http)
        .map(|it| it.port)
        .collect();
    values
        .iter()
        .map(|(index, value)| read_one(*index, value, &ports, &mut names))
        .collect()
}

fn read_one(
    index: usize,
    value: &Value,
    ports: &BTreeSet<u16>,
    names: &mut BTreeSet<String>,
) -> BrokenListener {
    let name = value
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| crate::manifest::hostname::is_dns_name(name));
    let port = value
        .get("port")
        .and_then(Value::as_u64)
        .and_then(|it| u16::try_from(it).ok())
        .filter(|port| *port > 0);
    // If the port is invalid, the user may have meant any port of the other listeners.
    let possible_ports: Vec<u16> = match port {
        Some(port) => vec![port],
        None => ports.iter().copied().collect(),
    };
    let mut owners = Vec::new();
    if let Some(hostname) = own_hosts(value) {
        for port in possible_ports {
            let free_name = name.filter(|name| names.insert((*name).to_owned()));
            owners.push(Listener {
                name: match free_name {
                    Some(name) => name.to_owned(),
                    None => format!("listeners[{index}] at port {port}"),
                },
                hostname: hostname.clone(),
                port,
                is_http: true,
                kinds: Vec::new(),
                namespaces: AllowedNamespaces::Same,
            });
        }
    }
    BrokenListener {
        name: name.map(str::to_owned),
        port,
        owners,
    }
}

/// Returns the hostname of a broken listener. Returns `Some(None)` if the listener is for every host. Returns None if
/// the hostname is invalid, or if the protocol has no hosts.
#[allow(clippy::option_option)]
fn own_hosts(listener: &Value) -> Option<Option<Hostname>> {
    let fields = listener.as_object()?;
    let protocol = fields.get("protocol").and_then(Value::as_str);
    if protocol.is_some_and(|it| matches!(it, "TCP" | "TLS" | "UDP")) {
        return None;
    }
    match fields.get("hostname") {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) if text.is_empty() => Some(None),
        Some(Value::String(text)) => Hostname::parse(text).map(Some),
        Some(_) => None,
    }
}
