//! Finds the rule that decides for a TCP connection: TCPRoute of Gateway API v1 and TrafficSplit of SMI.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::plugin::Site;
use crate::refusal::{Refusal, refuse};
use crate::wire;

/// The checked form of [`wire::Connections`], for one proxy.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    /// True if the plugin configuration names one Service (the key `root`) or one listener for all connections.
    has_one_destination: bool,
    /// The rule for all connections, if they have one destination.
    all: Option<ConnectionRule>,
    by_address: HashMap<(IpAddr, u16), ConnectionRule>,
    /// The rules by the port of a Gateway's listener.
    by_port: HashMap<u16, ConnectionRule>,
}

/// The rule of a connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionRule {
    /// Index into the table's rules.
    pub(crate) rule: usize,
    /// The cluster that the proxy uses without the filter. None if this cluster may belong to a Service that clients do
    /// not call.
    pub(crate) ordinary_cluster: Option<Box<str>>,
}

impl ConnectionTable {
    pub(crate) fn compile(
        config: &wire::Config,
        rules: &BTreeMap<&str, usize>,
        site: &Site,
    ) -> Result<ConnectionTable, Refusal> {
        let mut table = ConnectionTable {
            has_one_destination: site.root.is_some() || site.listeners.one().is_some(),
            ..ConnectionTable::default()
        };
        for (index, connections) in config.connections.iter().enumerate() {
            let root = site.root.as_ref();
            if root.is_some_and(|root| !connections.to.is_root(root)) {
                continue;
            }
            table
                .add(connections, config, rules, site)
                .map_err(|refusal| refusal.within(format_args!("connections[{index}]")))?;
        }
        Ok(table)
    }

    /// Adds an entry. If two entries have the same destination, the earlier entry wins.
    fn add(
        &mut self,
        connections: &wire::Connections,
        config: &wire::Config,
        rules: &BTreeMap<&str, usize>,
        site: &Site,
    ) -> Result<(), Refusal> {
        let identity = connections.rule.as_str();
        let (Some(rule), Some(wire)) = (rules.get(identity), config.rules.get(identity)) else {
            return refuse("rule", format!("no rule {identity:?}"));
        };
        let is_plain = wire.filters.is_none()
            && wire.timeouts.is_empty()
            && wire.retry.is_none()
            && wire
                .backends
                .iter()
                .all(|backend| backend.filters.is_none());
        if !is_plain {
            let reason = "has filters, timeouts or retries, which only requests can have";
            return refuse("rule", format!("{identity:?} {reason}"));
        }
        let mut connection_rule = ConnectionRule {
            rule: *rule,
            ordinary_cluster: None,
        };
        match &connections.to {
            wire::Destination::Root(root) => {
                let service = root.as_service();
                if site.ordinary_route_serves_root {
                    connection_rule.ordinary_cluster = Some(site.naming.cluster(&service).into());
                }
                for (index, ip) in root.cluster_ips.iter().enumerate() {
                    let Ok(ip) = ip.parse::<IpAddr>() else {
                        let place = format!("to.root.cluster_ips[{index}]");
                        return refuse(place, format!("{ip:?} is not an IP address"));
                    };
                    let address = (ip.to_canonical(), root.port);
                    self.by_address
                        .entry(address)
                        .or_insert_with(|| connection_rule.clone());
                }
                if site.root.as_ref() == Some(&service) {
                    self.all.get_or_insert(connection_rule);
                }
            }
            wire::Destination::Listeners(listeners) => match site.listeners.one() {
                Some(listener) if listeners.contains_key(listener) => {
                    self.all.get_or_insert(connection_rule);
                }
                Some(_) => {}
                None => {
                    for port in listeners.values() {
                        self.by_port
                            .entry(*port)
                            .or_insert_with(|| connection_rule.clone());
                    }
                }
            },
        }
        Ok(())
    }

    /// Returns the rule for a connection. `destination` is the IP address and port that the client called; None if the
    /// proxy does not know the address.
    pub(crate) fn find(&self, destination: Option<(&str, u16)>) -> Option<&ConnectionRule> {
        if self.has_one_destination {
            return self.all.as_ref();
        }
        let (ip, port) = destination?;
        let ip: Option<IpAddr> = ip.parse().ok();
        ip.and_then(|ip| self.by_address.get(&(ip.to_canonical(), port)))
            .or_else(|| self.by_port.get(&port))
    }
}
