//! Messages about the configuration of a running Envoy, for `weir check --envoy`.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    // The filter.
    no_filter() => NoFilter,
        "no filter of this Envoy has a plugin configuration of Weir", Whole "this Envoy splits nothing",
        "add the filter as in envoy-config/existing.yaml";
    filter_unsent(cluster) => FilterAwaited,
        "the control plane has not sent a filter to this Envoy", Whole "this Envoy splits nothing",
        "check that the cluster {cluster} has the address of `weir serve --listen`, and that `GET /readyz` of `weir serve` answers 200";
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
    requests_fail_closed() => FailsClosed,
        "the filter has no failure_policy: FAIL_RELOAD", Whole "after a trap of the filter its worker answers every request 503 until Envoy restarts",
        "write \"failure_policy: FAIL_RELOAD\" into the config of the Wasm filter";
    connections_fail_closed() => FailsClosed,
        "the filter has no failure_policy: FAIL_RELOAD", Whole "after a trap of the filter its worker closes every connection until Envoy restarts",
        "write \"failure_policy: FAIL_RELOAD\" into the config of the Wasm filter";
    filter_disabled(filter, hosts) => FilterDisabled,
        "the filter {filter} is disabled for all requests of this virtual host", Whole "requests for {hosts} are not split",
        "write \"typed_per_filter_config: {{ {filter}: {{ '@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {{}} }} }}\" into the ordinary routes, or remove \"disabled: true\"";
    filter_twice(filters) => FilterTwice,
        "several filters of Weir run for the same requests: {filters}", Part "the last filter decides: it replaces or removes the header of the others, and each filter counts its own picks",
        "leave only one of these filters in http_filters";
    upgrade_without_filter(upgrade, filter) => UpgradeNotSplit,
        "the filters of the upgrade {upgrade} in upgrade_configs are without the filter of Weir", Part "requests with this upgrade are not split",
        "add {filter} to these filters right before the router, or remove the list, so that the upgrade has the filters of http_filters";
    header_removed(filter, header, place) => HeaderRemoved,
        "the filter {filter} removes the header {header}, and runs after the filter of Weir", Whole "requests take the ordinary routes and are not split",
        "put {filter} before the filter of Weir in {place}, or remove {header} from its configuration";
    header_overwritten(filter, header, place) => HeaderOverwritten,
        "the filter {filter} writes the header {header}, and runs after the filter of Weir", Whole "requests go to the cluster in its value, and not to the picked cluster",
        "put {filter} before the filter of Weir in {place}, or remove {header} from its configuration";
    header_written_late(filter, headers, place) => WrittenTooLate,
        "the filter {filter} runs after the filter of Weir, and writes headers that the matches of rules read: {headers}", Part "the matches do not see the values that {filter} writes",
        "put {filter} before the filter of Weir in {place}";
    header_from_clients(routes, header) => HeaderFromClients,
        "requests can take {routes} without the filter of Weir, and nothing removes the header {header} of a client",
        Part "a client with this header chooses any cluster of this Envoy",
        "write into the connection manager \"early_header_mutation_extensions: [{{ name: weir, typed_config: {{ '@type': type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{{ remove: {header} }}] }} }}]\"";
    filter_refused() => FilterRefused,
        "Envoy does not run the filter: it has no metric of Weir", Whole "Envoy answers requests 500 if the filter comes by ECDS, and else keeps its last filter",
        "find the reason in the log of this Envoy, in a line with \"plugin configuration\"; write the plugin configuration as JSON into \"value\" of a google.protobuf.StringValue, because the filter cannot read a Struct";
    never_configured(cluster) => NotConfigured,
        "the filter has no configuration: polls of the cluster {cluster} fail, and none has succeeded",
        Whole "this Envoy splits nothing, and does what \"until_configured\" says",
        "find the reason in the log of this Envoy (weir: no configuration from \"{cluster}\"), and compare the address and the TLS settings of the cluster with the settings of `weir serve`";
    polls_fail(cluster) => PollsFail,
        "polls of the cluster {cluster} fail", Part "changes of objects do not reach this Envoy: its last configuration stays in force",
        "find the reason in the log of this Envoy (weir: no configuration from \"{cluster}\"), and compare the address and the TLS settings of the cluster with the settings of `weir serve`";
    stream_closed(cluster) => PollsFail,
        "the stream to the cluster {cluster} is not open", Part "new clusters and endpoints do not reach this Envoy: it keeps the clusters and endpoints that it has",
        "find the reason in the log of this Envoy, in a line with \"DeltaAggregatedResources\", and compare the address, the TLS settings and the token of the cluster with the settings of `weir serve`";
    switched_off(key) => SwitchedOff,
        "the runtime key {key} is 0", Nothing "this Envoy splits nothing: requests take the ordinary routes",
        "to switch Weir on, set the key to 100 in its layer, or POST /runtime_modify?{key}=100 to the admin interface";
    switch_fixed(key) => SwitchFixed,
        "no layer of layered_runtime can change while Envoy runs", Nothing "the runtime key {key} cannot switch Weir off",
        "add \"{{ name: admin, admin_layer: {{}} }}\" as the last of \"layered_runtime: {{ layers: [...] }}\"";

    one_filter_refused() => FilterRefused,
        "Envoy does not run this filter: a running filter creates a metric for its plugin configuration, and this Envoy does not have the metric", Whole "Envoy answers requests 500 if the filter comes by ECDS, and else keeps its last filter",
        "find the reason in the log of this Envoy, in a line with \"plugin configuration\"";
    plugin_refused(cause, remedy) => FilterRefused,
        "{cause}", Whole "in the listeners that have this filter, Envoy answers requests with status 500, or runs the previous version of the filter",
        "{remedy}";
    not_configured(cluster) => NotConfigured,
        "the filter has no configuration: its metric weir_configured is 0", Whole "this Envoy splits nothing, and does what \"until_configured\" says",
        "check that the address of the cluster {cluster} is the address of `weir serve`, and that `weir serve` answers there";
    other_rules(rules, planned, cluster) => OtherRules,
        "the filter has {rules} in force, but it would have {planned} from the objects that this command reads", Nothing "requests follow the rules in force, and not the rules of these objects",
        "check that the `weir serve` at the address of Envoy's cluster {cluster} reads the same folder or Kubernetes cluster as this command";

    switch_ignored(key, value) => SwitchIgnored,
        "the runtime key {key} has the value {value}, which is no number", Nothing "Envoy uses the default value of the key, as if the key were not set",
        "write a number from 0 (off) to 100 (on)";
    matcher_inverted(filter, hosts) => FilterSkipped,
        "the matcher around the filter {filter} skips it while the runtime key is on", Whole "requests for {hosts} are not split",
        "put the predicate with runtime_fraction into not_matcher, as in envoy-config/existing.yaml";
    matcher_skips(filter, hosts) => FilterSkipped,
        "the matcher around the filter {filter} runs it for no request of this virtual host", Whole "requests for {hosts} are not split",
        "change the predicates of the matcher, so that it runs the filter for these hosts";
    matcher_needs_header(filter, hosts) => FilterSkipped,
        "the matcher around the filter {filter} runs it only for requests with certain headers", Nothing "other requests for {hosts} are not split",
        "to split all requests, remove the conditions on headers from the matcher";

    upgrade_filter_disabled(upgrade, filter) => UpgradeNotSplit,
        "the filter {filter} is disabled in the filters of the upgrade {upgrade} in upgrade_configs", Part "requests with this upgrade are not split",
        "remove \"disabled: true\" from {filter} in these filters";

    filter_missing(routes) => FilterMissing,
        "{routes} take requests of a split, and http_filters has no filter of Weir", Whole "requests of this listener are not split",
        "add the filter of Weir to http_filters, right before the router";
    filter_missing_beside(routes) => FilterMissing,
        "{routes} take requests of a split, and http_filters has no filter of Weir; another listener with the same routes has the filter", Nothing "requests of this listener are not split",
        "to split them too, add the filter of Weir to http_filters, right before the router";
    filter_awaited(filter) => FilterAwaited,
        "the filter \"{filter}\" comes by ECDS, and has not arrived", Whole "Envoy answers requests of this listener 500, or does not open the listener yet",
        "serve a resource with the name {filter} at the config_source of the filter";
    default_instead_of_filter(filter) => FilterAwaited,
        "the filter \"{filter}\" comes by ECDS, and has not arrived: its default_config runs", Whole "requests of this listener are not split",
        "serve a resource with the name {filter} at the config_source of the filter";
    listener_warming() => Warming,
        "this listener is warming: it waits for resources that it names", Whole "Envoy does not accept connections of this listener until it has the resources",
        "let the management server of this Envoy send the secrets, route configurations, clusters and ECDS filters that the listener names";
    listener_version_warming() => Warming,
        "the newest version of this listener is warming: it waits for resources that it names", Whole "Envoy uses the older version of the listener until it has the resources",
        "let the management server of this Envoy send the secrets, route configurations, clusters and ECDS filters that the listener names";
    connections_without_root() => NoDestination,
        "the plugin configuration has no root, and the listener has no original_dst filter in listener_filters", Whole "the filter does not know which Service a connection calls: connections are not split",
        "write \"root\": \"SERVICE.NAMESPACE:PORT\" into the plugin configuration";
    no_tcp_proxy() => NoTcpProxy,
        "no TCP proxy comes after the filter with \"protocol\": \"tcp\"", Whole "the picked cluster has no effect: connections are not split",
        "for HTTP, put the filter into http_filters of the connection manager with \"protocol\": \"http\"";
    tcp_cluster_overwritten(filter) => ClusterOverwritten,
        "the filter {filter} writes envoy.tcp_proxy.cluster after the filter of Weir", Whole "connections go to the cluster in its value, and not to the picked cluster",
        "put {filter} before the filter of Weir";
    root_without_rule(root) => NoRuleOfRoot,
        "no rule in force is for connections to {root}, which is the root of the plugin configuration", Nothing "connections are not split",
        "to split connections, write a TrafficSplit for {root}";
    other_root(root, roots) => NoRuleOfRoot,
        "no rule in force is for connections to {root}, which is the root of the plugin configuration", Whole "connections are not split",
        "write {roots} into \"root\"";
    root_of_requests(root) => NoRuleOfRoot,
        "the rules of {root} are for HTTP requests, and the filter has \"protocol\": \"tcp\"", Whole "connections are not split",
        "put the filter into http_filters of a connection manager, with \"protocol\": \"http\" and without root";

    // A rule.
    backend_cluster_warming(backend, weight, cluster) => Warming,
        "backend {backend} has weight {weight}, and its cluster {cluster} is warming: it waits for its endpoints or secrets",
        Share "requests or connections for this backend fail until the cluster has them",
        "let the management server of this Envoy send the endpoints and secrets that the cluster names";
    backend_cluster_missing(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and its cluster {cluster} does not exist",
        Share "requests for this backend are answered 503",
        "define the cluster, or put its real name into \"clusters\" of the plugin configuration: {{ \"{backend}\": \"NAME\" }}";
    backend_cluster_unsent(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}, and `weir serve` has not sent its cluster {cluster}",
        Share "the rule keeps its last weights for at most 15 seconds, and then requests for this backend are answered 500",
        "check that this command reads the same objects as `weir serve`, and that weir-filters in initial_metadata has the namespace or the Gateway of the filter";
    backend_cluster_refused(backend, weight, cluster) => ClusterNotFound,
        "backend {backend} has weight {weight}. Envoy does not have its cluster {cluster}, and has refused clusters of `weir serve`",
        Share "the rule keeps its last weights for at most 15 seconds, and then requests for this backend are answered 500",
        "find the reason in the condition weir.dev/Live of the object, or in the log of this Envoy, in a line with \"rejected\"";
    backend_without_endpoints(backend, weight, cluster) => NoEndpoints,
        "backend {backend} has weight {weight}, and its cluster {cluster} has no endpoints",
        Share "requests for this backend are answered 503",
        "in Kubernetes start a pod of the Service that becomes ready, or correct the selector of the Service; in a folder write an EndpointSlice with the label kubernetes.io/service-name and the name of the Service's port";
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
        "write \"listeners\": {{ {ports} }} into the plugin configuration. Replace each NAME with the names of the listeners that clients reach at the port before NAME (possible: {listeners})";
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
    no_header_route(header, hosts) => NoHeaderRoute,
        "no route of this virtual host takes its cluster from the header {header}", Whole "requests for {hosts} are not split",
        "put above each route a copy of it with the match \"headers: [{{ name: {header}, present_match: true }}]\" and with \"cluster_header: {header}\" instead of its cluster";
    other_header_route(route, other, header, hosts) => NoHeaderRoute,
        "{route} takes its cluster from the header {other}, and the filter writes {header}", Whole "requests for {hosts} are not split",
        "write {header} instead of {other} into the route, or \"header\": \"{other}\" into the plugin configuration";
    no_twin(routes, header) => NoHeaderRoute,
        "{routes}: no route above takes requests of a split", Nothing "requests of these routes are not split",
        "to split them too, put above each route a copy of it with the match \"headers: [{{ name: {header}, present_match: true }}]\" and with \"cluster_header: {header}\" instead of its cluster";
    no_virtual_host(hosts) => NoVirtualHost,
        "no virtual host has a domain for {hosts}", Whole "Envoy answers these requests 404",
        "add the host to \"domains\" of the virtual host that has its routes";
    no_virtual_host_of_some(hosts) => NoVirtualHost,
        "no virtual host has a domain for {hosts}", Nothing "Envoy answers these requests 404, if clients send them to this Envoy",
        "if this Envoy is for these hosts, add them to \"domains\" of the virtual host that has their routes";
    header_route_below(route, ordinary) => HeaderRouteUnreachable,
        "{route} reads the header, and is below {ordinary}, which takes all of its requests", Part "these requests are not split",
        "put {route} above {ordinary}";
    header_route_in_part(route, header) => HeaderRouteInPart,
        "some of the weighted_clusters of {route} have no \"cluster_header: {header}\"", Part "their share of the requests does not go to the picked cluster",
        "write \"cluster_header: {header}\" instead of weighted_clusters";
    header_route_misspelled(route, wrong, header) => HeaderRouteUnreachable,
        "{route} takes its cluster from {header}, but its condition is on the header {wrong}", Part "these requests are not split",
        "write \"name: {header}\" instead of \"name: {wrong}\"";
    header_route_to_other(route, other, header) => HeaderRouteUnreachable,
        "{route} has a condition on {header}, but takes its cluster from the header {other}",
        Part "split requests of this route are answered 503",
        "write \"cluster_header: {header}\" instead of \"cluster_header: {other}\"";
    header_route_without_condition(route, ordinary, header) => HeaderRouteTakesAll,
        "{route} takes its cluster from {header}, has no condition on this header, and is above {ordinary}",
        Part "requests without the header, such as requests of no rule, are answered 503",
        "add to its match \"headers: [{{ name: {header}, present_match: true }}]\"";
    no_route_for_value(backend, weight, header, value) => NoHeaderRoute,
        "backend {backend} has weight {weight}, and no route matches its value {value} of the header {header}", Share "requests for this backend take another route",
        "add a route with \"headers: [{{ name: {header}, string_match: {{ exact: {value} }} }}]\" and the cluster of the backend";
    header_leaks(routes, header) => HeaderLeaks,
        "nothing removes the header {header} from requests of {routes}", Part "backends get the name of their cluster in this header",
        "write \"request_headers_to_remove: [{header}]\" into the route configuration";
    own_route_taken(route, answers, request, status, filter) => OwnRouteTaken,
        "{route} {answers} requests itself, but the filter of Weir runs first and finds no backend for a request for {request}", Part "these requests are answered {status} by Weir",
        "write into this route \"typed_per_filter_config: {{ {filter}: {{ '@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }} }}\"";
    edited_twice(route, edits) => EditedTwice,
        "{route} and the rule make the same edits: {edits}", Part "requests of the rule get these edits twice",
        "remove the edits from the route of Envoy, or from the rule";
    answer_lost(header_route, shadowed, answers) => PoliciesLost,
        "{header_route} receives the split requests instead of {shadowed}, which {answers} requests itself", Part "these requests go to the backends of the split",
        "put {shadowed} above {header_route}";
    policies_lost(header_route, shadowed, policies) => PoliciesLost,
        "{header_route} receives the split requests instead of {shadowed}", Part "for these requests Envoy ignores {policies} of {shadowed}",
        "put a route with cluster_header, and with the match and all policies of {shadowed}, right above {shadowed}";
    twin_is_narrower(route, twin, conditions) => NoHeaderRoute,
        "{twin} takes split requests of {route} only if they fit its own match ({conditions})", Nothing "other requests of {route} are not split",
        "to split them too, copy {twin} to right above {route}. In the copy, write the match of {route}, and keep the condition on the header";
    value_does_not_fit(backend, weight, route, header, value) => NoHeaderRoute,
        "backend {backend} has weight {weight}. For this backend the filter writes {value} into the header {header}, and this value does not fit the match of {route}", Share "requests for this backend take another route",
        "write \"headers: [{{ name: {header}, present_match: true }}]\" into the match of {route} instead of its condition on this header";
    cluster_route_taken(route, request, status, filter) => OwnRouteTaken,
        "{route} sends its requests to a cluster, but the filter of Weir runs first and finds no backend for a request for {request}", Part "these requests are answered {status} by Weir",
        "to let {route} have its requests, write into it \"typed_per_filter_config: {{ {filter}: {{ '@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true }} }}\"";
    health_check_taken(health_check, request, status, filter) => OwnRouteTaken,
        "the filter {health_check} answers requests for {request} itself, but {filter} runs first and finds no backend for them", Part "these requests are answered {status} by Weir",
        "put {health_check} before {filter} in http_filters";
    names_not_split(hosts, header) => NoHeaderRoute,
        "requests for {hosts} take this virtual host, and none of its routes takes its cluster from the header {header}", Nothing "if clients send such requests to this Envoy, it does not split them",
        "to split them, add these hosts to \"domains\" of the virtual host that has the other names of the Service or host";
    wildcard_not_split(hosts, header) => NoHeaderRoute,
        "a rule fits requests for {hosts}, and no route of this virtual host takes its cluster from the header {header}", Nothing "requests for {hosts} are not split",
        "to split them, put above each route a copy of it with the match \"headers: [{{ name: {header}, present_match: true }}]\" and with \"cluster_header: {header}\" instead of its cluster";

    // Mirrors.
    mirrors_not_copied(route, headers, level, lines) => NotMirrored,
        "Envoy uses only the request_mirror_policies of {level} for {route}, and they do not read {headers}",
        Part "requests of this route are not copied to the mirrors of their rules",
        "add to request_mirror_policies of {level}: {lines}";
    mirror_cluster_missing(mirror, cluster) => ClusterNotFound,
        "the mirror {mirror} has no cluster: {cluster} does not exist",
        Share "this mirror gets no copies, and the requests themselves are not affected",
        "define the cluster, or put its real name into \"clusters\" of the plugin configuration: {{ \"{mirror}\": \"NAME\" }}";
    mirror_headers_visible(list, header) => MirrorHeadersVisible,
        "{list} has no filter with \"root_id: upstream\"",
        Part "backends of requests with a mirror get the header {header} with the name of a cluster",
        "add the filter weir-upstream of envoy-config/sidecar.yaml to {list}";
    mirror_filter_disabled(filter, list, header) => MirrorHeadersVisible,
        "the filter {filter} in {list} has disabled: true",
        Part "backends of requests with a mirror get the header {header} with the name of a cluster",
        "remove \"disabled: true\" from {filter}";
    mirror_filter_skips(filter, list, header) => MirrorHeadersVisible,
        "the matcher of the filter {filter} in {list} skips the requests that have a mirror",
        Part "backends of requests with a mirror get the header {header} with the name of a cluster",
        "give {filter} the matcher that the filter weir-upstream has in envoy-config/sidecar.yaml, with \"not_matcher\"";
    mirror_header_removed(filter, list, header) => NotMirrored,
        "the filter {filter} in {list} removes the header {header} before Envoy reads it",
        Part "requests are not copied to the mirror of this header",
        "remove {header} from the configuration of {filter}";
    mirror_header_unsent(route, header) => NotMirrored,
        "{route} removes the header {header} by request_headers_to_remove, before Envoy makes the copy",
        Part "requests of this route are not copied to the mirror of this header",
        "remove {header} from request_headers_to_remove of the route, its virtual host and its route configuration";
    mirrored_in_part(route, header) => NotMirrored,
        "{route} has a runtime_fraction below 100 percent in the policy that reads {header}",
        Part "Envoy copies only this share of the requests that the filter picks for the mirror",
        "remove runtime_fraction from the policy";
    mirrors_from_clients(headers, removals) => HeaderFromClients,
        "request_mirror_policies read {headers}, and nothing removes {headers} from the request of a client",
        Part "a client with such a header sends copies of its requests to any cluster of this Envoy",
        "add to early_header_mutation_extensions of the connection manager \"{{ name: weir-mirrors, typed_config: {{ '@type': type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation, mutations: [{removals}] }} }}\"";
    mirror_delays(cluster, mirror) => MirrorDelays,
        "the cluster {cluster} of the mirror {mirror} has no max_stream_duration",
        Nothing "a request with a body of several MiB waits while the mirror does not read its copy",
        "write into HttpProtocolOptions of the cluster \"common_http_protocol_options: {{ max_stream_duration: 2s }}\"";
    shared_mirror_delays(cluster, mirror) => MirrorDelays,
        "the cluster {cluster} of the mirror {mirror} is also the cluster of a backend, and has no per_connection_buffer_limit_bytes above 1 MiB",
        Nothing "a request with a body of several MiB waits while the mirror does not read its copy",
        "write into the cluster a per_connection_buffer_limit_bytes larger than the largest body";
}
