//! Listeners that a problem keeps from being in force.
//!
//! Requests for the hosts of such a listener are answered 404. A less specific listener, which may have other routes,
//! does not get them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{AllowedNamespaces, Listener};
use crate::manifest::hostname::Hostname;

#[derive(Clone, Debug, PartialEq)]
pub struct BrokenListener {
    /// None if it has no valid name.
    pub name: Option<String>,
    /// None if it has no valid port.
    pub port: Option<u16>,
    /// One listener for each port at which the broken listener may have its hosts. They take no route.
    pub owners: Vec<Listener>,
}

/// `values` are the invalid entries of `spec.listeners`, each with its index. `others` are the listeners in force.
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
    // Without a valid port it may be at any port of the others.
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

/// The hosts of a listener: `Some(None)` for every host. None if its hostname is invalid, or its protocol has no hosts.
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
