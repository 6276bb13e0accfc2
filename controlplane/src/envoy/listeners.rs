//! What a filter before a Gateway's requests is not told of the listeners by which they come in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use weir_split::wire::Config;
use weir_split::{Listeners, Table};

use super::{Filter, Finding};

/// What is missing in the plugin configuration, or wrong there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Untold {
    pub gateway: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Listeners have different routes for these hosts, and requests may come in by several of them.
    Several {
        hosts: Vec<String>,
        listeners: BTreeSet<String>,
        sockets: BTreeSet<u16>,
        /// True where the plugin configuration names several of them for one socket.
        is_by_socket: bool,
    },
    /// The key `listeners` has nothing for this socket.
    Socket { port: u16, hosts: Vec<String> },
    /// The plugin configuration names a listener that is not there.
    NotThere {
        /// The key that does so.
        key: &'static str,
        name: String,
        listeners: BTreeSet<String>,
    },
}

/// Hosts that a finding names; the others are counted.
const NAMED: usize = 3;

pub fn find(filter: &Filter, config: &Config, findings: &mut BTreeSet<Finding>) {
    let site = &filter.plugin.site;
    let Some(gateway) = filter.plugin.scope.strip_prefix("gateway=") else {
        return;
    };
    let mut add = |kind| {
        findings.insert(Finding::ListenerUnknown {
            at: filter.at.clone(),
            untold: Untold {
                gateway: gateway.to_owned(),
                kind,
            },
        });
    };
    let listeners: BTreeSet<String> = config.listeners.keys().cloned().collect();
    let (key, named): (_, Vec<&String>) = match &site.listeners {
        Listeners::Any => ("", Vec::new()),
        Listeners::One(name) => ("listener", vec![name]),
        Listeners::BySocket(sockets) => ("listeners", sockets.values().flatten().collect()),
    };
    // Without routes the Gateway is not known here.
    if !listeners.is_empty() {
        for name in named.into_iter().filter(|name| !listeners.contains(*name)) {
            add(Kind::NotThere {
                key,
                name: name.clone(),
                listeners: listeners.clone(),
            });
        }
    }
    // What is published compiles.
    let Ok(table) = Table::compile(config, site) else {
        return;
    };
    let mut by_listeners: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for (host, names) in table.undecided_hosts() {
        let names = names.into_iter().map(str::to_owned).collect();
        by_listeners.entry(names).or_default().push(host);
    }
    for (listeners, hosts) in by_listeners {
        add(Kind::Several {
            hosts,
            listeners,
            sockets: filter.sockets.clone(),
            is_by_socket: matches!(site.listeners, Listeners::BySocket(_)),
        });
    }
    let hosts: Vec<String> = table.hosts_by_socket().into_iter().collect();
    if let Listeners::BySocket(sockets) = &site.listeners
        && !hosts.is_empty()
    {
        let unlisted = filter.sockets.iter().filter(|it| !sockets.contains_key(it));
        for port in unlisted {
            let (port, hosts) = (*port, hosts.clone());
            add(Kind::Socket { port, hosts });
        }
    }
}

fn join<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    names.join(", ")
}

/// `a.example.com, b.example.com and 7 more hosts`.
fn some(hosts: &[String]) -> String {
    let name = |host: &String| match host.as_str() {
        "" => "every other host".to_owned(),
        host => host.to_owned(),
    };
    let named: Vec<String> = hosts.iter().take(NAMED).map(name).collect();
    let named = named.join(", ");
    match hosts.len().saturating_sub(NAMED) {
        0 => named,
        1 => format!("{named} and one more host"),
        more => format!("{named} and {more} more hosts"),
    }
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = &self.gateway;
        match &self.kind {
            Kind::Several {
                hosts,
                listeners,
                sockets,
                is_by_socket,
            } => {
                write!(
                    f,
                    "the listeners {} of Gateway {gateway} have different routes for {}, and the filter does not \
                     know by which of them a request comes in: these requests are answered 500; ",
                    join(listeners),
                    some(hosts),
                )?;
                let sockets: Vec<u16> = sockets.iter().copied().collect();
                match sockets.as_slice() {
                    _ if *is_by_socket => f.write_str(
                        "name for each port in \"listeners\" of the plugin configuration only listeners that have \
                         the same routes",
                    ),
                    [_] => {
                        let one = |name: &String| format!("\"listener\": \"{name}\"");
                        let ones: Vec<_> = listeners.iter().map(one).collect();
                        write!(f, "write {} into the plugin configuration", ones.join(" or "))
                    }
                    ports => {
                        let port = |port: String| format!("\"{port}\": [\"NAME\"]");
                        let ports: Vec<_> = match ports {
                            [] => listeners.iter().map(|_| port("PORT".into())).collect(),
                            some => some.iter().map(|it| port(it.to_string())).collect(),
                        };
                        write!(
                            f,
                            "write \"listeners\": {{ {} }} into the plugin configuration, each port of this Envoy \
                             with the names of the listeners that clients reach by it ({})",
                            ports.join(", "),
                            join(listeners),
                        )
                    }
                }
            }
            Kind::Socket { port, hosts } => write!(
                f,
                "\"listeners\" of the plugin configuration has nothing for port {port}, where this filter stands, and \
                 listeners of Gateway {gateway} have different routes for {}: these requests are answered 500 there; \
                 add \"{port}\": [\"NAME\"] with the names of the listeners that clients reach by it",
                some(hosts),
            ),
            Kind::NotThere {
                key,
                name,
                listeners,
            } => write!(
                f,
                "\"{key}\" of the plugin configuration names {name}, and Gateway {gateway} has no such listener for \
                 HTTP: no route is in force for its requests; write one of {}",
                join(listeners),
            ),
        }
    }
}
