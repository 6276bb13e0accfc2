//! Messages about HTTPRouteGroups and TCPRoutes of the SMI.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    group_matches_under_spec(version) => InvalidValue,
        "{version} of HTTPRouteGroup has its matches at the top, not under spec", ByPlace,
        "move matches out of spec, or write apiVersion: specs.smi-spec.io/v1alpha4";
    group_matches_at_the_top(version) => InvalidValue,
        "{version} of HTTPRouteGroup has its matches under spec, not at the top", ByPlace,
        "move matches under spec";
    group_without_matches() => InvalidValue,
        "the group has no matches", Whole "the group fits no request",
        "write at least one match; a match that has only a name fits every request";
    group_method_unknown(method) => InvalidValue,
        "\"{method}\" is not a method", Match "this match fits no request",
        "write GET, HEAD, PUT, POST, DELETE, CONNECT, OPTIONS, TRACE or PATCH in capitals, or \"*\" for all";
    group_header_no_text(name, value, what) => InvalidValue,
        "the value {value} of header {name} is {what}, not a text", Match "this match fits no request",
        "put the value in quotes: {name}: \"{value}\"";
    group_header_no_value(name) => InvalidValue,
        "header {name} has no value that could be matched", Match "this match fits no request",
        "write an expression for its value, such as {name}: \".*\" for every value";
    group_headers_no_pairs() => InvalidValue,
        "headers must be a map of names and expressions, or a list of such maps", Match "this match fits no request",
        "write each header as NAME: EXPRESSION, such as x-canary: \"true\"";
    group_header_no_name(name) => InvalidValue,
        "\"{name}\" is not the name of a header", Match "this match fits no request",
        "use letters, digits and '-'";
    smi_tcp_route_port_zero() => InvalidValue,
        "0 is not a port", ByPlace,
        "write a number from 1 to 65535";
}
