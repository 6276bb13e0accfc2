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
}
