//! Reads a route configuration (envoy.config.route.v3.RouteConfiguration), and finds the virtual host of a host.

use serde_json::Value;

use super::dump_fields::{items, text};
use super::route_settings::RouteSettings;
use super::virtual_host::VirtualHost;

#[derive(Debug)]
pub struct RouteConfiguration {
    pub name: String,
    pub hosts: Vec<VirtualHost>,
}

impl RouteConfiguration {
    pub fn read(configuration: &Value) -> RouteConfiguration {
        let name = text(configuration, "name");
        let settings = RouteSettings::default().and(configuration);
        let hosts = items(configuration, "virtual_hosts");
        RouteConfiguration {
            hosts: hosts
                .map(|host| VirtualHost::read(&name, host, &settings))
                .collect(),
            name,
        }
    }

    /// Returns the virtual host with the most specific domain for this host, as Envoy chooses it.
    pub fn host(&self, host: &str) -> Option<&VirtualHost> {
        let ranked = self
            .hosts
            .iter()
            .filter_map(|virtual_host| Some((virtual_host.rank(host)?, virtual_host)));
        let best = ranked.max_by_key(|(rank, _)| *rank);
        best.map(|(_, virtual_host)| virtual_host)
    }
}
