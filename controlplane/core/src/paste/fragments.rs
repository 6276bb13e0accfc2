//! The lines as YAML text, without indentation. A line with `#` is a comment for [`super::whole_file()`].

use serde_json::json;
use weir_split::MIRROR_HEADERS;

use super::options::{ModuleSource, PasteOptions};
use super::yaml_value::{indented, scalar_of};
use crate::envoy::{CONTROL_PLANE, FILTERS_HEADER, UPSTREAM_FILTER};

/// The header in which the filter writes the cluster of a request.
pub const ROUTING_HEADER: &str = "x-weir-cluster";
/// The name of the filter, and of its ECDS resource.
pub const FILTER: &str = "weir";

const HEADER_MUTATION: &str =
    "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const MATCHER: &str =
    "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher";
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";

/// Returns the value of `node`.
pub fn node(options: &PasteOptions) -> String {
    let name = scalar_of(options.node_name());
    format!("{{ id: {name}, cluster: {name} }}")
}

/// Returns the entries of `dynamic_resources`: `ads_config` and `cds_config`.
pub fn dynamic_resources(options: &PasteOptions) -> String {
    let filters = options.filters_header();
    format!(
        "\
ads_config:
  api_type: DELTA_GRPC
  transport_api_version: V3
  set_node_on_first_message_only: true
  grpc_services:
  - envoy_grpc: {{ cluster_name: {CONTROL_PLANE}, retry_policy: {{ retry_back_off: {{ base_interval: 0.5s, max_interval: 1s }} }} }}
    # The filters of this Envoy, each with its plugin configuration. Weir adds the keys control_plane and clusters_from.
    initial_metadata: [{{ key: {FILTERS_HEADER}, value: '{filters}' }}]
# While the control plane is away, a new Envoy waits this time, and then serves its ordinary routes.
cds_config: {{ resource_api_version: V3, ads: {{}}, initial_fetch_timeout: 0.5s }}
"
    )
}

/// Returns the item of `early_header_mutation_extensions`.
pub fn early_mutation() -> String {
    let [first, second] = MIRROR_HEADERS;
    format!(
        "\
- name: weir
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
    mutations: [{{ remove: {ROUTING_HEADER} }}, {{ remove: {first} }}, {{ remove: {second} }}]
"
    )
}

/// Returns the item of `http_filters`.
pub fn filter(options: &PasteOptions) -> String {
    match &options.module {
        ModuleSource::ControlPlane => discovered_filter(),
        ModuleSource::File(path) => filter_on_disk(options, path),
    }
}

fn discovered_filter() -> String {
    format!(
        "\
- name: {FILTER}
  config_discovery:
    config_source: {{ resource_api_version: V3, ads: {{}}, initial_fetch_timeout: 1s }}
    type_urls:
    - {MATCHER}
    - {WASM}
    - {HEADER_MUTATION}
    # The listener opens with the filter, or after a second with this filter, which changes nothing.
    default_config: {{ \"@type\": {HEADER_MUTATION} }}
"
    )
}

fn filter_on_disk(options: &PasteOptions, path: &str) -> String {
    let (key, scope) = options.scope_key();
    let (path, scope) = (json!(path), json!(scope));
    format!(
        "\
- name: {FILTER}
  typed_config:
    \"@type\": {MATCHER}
    # The switch: if the runtime key is 0, requests skip the filter.
    xds_matcher:
      matcher_list:
        matchers:
        - predicate:
            not_matcher:
              single_predicate:
                input:
                  name: authority
                  typed_config: {{ \"@type\": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: \":authority\" }}
                custom_match:
                  name: switch
                  typed_config:
                    \"@type\": type.googleapis.com/envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction
                    runtime_fraction: {{ default_value: {{ numerator: 100 }}, runtime_key: weir.enabled }}
          on_match: {{ action: {{ name: skip, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter }} }} }}
    extension_config:
      name: {FILTER}
      typed_config:
        \"@type\": {WASM}
        config:
          name: {FILTER}
          # After a trap the next request of the worker starts a new VM, at most once a second.
          failure_policy: FAIL_RELOAD
          reload_config: {{ backoff: {{ base_interval: 1s }} }}
          vm_config: {{ vm_id: weir, runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {path} }} }} }}
          configuration:
            \"@type\": type.googleapis.com/google.protobuf.StringValue
            value: '{{ \"control_plane\": \"{CONTROL_PLANE}\", \"{key}\": {scope}, \"clusters_from\": \"weir\" }}'
"
    )
}

/// Returns the item of the router's `upstream_http_filters` that removes the headers of mirrors.
pub fn upstream_filter(options: &PasteOptions) -> String {
    let [first, second] = MIRROR_HEADERS;
    match &options.module {
        ModuleSource::ControlPlane => format!(
            "\
- name: {UPSTREAM_FILTER}
  config_discovery:
    config_source: {{ resource_api_version: V3, ads: {{}}, initial_fetch_timeout: 1s }}
    type_urls:
    - {MATCHER}
    - {WASM}
    - {HEADER_MUTATION}
    default_config:
      \"@type\": {HEADER_MUTATION}
      mutations: {{ request_mutations: [{{ remove: {first} }}, {{ remove: {second} }}] }}
"
        ),
        ModuleSource::File(path) => format!(
            "\
- name: {UPSTREAM_FILTER}
  typed_config:
    \"@type\": {MATCHER}
    xds_matcher:
      matcher_list:
        matchers:
        - predicate:
            not_matcher:
              single_predicate:
                input:
                  name: mirror
                  typed_config: {{ \"@type\": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: {first} }}
                value_match: {{ safe_regex: {{ google_re2: {{}}, regex: .+ }} }}
          on_match: {{ action: {{ name: skip, typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter }} }} }}
    extension_config:
      name: {UPSTREAM_FILTER}
      typed_config:
        \"@type\": {WASM}
        config:
          name: {UPSTREAM_FILTER}
          root_id: upstream
          failure_policy: FAIL_RELOAD
          reload_config: {{ backoff: {{ base_interval: 1s }} }}
          vm_config: {{ vm_id: weir, runtime: envoy.wasm.runtime.v8, code: {{ local: {{ filename: {} }} }} }}
",
            json!(path)
        ),
    }
}

