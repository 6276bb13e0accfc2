//! Builds an Envoy configuration for a test, similar to the files in `envoy-config/`. It has the filter, a route that
//! uses the filter's header, and an ordinary route. The answer shows which route a request took.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weir_split::MIRROR_HEADERS;

use crate::tls;

#[derive(Default)]
pub struct Bootstrap {
    listeners: Vec<Listener>,
    clusters: Vec<Value>,
    module: Option<PathBuf>,
    node: Option<String>,
    lua: Option<String>,
    filters: Option<Value>,
}

struct Listener {
    name: String,
    plugin: String,
    chain: Chain,
    module: Option<PathBuf>,
    has_proxy_protocol: bool,
    is_normalizing: bool,
    has_mirrors: bool,
    certificate: Option<tls::Certificate>,
    /// 0 means any free port.
    port: u16,
}

/// The filters after Weir's filter.
enum Chain {
    /// A router. Its ordinary route uses this cluster. Without a cluster it answers 200 with the body `ordinary`.
    Http(Option<String>),
    /// A TCP proxy to this cluster.
    Tcp(String),
}

impl Bootstrap {
    /// Adds an HTTP listener on a free port with this plugin configuration. Requests that the filter leaves alone go to
    /// the cluster `ordinary`. Without this cluster Envoy answers 200 with the body `ordinary`. Answers have the name
    /// of their cluster in `x-cluster`. Headers may have 1 MiB, and WebSockets are allowed.
    #[must_use]
    pub fn listener(self, name: &str, plugin: &str, ordinary: Option<&str>) -> Bootstrap {
        self.listen(name, plugin, Chain::Http(ordinary.map(str::to_owned)))
    }

    /// Adds a TCP listener. Connections that the filter leaves alone go to the cluster `ordinary`.
    #[must_use]
    pub fn tcp_listener(self, name: &str, plugin: &str, ordinary: &str) -> Bootstrap {
        self.listen(name, plugin, Chain::Tcp(ordinary.to_owned()))
    }

    fn listen(mut self, name: &str, plugin: &str, chain: Chain) -> Bootstrap {
        self.listeners.push(Listener {
            name: name.into(),
            plugin: plugin.into(),
            chain,
            module: None,
            has_proxy_protocol: false,
            is_normalizing: false,
            has_mirrors: false,
            certificate: None,
            port: 0,
        });
        self
    }

    /// Gives the last listener the module `dist/weir-lean.wasm`.
    #[must_use]
    pub fn lean(self) -> Bootstrap {
        self.module_of(&crate::dist("weir-lean.wasm"))
    }

