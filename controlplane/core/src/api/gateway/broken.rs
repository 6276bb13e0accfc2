//! Listeners that are not in force because of a problem of their own.
//!
//! The hosts of such a listener stay its own and are answered 404: a less specific listener, which may have other
//! routes, does not get them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Admission, Listener};
use crate::manifest::hostname::Hostname;

#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// As far as it is written.
    pub name: Option<String>,
    pub port: Option<u16>,
    /// One for each port at which it has its hosts; they take no route.
    pub owners: Vec<Listener>,
}

/// `written` with their places in `spec.listeners`. `others` are those that are in force.
pub(super) fn read(written: &[(usize, &Value)], others: &[Listener]) -> Vec<Broken> {
    let mut names: BTreeSet<String> = others.iter().map(|it| it.name.clone()).collect();
    let ports = others.iter().filter(|it| it.is_http).map(|it| it.port);
    let ports: BTreeSet<u16> = ports.collect();
    let written = written.iter();
    let read = written.map(|(index, value)| one(*index, value, &ports, &mut names));
    read.collect()
}

fn one(index: usize, value: &Value, ports: &BTreeSet<u16>, names: &mut BTreeSet<String>) -> Broken {
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let name = text("name").filter(|name| crate::manifest::hostname::is_dns_name(name));
    let port = value.get("port").and_then(Value::as_u64);
    let port = port.and_then(|it| u16::try_from(it).ok());
    let port = port.filter(|port| *port > 0);
    let at: Vec<u16> = match port {
        Some(port) => vec![port],
        // It may be any of them.
        None => ports.iter().copied().collect(),
    };
    let mut name_at = |port: u16| match name.filter(|name| names.insert((*name).to_owned())) {
        Some(name) => name.to_owned(),
        None => format!("listeners[{index}] at port {port}"),
    };
    let owner = |hostname: &Option<Hostname>, port: u16, name: String| Listener {
        name,
        hostname: hostname.clone(),
        port,
        is_http: true,
        kinds: Vec::new(),
        namespaces: Admission::Same,
    };
    let owners = match hosts(value) {
        Some(hostname) => {
            let owners = at.into_iter();
            owners
                .map(|port| owner(&hostname, port, name_at(port)))
                .collect()
        }
        None => Vec::new(),
    };
    Broken {
        name: name.map(str::to_owned),
        port,
        owners,
    }
}

/// The hosts that are its own, where that can be told and it may be for HTTP.
#[allow(clippy::option_option)]
fn hosts(listener: &Value) -> Option<Option<Hostname>> {
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
