//! An Envoy configuration for a test, in the pattern of `envoy-config/`: the filter, the route that follows
//! its header, and an ordinary route that says that it was taken.

use std::net::SocketAddr;

use serde_json::{Value, json};

#[derive(Default)]
pub struct Bootstrap {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

impl Bootstrap {
    /// A listener on a free port whose filter has this plugin configuration. Requests that the filter
    /// leaves alone go to `ordinary`, or are answered 200 `ordinary` where there is none. Answers of
    /// backends tell their cluster in `x-cluster`.
    #[must_use]
    pub fn listener(mut self, name: &str, plugin: &str, ordinary: Option<&str>) -> Bootstrap {
        let typed = "type.googleapis.com/envoy.extensions.filters";
        let ordinary = match ordinary {
            Some(cluster) => json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster } }),
            None => json!({
                "match": { "prefix": "/" },
                "direct_response": { "status": 200, "body": { "inline_string": "ordinary" } },
            }),
        };
        let routes = json!([
            {
                "match": {
                    "prefix": "/",
                    "headers": [{ "name": "x-weir-cluster", "present_match": true }],
                },
                "route": { "cluster_header": "x-weir-cluster" },
            },
            ordinary,
        ]);
        let wasm = json!({
            "@type": format!("{typed}.http.wasm.v3.Wasm"),
            "config": {
                "name": "weir",
                "failure_policy": "FAIL_RELOAD",
                "vm_config": {
                    "vm_id": "weir",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": { "local": { "filename": crate::dist("weir.wasm") } },
                },
                "configuration": {
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": plugin,
                },
            },
        });
        let router = json!({ "@type": format!("{typed}.http.router.v3.Router") });
        let manager = json!({
            "@type": format!(
                "{typed}.network.http_connection_manager.v3.HttpConnectionManager"
            ),
            "stat_prefix": name,
            "http_filters": [
                { "name": "weir", "typed_config": wasm },
                { "name": "router", "typed_config": router },
            ],
            "route_config": {
                "request_headers_to_remove": ["x-weir-cluster"],
                "response_headers_to_add": [
                    { "header": { "key": "x-cluster", "value": "%UPSTREAM_CLUSTER%" } },
                ],
                "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
            },
        });
        self.listeners.push(json!({
            "name": name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            // Connections are spread evenly over the workers.
            "connection_balance_config": { "exact_balance": {} },
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
        }));
        self
    }

    #[must_use]
    pub fn cluster(mut self, name: &str, address: SocketAddr) -> Bootstrap {
        let address = json!({ "address": "127.0.0.1", "port_value": address.port() });
        let endpoint = json!({ "endpoint": { "address": { "socket_address": address } } });
        self.clusters.push(json!({
            "name": name,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [endpoint] }],
            },
        }));
        self
    }

    /// The whole configuration, for [`crate::Envoy::start`].
    pub fn build(self) -> String {
        json!({
            "static_resources": { "listeners": self.listeners, "clusters": self.clusters },
            "admin": {
                "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            },
        })
        .to_string()
    }
}
