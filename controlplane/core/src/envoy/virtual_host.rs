//! Reads a virtual host (envoy.config.route.v3.VirtualHost) with its routes.

use serde_json::Value;

use super::dump_fields::{items, text};
use super::envoy_route::EnvoyRoute;
use super::matcher_tree;
use super::route_settings::RouteSettings;

#[derive(Debug)]
pub struct VirtualHost {
    /// Name of the route configuration, with its listener if the name does not say enough.
    pub configuration: String,
    pub name: String,
    /// In lower case.
    domains: Vec<String>,
    /// The routes of the list or of the matcher tree, in the order in which Envoy tries them.
    pub routes: Vec<EnvoyRoute>,
}

/// How well a domain fits a host. The order is: exact domain, suffix, prefix, `*`. In each group, longer texts are
/// first.
pub type DomainRank = (u8, usize);

impl VirtualHost {
    pub fn read(configuration: &str, host: &Value, settings: &RouteSettings) -> VirtualHost {
        let settings = settings.and(host);
        let routes = items(host, "routes").enumerate();
        let mut routes: Vec<EnvoyRoute> = routes
            .map(|(place, route)| EnvoyRoute::read(&format!("routes[{place}]"), route, &settings))
            .collect();
        if let Some(matcher) = host.get("matcher") {
            let tree = matcher_tree::routes(matcher).into_iter().enumerate();
            routes.extend(tree.map(|(place, found)| {
                let place = format!("route {} of the matcher", place.saturating_add(1));
                EnvoyRoute::read(&place, found.route, &settings).in_tree(found)
            }));
        }
        let domains = items(host, "domains").filter_map(Value::as_str);
        VirtualHost {
            configuration: configuration.to_owned(),
            name: text(host, "name"),
            domains: domains.map(str::to_ascii_lowercase).collect(),
            routes,
        }
    }

    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(String::as_str)
    }

    /// Returns the rank of the best domain; None if no domain fits. `host` is in lower case.
    pub fn rank(&self, host: &str) -> Option<DomainRank> {
        let rank = |domain: &String| -> Option<DomainRank> {
            let rank = match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
                (Some(""), _) => 0,
                (Some(end), _) if host.len() > end.len() && host.ends_with(end) => 2,
                (None, Some(start)) if host.len() > start.len() && host.starts_with(start) => 1,
                (None, None) if domain == host => 3,
                _ => return None,
            };
            Some((rank, domain.len()))
        };
        self.domains.iter().filter_map(rank).max()
    }
}
