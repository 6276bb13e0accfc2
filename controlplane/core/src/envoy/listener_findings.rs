//! Checks the names of Gateway listeners in the plugin configuration of a filter. Finds unknown names, ports without
//! names, and hosts for which the names are not enough to choose a route.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::Config;
use weir_split::{Listeners, Table};

use super::{Filter, Finding};
use crate::manifest::problem::messages::{Message, envoy as messages, one_of};

/// Maximum number of hosts that a finding names.
const MAX_NAMED: usize = 3;

pub fn find(filter: &Filter, config: &Config, findings: &mut BTreeSet<Finding>) {
    let site = &filter.plugin.site;
    let Some(gateway) = filter.plugin.scope.strip_prefix("gateway=") else {
        return;
    };
    let mut add = |message| {
        findings.insert(Finding::at(&filter.at, message));
    };
    let listeners: BTreeSet<String> = config.listeners.keys().cloned().collect();
    let (key, named): (_, Vec<&String>) = match &site.listeners {
        Listeners::Any => ("", Vec::new()),
        Listeners::One(name) => ("listener", vec![name]),
        Listeners::BySocket(sockets) => ("listeners", sockets.values().flatten().collect()),
    };
    // If the Gateway has no routes, the plan has no listeners of the Gateway, so the names cannot be checked.
    if !listeners.is_empty() {
        for name in named.into_iter().filter(|name| !listeners.contains(*name)) {
            let possible = one_of(&listeners);
            add(messages::listener_missing(key, name, gateway, possible));
        }
    }
    // This cannot fail, because every published plan compiles.
    let Ok(table) = Table::compile(config, site) else {
        return;
    };
    let mut by_listeners: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for (host, names) in table.undecided_hosts() {
        let names = names.into_iter().map(str::to_owned).collect();
        by_listeners.entry(names).or_default().push(host);
    }
    for (listeners, hosts) in by_listeners {
        add(differing_listeners(filter, gateway, &listeners, &hosts));
    }
    let hosts: Vec<String> = table.hosts_by_socket().into_iter().collect();
    if let Listeners::BySocket(sockets) = &site.listeners
        && !hosts.is_empty()
    {
        let unlisted = filter.sockets.iter().filter(|it| !sockets.contains_key(it));
        for port in unlisted {
            add(messages::port_without_listener(
                port,
                gateway,
                some_hosts(&hosts),
            ));
        }
    }
}

/// Returns the message about hosts for which a request may use several listeners with different routes.
fn differing_listeners(
    filter: &Filter,
    gateway: &str,
    listeners: &BTreeSet<String>,
    hosts: &[String],
) -> Message {
    let (names, hosts) = (join(listeners), some_hosts(hosts));
    if let Listeners::BySocket(_) = &filter.plugin.site.listeners {
        return messages::listeners_of_a_port_differ(names, gateway, hosts);
    }
    let port = |port: String| format!("\"{port}\": [\"NAME\"]");
    let ports: Vec<String> = match filter.sockets.len() {
        1 => {
            let one = |name: &String| format!("\"listener\": \"{name}\"");
            let ways: Vec<String> = listeners.iter().map(one).collect();
            return messages::listeners_differ(names, gateway, hosts, ways.join(" or "));
        }
        0 => listeners.iter().map(|_| port("PORT".into())).collect(),
        _ => filter
            .sockets
            .iter()
            .map(|it| port(it.to_string()))
            .collect(),
    };
    messages::listeners_differ_by_port(names, gateway, hosts, ports.join(", "))
}

fn join<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.join(", ")
}

/// Returns a text such as `a.example.com, b.example.com, c.example.com and 7 more hosts`.
pub(super) fn some_hosts(hosts: &[String]) -> String {
    let name = |host: &String| match host.as_str() {
        "" => "every other host".to_owned(),
        host => host.to_owned(),
    };
    let named: Vec<String> = hosts.iter().take(MAX_NAMED).map(name).collect();
    let named = named.join(", ");
    match hosts.len().saturating_sub(MAX_NAMED) {
        0 => named,
        1 => format!("{named} and one more host"),
        more => format!("{named} and {more} more hosts"),
    }
}
