//! Messages about a Gateway, its listeners, and a ReferenceGrant.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object. An object or a part of it is "in force" if Weir uses it for traffic.

messages! {
    no_listeners() => InvalidValue,
        "the Gateway has no listeners", Whole "no route is in force at this Gateway",
        "write spec.listeners, a list of entries with name, port and protocol, such as \
         name: http, port: 80 and protocol: HTTP";
    unknown_protocol(protocol, meant) => InvalidValue,
        "there is no protocol \"{protocol}\"",
        Part "no route is in force for the hosts of this listener",
        "write {meant}";
    unknown_route_kind(kind, group) => InvalidKind,
        "there is no kind \"{kind}\" of route in the group \"{group}\"",
        Part "this entry allows no route",
        "write kind: HTTPRoute, GRPCRoute, TCPRoute, TLSRoute or UDPRoute, and leave group out";
    listener_conflict(name, other, port) => Conflicted,
        "the listeners {other} and {name} have the same port {port} and the same hostname",
        Part "requests for these hosts use the routes of both listeners",
        "give one of the two listeners another hostname or port, or take it out";
    listener_name_twice(name) => InvalidValue,
        "a listener before this one has the name \"{name}\"",
        Part "no route is in force for the hosts of this listener", "give each listener a different name";
    bad_listener_name(name) => InvalidValue,
        "\"{name}\" is not a name for a listener", Part "no route is in force for the hosts of this listener",
        "use lower-case letters and digits, with '-' between them";
    port_zero() => InvalidValue,
        "0 is not a port", Part "no route is in force for the hosts of this listener",
        "write a number from 1 to 65535";
    bad_hostname(hostname) => InvalidValue,
        "\"{hostname}\" is not a host name", Part "no route is in force for the hosts of this listener",
        "write a name without port, such as shop.example.com or *.example.com, or leave hostname out for every host";
    no_selector() => InvalidValue,
        "the field \"from\" has the value Selector, but the field \"selector\" is missing", Part "no route is in force for the hosts of this listener",
        "write the labels of the namespaces under selector.matchLabels";
    bad_from(from) => UnsupportedValue,
        "\"from: {from}\" is not supported", Part "no route is in force for the hosts of this listener",
        "write Same, All or Selector";
    bad_operator(operator) => UnsupportedValue,
        "\"{operator}\" is not an operator of a selector", Part "no route is in force for the hosts of this listener",
        "write In, NotIn, Exists or DoesNotExist";
    operator_without_values(operator) => InvalidValue,
        "the operator {operator} has no values", Part "no route is in force for the hosts of this listener",
        "write the values, or use Exists or DoesNotExist";
    operator_with_values(operator) => InvalidValue,
        "the operator {operator} has values", Part "no route is in force for the hosts of this listener",
        "take the values out, or use In or NotIn";
    grant_without_entries(list) => InvalidValue,
        "{list} has no entry", Whole "the ReferenceGrant permits nothing",
        "write at least one entry below {list}";
    grant_field_empty(field, example) => InvalidValue,
        "{field} is empty", Part "this entry permits nothing", "write {field}: {example}";
    grant_field_near(field, found, meant) => InvalidValue,
        "{field} is \"{found}\", but no route and no Service has this {field}", Part "this entry permits nothing",
        "write {field}: {meant}";
    grant_without_name() => InvalidValue,
        "the name is empty", ByPlace,
        "write the name of the object, or leave name out to permit every object of the kind";
}
