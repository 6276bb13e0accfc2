//! Messages about a BackendTLSPolicy, and about backends with TLS.
//!
//! Each message has a reason, a cause, an effect on traffic and a remedy. `ByPlace` means that the effect depends on
//! the place of the field in the object.

messages! {
    target_is_no_service() => InvalidKind,
        "a target is not a Service of the core group", Part "the policy has no effect on this target",
        "write group: \"\" and kind: Service";
    target_missing(service) => ReferenceNotFound,
        "there is no Service {service}", Part "the policy has no effect on this target",
        "create the Service, or take the target out";
    target_port_missing(service, port) => ReferenceNotFound,
        "Service {service} has no TCP port with the name \"{port}\"", Part "the policy has no effect on this target",
        "write the name of a port of the Service in sectionName, or leave sectionName out for all ports";
    older_policy(other, service) => Conflicted,
        "BackendTLSPolicy {other} is for Service {service}, too", Part "the other policy decides for this target",
        "take the target out of one of the two policies";
    unreadable_validation(error) => InvalidValue,
        "the validation cannot be read: {error}",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write hostname, and caCertificateRefs or wellKnownCACertificates: System";
    bad_hostname(hostname) => InvalidValue,
        "\"{hostname}\" is not an exact host name",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write the name in the certificate of the backend, such as host.example";
    one_authority() => InvalidValue,
        "the validation needs either caCertificateRefs or wellKnownCACertificates",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write one of the two";
    unknown_authority(found) => UnsupportedValue,
        "there are no well-known certificates \"{found}\"",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write wellKnownCACertificates: System";
    authority_is_no_config_map() => InvalidKind,
        "the reference is not a ConfigMap of the core group",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "name a ConfigMap with the key ca.crt, with group: \"\" and kind: ConfigMap; at most 8 are possible";
    too_many(most) => InvalidValue,
        "there are more than {most} entries",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write at most {most} entries";
    bad_certificate_name() => InvalidValue,
        "the entry is neither a host name nor a URI",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "write type: Hostname with hostname, or type: URI with uri";
    no_certificates(config_map) => ReferenceNotFound,
        "there is no ConfigMap {config_map} with certificates in the key ca.crt",
        Part "requests for the Services of this policy are answered 503 by proxies with clusters from Weir",
        "create the ConfigMap with certificates in PEM; in a cluster, Weir needs the permission to get it";
    too_many_certificates(most) => OverBudget,
        "the certificates for all Services of this namespace have more than {most} bytes",
        Part "requests for this Service are answered 503 by proxies with clusters from Weir",
        "use fewer or smaller certificates in the ConfigMaps of BackendTLSPolicies, or wellKnownCACertificates: System";
    not_verified(port) => UnsupportedValue,
        "port {port} has appProtocol for TLS, but no BackendTLSPolicy is for the Service",
        Nothing "proxies with clusters from Weir encrypt the requests, but do not verify who answers",
        "create a BackendTLSPolicy for the Service";
}