    /// Makes the last listener read the PROXY protocol. The filter uses the destination address of the PROXY header as
    /// the original destination, as after an iptables redirect.
    #[must_use]
    pub fn proxy_protocol(mut self) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.has_proxy_protocol = true;
        }
        self
    }

    /// Makes the last listener normalize paths, which an edge must do.
    #[must_use]
    pub fn normalizing(mut self) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.is_normalizing = true;
        }
        self
    }

    /// Lets the last listener copy requests to the mirrors that the filter draws.
    #[must_use]
    pub fn mirroring(mut self) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.has_mirrors = true;
        }
        self
    }

    /// Makes the last listener use this certificate and require client certificates of the same authority.
    #[must_use]
    pub fn mutual_tls(mut self, certificate: &tls::Certificate) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.certificate = Some(certificate.clone());
        }
        self
    }

    /// Gives the last listener this port, see [`crate::FreePorts`].
    #[must_use]
    pub fn port(mut self, port: u16) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.port = port;
        }
        self
    }

    /// Gives this module to the last listener instead of `dist/weir.wasm`.
    #[must_use]
    pub fn module_of(mut self, module: &Path) -> Bootstrap {
        if let Some(listener) = self.listeners.last_mut() {
            listener.module = Some(module.to_owned());
        }
        self
    }

    /// Replaces `dist/weir.wasm` in all listeners for which [`Bootstrap::module_of`] sets no module.
    #[must_use]
    pub fn module(mut self, module: PathBuf) -> Bootstrap {
        self.module = Some(module);
        self
    }

    /// Adds a Lua filter with this code in front of Weir's filter. It represents other filters that change requests.
    #[must_use]
    pub fn lua(mut self, code: &str) -> Bootstrap {
        self.lua = Some(code.into());
        self
    }

    /// Sets Envoy's node id.
    #[must_use]
    pub fn node(mut self, id: &str) -> Bootstrap {
        self.node = Some(id.into());
        self
    }

    /// Adds the cluster `weir` for the control plane at this address, and a stream to it, from which Envoy gets its
    /// other clusters. `filters` is the value of the header `weir-filters`. Envoy needs a node id for this.
    #[must_use]
    pub fn clusters_from(mut self, plane: SocketAddr, filters: Value) -> Bootstrap {
        self.filters = Some(filters);
        self.http2_cluster("weir", plane)
    }

    #[must_use]
    pub fn cluster(self, name: &str, address: SocketAddr) -> Bootstrap {
        self.cluster_of(name, address, json!({}))
    }

    /// Adds a cluster with an HTTP/2 endpoint.
    #[must_use]
    pub fn http2_cluster(self, name: &str, address: SocketAddr) -> Bootstrap {
        let protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({ protocol: {
            "@type": format!("type.googleapis.com/{protocol}"),
            "explicit_http_config": { "http2_protocol_options": {} },
        } });
        let options = json!({ "typed_extension_protocol_options": options });
        self.cluster_of(name, address, options)
    }

    /// Adds a cluster whose endpoint must have a certificate of `authority`. Envoy authenticates with the client
    /// certificate, if there is one.
    #[must_use]
    pub fn tls_cluster(
        self,
        name: &str,
        address: SocketAddr,
        authority: &tls::Authority,
        certificate: Option<&tls::Certificate>,
    ) -> Bootstrap {
        let socket = tls::upstream(authority, certificate);
        self.cluster_of(name, address, json!({ "transport_socket": socket }))
    }

    fn cluster_of(mut self, name: &str, address: SocketAddr, options: Value) -> Bootstrap {
        let address = json!({ "address": "127.0.0.1", "port_value": address.port() });
        let endpoint = json!({ "endpoint": { "address": { "socket_address": address } } });
        let mut cluster = json!({
            "name": name,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [endpoint] }],
            },
        });
        for (key, value) in options.as_object().into_iter().flatten() {
            cluster[key] = value.clone();
        }
        self.clusters.push(cluster);
        self
    }

    /// Returns the whole configuration, for [`crate::Envoy::start`].
    pub fn build(self) -> String {
        let whole = self
            .module
            .clone()
            .unwrap_or_else(|| crate::dist("weir.wasm"));
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .map(|listener| {
                let module = listener.module.as_ref().unwrap_or(&whole);
                let wasm = json!({
                    "name": "weir",
                    "failure_policy": "FAIL_RELOAD",
                    "vm_config": {
                        "vm_id": "weir",
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": { "local": { "filename": module } },
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": listener.plugin,
                    },
                });
                listener.build(&wasm, self.lua.as_deref())
            })
            .collect();
        let mut config = json!({
            "node": { "id": self.node.unwrap_or_default(), "cluster": "tests" },
            "static_resources": { "listeners": listeners, "clusters": self.clusters },
            // Needed for /runtime_modify.
            "layered_runtime": { "layers": [{ "name": "admin", "admin_layer": {} }] },
            "admin": {
                "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
            },
        });
        if let Some(filters) = &self.filters {
            config["dynamic_resources"] = delta_stream(filters);
        }
        config.to_string()
    }
}

/// Returns `dynamic_resources` with the stream to the control plane, as in the output of `weir bootstrap`. `filters` is the
/// value of the header `weir-filters`.
pub fn delta_stream(filters: &Value) -> Value {
    json!({
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": true,
            "grpc_services": [{
                "envoy_grpc": {
                    "cluster_name": "weir",
                    "retry_policy": {
                        "retry_back_off": { "base_interval": "0.5s", "max_interval": "1s" },
                    },
                },
                "initial_metadata": [{ "key": "weir-filters", "value": filters.to_string() }],
            }],
        },
        "cds_config": { "resource_api_version": "V3", "ads": {}, "initial_fetch_timeout": "0.5s" },
    })
}

const TYPED: &str = "type.googleapis.com/envoy.extensions.filters";

impl Listener {
    fn build(&self, wasm: &Value, lua: Option<&str>) -> Value {
        let filters = match &self.chain {
            Chain::Http(ordinary) => self.http(wasm, ordinary.as_deref(), lua),
            Chain::Tcp(cluster) => self.tcp(wasm, cluster),
        };
        let mut chain = json!({ "filters": filters });
        if let Some(certificate) = &self.certificate {
            chain["transport_socket"] = tls::downstream(certificate);
        }
        let proxy_protocol = json!({
            "name": "proxy_protocol",
            "typed_config": { "@type": format!("{TYPED}.listener.proxy_protocol.v3.ProxyProtocol") },
        });
        let listener_filters = if self.has_proxy_protocol {
            vec![proxy_protocol]
        } else {
            Vec::new()
        };
        json!({
            "name": self.name,
            "address": { "socket_address": { "address": "127.0.0.1", "port_value": self.port } },
            "listener_filters": listener_filters,
            // Distribute connections evenly over the workers.
            "connection_balance_config": { "exact_balance": {} },
            "filter_chains": [chain],
        })
    }

