//! Messages about a Service.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    no_ports() => InvalidValue,
        "the Service has no ports", Part "splits and routes have no effect on requests for this Service",
        "write spec.ports, a list of entries with a port, such as port: 80";
    unknown_protocol(protocol) => InvalidValue,
        "there is no protocol \"{protocol}\"", Part "splits and routes have no effect on requests for this port",
        "write TCP, UDP or SCTP, or leave protocol out for TCP";
    bad_cluster_ip(ip) => InvalidValue,
        "\"{ip}\" is not an address", ByPlace, "leave clusterIP out: the cluster assigns it";
    port_zero() => InvalidValue,
        "0 is not a port", ByPlace, "write a number from 1 to 65535";
    bad_host(host) => InvalidValue,
        "\"{host}\" is not a host name", Part "proxies get no cluster for this Service",
        "write a host name such as host.example";
    annotation_unknown(name, names) => InvalidValue,
        "there is no annotation weir.dev/{name}", Part "Weir uses the Service without this annotation",
        "use one of these names after weir.dev/: {names}; or take the annotation out";
    annotation_misspelled(name, right) => InvalidValue,
        "there is no annotation weir.dev/{name}", Part "Weir uses the Service without this annotation",
        "write weir.dev/{right}, or take the annotation out";
    annotation_no_text(found) => InvalidValue,
        "the value {found} of the annotation is not a text", Part "Weir uses the Service without this annotation",
        "put the value in quotes";
    bad_annotation(value, possible) => InvalidValue,
        "the value \"{value}\" is not possible", Part "Weir uses the Service without this annotation",
        "write {possible}";
    addresses_in_cluster() => UnsupportedValue,
        "the annotation weir.dev/addresses works only in a folder of manifests; in a cluster it could name any host",
        Part "the Service keeps the addresses of its EndpointSlices",
        "create EndpointSlices with the label kubernetes.io/service-name, and take the annotation out";
}
