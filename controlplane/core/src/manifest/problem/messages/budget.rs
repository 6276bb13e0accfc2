//! Messages about objects that would cost proxies more memory than a limit allows.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. An object or a part of it is "in force" if
//! Weir uses it for traffic.

messages! {
    over_object(cost, limit) => OverBudget,
        "this object adds at least {cost} bytes to each proxy's configuration; the limit for one object is {limit} bytes",
        Whole "the object is not in force",
        "name only the ports that you need, or write fewer backends, rules, matches or headers in one object; an operator \
         can raise --object-limit and --namespace-limit";
    over_namespace(cost, namespace, limit) => OverBudget,
        "this object adds at least {cost} bytes to each proxy's configuration; this object and the older objects of \
         namespace {namespace} together exceed the limit of {limit} bytes for one namespace",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    over_namespace_expressions(count, namespace, limit) => OverBudget,
        "this object has {count} regular expressions; this object and the older objects of namespace {namespace} \
         together exceed the limit of {limit} for one namespace",
        Whole "the object is not in force",
        "write exact values and prefixes instead of regular expressions, or delete objects of this namespace; an operator \
         can raise --namespace-expressions";
    text_over_object(size, limit) => OverBudget,
        "this object has {size} bytes of text, more than the limit of {limit} bytes",
        Whole "the object is not in force",
        "make the object smaller, or split it into several; an operator can raise --object-limit";
    no_room(namespace, limit) => OverBudget,
        "the older objects of this kind in namespace {namespace} already use the {limit} bytes of memory that the control \
         plane has for them",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    no_room_for_more(count, namespace, limit) => OverBudget,
        "the older objects of this kind in namespace {namespace} already use the {limit} bytes of memory that the control \
         plane has for them; at least {count} younger objects of this kind in this namespace have the same problem",
        Whole "this object and the younger objects are not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --namespace-limit";
    over_scope(cost, namespace, limit) => OverBudget,
        "the objects of all namespaces together exceed the limit of {limit} bytes for one proxy's configuration; \
         namespace {namespace} has the largest part, and this object adds {cost} bytes to this part",
        Whole "the object is not in force",
        "delete objects of this namespace, or make them smaller; an operator can raise --scope-limit";
    over_elsewhere(cost, namespace, limit) => OverBudget,
        "ports and ServiceAccounts of Services in other namespaces add {cost} bytes to this object; they add more than \
         {limit} bytes to this object and the older objects of namespace {namespace} together",
        Whole "the object is not in force",
        "write one port into each entry of spec.parentRefs; an operator can raise --namespace-limit and --scope-limit";
    over_scope_expressions(count, namespace, limit) => OverBudget,
        "the objects of all namespaces together exceed the limit of {limit} regular expressions in one proxy's \
         configuration; namespace {namespace} has the most, and this object has {count} of them",
        Whole "the object is not in force",
        "write exact values and prefixes instead of regular expressions; an operator can raise --scope-expressions";
}
