//! Messages about an EndpointSlice.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    no_service_name() => InvalidValue,
        "the EndpointSlice has no label kubernetes.io/service-name", Part "no Service has these endpoints",
        "write the label with the name of the Service, or take the EndpointSlice out";
    host_names() => UnsupportedValue,
        "the addressType is FQDN", Part "proxies do not use these endpoints",
        "use addressType IPv4 or IPv6; in a folder the annotation weir.dev/addresses of the Service can have host names";
    bad_address_type(found) => InvalidValue,
        "there is no addressType \"{found}\"", ByPlace, "write IPv4 or IPv6";
    bad_address(address, family) => InvalidValue,
        "\"{address}\" is not an {family} address of an endpoint", Part "the endpoint gets no requests",
        "write one address in addresses, and list addresses of the other family in an EndpointSlice of their own";
}
