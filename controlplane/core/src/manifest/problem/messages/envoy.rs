//! Messages about the configuration of a running Envoy, for `weir check --envoy`.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    // The filter.
    no_filter() => NoFilter,
        "no filter of this Envoy has a plugin configuration of Weir", Whole "this Envoy splits nothing",
        "add the filter as in envoy-config/existing.yaml";
    wrong_chain(protocol) => WrongChain,
        "the filter chain has another protocol than the plugin configuration of the filter",
        Whole "every request or connection there fails", "write \"protocol\": \"{protocol}\"";
    control_plane_missing(cluster) => ClusterNotFound,
        "control_plane names the cluster {cluster}, which does not exist",
        Whole "the filter gets no rules, and does what \"until_configured\" says",
        "define the cluster {cluster} with the address of `weir serve`";
    no_rules_without_scope(count, ways) => NoRules,
        "the plugin configuration has neither namespace nor gateway, and all rules in force ({count}) are for other proxies",
        Whole "this proxy splits nothing", "write into its plugin configuration {ways}";
    no_rules_of_scope(key, scope, count, ways) => NoRules,
        "the plugin configuration has \"{key}\": \"{scope}\", and all rules in force ({count}) are for other proxies",
        Whole "this proxy splits nothing", "write into its plugin configuration {ways}";

    // The filter chain of the filter.
    inbound_without_tls() => InboundUnverified,
        "the filter chain of a filter with direction inbound has no TLS",
        Whole "no client has an identity: while permissions are in force, the filter denies every request and connection",
        "write a transport_socket with DownstreamTlsContext into the chain, and write into this context \"require_client_certificate: true\" and \"validation_context: {{ trusted_ca: {{ filename: certs/ca.crt }} }}\"";
    inbound_untrusted() => InboundUnverified,
        "the filter chain of a filter with direction inbound has trust_chain_verification: ACCEPT_UNTRUSTED",
        Whole "a client can write any name into its own certificate, and the filter accepts this name",
        "remove the line \"trust_chain_verification: ACCEPT_UNTRUSTED\"";
    inbound_without_authority() => InboundUnverified,
        "the filter chain of a filter with direction inbound names no authority for the certificates of clients",
        Whole "Envoy verifies no client certificate, and the filter accepts the name in every certificate",
        "write \"validation_context: {{ trusted_ca: {{ filename: certs/ca.crt }} }}\" into its common_tls_context";
    inbound_certificate_optional() => InboundUnverified,
        "the filter chain of a filter with direction inbound does not require a certificate of its clients",
        Part "while no permissions are in force, the filter lets in clients without a certificate",
        "write \"require_client_certificate: true\" into its DownstreamTlsContext";
    inbound_paths_not_normalized(lines) => PathsNotNormalized,
        "the connection manager of the filter of direction inbound does not normalize paths",
        Part "a path such as /books//../admin is checked as written, but the workload may read it as /admin",
        "write these lines into the connection manager: {lines}";
    edge_paths_not_normalized(lines) => PathsNotNormalized,
        "the connection manager of this edge does not normalize paths",
        Part "a path such as /public/../admin uses the routes of /public, but the backend may read it as /admin",
        "write these lines into the connection manager: {lines}";
    inbound_not_first(filters) => InboundNotFirst,
        "before the filter of direction inbound, http_filters has {filters}",
        Part "other filters get requests before any check: they may answer requests, or change the path and headers that Weir checks",
        "put the filter of Weir first into http_filters";
    inbound_fails_open() => FailsOpen,
        "the filter of direction inbound has failure_policy: FAIL_OPEN",
        Whole "while the filter cannot run, every client is let in",
        "write \"failure_policy: FAIL_RELOAD\"";
    outbound_fails_open() => FailsOpen,
        "the filter has failure_policy: FAIL_OPEN",
        Whole "while the filter cannot run, no rule has an effect, and requests use the ordinary routes",
        "write \"failure_policy: FAIL_RELOAD\"";

    // A rule.
    backend_cluster_missing(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and its cluster {cluster} does not exist",
        Share "requests for this backend are answered 503",
        "define the cluster, or put its real name into \"clusters\" of the plugin configuration: {{ \"{backend}\": \"NAME\" }}";
    backend_cluster_missing_for_connections(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and its cluster {cluster} does not exist",
        Share "connections for this backend are closed",
        "define the cluster, or put its real name into \"clusters\" of the plugin configuration: {{ \"{backend}\": \"NAME\" }}";
    lean_redirect(status) => Unsupported,
        "the rule redirects and edits the headers of the redirect, which the loaded module weir-lean.wasm cannot do",
        Rule "these requests are answered {status}", "load weir.wasm instead of weir-lean.wasm";
    lean_backend(backend, weight, status) => Unsupported,
        "backend {backend} has weight {weight}, and the headers of its responses are edited, which the loaded module weir-lean.wasm cannot do",
        Share "these requests are answered {status}", "load weir.wasm instead of weir-lean.wasm";

    // The listeners of a Gateway.
    listeners_differ(listeners, gateway, hosts, ways) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know which of these listeners receives a request",
        Part "these requests are answered 500", "write {ways} into the plugin configuration";
    listeners_differ_by_port(listeners, gateway, hosts, ports) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know which of these listeners receives a request",
        Part "these requests are answered 500",
        "write \"listeners\": {{ {ports} }} into the plugin configuration, and replace each NAME with the listeners that clients reach at its port, out of {listeners}";
    listeners_of_a_port_differ(listeners, gateway, hosts) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know which of these listeners receives a request",
        Part "these requests are answered 500",
        "change \"listeners\" of the plugin configuration: give each port only listeners that have the same routes";
    port_without_listener(port, gateway, hosts) => ListenerUnknown,
        "this filter is at port {port}, but \"listeners\" of the plugin configuration has no entry for port {port}; the listeners of Gateway {gateway} have different routes for {hosts}",
        Part "requests for these hosts are answered 500 at this port",
        "add \"{port}\": [\"NAME\"] with the names of the listeners that clients reach at this port";
    listener_missing(key, name, gateway, listeners) => ListenerUnknown,
        "\"{key}\" of the plugin configuration names the listener {name}, but Gateway {gateway} has no HTTP listener of this name",
        Part "requests to this listener get no route", "write {listeners}";

    // The routes of Envoy.
    policies_lost(header_route, shadowed, policies) => PoliciesLost,
        "{header_route} takes split requests away from {shadowed}", Part "these requests go without {policies} of that route",
        "put a route with cluster_header, and with the match and all policies of {shadowed}, right above {shadowed}";

    // Mirrors.
    mirrors_not_copied(route, headers, header) => NotMirrored,
        "{route} does not follow {headers}: it has no such request_mirror_policies, or Envoy removes the header before the copy",
        Part "requests of this route are not copied to the mirrors of their rules",
        "add {{ cluster_header: {header}, disable_shadow_host_suffix_append: true, request_headers_mutations: [{{ remove: {header} }}] }} \
         to request_mirror_policies of the route or of the route configuration, and leave the header out of request_headers_to_remove";
    mirror_cluster_missing(mirror, cluster) => ClusterNotFound,
        "the mirror {mirror} has no cluster: {cluster} does not exist",
        Share "this mirror gets no copies, and the requests themselves are not affected",
        "define the cluster, or put its real name into \"clusters\" of the plugin configuration: {{ \"{mirror}\": \"NAME\" }}";
    mirror_headers_visible(header) => MirrorHeadersVisible,
        "the router has no filter with root_id: upstream in upstream_http_filters",
        Part "backends of requests with a mirror get the header {header} with the name of a cluster",
        "add the filter weir-upstream of envoy-config/sidecar.yaml to upstream_http_filters of the router";
}
