//! About a route: its hostnames, its rules and their matches.

messages! {
    // The route.
    default_gateways() => UnsupportedValue,
        "useDefaultGateways is not supported", Whole "the object is not in force",
        "take it out, and name each Gateway in parentRefs";
    too_many_matches(count, limit) => InvalidValue,
        "{count} matches are more than {limit}", Whole "the object is not in force",
        "split it into several routes";
    annotation(name) => UnsupportedValue,
        "annotation {name} is not supported", Nothing "it changes nothing",
        "use timeouts and retry of the route's rules";
    rules_of_tcproute(count) => InvalidValue,
        "there are {count} rules, a TCPRoute has exactly one", Whole "the object is not in force",
        "write one rule in each route";

    // Hostnames.
    hostname_star() => InvalidValue,
        "\"*\" is not a hostname", ByPlace, "leave hostnames out for every host";
    hostname_with_port(text, name) => InvalidValue,
        "\"{text}\" has a port", ByPlace, "write the name alone: {name}";
    hostname_is_address(text) => InvalidValue,
        "\"{text}\" is an address, not a name", ByPlace,
        "write a name such as shop.example.com, or leave hostnames out for every host";
    hostname_with_dot(text, name) => InvalidValue,
        "\"{text}\" ends with a dot", ByPlace, "write the name without it: {name}";
    hostname(text) => InvalidValue,
        "\"{text}\" is not a hostname", ByPlace, "write a name such as shop.example.com or *.example.com";

    // Rules.
    rule_name(name) => InvalidValue,
        "\"{name}\" is not a name for a rule", ByPlace, "use lower-case letters, digits, '-' and '.'";
    rule_name_twice(name) => InvalidValue,
        "an earlier rule is named {name} too", ByPlace, "give each rule a name of its own";
    rule_shadowed(earlier) => Unreachable,
        "spec.rules[{earlier}] stands before this rule and has the same matches",
        Nothing "this rule gets no request",
        "delete one of the two rules, or give them different matches";
    session_persistence() => UnsupportedValue,
        "sessionPersistence is not supported", ByPlace,
        "take it out: to keep users on one version, give that version a rule of its own whose match names a header \
         or the cookie that marks them";
    retry_of_linkerd() => UnsupportedValue,
        "retry is no field of an HTTPRoute of policy.linkerd.io", ByPlace,
        "write an HTTPRoute of gateway.networking.k8s.io, or take retry out";
    backoff() => UnsupportedValue,
        "backoff is not supported", Nothing "the proxy retries with its own pauses",
        "take backoff out, and set the pauses in the proxy's retry policy";
    no_retry() => InvalidValue,
        "0 attempts are no retry", ByPlace, "write at least 1, or take retry out";
    retry_status(code) => InvalidValue,
        "{code} is not the status of a failure", ByPlace, "write a number from 400 to 599";
    duration_without_unit(found, with_unit) => InvalidValue,
        "{found} has no unit of time", ByPlace, "write {with_unit}";
    duration(text) => InvalidValue,
        "{text} is not a duration", ByPlace,
        "write whole numbers with units, at most five digits each, such as 10s, 500ms or 1h30m";
    try_longer_than_request() => InvalidValue,
        "backendRequest is longer than request, which is the time for all tries together", ByPlace,
        "write a backendRequest that is at most request";

    // Matches.
    method(method, known) => UnsupportedValue,
        "{method} is not a method that can be matched", ByPlace, "write {known}";
    match_type(kind, known) => UnsupportedValue,
        "there is no match of type {kind}", ByPlace, "write one of {known}";
    field_name(name) => InvalidValue,
        "{name} is not the name of a header or of a query parameter", ByPlace,
        "use letters, digits and '-', at most 256 characters";
    value_empty(longest) => InvalidValue,
        "the value is empty", ByPlace, "write 1 to {longest} characters";
    value_too_long(longest) => InvalidValue,
        "the value is longer than {longest} bytes", ByPlace, "write 1 to {longest} characters";
    value_with_control(value) => InvalidValue,
        "{value} has a control character", ByPlace, "take the control character out";
    pattern(pattern, why) => InvalidValue,
        "{pattern} is not a regular expression that a proxy can run: {why}", ByPlace,
        "write it in the syntax of RE2, which has no look-around and no back-references";
    pattern_too_large(pattern) => InvalidValue,
        "the regular expression {pattern} is too large for a proxy to hold", ByPlace,
        "simplify it, or write several matches";
    patterns_too_large(pattern, limit) => InvalidValue,
        "with {pattern} the regular expressions of this object take more than {limit} bytes", ByPlace,
        "simplify them, or split the object";

    // Paths.
    path_star_at_end(path, kind, prefix) => InvalidValue,
        "the * in {path} is an ordinary character in a path of type {kind}",
        Nothing "only paths with a * in this place fit",
        "for everything below write type: PathPrefix and value: {prefix}";
    path_star_within(path, kind, pattern) => InvalidValue,
        "the * in {path} is an ordinary character in a path of type {kind}",
        Nothing "only paths with a * in this place fit",
        "write type: RegularExpression and value: {pattern}";
    path_too_long(longest) => InvalidValue,
        "the path is longer than {longest} bytes", ByPlace, "write a shorter path";
    path_relative(path) => InvalidValue,
        "{path} does not begin with /", ByPlace, "write /{path}";
    path_empty() => InvalidValue,
        "the path is empty", ByPlace, "write a path that begins with /";
    path_encoded_slash(path) => InvalidValue,
        "{path} has an encoded slash: %2F is not allowed in paths of type Exact and PathPrefix", ByPlace,
        "take it out, or use type RegularExpression, which can match it";
    path_part(path, part) => InvalidValue,
        "{path} has {part}, which proxies replace in the path of every request", ByPlace,
        "write the path without {part}";
    path_query(path, without) => InvalidValue,
        "{path} has a query or a fragment, which is no part of a path", ByPlace,
        "write {without}, and match a query with queryParams";
    path_character(path, character) => InvalidValue,
        "{path} has the character {character}, which a path cannot have", ByPlace,
        "write it as % and two hexadecimal digits for each byte";
    path_percent(path) => InvalidValue,
        "{path} has a % without two hexadecimal digits", ByPlace, "write %25 for the character %";

    // Methods of gRPC.
    grpc_no_name() => InvalidValue,
        "neither service nor method is named", ByPlace, "name one of them, or take the method match out";
    grpc_name(name, field) => InvalidValue,
        "{name} is not the name of a {field}", ByPlace,
        "write it as in the .proto file, such as shop.Cart and Get";
    grpc_too_long(field, limit) => InvalidValue,
        "the {field} is longer than {limit}", ByPlace, "write a shorter one";
    grpc_anchor(pattern) => UnsupportedValue,
        "{pattern} has a ^ or $ that is not at its beginning or end", ByPlace,
        "take ^ and $ out: the expression always has to fit the whole name";
}
