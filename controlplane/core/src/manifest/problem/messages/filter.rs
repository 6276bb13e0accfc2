//! Messages about the filters of a rule or of one backend in a route.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    not_supported(kind) => UnsupportedValue,
        "the filter {kind} is not supported", ByPlace, "take the filter {kind} out";
    cors() => UnsupportedValue,
        "the filter CORS is not supported", ByPlace,
        "take the filter CORS out, and use the CORS filter of the proxy";
    not_of_route(kind, route) => UnsupportedValue,
        "the filter {kind} is not supported in {route}", ByPlace, "take the filter {kind} out";
    unknown_type(kind, known) => UnsupportedValue,
        "there is no filter of type {kind}", ByPlace, "write one of {known}, or take the filter out";
    type_twice(kind) => InvalidValue,
        "there are two filters of type {kind}", ByPlace, "combine the two filters into one";
    field_of_another_type(field, owner, kind) => InvalidValue,
        "the field {field} belongs to the type {owner}, but the type is {kind}", ByPlace,
        "write type: {owner}, or the field of {kind}";
    field_missing(kind, field) => InvalidValue,
        "the type {kind} needs the field {field}", ByPlace, "add {field}";
    redirect_and_rewrite() => IncompatibleFilters,
        "RequestRedirect and URLRewrite cannot be used together", ByPlace, "take one of the two out";
    redirect_and_backends() => InvalidValue,
        "a rule that redirects sends nothing to backends", ByPlace,
        "take backendRefs or the filter RequestRedirect out";
    header_name(name) => InvalidValue,
        "{name} is not the name of a header", ByPlace, "use letters, digits and '-', at most 256 characters";
    header_of_connection(name) => UnsupportedValue,
        "the header {name} belongs to the connection: no filter may edit it", ByPlace,
        "take the edit out: the proxy writes the header itself";
    header_of_mirror(name) => UnsupportedValue,
        "the header {name} belongs to Weir, which writes the cluster of a mirror into it: no filter may edit it", ByPlace,
        "take the edit out, and write a filter RequestMirror to copy requests";
    mirror_percent_and_fraction() => InvalidValue,
        "the mirror has both percent and fraction", ByPlace, "write percent or fraction, not both";
    mirror_percent(percent) => InvalidValue,
        "{percent} is not a percentage of requests", ByPlace, "write a whole number from 0 to 100, or use fraction";
    mirror_denominator(denominator, most) => InvalidValue,
        "{denominator} is not the denominator of a fraction", ByPlace, "write a whole number from 1 to {most}";
    mirror_numerator(numerator, denominator) => InvalidValue,
        "{numerator}/{denominator} is not a share of the requests", ByPlace,
        "write a numerator from 0 to {denominator}";
    mirrors_too_many(most) => UnsupportedValue,
        "the rule and a backend together can have at most {most} mirrors", ByPlace,
        "take a mirror out, or write the mirrors into different rules";
    mirror_and_redirect() => IncompatibleFilters,
        "a redirect answers the request, so there is nothing to copy", ByPlace, "take the filter RequestMirror out";
    header_twice(name, one, other) => InvalidValue,
        "the header {name} has two actions, {one} and {other}", ByPlace,
        "write one action for each header: set replaces its values, add appends one, remove removes all";
    one_host() => UnsupportedValue,
        "the header host cannot be added or removed: a request has exactly one header host", ByPlace,
        "use set, or a filter URLRewrite with hostname";
    not_a_host(value) => InvalidValue,
        "{value} is not a host", ByPlace, "write a host name such as shop.example.com or shop.example.com:8080";
    scheme(scheme) => UnsupportedValue,
        "a redirect cannot use the scheme {scheme}", ByPlace, "write http or https";
    port_zero() => InvalidValue,
        "0 is not the number of a port", ByPlace, "write a number from 1 to 65535";
    status(status, known) => UnsupportedValue,
        "{status} is not the status of a redirect", ByPlace, "write one of {known}";
    hostname(name) => InvalidValue,
        "{name} is not the name of one host", ByPlace, "write a host name without a port and without *";
    path_type(kind) => UnsupportedValue,
        "there is no path replacement of type {kind}", ByPlace, "write type: ReplaceFullPath or type: ReplacePrefixMatch";
    path_field_of_another_type(field, owner, kind, wanted, value) => InvalidValue,
        "the field {field} belongs to the type {owner}, but the type is {kind}", ByPlace,
        "write type: {owner}, or {wanted}: {value}";
    prefix_without_prefix() => InvalidValue,
        "ReplacePrefixMatch needs a rule with exactly one match, and this match needs a path of type PathPrefix", ByPlace,
        "write one rule for each match, with a path of type PathPrefix, or use ReplaceFullPath";
    path_with_query(path, without) => InvalidValue,
        "{path} has a query, but a filter cannot change the query of a request", ByPlace,
        "write the path alone: {without}";
    path_with_fragment(path, without) => InvalidValue,
        "{path} has a fragment, which is no part of a path", ByPlace, "write the path alone: {without}";
}
