//! About error answers of `weir serve` to a proxy or a replica.

messages! {
    no_certificate() => Unauthorized,
        "the request shows no client certificate", Whole "nothing is served",
        "give the Envoy cluster of the control plane a certificate that the authority of --client-ca has signed";
    no_token() => Unauthorized,
        "the request shows neither a client certificate nor a token", Whole "nothing is served",
        "send the token of a ServiceAccount for the audience weir.dev, as Authorization: Bearer TOKEN";
    not_a_token() => Unauthorized,
        "the token is not the token of a ServiceAccount", Whole "nothing is served",
        "send a token that Kubernetes has projected into the pod";
    other_audience(audience) => Unauthorized,
        "the token is not for the audience {audience}", Whole "nothing is served",
        "write audience: {audience} into the projected volume of the token";
    expired() => Unauthorized,
        "the token has expired", Whole "nothing is served",
        "read the file of the token again: the kubelet replaces it in time";
    forged() => Unauthorized,
        "the token is not signed by this cluster's API server", Whole "nothing is served",
        "send a token of this cluster";
    review_failed(why) => Unauthorized,
        "the API server refuses the token: {why}", Whole "nothing is served",
        "send the present token of a ServiceAccount and of a pod that exist";
    unknown_certificate(names, trust_domain, cluster_domain) => Forbidden,
        "the client certificate has {names}", Whole "nothing is served",
        "give the workload a certificate with exactly one URI name spiffe://{trust_domain}/ns/NAMESPACE/sa/NAME, or the DNS \
         name NAME.NAMESPACE.{cluster_domain}, or start weir serve with --operator-certificate and one of these names if the \
         certificate is an operator's";
    other_namespace(who, own, wanted) => Forbidden,
        "{who} is of namespace {own}, and the request asks for namespace {wanted}", Whole "nothing is served",
        "ask for namespace={own} or gateway={own}/NAME";
    every_namespace(who, own) => Forbidden,
        "{who} is of namespace {own}, and namespace=* is every namespace", Whole "nothing is served",
        "ask for namespace={own}, or show a client certificate that --operator-certificate names";
    public_host(host) => Forbidden,
        "the Host {host} may be a name of another machine, which a page in a browser could use to read this",
        Whole "nothing is served",
        "name the Envoy cluster of the control plane without a dot, or with the end .internal, .svc or .cluster.local";
    replicas_only() => Forbidden,
        "the request does not come from another replica", Whole "nothing is served",
        "send the token of the ServiceAccount of weir serve";
    full() => Unavailable,
        "this pod, ServiceAccount or namespace has too many connections",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "add replicas, or raise --max-connections and the memory limit of weir serve";
    api_server_away(why) => Unavailable,
        "the API server cannot review the token: {why}",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "look at the API server, and at the rights of weir serve";
    nothing_published(why) => Unavailable,
        "nothing is published yet: {why}",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "look at the log of weir serve";
    behind() => Unavailable,
        "this replica has not read the cluster as far as the replica that answered before",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "wait, and look at the log of weir serve if it lasts";
    older_version(version, rules) => Unsupported,
        "version {version} of the configuration cannot say {rules}",
        Whole "nothing is served: the proxy keeps its configuration",
        "load the filter of this release into the proxy";
    version_unclear() => InvalidValue,
        "weir-version is not a number from 1 on", Whole "nothing is served",
        "write the highest document version that is read";
    namespace_unclear() => InvalidValue,
        "namespace is not the name of a namespace", Whole "nothing is served",
        "write namespace=NAMESPACE or namespace=*";
    gateway_unclear() => InvalidValue,
        "gateway does not name a Gateway", Whole "nothing is served",
        "write gateway=NAMESPACE/NAME";
    two_scopes() => InvalidValue,
        "the request has more than one namespace or gateway", Whole "nothing is served",
        "ask for one of them";
    query_unreadable(why) => InvalidValue,
        "the query cannot be read: {why}", Whole "nothing is served",
        "write namespace=NAMESPACE or gateway=NAMESPACE/NAME";
    body() => InvalidValue,
        "the request has a body", Whole "nothing is served",
        "send the request without a body";
}
