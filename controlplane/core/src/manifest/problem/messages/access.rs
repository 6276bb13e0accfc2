//! About TrafficTargets, and about the ServiceAccounts behind Services.

messages! {
    target_grants_elsewhere(own, account) => RefNotPermitted,
        "a TrafficTarget in namespace {own} cannot let anybody reach ServiceAccount {account} of another namespace", ByPlace,
        "put the TrafficTarget into the namespace of its destination";
    target_without_sources() => InvalidValue,
        "the TrafficTarget has no sources", Whole "it lets no requests through",
        "write under sources the ServiceAccounts that may call the destination";
    target_without_rules() => InvalidValue,
        "the TrafficTarget has no rules", Whole "it lets no requests through",
        "write under rules an HTTPRouteGroup or a TCPRoute";
    source_with_port() => InvalidValue,
        "a source cannot have a port", Part "the source is left out: the target does not let it through",
        "take the port out";
    account_of_another_kind(kind) => InvalidKind,
        "a {kind} cannot be let in, only a ServiceAccount can", Part "this entry lets nobody through",
        "write kind: ServiceAccount";
    account_no_name(namespace, name) => InvalidValue,
        "{namespace}/{name} is not the name of a ServiceAccount", Part "this entry lets nobody through",
        "write the name in lower-case letters and digits, with '-' between them";
    destination_port_of_this_version(version) => InvalidValue,
        "in {version} a destination has no field port", ByPlace,
        "take port out of the destination, and write it in a TCPRoute of specs.smi-spec.io";
    destination_port_no_number(written) => InvalidValue,
        "{written} is not a port", ByPlace,
        "write a number from 1 to 65535";
    rule_of_another_kind(kind) => InvalidKind,
        "a rule cannot be a {kind}", Rule "this rule lets nobody through",
        "name an HTTPRouteGroup or a TCPRoute of specs.smi-spec.io";
    pod_account_no_name(written) => InvalidValue,
        "\"{written}\" is not the name of a ServiceAccount", Whole "the ServiceAccount behind a Service that selects these pods is not known, so that nobody may reach it",
        "write serviceAccountName in lower-case letters and digits, with '-' between them";
    service_selects_nothing() => NoAccount,
        "the Service selects no pods, so that the ServiceAccount behind it is not known", Part "nobody may reach it",
        "write a selector that the labels of its pods fit";
    service_selects_nobody() => NoAccount,
        "no pod and no workload has the labels that the Service selects, so that the ServiceAccount behind it is not known",
        Part "nobody may reach it",
        "give Weir the Pod, Deployment, StatefulSet, DaemonSet or ReplicaSet with these labels, or correct the selector";
    requests_by_port(port) => UnsupportedValue,
        "the workload that receives a request does not know that it was sent to port {port} of a Service",
        Part "rules with an HTTPRouteGroup let no requests through",
        "take the port out, or name a TCPRoute instead";
    rule_missing(kind, namespace, name) => ReferenceNotFound,
        "there is no {kind} {namespace}/{name}", Rule "this rule lets nothing through",
        "create the {kind}, or write the name of one that exists";
    rule_broken(kind, namespace, name) => ReferenceNotFound,
        "{kind} {namespace}/{name} has a problem of its own and is not in force", Rule "this rule lets nothing through",
        "correct the {kind} as its own problem says";
    rule_match_missing(group, name, names) => ReferenceNotFound,
        "{group} has no match \"{name}\"; it has {names}", Part "this name lets nothing through",
        "write one of these names, or leave matches out for all of them";
    tcp_route_without_port(name, port) => InvalidValue,
        "TCPRoute {name} has no port {port}", Rule "this rule lets nothing through",
        "add port {port} to TCPRoute {name}, or take the port out of the destination";
    target_without_policy() => UnsupportedValue,
        "TrafficTargets decide who may reach whom only with --policy smi, and --policy is not given",
        Nothing "this TrafficTarget grants and denies nothing",
        "start weir serve with --policy smi, or with --policy permissive if everyone may reach everything";
}
