//! Messages for error responses of `weir serve` to a proxy or to another replica.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy.

messages! {
    no_certificate() => Unauthorized,
        "the client sent no certificate", Whole "nothing is served",
        "give the Envoy cluster of the control plane a certificate that the authority of --client-ca has signed";
    no_token() => Unauthorized,
        "the client sent neither a certificate nor a token", Whole "nothing is served",
        "send the token of a ServiceAccount for the audience weir.dev, as Authorization: Bearer TOKEN";
    not_a_token() => Unauthorized,
        "the token is not the token of a ServiceAccount", Whole "nothing is served",
        "send a token that Kubernetes has projected into the pod";
    other_audience(audience) => Unauthorized,
        "the token is not for the audience {audience}", Whole "nothing is served",
        "write audience: {audience} into the projected volume of the token";
    expired() => Unauthorized,
        "the token has expired", Whole "nothing is served",
        "read the token from its file again: the kubelet replaces the token before it expires";
    forged() => Unauthorized,
        "the token is not signed by this cluster's API server", Whole "nothing is served",
        "send a token of this cluster";
    review_failed(why) => Unauthorized,
        "the API server refuses the token: {why}", Whole "nothing is served",
        "send a new token; its ServiceAccount and its pod must exist";
    unknown_certificate(names, trust_domain, cluster_domain) => Forbidden,
        "the client certificate has {names}", Whole "nothing is served",
        "give the workload a certificate with exactly one URI name spiffe://{trust_domain}/ns/NAMESPACE/sa/NAME, or the DNS \
         name NAME.NAMESPACE.{cluster_domain}; if the certificate is an operator's, start weir serve with \
         --operator-certificate and one of the names in the certificate";
    other_namespace(who, own, wanted) => Forbidden,
        "{who} is of namespace {own}, but requests the configuration for namespace {wanted}", Whole "nothing is served",
        "request namespace={own} or gateway={own}/NAME";
    every_namespace(who, own) => Forbidden,
        "{who} is of namespace {own}, but requests the configuration for every namespace (namespace=*)", Whole "nothing is served",
        "request namespace={own}, or use a client certificate that --operator-certificate names";
    public_host(host) => Forbidden,
        "the Host header {host} may be a public name, and a web page under this name could read the answer (DNS rebinding)",
        Whole "nothing is served",
        "give the Envoy cluster of the control plane a name without a dot, or a name that ends in .internal, .svc or .cluster.local";
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
        "check that the API server runs, and that weir serve may create TokenReviews";
    nothing_published(why) => Unavailable,
        "nothing is published yet: {why}",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "look at the log of weir serve";
    behind() => Unavailable,
        "this replica knows an older state of the cluster than the replica that answered before",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "wait; if the problem stays, look at the log of weir serve";
    no_stream(node) => Unavailable,
        "weir serve sends the clusters of backends to this proxy, but Envoy's node {node} has no open stream for clusters (ADS)",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "write ads_config and cds_config with the cluster of weir serve into dynamic_resources of Envoy's bootstrap; if they are \
         there, look at cluster_manager.cds.update_rejected in Envoy's /stats and at the log of Envoy";
    clusters_missing(clusters) => Unavailable,
        "the proxy has not accepted the clusters {clusters} yet",
        Whole "nothing is served: the proxy keeps its configuration and asks again",
        "wait; if the problem stays, look at cluster_manager.cds in Envoy's /stats and at Envoy's /clusters";
    older_version(version, rules) => Unsupported,
        "version {version} of the configuration format cannot express {rules}",
        Whole "nothing is served: the proxy keeps its configuration",
        "load the filter of this release into the proxy";
    version_unclear() => InvalidValue,
        "weir-version is not a number, or it is 0", Whole "nothing is served",
        "send the highest format version that the filter can read";
    namespace_unclear() => InvalidValue,
        "the query parameter \"namespace\" is not the name of a namespace", Whole "nothing is served",
        "write namespace=NAMESPACE or namespace=*";
    gateway_unclear() => InvalidValue,
        "the query parameter \"gateway\" is not the name of a Gateway", Whole "nothing is served",
        "write gateway=NAMESPACE/NAME";
    two_scopes() => InvalidValue,
        "the request has more than one namespace or gateway", Whole "nothing is served",
        "request only one of them";
    query_unreadable(why) => InvalidValue,
        "the query cannot be read: {why}", Whole "nothing is served",
        "write namespace=NAMESPACE or gateway=NAMESPACE/NAME";
    no_node() => InvalidValue,
        "the first request has no node id", Whole "the proxy gets no clusters",
        "write node: {{id: NAME}} into the configuration of Envoy, or start Envoy with --service-node NAME";
    body() => InvalidValue,
        "the request has a body", Whole "nothing is served",
        "send the request without a body";
}
