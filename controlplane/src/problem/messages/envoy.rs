//! About a running Envoy, for `weir check --envoy`.

messages! {
    // The filter.
    no_filter() => NoFilter,
        "none of its filters has a plugin configuration of Weir", Whole "this Envoy splits nothing",
        "put the filter in as envoy-config/existing.yaml does";
    wrong_chain(protocol) => WrongChain,
        "the filter stands in a chain for another protocol than its plugin configuration says",
        Whole "every request or connection there fails", "write \"protocol\": \"{protocol}\"";
    control_plane_missing(cluster) => ClusterNotFound,
        "control_plane names the cluster {cluster}, which is not there",
        Whole "the filter gets no rules, and does what \"until_configured\" says",
        "define the cluster {cluster} with the address of `weir serve`";
    no_rules_without_scope(count, ways) => NoRules,
        "the plugin configuration has neither namespace nor gateway, and all rules in force ({count}) are for other scopes",
        Whole "this proxy splits nothing", "write into its plugin configuration {ways}";
    no_rules_of_scope(key, scope, count, ways) => NoRules,
        "the plugin configuration has \"{key}\": \"{scope}\", and all rules in force ({count}) are for other scopes",
        Whole "this proxy splits nothing", "write into its plugin configuration {ways}";

    // A rule.
    backend_cluster_missing(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and its cluster {cluster} is not there",
        Share "its share is answered 503",
        "define the cluster, or put the name that it has into \"clusters\" of the plugin configuration: {{ \"{backend}\": \"NAME\" }}";
    backend_cluster_missing_for_connections(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and its cluster {cluster} is not there",
        Share "the connections of its share are closed",
        "define the cluster, or put the name that it has into \"clusters\" of the plugin configuration: {{ \"{backend}\": \"NAME\" }}";
    lean_redirect(status) => Unsupported,
        "the rule redirects and edits the headers of the redirect, which weir-lean.wasm, loaded there, cannot do",
        Rule "these requests are answered {status}", "load weir.wasm instead of weir-lean.wasm";
    lean_backend(backend, weight, status) => Unsupported,
        "backend {backend} has weight {weight}, and the headers of its responses are edited, which weir-lean.wasm, loaded there, cannot do",
        Share "these requests are answered {status}", "load weir.wasm instead of weir-lean.wasm";

    // The listeners of a Gateway.
    listeners_differ(listeners, gateway, hosts, ways) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know by which of them a request comes in",
        Part "these requests are answered 500", "write {ways} into the plugin configuration";
    listeners_differ_by_port(listeners, gateway, hosts, ports) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know by which of them a request comes in",
        Part "these requests are answered 500",
        "write \"listeners\": {{ {ports} }} into the plugin configuration, each port of this Envoy with the names of the listeners that clients reach by it ({listeners})";
    listeners_of_a_port_differ(listeners, gateway, hosts) => ListenerUnknown,
        "the listeners {listeners} of Gateway {gateway} have different routes for {hosts}, and the filter does not know by which of them a request comes in",
        Part "these requests are answered 500",
        "name for each port in \"listeners\" of the plugin configuration only listeners that have the same routes";
    port_without_listener(port, gateway, hosts) => ListenerUnknown,
        "\"listeners\" of the plugin configuration has nothing for port {port}, where this filter stands, and listeners of Gateway {gateway} have different routes for {hosts}",
        Part "these requests are answered 500 there",
        "add \"{port}\": [\"NAME\"] with the names of the listeners that clients reach by it";
    listener_missing(key, name, gateway, listeners) => ListenerUnknown,
        "\"{key}\" of the plugin configuration names {name}, and Gateway {gateway} has no such listener for HTTP",
        Part "no route is in force for its requests", "write {listeners}";

    // The routes of Envoy.
    policies_lost(header_route, shadowed, policies) => PoliciesLost,
        "{header_route} takes split requests from {shadowed}", Part "these requests go without {policies} of that route",
        "put a route with cluster_header, and with the match and all policies of {shadowed}, right above it";
}
