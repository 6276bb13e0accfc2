//! Messages about a route: its hostnames, its rules and their matches.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object. An object or a part of it is "in force" if Weir uses it for traffic.

messages! {
    // The route.
    default_gateways() => UnsupportedValue,
        "useDefaultGateways is not supported", Whole "the object is not in force",
        "take it out, and name each Gateway in parentRefs";
    too_many_matches(count, limit) => InvalidValue,
        "{count} matches are more than {limit}", Whole "the object is not in force",
        "split the route into several routes";
    annotation(name) => UnsupportedValue,
        "annotation {name} is not supported", Nothing "it changes nothing",
        "use timeouts and retry of the route's rules";
    rules_of_tcproute(count) => InvalidValue,
        "there are {count} rules, but a TCPRoute has exactly one", Whole "the object is not in force",
        "write one rule in each route";

    // Hostnames.
    hostname_star() => InvalidValue,
        "\"*\" is not a hostname", ByPlace, "to match every host, leave hostnames out";
    hostname_with_port(text, name) => InvalidValue,
        "\"{text}\" has a port", ByPlace, "write the hostname without the port: {name}";
    hostname_is_address(text) => InvalidValue,
        "\"{text}\" is an address, not a name", ByPlace,
        "write a name such as shop.example.com, or leave hostnames out for every host";
    hostname_with_dot(text, name) => InvalidValue,
        "\"{text}\" ends with a dot", ByPlace, "write the name without the dot: {name}";
    hostname(text) => InvalidValue,
        "\"{text}\" is not a hostname", ByPlace, "write a name such as shop.example.com or *.example.com";

    // Rules.
    rule_name(name) => InvalidValue,
        "\"{name}\" is not a name for a rule", ByPlace, "use lower-case letters, digits, '-' and '.'";
    rule_name_twice(name) => InvalidValue,
        "an earlier rule also has the name \"{name}\"", ByPlace, "give each rule a different name";
    rule_shadowed(earlier) => Unreachable,
        "spec.rules[{earlier}] comes before this rule and has the same matches",
        Nothing "this rule gets no request",
        "delete one of the two rules, or give them different matches";
    session_persistence() => UnsupportedValue,
        "sessionPersistence is not supported", ByPlace,
        "take it out; to keep users on one version, give this version its own rule with a match for a header or cookie \
         of these users";
    retry_of_linkerd() => UnsupportedValue,
        "an HTTPRoute of policy.linkerd.io has no field retry", ByPlace,
        "write an HTTPRoute of gateway.networking.k8s.io, or take retry out";
    backoff() => UnsupportedValue,
        "backoff is not supported", Nothing "the proxy retries with its own pauses",
        "take backoff out, and set the pauses in the proxy's retry policy";
    no_retry() => InvalidValue,
        "attempts is 0, so there is no retry", ByPlace, "write attempts: 1 or more, or take retry out";
    retry_status(code) => InvalidValue,
        "{code} is not the status of a failure", ByPlace, "write a number from 400 to 599";
    duration_without_unit(found, with_unit) => InvalidValue,
        "{found} has no unit of time", ByPlace, "write {with_unit}";
    duration(text) => InvalidValue,
        "{text} is not a duration", ByPlace,
        "write whole numbers with units, at most five digits each, such as 10s, 500ms or 1h30m";
    try_longer_than_request() => InvalidValue,
        "backendRequest (the time for one try) is longer than request (the time for all tries together)", ByPlace,
        "make backendRequest at most as long as request";

    // Matches.
    method(method, known) => UnsupportedValue,
        "{method} is not a method that can be matched", ByPlace, "write {known}";
    match_type(kind, known) => UnsupportedValue,
        "there is no match of type {kind}", ByPlace, "write one of {known}";
    field_name(name) => InvalidValue,
        "{name} is not the name of a header or of a query parameter", ByPlace,
        "use letters, digits and '-', at most 256 characters";
    value_empty(longest) => InvalidValue,
        "the value is empty", ByPlace, "write a value of 1 to {longest} bytes";
    value_too_long(longest) => InvalidValue,
        "the value is longer than {longest} bytes", ByPlace, "write a value of 1 to {longest} bytes";
    value_with_control(value) => InvalidValue,
        "{value} has a control character", ByPlace, "take the control character out";
    pattern(pattern, why) => InvalidValue,
        "{pattern} is not a regular expression that a proxy can run: {why}", ByPlace,
        "write it in the syntax of RE2, which has no look-around and no back-references";
    pattern_too_large(pattern) => InvalidValue,
        "the regular expression {pattern} needs too much memory in a proxy", ByPlace,
        "simplify the expression, or write several matches";
    patterns_too_large(pattern, limit) => InvalidValue,
        "all regular expressions of this object together, up to {pattern}, need more than {limit} bytes", ByPlace,
        "simplify the expressions, or split the object";

    // Paths.
    path_star_at_end(path, kind, prefix) => InvalidValue,
        "the * in {path} is an ordinary character in a path of type {kind}",
        Nothing "a request matches only if its path contains the character *",
        "to match every path that begins with {prefix}, write type: PathPrefix and value: {prefix}";
    path_star_within(path, kind, pattern) => InvalidValue,
        "the * in {path} is an ordinary character in a path of type {kind}",
        Nothing "a request matches only if its path contains the character *",
        "write type: RegularExpression and value: {pattern}";
    path_too_long(longest) => InvalidValue,
        "the path is longer than {longest} bytes", ByPlace, "write a shorter path";
    path_relative(path) => InvalidValue,
        "\"{path}\" does not begin with /", ByPlace, "write /{path}";
    path_empty() => InvalidValue,
        "the path is empty", ByPlace, "write a path that begins with /";
    path_encoded_slash(path) => InvalidValue,
        "{path} has an encoded slash (%2F), which a path of type Exact or PathPrefix cannot have", ByPlace,
        "write the path without %2F, or write type: RegularExpression";
    path_part(path, part) => InvalidValue,
        "{path} has {part}, which proxies replace in the path of every request", ByPlace,
        "write the path without {part}";
    path_query(path, without) => InvalidValue,
        "{path} has a query or a fragment, which is no part of a path", ByPlace,
        "write {without}, and match a query with queryParams";
    path_character(path, character) => InvalidValue,
        "{path} has the character {character}, which a path cannot have", ByPlace,
        "write each byte of the character as % and two hexadecimal digits";
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
        "take ^ and $ out: the expression must always match the whole name";
}
