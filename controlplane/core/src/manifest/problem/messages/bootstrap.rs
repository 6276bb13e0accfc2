//! Messages about an Envoy's configuration file, for `weir bootstrap --existing`.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy.

messages! {
    // The file.
    not_a_configuration(why) => Unreadable,
        "the file is not a configuration of Envoy: {why}", Whole "weir bootstrap changes nothing",
        "give the YAML or JSON file that Envoy reads with -c, or a file of a path_config_source with listeners or route configurations";
    own_management_server(field) => NotEdited,
        "{field} names a management server, and an Envoy can have only one", Whole "weir bootstrap changes nothing: this Envoy gets no clusters from Weir",
        "choose a way from the section \"An Envoy with its own ADS\" of docs/clusters.md";
    lines_of_other_scope(filters) => NotEdited,
        "the Envoy tells Weir already that it has other filters: {filters}", Whole "the rules and clusters of this Envoy stay as they are",
        "change weir-filters in initial_metadata to the namespace or the Gateway of this Envoy";
    node_without_id(id) => NotEdited,
        "the node had no id or no cluster, so this command wrote {id}", Nothing "Weir tells Envoys in one namespace apart by this id",
        "if several Envoys use this file, start each with its own --service-node";
    control_plane_with_http1(cluster) => NotEdited,
        "the cluster {cluster} has protocol options without http2_protocol_options", Whole "the stream for clusters needs HTTP/2: this Envoy gets no clusters from Weir",
        "write into its HttpProtocolOptions \"explicit_http_config: {{ http2_protocol_options: {{}} }}\"";
    control_plane_elsewhere(cluster, address) => NotEdited,
        "the cluster {cluster} is there already, and its address is not {address}", Nothing "this Envoy uses the address in the file",
        "if `weir serve` is not at the address in the file, write {address} into the cluster";
    control_plane_without_tls(cluster) => NotEdited,
        "the cluster {cluster} is there already, and has no TLS or no token", Whole "`weir serve` with TLS refuses the polls and the stream of this Envoy",
        "replace the cluster by the cluster {cluster} that weir bootstrap prints without --existing";
    counters_excluded() => NotEdited,
        "stats_config has a stats_matcher, which may exclude the counters of Weir", Nothing "/stats may have no counters of Weir",
        "include the prefix wasmcustom.weir_ in the inclusion_list, or leave it out of the exclusion_list";

    // Listeners and connection managers.
    no_connection_manager() => NotEdited,
        "no listener of the file has an HTTP connection manager with routes to clusters", Whole "this Envoy splits nothing",
        "add such a listener, or run this command for the file that has the listeners";
    listener_not_there(listener, listeners) => NotEdited,
        "the file has no listener {listener} with an HTTP connection manager with routes to clusters", Whole "this Envoy splits nothing",
        "write the name of a listener of the file into --listener ({listeners})";
    listener_for_inbound() => NotEdited,
        "the listener has traffic_direction: INBOUND", Nothing "requests to the workload of this Envoy are not split",
        "to split them, give --listener with the name of this listener";
    listeners_in_file(path) => NotEdited,
        "the listeners come from the file {path}", Whole "the listeners of that file split nothing until the file has the lines for Weir",
        "run this command with --existing {path} too";
    listeners_from_server() => NotEdited,
        "the listeners come from a management server", Whole "these listeners split nothing until the server sends the lines for Weir",
        "let the server send listeners with the parts early_header_mutation_extensions, http_filters and route_config that weir bootstrap prints";
    routes_in_file(path) => NotEdited,
        "the routes of this connection manager come from the file {path}", Whole "its requests are not split until the file has routes for split requests",
        "run this command with --existing {path} too";
    routes_from_server() => NotEdited,
        "the routes of this connection manager come from a management server", Whole "its requests are not split until the server sends routes for split requests",
        "let the server send above each route a copy of it with the match \"headers: [{{ name: x-weir-cluster, present_match: true }}]\" and with \"cluster_header: x-weir-cluster\" instead of its cluster, and \"request_headers_to_remove: [x-weir-cluster]\" in the route configuration";
    router_not_found(list) => NotEdited,
        "{list} has no router as its last filter", Whole "requests of this connection manager are not split",
        "add the filter that weir bootstrap prints right before the router";
    filter_without_clusters() => NotEdited,
        "http_filters has a filter of Weir already, and its plugin configuration has no \"clusters_from\"", Whole "the filter stays as it is, and does not wait for clusters from Weir",
        "write \"clusters_from\": \"weir\" into its plugin configuration, or remove the filter and run this command again";

    // Routes.
    routes_in_matcher() => NotEdited,
        "the virtual host has its routes in a matcher", Whole "requests of this virtual host are not split",
        "add to the matcher routes with \"cluster_header: x-weir-cluster\" for requests that have the header x-weir-cluster";
    policies_of_clusters() => NotEdited,
        "the weighted_clusters of this route have policies, such as request_headers_to_add", Part "the route for split requests has one cluster, and none of these policies",
        "if split requests need these policies, write them into the route with cluster_header above this route";
    no_place_for(lines) => NotEdited,
        "{lines} cannot be added to a value that is written in this form", Whole "requests of this connection manager may not be split",
        "add the lines by hand, as weir bootstrap prints them without --existing";
}
