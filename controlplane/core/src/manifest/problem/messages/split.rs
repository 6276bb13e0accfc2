//! Messages about TrafficSplits.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object. An object or a part of it is "in force" if Weir uses it for traffic.

messages! {
    // A TrafficSplit alone.
    split_service_missing() => InvalidValue,
        "no service is named", ByPlace,
        "write the name of the Service that clients call, such as service: web";
    split_service_is_object(name) => InvalidValue,
        "the field \"service\" is a map where a name is expected", ByPlace,
        "write the name alone: service: {name}";
    split_service_is_no_text(value) => InvalidValue,
        "the service is {value}, which is not a text", ByPlace,
        "put the name in quotes, such as service: \"{value}\"";
    split_service_port(port) => InvalidValue,
        "\"{port}\" is not a port", ByPlace,
        "write a number from 1 to 65535 after the colon, or leave the colon out for every port";
    split_service_no_name(written) => InvalidValue,
        "\"{written}\" is neither the name of a Service nor a host name", ByPlace,
        "write the name of a Service of the split's namespace, such as web, or a host name, such as shop.example.com";
    split_service_elsewhere(name, namespace, own) => RefNotPermitted,
        "Service {name} is in namespace \"{namespace}\", but the split is in namespace \"{own}\"", ByPlace,
        "write metadata.namespace: {namespace} in the split and in its backends, or start Weir with --default-namespace {namespace} if the files contain no namespaces";
    split_without_backends() => InvalidValue,
        "no backends are named", ByPlace,
        "write backends: a list of entries with service and weight";
    split_match_without_kind() => InvalidKind,
        "the match has no kind", ByPlace,
        "write kind: HTTPRouteGroup";
    split_match_without_name() => InvalidValue,
        "the match names no HTTPRouteGroup", ByPlace,
        "write name: and the name of the group";
    split_backend_missing(index) => InvalidValue,
        "backend {index} names no Service", ByPlace,
        "write service: and the name of a Service of the split's namespace";
    split_backend_misnamed(name) => InvalidValue,
        "the backend has the field \"name\" instead of the field \"service\"", ByPlace,
        "write service: {name}";
    split_backend_no_name(written, own) => InvalidValue,
        "\"{written}\" is not the name of a Service, but every backend must be a Service of the split's namespace {own}", ByPlace,
        "write the name of a Service, such as web-v2; without Kubernetes, add a Service object with a port to the folder, and write its address into \"clusters\" of the plugin configuration";
    split_backend_elsewhere(name, namespace, own, parent) => RefNotPermitted,
        "Service {name} is in namespace {namespace}, but every backend must be a Service of the split's namespace {own}", ByPlace,
        "write an HTTPRoute instead of the split, with the parent {parent} and the backend {name} of namespace {namespace}, and a ReferenceGrant in namespace {namespace}";
    split_backend_host(written, own, parent) => InvalidValue,
        "\"{written}\" is a host, but every backend must be a Service of the split's namespace {own}", ByPlace,
        "for a Service of another namespace, write an HTTPRoute with the parent {parent}, and a ReferenceGrant; without Kubernetes, add a Service object with a port to the folder, and write its address into \"clusters\" of the plugin configuration";
    split_backend_with_port(port) => InvalidValue,
        "a backend has no field \"port\", because every request keeps its port number", ByPlace,
        "take port: {port} out; if the pods listen at another port, write that port as targetPort in the backend's Service";
    split_backend_of_own_namespace(namespace) => InvalidValue,
        "a backend has no field \"namespace\"", ByPlace,
        "take namespace: {namespace} out: every backend is in the split's namespace";
    split_weight_missing() => InvalidValue,
        "the backend has no weight, and no other backend has a weight above 0", ByPlace,
        "write a weight above 0, such as weight: 1";
    split_weight_no_number(value) => InvalidValue,
        "the weight {value} is not a number", ByPlace,
        "write a number that is not negative, such as 90, \"90\" or \"500m\"";
    split_weight_negative(value) => InvalidValue,
        "the weight {value} is negative", ByPlace,
        "write 0 for no traffic, or a number above 0";
    split_weight_too_fine(value) => InvalidValue,
        "the weight {value} is not a multiple of 0.001", ByPlace,
        "write larger weights of the same ratio";
    split_weight_too_large(value) => InvalidValue,
        "the weight {value} is too large", ByPlace,
        "write smaller weights of the same ratio";
    split_weights_too_large() => InvalidValue,
        "the total of the weights is 2^63 or more", ByPlace,
        "write smaller weights of the same ratio";
    split_matches_before_their_version(version) => UnsupportedValue,
        "{version} of TrafficSplit has no matches", ByPlace,
        "write apiVersion: split.smi-spec.io/v1alpha4";
    split_match_of_group(api_group) => InvalidKind,
        "the API group {api_group} has no kind that can be a match of a split", ByPlace,
        "write apiGroup: specs.smi-spec.io and kind: HTTPRouteGroup";
    split_match_of_kind(kind) => InvalidKind,
        "a match of a split cannot be of kind {kind}", ByPlace,
        "write kind: HTTPRouteGroup, and the name of an HTTPRouteGroup";

    // A TrafficSplit and the objects that it names.
    split_root_missing(namespace, name) => RootNotFound,
        "there is no Service {namespace}/{name}", Whole "the split is not in force",
        "create the Service, or write the name of one that exists";
    split_root_of_own_namespace(host, name, own, namespace) => RootNotFound,
        "there is no Service {name} in namespace {namespace}, but there is one in the split's namespace {own}",
        Part "requests for the host {host} are split, but requests for Service {own}/{name} are not",
        "do one of three things: start Weir with --default-namespace {namespace} if the files contain no namespaces, write \"service: {name}\" if you mean Service {own}/{name}, or write \"service: {host}.\" with a dot at the end if you mean the host";
    split_of_a_host(host, own) => OwnNamespaceOnly,
        "{host} is not a Service of namespace \"{own}\"", Nothing "only proxies with \"namespace\": \"{own}\" or \"namespace\": \"*\" can use the split",
        "if another proxy must use the split, write \"namespace\": \"{own}\" or \"namespace\": \"*\" into its plugin configuration; for a Gateway, write an HTTPRoute with the hostname {host}";
    split_edge_conflict(winner, at, own) => Conflicted,
        "{winner} is older, and at the edge (each proxy with \"namespace\": \"*\") it already splits {at}",
        Nothing "the edge uses {winner}, and clients in namespace \"{own}\" use this split",
        "to use this split at the edge too, delete {winner}";
    split_port_missing(service, port, ports) => PortNotFound,
        "{service} has no TCP port {port}; it has {ports}", Whole "the split is not in force",
        "write one of these ports, or leave the port out for every port";
    split_root_without_ports(service) => PortNotFound,
        "{service} has no TCP port", Whole "the split is not in force",
        "give the Service a port that clients call";
    split_backend_not_found(namespace, name) => BackendNotFound,
        "there is no Service {namespace}/{name}", Share "the backend is left out, and the other backends get its traffic",
        "create the Service, or take the backend out";
    split_backend_external(service) => UnsupportedValue,
        "{service} is of type ExternalName, which could point to any host (CVE-2021-25740)",
        Share "the backend is left out, and the other backends get its traffic",
        "name a Service that selects pods";
    split_backend_twice(name, first, second) => Duplicate,
        "backend {name} is there twice, with the weights {first} and {second}", Nothing "the backend gets the traffic of both weights",
        "write the backend once";
    split_backend_without_port(service, port, ports) => PortNotFound,
        "{service} has no TCP port {port} (it has {ports}), but requests for port {port} go to the same port number of every backend",
        Share "the backend is left out at port {port}, and the other backends get its traffic",
        "add port {port} to the backend's Service, with the port of its pods as targetPort; without Kubernetes, also write the address of port {port} into \"clusters\" of the plugin configuration";
    split_no_weight(root) => NoTraffic,
        "no backend has a weight above 0", Part "all requests go to {root} itself",
        "give a backend a weight above 0";
    split_host_without_weight(host) => NoTraffic,
        "no backend of the host {host} has a weight above 0", Whole "the split is not in force",
        "give a backend a weight above 0";
    split_host_port_missing(host, port, found) => PortNotFound,
        "the split is for port {port} of the host {host}, but no backend with a weight above 0 has this TCP port ({found})",
        Whole "the split is not in force",
        "add port {port} to a backend's Service, with the port of its pods as targetPort, or write another port after {host}";
    split_host_without_common_port(host, found) => PortNotFound,
        "the backends of the host {host} with a weight above 0 have no common port number ({found})",
        Whole "the split is not in force",
        "add a port with the same number to the Service of each backend, with the port of its pods as targetPort; without Kubernetes, also write the address of each backend into \"clusters\" of the plugin configuration";
    split_host_port_unclear(host, ports) => AmbiguousPort,
        "the backends of the host {host} have the common ports {ports}, but not port 80",
        Part "requests for {host} with another port or without a port are not split",
        "write a port after the host: service: {host}:PORT";
    split_matches_of_connections(port, service) => UnsupportedValue,
        "port {port} of {service} is for TCP connections, and matches are only for HTTP requests", Part "the split is not in force at that port",
        "take matches out, or write appProtocol: http at that port of the Service";
    split_group_missing(namespace, name) => ReferenceNotFound,
        "there is no HTTPRouteGroup {namespace}/{name}", Whole "the split is not in force",
        "create the HTTPRouteGroup, or write the name of one that exists";
    split_group_broken(namespace, name) => ReferenceNotFound,
        "HTTPRouteGroup {namespace}/{name} has a problem of its own and is not in force", Whole "the split is not in force",
        "correct the HTTPRouteGroup; a separate problem describes its mistake";
    split_fits_nothing() => NoTraffic,
        "the groups have no match that fits a request", Whole "the split is not in force",
        "correct the groups: the problems of the groups describe the mistakes";
    split_too_many_matches(count, limit) => InvalidValue,
        "{count} matches are more than {limit}; a match counts once for each of its methods", Whole "the split is not in force",
        "name groups with fewer matches";
}
