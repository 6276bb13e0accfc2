//! Messages about TrafficTargets, and about the ServiceAccounts of the pods behind Services.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object. An object or a part of it is "in force" if Weir uses it for traffic.

messages! {
    target_grants_elsewhere(own, account) => RefNotPermitted,
        "a TrafficTarget in namespace \"{own}\" cannot permit access to ServiceAccount {account} of another namespace", ByPlace,
        "put the TrafficTarget into the namespace of its destination";
    target_without_sources() => InvalidValue,
        "the TrafficTarget has no sources", Whole "it permits nothing",
        "add sources: a list of the ServiceAccounts that may call the destination";
    target_without_rules() => InvalidValue,
        "the TrafficTarget has no rules", Whole "it permits nothing",
        "add rules: a list of HTTPRouteGroups and TCPRoutes";
    source_with_port() => InvalidValue,
        "a source cannot have a port", Part "the target permits nothing to this source",
        "take the port out";
    account_of_another_kind(kind) => InvalidKind,
        "access cannot be given to a {kind}, only to a ServiceAccount", Part "this entry permits nothing",
        "write kind: ServiceAccount";
    account_no_name(namespace, name) => InvalidValue,
        "{namespace}/{name} is not the name of a ServiceAccount", Part "this entry permits nothing",
        "write the name in lower-case letters and digits, with '-' between them";
    destination_port_of_this_version(version) => InvalidValue,
        "in {version} a destination has no field \"port\"", ByPlace,
        "take port out of the destination, and write it in a TCPRoute of specs.smi-spec.io";
    destination_port_no_number(written) => InvalidValue,
        "{written} is not a port", ByPlace,
        "write a number from 1 to 65535";
    rule_of_another_kind(kind) => InvalidKind,
        "a rule cannot be a {kind}", Rule "this rule permits nothing",
        "name an HTTPRouteGroup or a TCPRoute of specs.smi-spec.io";
    pod_account_no_name(written) => InvalidValue,
        "\"{written}\" is not the name of a ServiceAccount", Whole "no client may reach a Service that selects these pods, because the ServiceAccount of the pods is unknown",
        "write serviceAccountName in lower-case letters and digits, with '-' between them";
    service_selects_nothing() => NoAccount,
        "the Service selects no pods, so the ServiceAccount of its pods is unknown", Part "no client may reach the Service",
        "write a selector with the labels of the pods";
    service_selects_nobody() => NoAccount,
        "no pod and no workload has the labels that the Service selects, so the ServiceAccount of its pods is unknown",
        Part "no client may reach the Service",
        "give Weir the Pod, Deployment, StatefulSet, DaemonSet or ReplicaSet with these labels, or correct the selector";
    requests_by_port(port) => UnsupportedValue,
        "Weir does not know the Service port of a request, so it cannot check port {port}",
        Part "rules with an HTTPRouteGroup permit no request",
        "take the port out, or name a TCPRoute instead";
    rule_missing(kind, namespace, name) => ReferenceNotFound,
        "there is no {kind} {namespace}/{name}", Rule "this rule permits nothing",
        "create the {kind}, or write the name of one that exists";
    rule_broken(kind, namespace, name) => ReferenceNotFound,
        "{kind} {namespace}/{name} has a problem of its own and is not in force", Rule "this rule permits nothing",
        "correct the {kind}; a separate problem describes its mistake";
    rule_match_missing(group, name, names) => ReferenceNotFound,
        "{group} has no match \"{name}\"; it has these matches: {names}", Part "this name permits nothing",
        "write one of these names, or leave matches out for all of them";
    tcp_route_without_port(name, port) => InvalidValue,
        "TCPRoute {name} has no port {port}", Rule "this rule permits nothing",
        "add port {port} to TCPRoute {name}, or take the port out of the destination";
    target_without_policy() => UnsupportedValue,
        "TrafficTargets have an effect only with --policy smi, and --policy is not set",
        Nothing "this TrafficTarget permits and denies nothing",
        "start weir serve with --policy smi, or with --policy permissive to allow all requests";
}
