//! Messages about the parents of a route.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    no_parent() => NoMatchingParent,
        "the route names no parent", Nothing "no Gateway and no Service uses the route",
        "write spec.parentRefs: the name of a Gateway, or of a Service with group: \"\" and kind: Service";
    parent_not_served(kind, group) => NoMatchingParent,
        "Weir serves no parent of kind {kind} in group {group}",
        Nothing "the route is not in force at this parent",
        "name a Gateway or a Service, or leave the route to the controller of {kind}";
    parent_without_group(kind, group) => NoMatchingParent,
        "the group {group} has no kind {kind} that could be a parent",
        Parent "the route is not in force at this parent",
        "for a Service write group: \"\" and kind: Service";
    kind_near(kind, meant) => NoMatchingParent,
        "there is no kind \"{kind}\" that could be a parent", Parent "the route is not in force at this parent",
        "write kind: {meant}";
    group_near(group, meant) => NoMatchingParent,
        "no kind of parent has the group \"{group}\"", Parent "the route is not in force at this parent",
        "write group: {meant}";
    section_name_empty() => InvalidValue,
        "sectionName is empty", Parent "the route is not in force at this parent",
        "write the name of a listener or of a port, or leave sectionName out for all of them";
    port_zero() => InvalidValue,
        "0 is not a port", Parent "the route is not in force at this parent",
        "write a number from 1 to 65535, or leave port out for every port";
    name_empty() => InvalidValue,
        "the name is empty", Parent "the route is not in force at this parent",
        "write the name of a Gateway or a Service";
    name_of_host(name, right) => InvalidValue,
        "\"{name}\" is a host, not the name of an object", Parent "the route is not in force at this parent",
        "write {right}";
    gateway_elsewhere(gateway, namespace) => NoMatchingParent,
        "there is no Gateway {gateway}, but there is one of this name in namespace \"{namespace}\"",
        Parent "the route is not in force at this parent", "write namespace: {namespace}";
    no_listener(gateway) => NoMatchingParent,
        "Gateway {gateway} has no listener that is in force",
        Parent "the route is not in force at this parent", "add a listener to the Gateway, or correct its listeners: the problems of the Gateway describe the mistakes";
    listener_not_in_force(gateway, name) => NoMatchingParent,
        "Gateway {gateway} has the listener {name}, but this listener is not in force because of its own problem",
        Parent "the route is not in force at this parent", "correct the listener {name} of the Gateway; a separate problem describes its mistake";
    listener_of_port_not_in_force(gateway, port) => NoMatchingParent,
        "Gateway {gateway} has a listener with port {port}, but this listener is not in force because of its own problem",
        Parent "the route is not in force at this parent", "correct the listener of the Gateway; a separate problem describes its mistake";
    no_such_listener(gateway, wanted, field, possible) => NoMatchingParent,
        "Gateway {gateway} has no listener {wanted}", Parent "the route is not in force at this parent",
        "write {field}: {possible}";
    no_service_port(service) => NoMatchingParent,
        "Service {service} has no TCP port", Parent "the route is not in force at this parent",
        "give the Service a port, or name another Service";
    no_such_service_port(service, wanted, field, possible) => NoMatchingParent,
        "Service {service} has no TCP port {wanted}", Parent "the route is not in force at this parent",
        "write {field}: {possible}";
    no_service(service) => NoMatchingParent,
        "there is no Service {service}", Parent "the route is not in force at this parent",
        "create the Service, or write the name of one that exists";
    service_without_address(service) => NoMatchingParent,
        "Service {service} has no ClusterIP, so clients do not call the Service at one address",
        Parent "the route is not in force at this parent",
        "name a Service that is neither headless nor of type ExternalName";
    every_port_carries_connections(service) => UnsupportedProtocol,
        "every port of Service {service} is for TCP connections, not for HTTP requests",
        Parent "the route is not in force at this parent",
        "use a TCPRoute, or write appProtocol: http at a port that speaks HTTP";
    port_carries_connections(service, port) => UnsupportedProtocol,
        "port {port} of Service {service} is for TCP connections, not for HTTP requests",
        Parent "the route is not in force at this parent",
        "use a TCPRoute, or write appProtocol: http at that port if it speaks HTTP";
    no_gateway(gateway) => NoMatchingParent,
        "there is no Gateway {gateway}", Parent "the route is not in force at this parent",
        "create the Gateway, or write the name of one that exists";
    not_admitted(gateway, kind, namespace, listeners) => NotAllowedByListeners,
        "Gateway {gateway} has no listener that allows {kind} from namespace {namespace}; it has these listeners: {listeners}",
        Parent "the route is not in force at this parent",
        "change allowedRoutes or protocol of the listener, or name another listener";
    no_common_hostname(gateway, hostnames) => NoMatchingListenerHostname,
        "no listener of Gateway {gateway} has a hostname of this route", Parent "the route is not in force at this parent",
        "write a hostname that a listener has ({hostnames}), or leave hostnames out";
    foreign_hostname(hostname, service) => UnsupportedValue,
        "{hostname} is not a name of {service}", Part "the route has no effect on requests with this hostname",
        "write a name of the Service, such as NAME.NAMESPACE, or take the hostname out";
    held_by_another(holder, at) => Conflicted,
        "{holder} already routes the traffic of {at}", Part "this route gets no request there", "take one of the two routes out";
    held_at_listener(holder, host, at) => Conflicted,
        "{holder}, which is older or first by name, already routes {host} at {at}",
        Part "this route gets no request there",
        "give the two routes different hostnames or listeners, or take one of them out";
    hosts_of_another_listener(at, listeners) => Unreachable,
        "at {at} every host of this route belongs to another listener, which has a more specific hostname",
        Part "this route gets no request there",
        "write sectionName: {listeners}, or other hostnames";
}
