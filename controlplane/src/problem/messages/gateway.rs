//! About a Gateway, its listeners, and a ReferenceGrant.

messages! {
    listener_name_twice(name) => InvalidValue,
        "a listener before this one has the name \"{name}\"",
        Part "this listener has no routes, the others go on", "give each listener a name of its own";
    bad_listener_name(name) => InvalidValue,
        "\"{name}\" is not a name for a listener", Part "this listener has no routes, the others go on",
        "use lower-case letters and digits, with '-' between them";
    port_zero() => InvalidValue,
        "0 is not a port", Part "this listener has no routes, the others go on",
        "write a number from 1 to 65535";
    bad_hostname(hostname) => InvalidValue,
        "\"{hostname}\" is not a host name", Part "this listener has no routes, the others go on",
        "write a name without port, such as shop.example.com or *.example.com, or leave it out for every host";
    no_selector() => InvalidValue,
        "the selector is missing, and from is Selector", Part "this listener has no routes, the others go on",
        "write the labels of the namespaces under selector.matchLabels";
    bad_from(from) => UnsupportedValue,
        "from: {from} is not supported", Part "this listener has no routes, the others go on",
        "write Same, All or Selector";
    bad_operator(operator) => UnsupportedValue,
        "the operator is \"{operator}\"", Part "this listener has no routes, the others go on",
        "write In, NotIn, Exists or DoesNotExist";
    operator_without_values(operator) => InvalidValue,
        "the operator {operator} has no values", Part "this listener has no routes, the others go on",
        "write the values, or use Exists or DoesNotExist";
    operator_with_values(operator) => InvalidValue,
        "the operator {operator} has values", Part "this listener has no routes, the others go on",
        "take the values out, or use In or NotIn";
    grant_without_name() => InvalidValue,
        "the name is empty", ByPlace,
        "write the name of the object, or leave name out to permit every object of the kind";
}