    fn tcp(&self, wasm: &Value, cluster: &str) -> Value {
        let mut proxy = json!({
            "@type": format!("{TYPED}.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": self.name,
            "cluster": cluster,
        });
        if self.certificate.is_some() {
            // Otherwise Envoy forwards a server's first bytes before the TLS handshake has identified the client.
            proxy["upstream_connect_mode"] = json!("ON_DOWNSTREAM_TLS_HANDSHAKE");
            proxy["max_early_data_bytes"] = json!(65536);
        }
        let wasm = json!({ "@type": format!("{TYPED}.network.wasm.v3.Wasm"), "config": wasm });
        json!([
            { "name": "weir", "typed_config": wasm },
            { "name": "tcp", "typed_config": proxy },
        ])
    }

    fn http(&self, wasm: &Value, ordinary: Option<&str>, lua: Option<&str>) -> Value {
        let ordinary = match ordinary {
            Some(cluster) => json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster } }),
            None => json!({
                "match": { "prefix": "/" },
                "direct_response": { "status": 200, "body": { "inline_string": "ordinary" } },
            }),
        };
        let switch = json!({
            "default_value": { "numerator": 100 },
            "runtime_key": "weir.enabled",
        });
        let routes = json!([
            {
                "match": {
                    "prefix": "/",
                    "headers": [{ "name": "x-weir-cluster", "present_match": true }],
                    "runtime_fraction": switch,
                },
                "route": { "cluster_header": "x-weir-cluster" },
            },
            ordinary,
        ]);
        let upstream = self.upstream_filters(wasm);
        let wasm = json!({ "@type": format!("{TYPED}.http.wasm.v3.Wasm"), "config": wasm });
        let lua = lua.map(|code| {
            let lua = json!({
                "@type": format!("{TYPED}.http.lua.v3.Lua"),
                "default_source_code": { "inline_string": code },
            });
            json!({ "name": "lua", "typed_config": lua })
        });
        let router = json!({
            "@type": format!("{TYPED}.http.router.v3.Router"),
            "upstream_http_filters": upstream,
        });
        let own = [
            json!({ "name": "weir", "typed_config": wasm }),
            json!({ "name": "router", "typed_config": router }),
        ];
        let filters: Vec<_> = lua.into_iter().chain(own).collect();
        let manager = json!({
            "@type": format!(
                "{TYPED}.network.http_connection_manager.v3.HttpConnectionManager"
            ),
            "stat_prefix": self.name,
            "normalize_path": self.is_normalizing,
            "merge_slashes": self.is_normalizing,
            "path_with_escaped_slashes_action": if self.is_normalizing { "UNESCAPE_AND_REDIRECT" } else { "KEEP_UNCHANGED" },
            "max_request_headers_kb": 1024,
            "upgrade_configs": [{ "upgrade_type": "websocket" }],
            "http_filters": filters,
            "early_header_mutation_extensions": self.early_removal(),
            "route_config": {
                "request_headers_to_remove": ["x-weir-cluster"],
                "request_mirror_policies": self.mirror_policies(),
                "response_headers_to_add": [
                    { "header": { "key": "x-cluster", "value": "%UPSTREAM_CLUSTER%" } },
                ],
                "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }],
            },
        });
        json!([{ "name": "http", "typed_config": manager }])
    }

    /// Removes the headers of mirrors that a client sends.
    fn early_removal(&self) -> Vec<Value> {
        let mutation = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation";
        let remove = |config: Value| json!({ "name": "weir", "typed_config": config });
        self.has_mirrors
            .then(|| remove(json!({ "@type": mutation, "mutations": removals() })))
            .into_iter()
            .collect()
    }

    fn mirror_policies(&self) -> Vec<Value> {
        let policy = |header: &&str| {
            json!({
                "cluster_header": header,
                "disable_shadow_host_suffix_append": true,
                "request_headers_mutations": removals(),
            })
        };
        let headers: &[&str] = if self.has_mirrors {
            &MIRROR_HEADERS
        } else {
            &[]
        };
        headers.iter().map(policy).collect()
    }

    /// The filters between the router and a backend.
    fn upstream_filters(&self, wasm: &Value) -> Vec<Value> {
        if !self.has_mirrors {
            return Vec::new();
        }
        let config = json!({
            "name": "weir-upstream",
            "root_id": "upstream",
            "failure_policy": wasm["failure_policy"],
            "vm_config": wasm["vm_config"],
        });
        let wasm = json!({ "@type": format!("{TYPED}.http.wasm.v3.Wasm"), "config": config });
        let codec = json!({ "@type": format!("{TYPED}.http.upstream_codec.v3.UpstreamCodec") });
        vec![
            json!({ "name": "weir-upstream", "typed_config": wasm }),
            json!({ "name": "codec", "typed_config": codec }),
        ]
    }
}

fn removals() -> Vec<Value> {
    let removal = |header| json!({ "remove": header });
    MIRROR_HEADERS.iter().map(removal).collect()
}
