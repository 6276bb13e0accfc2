//! About objects that would cost proxies more memory than a limit allows.

messages! {
    over_object(cost, limit) => OverBudget,
        "this object costs at least {cost} bytes of each proxy's configuration, and one object may cost {limit}",
        Whole "the object is not in force",
        "name the ports that are meant, or write fewer backends, rules, matches or headers in one object; an operator \
         can raise --object-limit and --namespace-limit";
    over_namespace(cost, namespace, limit) => OverBudget,
        "this object costs at least {cost} bytes of each proxy's configuration, and with the older objects of namespace \
         {namespace} that is more than the {limit} bytes that a namespace may cost",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    over_namespace_expressions(count, namespace, limit) => OverBudget,
        "this object and the older objects of namespace {namespace} have more than {limit} regular expressions, which is \
         the most that a namespace may have; this object has {count} of them",
        Whole "the object is not in force",
        "write exact values and prefixes instead of regular expressions, or delete objects of this namespace; an operator \
         can raise --namespace-expressions";
    text_over_object(size, limit) => OverBudget,
        "this object has {size} bytes of text, and no object of more than {limit} is read",
        Whole "the object is not in force",
        "make the object smaller, or split it into several; an operator can raise --object-limit";
    no_room(namespace, limit) => OverBudget,
        "the older objects of this kind in namespace {namespace} take up the {limit} bytes of memory that the control \
         plane keeps for them",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    no_room_for_more(count, namespace, limit) => OverBudget,
        "the older objects of this kind in namespace {namespace} take up the {limit} bytes of memory that the control \
         plane keeps for them; at least {count} younger objects of this kind in this namespace are not named here",
        Whole "neither this object nor any younger one is in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    over_scope(cost, namespace, limit) => OverBudget,
        "the objects of all namespaces together may cost {limit} bytes of one proxy's configuration, and cost more; namespace \
         {namespace} has the largest part, and this object costs {cost} bytes of it",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --scope-limit";
    over_elsewhere(cost, namespace, limit) => OverBudget,
        "the ports and ServiceAccounts of Services in other namespaces make this object cost {cost} bytes more, and with the \
         older objects of namespace {namespace} that is more than the {limit} bytes that are left for that",
        Whole "the object is not in force",
        "name the port that is meant in each of spec.parentRefs; an operator can raise --namespace-limit and --scope-limit";
    over_scope_expressions(count, namespace, limit) => OverBudget,
        "the objects of all namespaces together may have {limit} regular expressions in one proxy's configuration, and have \
         more; namespace {namespace} has most, and this object has {count} of them",
        Whole "the object is not in force",
        "write exact values and prefixes instead of regular expressions; an operator can raise --scope-expressions";
}
