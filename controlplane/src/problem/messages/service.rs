//! About a Service.

messages! {
    bad_cluster_ip(ip) => InvalidValue,
        "\"{ip}\" is not an address", ByPlace, "leave clusterIP out: the cluster assigns it";
    port_zero() => InvalidValue,
        "0 is not a port", ByPlace, "write a number from 1 to 65535";
}
