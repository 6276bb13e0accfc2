//! Messages about the `backendRefs` of a route's rule.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    no_service_kind(name, kind) => InvalidKind,
        "{name} is of kind {kind}, not a Service of the core group", ByPlace,
        "name a Service, and leave group and kind out";
    kind_empty() => InvalidValue,
        "kind is empty", ByPlace, "write kind: Service, or leave kind out";
    kind_near(kind) => InvalidKind,
        "there is no kind \"{kind}\" that could be a backend", ByPlace, "write kind: Service, or leave kind out";
    group_near(group) => InvalidKind,
        "a backend cannot have the group \"{group}\"", ByPlace, "write group: \"\", or leave group out";
    name_empty() => InvalidValue,
        "the name is empty", ByPlace, "write the name of a Service";
    name_of_host(name, right) => InvalidValue,
        "\"{name}\" is a host, not the name of a Service", ByPlace, "write {right}";
    port_empty() => InvalidValue,
        "port is empty", ByPlace, "write the number of the Service's port, such as port: 80";
    not_named_by_rule(status) => NoTraffic,
        "the rule names no backend", Nothing "its requests are answered {status}",
        "name a Service in backendRefs; in an HTTPRoute a redirect is possible instead";
    no_grant(service, namespace, group, kind, from) => RefNotPermitted,
        "no ReferenceGrant lets this route refer to Service {service}", ByPlace,
        "create a ReferenceGrant in namespace \"{namespace}\" with from: [{{ group: {group}, kind: {kind}, namespace: {from} }}] and to: [{{ group: \"\", kind: Service }}]";
    no_service(service) => BackendNotFound,
        "there is no Service {service}", ByPlace, "create the Service, or take the backend out";
    external_name(service) => UnsupportedValue,
        "Service {service} is of type ExternalName, which could point to any host (CVE-2021-25740)", ByPlace,
        "name a Service with a selector or with its own EndpointSlices";
    no_port(service, ports) => BackendNotFound,
        "the backend names no port of Service {service}", ByPlace, "write port: {ports}";
    no_such_port(service, port, ports) => BackendNotFound,
        "Service {service} has no TCP port {port}", ByPlace, "write port: {ports}";
    port_name(name, number) => InvalidValue,
        "\"{name}\" is the name of a port, not its number", ByPlace,
        "write the number of the Service's port: {number}";
    port_by_name(name) => InvalidValue,
        "\"{name}\" is the name of a port, not its number", ByPlace,
        "write the number of the Service's port, such as port: 80";
    unknown_port_name(name, service, ports) => InvalidValue,
        "\"{name}\" is not a number, and Service {service} has no port of this name", ByPlace,
        "write the number of a port: {ports}";
    port_out_of_range(port) => InvalidValue,
        "port is {port}, which is not a number from 1 to 65535", ByPlace,
        "write the number of the Service's port";
    no_http(service, port, protocol) => UnsupportedProtocol,
        "port {port} of Service {service} has appProtocol {protocol}, which is not HTTP", ByPlace,
        "name another port, or write appProtocol: http at port {port} if the port is for HTTP";
    every_weight_is_zero() => NoTraffic,
        "every weight is 0", ByPlace, "give a backend a weight above 0";
    weight_too_large(weight, most) => InvalidValue,
        "the weight {weight} is above {most}", ByPlace, "write whole numbers from 0 to {most} with the same ratios";
    bad_weight(found, most) => InvalidValue,
        "{found} is not a weight", ByPlace, "write a whole number from 0 to {most}, without quotes";
    weight_unknown(field) => InvalidValue,
        "the backend has no weight, but has an unknown field {field}, so its weight is not clear", ByPlace,
        "if {field} is the weight, write weight instead; if not, take {field} out and add a weight";
    none_named() => InvalidValue,
        "no backend is named", ByPlace, "name at least one Service in backendRefs";
}
