//! Reads the parts of Envoy's configuration that copy requests to mirrors.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_split::{Direction, Protocol};

use super::dump_fields::{children, items, plugin, text, wasm};
use super::envoy_route::RouteTarget;
use super::route_settings::RouteSettings;
use super::virtual_host::VirtualHost;

/// The `root_id` of the filter that removes the headers of mirrors from requests to backends.
const UPSTREAM_ROOT: &str = "upstream";

/// What the mirrors of a plan need in an Envoy.
#[derive(Debug, Default)]
pub struct EnvoyMirrors {
    pub routes: Vec<HeaderRoute>,
    /// The listeners with a Weir filter and a router that does not remove the headers, as in [`super::Filter::at`].
    pub visible_at: BTreeSet<String>,
}

/// A route that takes its cluster from a header.
#[derive(Debug)]
pub struct HeaderRoute {
    /// The name of the route configuration.
    pub configuration: String,
    /// The name of the virtual host.
    pub host: String,
    /// Index of the route in the virtual host.
    pub index: usize,
    /// The route in messages, as in [`super::envoy_route::EnvoyRoute::label`].
    pub label: String,
    /// The headers with the name of the cluster, in lower case.
    pub cluster_headers: BTreeSet<String>,
    /// The headers from which Envoy reads the clusters of mirrors, in lower case.
    pub mirror_headers: BTreeSet<String>,
}

impl EnvoyMirrors {
    /// Adds the routes of a RouteConfiguration.
    pub fn add_routes(&mut self, name: &str, configuration: &Value) {
        for host in items(configuration, "virtual_hosts") {
            let routes = VirtualHost::read(name, host, &RouteSettings::default()).routes;
            for (index, (read, route)) in (0..).zip(routes.into_iter().zip(items(host, "routes"))) {
                let RouteTarget::Clusters { headers, .. } = read.target else {
                    continue;
                };
                if headers.is_empty() {
                    continue;
                }
                let action = route.get("route").unwrap_or(&Value::Null);
                self.routes.push(HeaderRoute {
                    configuration: name.to_owned(),
                    host: text(host, "name"),
                    index,
                    label: read.label,
                    cluster_headers: headers,
                    mirror_headers: mirror_headers(
                        [action, host, configuration],
                        [route, host, configuration],
                    ),
                });
            }
        }
    }

    /// Adds the routers of a listener. `at` is its place as in [`super::Filter::at`].
    pub fn add_routers(&mut self, at: &str, within: &Value) {
        if let Some(Value::Array(filters)) = within.get("http_filters") {
            let is_own = filters.iter().any(has_filter);
            let is_hidden = filters.iter().any(|filter| {
                let upstream = filter.pointer("/typed_config/upstream_http_filters");
                upstream.is_some_and(has_upstream_root)
            });
            if is_own && !is_hidden {
                self.visible_at.insert(at.to_owned());
            }
        }
        children(within).for_each(|child| self.add_routers(at, child));
    }
}

/// Returns the headers that Envoy reads for mirrors. The order of both arrays is: route, virtual host, route
/// configuration. Envoy uses only the first list of policies. All removals apply, and a removed header has no effect.
fn mirror_headers(policies: [&Value; 3], removals: [&Value; 3]) -> BTreeSet<String> {
    let has_own = |level: &&Value| items(level, "request_mirror_policies").next().is_some();
    let own = policies.into_iter().find(has_own);
    let headers = own
        .into_iter()
        .flat_map(|level| items(level, "request_mirror_policies"));
    let headers = headers.filter_map(|policy| policy.get("cluster_header")?.as_str());
    let removed: BTreeSet<String> = removals
        .into_iter()
        .flat_map(|level| items(level, "request_headers_to_remove"))
        .filter_map(|name| Some(name.as_str()?.to_ascii_lowercase()))
        .collect();
    let headers = headers.map(str::to_ascii_lowercase);
    headers.filter(|name| !removed.contains(name)).collect()
}

/// True if a Weir filter that splits requests is in this part of the dump.
fn has_filter(within: &Value) -> bool {
    if let Some((wasm, Protocol::Http)) = wasm(within) {
        let plugin = wasm.pointer("/config/configuration").and_then(plugin);
        return plugin.is_some_and(|(plugin, _)| plugin.direction == Direction::Outbound);
    }
    children(within).any(has_filter)
}

fn has_upstream_root(within: &Value) -> bool {
    within.get("root_id").and_then(Value::as_str) == Some(UPSTREAM_ROOT)
        || children(within).any(has_upstream_root)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_split::MIRROR_HEADERS;

    use super::*;

    const BOTH: [&str; 2] = MIRROR_HEADERS;

    fn policies(headers: &[&str]) -> Value {
        let policy = |header| json!({ "cluster_header": header });
        headers.iter().map(policy).collect()
    }

    /// Returns the headers that Envoy reads at a route. The arguments have additional fields of the route action, the
    /// virtual host and the route configuration.
    fn read_at(action: &Value, host: &Value, configuration: &Value) -> Vec<String> {
        let merge = |mut one: Value, other: &Value| {
            let fields = other.as_object().cloned().unwrap_or_default();
            one.as_object_mut().unwrap().extend(fields);
            one
        };
        let action = merge(json!({ "cluster_header": "x-weir-cluster" }), action);
        let route = json!({ "match": { "prefix": "/" }, "route": action });
        let host = merge(json!({ "name": "h", "routes": [route] }), host);
        let configuration = merge(json!({ "virtual_hosts": [host] }), configuration);
        let mut mirrors = EnvoyMirrors::default();
        mirrors.add_routes("c", &configuration);
        let headers = mirrors.routes[0].mirror_headers.iter();
        headers.cloned().collect()
    }

    #[test]
    fn nearest_policies_count() {
        let with = |headers: &[&str]| json!({ "request_mirror_policies": policies(headers) });
        let none = json!({});
        assert_eq!(read_at(&none, &none, &none), [""; 0]);
        assert_eq!(read_at(&none, &none, &with(&BOTH)), BOTH);
        assert_eq!(read_at(&none, &with(&BOTH), &none), BOTH);
        assert_eq!(read_at(&with(&BOTH), &none, &none), BOTH);
        let own = json!({ "request_mirror_policies": [{ "cluster": "shadow" }] });
        assert_eq!(read_at(&own, &none, &with(&BOTH)), [""; 0]);
        assert_eq!(
            read_at(&none, &with(&["X-Weir-Mirror"]), &with(&BOTH)),
            BOTH[..1]
        );
    }

    #[test]
    fn removed_headers_do_not_count() {
        let removing = json!({
            "request_headers_to_remove": ["X-Weir-Mirror"],
            "request_mirror_policies": policies(&BOTH),
        });
        assert_eq!(read_at(&json!({}), &json!({}), &removing), BOTH[1..]);
    }
}
