//! Reads a route configuration (envoy.config.route.v3.RouteConfiguration), and finds the virtual host of a host.

use serde_json::Value;

use super::dump_fields::{items, text};
use super::route_settings::RouteSettings;
use super::virtual_host::VirtualHost;

#[derive(Debug)]
pub struct RouteConfiguration {
    pub name: String,
    pub hosts: Vec<VirtualHost>,
    ignores_port: bool,
    /// True if a header other than `:authority` chooses the virtual host.
    pub has_vhost_header: bool,
}

impl RouteConfiguration {
    pub fn read(configuration: &Value) -> RouteConfiguration {
        let name = text(configuration, "name");
        let settings = RouteSettings::default().and(configuration);
        let hosts = items(configuration, "virtual_hosts");
        let ignores_port = configuration.get("ignore_port_in_host_matching");
        RouteConfiguration {
            hosts: hosts
                .map(|host| VirtualHost::read(&name, host, &settings))
                .collect(),
            ignores_port: ignores_port == Some(&Value::Bool(true)),
            has_vhost_header: !text(configuration, "vhost_header").is_empty(),
            name,
        }
    }

    /// Adds the listener to the place of findings.
    pub fn name_listener(&mut self, at: &str) {
        let place = format!("{} of {at}", self.name);
        for host in &mut self.hosts {
            place.trim_start().clone_into(&mut host.configuration);
        }
    }

    /// Returns the virtual host with the most specific domain for this host, as Envoy chooses it. Returns None if
    /// another header chooses the virtual host.
    pub fn host(&self, host: &str) -> Option<&VirtualHost> {
        if self.has_vhost_header {
            return None;
        }
        let host = match self.ignores_port {
            true => host.split(':').next().unwrap_or(host),
            false => host,
        };
        let ranked = self
            .hosts
            .iter()
            .filter_map(|virtual_host| Some((virtual_host.rank(host)?, virtual_host)));
        let best = ranked.max_by_key(|(rank, _)| *rank);
        best.map(|(_, virtual_host)| virtual_host)
    }
}