/// Returns the last item of `upstream_http_filters`.
pub fn upstream_codec() -> String {
    "\
- name: envoy.filters.http.upstream_codec
  typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }
"
    .to_owned()
}

/// Returns the items of `request_mirror_policies`.
pub fn mirror_policies() -> String {
    let removals = MIRROR_HEADERS.map(|it| format!("{{ remove: {it} }}"));
    let removals = removals.join(", ");
    let policies = MIRROR_HEADERS.map(|it| {
        format!(
            "- {{ cluster_header: {it}, disable_shadow_host_suffix_append: true, request_headers_mutations: [{removals}] }}\n"
        )
    });
    policies.concat()
}

/// Returns the condition on the routing header, an item of `headers` in the match of a route.
pub fn header_condition() -> String {
    format!("{{ name: {ROUTING_HEADER}, present_match: true }}")
}

/// Returns the value of `runtime_fraction` in the match of a route: the switch.
pub fn switch() -> &'static str {
    "{ default_value: { numerator: 100 }, runtime_key: weir.enabled }"
}

/// Returns a route for all split requests of a virtual host.
pub fn split_route() -> String {
    let (condition, switch) = (header_condition(), switch());
    format!(
        "\
- match: {{ prefix: /, headers: [{condition}], runtime_fraction: {switch} }}
  route: {{ cluster_header: {ROUTING_HEADER} }}
"
    )
}

/// Returns the item of `clusters` for the control plane.
pub fn control_plane(options: &PasteOptions) -> String {
    let (address, port) = (options.control_plane.host(), options.control_plane.port());
    let lookup = match options.control_plane.is_ip() {
        true => "",
        false => "  type: STRICT_DNS\n  dns_lookup_family: V4_PREFERRED\n",
    };
    let address = scalar_of(address);
    let tls = options.authority.as_deref();
    let tls = tls.map(|file| transport_socket(options, file));
    let tls = tls.unwrap_or_default();
    let protocol = indented(&http2(options), 2);
    format!(
        "\
- name: {CONTROL_PLANE}
{lookup}  load_assignment:
    cluster_name: {CONTROL_PLANE}
    endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: {address}, port_value: {port} }} }} }} }}] }}]
{tls}{protocol}"
    )
}

fn transport_socket(options: &PasteOptions, authority: &str) -> String {
    let (host, authority) = (json!(options.control_plane.host()), json!(authority));
    let (sni, san) = match options.control_plane.is_ip() {
        true => (String::new(), "IP_ADDRESS"),
        false => (format!("    sni: {host}\n"), "DNS"),
    };
    let socket = format!(
        "\
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
{sni}    common_tls_context:
      validation_context:
        trusted_ca: {{ filename: {authority} }}
        match_typed_subject_alt_names: [{{ san_type: {san}, matcher: {{ exact: {host} }} }}]
"
    );
    indented(&socket, 2)
}

/// Returns the entry `typed_extension_protocol_options` of the cluster for the control plane.
pub fn http2(options: &PasteOptions) -> String {
    let token = options.token.as_deref().map(token_filters);
    let token = token.unwrap_or_default();
    format!(
        "\
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {{ http2_protocol_options: {{ connection_keepalive: {{ interval: 30s, timeout: 5s }} }} }}
{token}"
    )
}

fn token_filters(file: &str) -> String {
    let file = json!(file);
    format!(
        "    http_filters:
    # Each poll and each new stream has the token of the file.
    - name: token
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
        overwrite: true
        credential:
          name: token
          typed_config:
            \"@type\": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic
            credential: {{ name: weir-token, sds_config: {{ path_config_source: {{ path: {file} }} }} }}
            header: x-weir-token
    - name: envoy.filters.http.upstream_codec
      typed_config: {{ \"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec }}
"
    )
}

/// Returns the name and the item of `stats_tags` for each label of the filter's counters, and for names of clusters.
pub fn stats_tags() -> [(&'static str, &'static str); 4] {
    [
        (
            "rule",
            r"- { tag_name: rule, regex: '(\.rule=\.=(.*?);\.;)' }",
        ),
        (
            "backend",
            r"- { tag_name: backend, regex: '(backend=\.=(.*?);\.;)' }",
        ),
        (
            "scope",
            r"- { tag_name: scope, regex: '(\.scope=\.=(.*?);\.;)' }",
        ),
        (
            "cluster",
            r"- { tag_name: cluster, regex: '^cluster\.((.+?\.svc\.cluster\.local_[0-9]+|[^.]+)\.)' }",
        ),
    ]
}

/// The layer of `layered_runtime` that `/runtime_modify` changes.
pub const ADMIN_LAYER: &str = "{ name: admin, admin_layer: {} }";
