//! About what a route is attached to.

messages! {
    no_parent() => NoMatchingParent,
        "the route names no parent", Nothing "it is in force nowhere",
        "write spec.parentRefs: the name of a Gateway, or of a Service with group: \"\" and kind: Service";
    parent_not_served(kind, group) => NoMatchingParent,
        "Weir serves no parent of kind {kind} in group {group}",
        Nothing "the route is not in force at this parent",
        "name a Gateway or a Service, or leave the route to the controller of {kind}";
    parent_without_group(kind, group) => NoMatchingParent,
        "the group {group} has no kind {kind} that could be a parent",
        Parent "the route is not in force at this parent",
        "for a Service write group: \"\" and kind: Service";
    no_listener(gateway) => NoMatchingParent,
        "Gateway {gateway} has no listener that is in force",
        Parent "the route is not in force at this parent", "give the Gateway a listener, or correct those it has";
    no_such_listener(gateway, wanted, field, possible) => NoMatchingParent,
        "Gateway {gateway} has no listener {wanted}", Parent "the route is not in force at this parent",
        "write {field}: {possible}";
    no_service_port(service) => NoMatchingParent,
        "Service {service} has no TCP port", Parent "the route is not in force at this parent",
        "give the Service a port, or name another Service";
    no_such_service_port(service, wanted, field, possible) => NoMatchingParent,
        "Service {service} has no TCP port {wanted}", Parent "the route is not in force at this parent",
        "write {field}: {possible}";
}
