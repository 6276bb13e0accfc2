//! About objects that would cost proxies more memory than a limit allows.

messages! {
    over_object(cost, limit) => OverBudget,
        "this object costs at least {cost} bytes of each proxy's configuration, and one object may cost {limit}",
        Whole "the object is not in force",
        "name the ports that are meant, or write fewer backends, rules, matches or headers in one object; an operator \
         can raise --object-limit";
    over_namespace(cost, namespace, limit) => OverBudget,
        "this object costs at least {cost} bytes of each proxy's configuration, and with the older objects of namespace \
         {namespace} that is more than the {limit} bytes that a namespace may cost",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    over_namespace_expressions(count, namespace, limit) => OverBudget,
        "this object has {count} regular expressions, and with the older objects of namespace {namespace} that is more \
         than the {limit} that a namespace may have",
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
    over_scope(cost, namespace, limit) => OverBudget,
        "a proxy would get more than {limit} bytes of configuration or too many regular expressions, of which namespace \
         {namespace} has the largest part; this object costs {cost} bytes of it",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --scope-limit and \
         --scope-expressions";
}
