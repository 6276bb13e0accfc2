//! A complete configuration of an Envoy with one listener.

use serde_json::json;

use super::fragments;
use super::options::PasteOptions;
use super::yaml_value::{indented, scalar_of};

/// Returns the configuration as YAML text with comments.
pub fn whole_file(options: &PasteOptions) -> String {
    let (default_name, port, trust) = match options.is_gateway() {
        true => ("http", 8080, "          use_remote_address: true\n"),
        false => ("outbound", 15001, ""),
    };
    let listener = options.listener.as_deref().unwrap_or(default_name);
    let listener = match listener.bytes().all(|it| it.is_ascii_alphanumeric()) {
        true => scalar_of(listener),
        false => json!(listener).to_string(),
    };
    let ordinary = match options.is_gateway() {
        true => {
            "              # Requests come here only until the filter runs.\n              - match: { prefix: / }\n                direct_response: { status: 503 }\n"
        }
        false => {
            "              # Put your own routes here, for requests without a split.\n              - match: { prefix: / }\n                direct_response: { status: 404 }\n"
        }
    };
    let header = fragments::ROUTING_HEADER;
    let node = fragments::node(options);
    let dynamic = indented(&fragments::dynamic_resources(options), 2);
    let early = indented(&fragments::early_mutation(), 10);
    let filter = indented(&fragments::filter(options), 10);
    let upstream = fragments::upstream_filter(options) + &fragments::upstream_codec();
    let upstream = indented(&upstream, 14);
    let mirrors = indented(&fragments::mirror_policies(), 12);
    let split = indented(&fragments::split_route(), 14);
    let cluster = indented(&fragments::control_plane(options), 2);
    let tags = fragments::stats_tags().map(|(_, line)| format!("  {line}\n"));
    let tags = tags.concat();
    let layer = fragments::ADMIN_LAYER;
    format!(
        "\
# An Envoy that gets its filter, clusters and endpoints from `weir serve`. `weir bootstrap` wrote this file.

# Each Envoy needs its own id. The flag --service-node of Envoy replaces the id below.
node: {node}

dynamic_resources:
{dynamic}
static_resources:
  listeners:
  - name: {listener}
    address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {listener}
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
{trust}          # Only the filter may set these headers: Envoy removes them from the requests of clients.
          early_header_mutation_extensions:
{early}          http_filters:
{filter}          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              # This filter removes the headers of mirrors from the requests to backends.
              upstream_http_filters:
{upstream}          route_config:
            name: {listener}
            request_headers_to_remove: [{header}]
            # Envoy sends copies of a request to the clusters in these headers.
            request_mirror_policies:
{mirrors}            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes:
              # The filter writes the cluster of the backend into the header. The runtime key weir.enabled is the switch.
{split}{ordinary}  clusters:
  # The control plane: `weir serve`. It sends all other clusters.
{cluster}
layered_runtime:
  layers: [{layer}]

stats_config:
  stats_tags:
{tags}
admin:
  address: {{ socket_address: {{ address: 127.0.0.1, port_value: 15000 }} }}
"
    )
}
