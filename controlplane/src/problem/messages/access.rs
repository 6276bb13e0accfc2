//! About TrafficTargets, and about the ServiceAccounts behind Services.

messages! {
    target_grants_elsewhere(own, account) => RefNotPermitted,
        "a TrafficTarget in namespace {own} cannot let anybody reach ServiceAccount {account} of another namespace", ByPlace,
        "put the TrafficTarget into the namespace of its destination";
    target_without_sources() => InvalidValue,
        "no source is named", Whole "the target grants nothing",
        "name the ServiceAccounts that the destination lets in";
    target_without_rules() => InvalidValue,
        "no rule says what is let through", Whole "the target grants nothing",
        "name an HTTPRouteGroup or a TCPRoute";
    source_with_port() => InvalidValue,
        "a source has no port", Part "the source is left out: it is let in by nothing here",
        "take the port out";
    account_of_another_kind(kind) => InvalidKind,
        "a {kind} cannot be let in, only a ServiceAccount can", Part "it lets nobody through",
        "write kind: ServiceAccount";
    account_no_name(namespace, name) => InvalidValue,
        "{namespace}/{name} is not the name of a ServiceAccount", Part "it lets nobody through",
        "use lower-case letters and digits, with '-' between them";
    destination_port_of_this_version(version) => InvalidValue,
        "a destination has no port at {version}", ByPlace,
        "name the port in a TCPRoute of specs.smi-spec.io";
    destination_port_no_number(written) => InvalidValue,
        "{written} is not a port", ByPlace,
        "write a number from 1 to 65535";
    rule_of_another_kind(kind) => InvalidKind,
        "a rule cannot be a {kind}", Rule "this rule lets nobody through",
        "name an HTTPRouteGroup or a TCPRoute of specs.smi-spec.io";
    pod_account_no_name(written) => InvalidValue,
        "\"{written}\" is not the name of a ServiceAccount", Whole "no account is known behind a Service that selects these pods",
        "correct serviceAccountName of the pods";
    service_selects_nothing() => NoAccount,
        "the Service selects no pods, so that the ServiceAccount behind it is not known", Part "nobody may reach it",
        "write a selector, and put the workloads with its labels among the objects";
    service_selects_nobody() => NoAccount,
        "no pod and no workload has the labels that the Service selects, so that the ServiceAccount behind it is not known",
        Part "nobody may reach it",
        "put its workloads among the objects, with the labels that it selects";
    requests_by_port(port) => UnsupportedValue,
        "the workload that receives a request does not know that it was sent to port {port} of a Service",
        Part "HTTPRouteGroups grant nothing here",
        "take the port out, or name a TCPRoute instead";
    rule_missing(kind, namespace, name) => ReferenceNotFound,
        "there is no {kind} {namespace}/{name}", Rule "this rule grants nothing",
        "create it, or correct the name";
    rule_broken(kind, namespace, name) => ReferenceNotFound,
        "{kind} {namespace}/{name} is there, and is not in force because of its own problem", Rule "this rule grants nothing",
        "mend it as its problem says";
    rule_match_missing(group, name, names) => ReferenceNotFound,
        "{group} has no match \"{name}\"; it has {names}", Part "this name grants nothing",
        "write the name of a match that is there, or leave matches out for all of them";
    tcp_route_without_port(name, port) => InvalidValue,
        "TCPRoute {name} has no port {port}", Rule "this rule grants nothing",
        "name the port in both, or take it out of the destination";
}
