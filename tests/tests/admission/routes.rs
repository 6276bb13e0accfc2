//! Routes that the schemas of Gateway API or Linkerd accept, although Weir does not support some of their fields.

use crate::cluster::{Cluster, Refusal, Write, broken_edit, parse};

const HTTP: &str = "gateway.networking.k8s.io/v1 HTTPRoute";
const OLD_HTTP: &str = "gateway.networking.k8s.io/v1beta1 HTTPRoute";
const GRPC: &str = "gateway.networking.k8s.io/v1 GRPCRoute";
const TCP: &str = "gateway.networking.k8s.io/v1alpha2 TCPRoute";
const LINKERD: &str = "policy.linkerd.io/v1beta3 HTTPRoute";
const OLD_LINKERD: &str = "policy.linkerd.io/v1beta2 HTTPRoute";

pub struct Broken {
    kind: &'static str,
    /// Fields of the spec. `named` adds parentRefs if they are missing, and replaces `TO` by the field backendRefs.
    spec: &'static str,
    /// Words that the API server's error message must contain.
    pub words: &'static str,
}

const fn broken(kind: &'static str, spec: &'static str, words: &'static str) -> Broken {
    Broken { kind, spec, words }
}

const EDITED_TWICE: &str = "one filter has two actions for the header x-one";
const LOOK_AROUND: &str = "look-around in a regular expression is not supported";
const QUERY: &str = "a query or a fragment";
const CONNECTION: &str = "belongs to the connection, and no filter may edit it";
const MIRROR: &str = "belongs to Weir, which writes the cluster of a mirror into it";
const NO_FIELD: &str = "a filter lacks the field of its type";
const NAME: &str = "a name that no Service can have";
const REPLACED: &str = "which proxies replace in the path of every request";
const ONE_PREFIX: &str = "replacePrefixMatch needs exactly one match";
const ONE_HOST: &str = "exactly one header host, which cannot be added or removed";

/// Invalid routes, each with words of the policy's refusal.
const BROKEN: [Broken; 82] = [
    broken(
        HTTP,
        "rules: [{ filters: [{ type: CORS, cors: { allowOrigins: ['https://www.foo.com'] } }], TO }]",
        "filter CORS is not supported",
    ),
    broken(
        OLD_HTTP,
        "rules: [{ filters: [{ type: CORS, cors: {} }], TO }]",
        "filter CORS is not supported",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: ExtensionRef, extensionRef: { group: example.org, kind: Filter, name: x } }], TO }]",
        "filter ExtensionRef is not supported",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: ExternalAuth, externalAuth: { protocol: HTTP, http: {}, backendRef: { name: auth, port: 80 } } }], TO }]",
        "filter ExternalAuth is not supported",
    ),
    broken(
        HTTP,
        "rules: [{ backendRefs: [{ name: a, port: 80, filters: [{ type: CORS, cors: { allowOrigins: ['https://www.foo.com'] } }] }] }]",
        "the requests of its rule or backend would be answered 500",
    ),
    broken(
        GRPC,
        "rules: [{ filters: [{ type: ExtensionRef, extensionRef: { group: example.org, kind: Filter, name: x } }], TO }]",
        "would be answered UNAVAILABLE",
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { hostname: a.example } }], TO }]",
        "filter URLRewrite is not supported",
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: OfTomorrow }], TO }]",
        "filter OfTomorrow is not supported",
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: {} }, { type: RequestHeaderModifier, requestHeaderModifier: {} }], TO }]",
        "two filters of the same type",
    ),
    broken(
        HTTP,
        "rules: [{ sessionPersistence: { sessionName: s, type: Cookie }, TO }]",
        "sessionPersistence is not supported",
    ),
    broken(
        GRPC,
        "rules: [{ sessionPersistence: { sessionName: s, type: Cookie }, TO }]",
        "sessionPersistence is not supported",
    ),
    broken(
        HTTP,
        "useDefaultGateways: All, rules: [{ TO }]",
        "useDefaultGateways is not supported",
    ),
    broken(
        GRPC,
        "useDefaultGateways: All, rules: [{ TO }]",
        "useDefaultGateways is not supported",
    ),
    broken(
        TCP,
        "useDefaultGateways: All, rules: [{ TO }]",
        "useDefaultGateways is not supported",
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ path: { type: RegularExpression, value: '/(?!admin).*' } }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ headers: [{ name: a, type: RegularExpression, value: '(?=x)x' }] }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ queryParams: [{ name: a, type: RegularExpression, value: 'x(?<!y)' }] }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        GRPC,
        "rules: [{ matches: [{ method: { type: RegularExpression, service: '(?!x)y', method: Get } }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        GRPC,
        "rules: [{ matches: [{ headers: [{ name: a, type: RegularExpression, value: 'x(?<=y)' }] }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { type: RegularExpression, value: '/(?!admin).*' } }], TO }]",
        LOOK_AROUND,
    ),
    broken(
        HTTP,
        r"rules: [{ matches: [{ headers: [{ name: a, type: RegularExpression, value: '(x)\1' }] }], TO }]",
        "back-references and",
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ path: { type: RegularExpression, value: '/(a' } }], TO }]",
        "missing closing )",
    ),
    broken(
        GRPC,
        "rules: [{ matches: [{ method: { type: RegularExpression, service: '(^shop|^toys)[.].*' } }], TO }]",
        "has ^ or $ in the middle",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Connection, value: close }] } }], TO }]",
        CONNECTION,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [te] } }], TO }]",
        CONNECTION,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: Transfer-Encoding, value: chunked }] } }], TO }]",
        "the header transfer-encoding belongs",
    ),
    broken(
        HTTP,
        "rules: [{ backendRefs: [{ name: a, port: 80, filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Content-Length, value: '0' }] } }] }] }]",
        CONNECTION,
    ),
    broken(
        GRPC,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [Upgrade, keep-alive] } }], TO }]",
        "the header upgrade, keep-alive belongs",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-Weir-Mirror, value: shadow }] } }], TO }]",
        MIRROR,
    ),
    broken(
        GRPC,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [x-weir-mirror-2] } }], TO }]",
        MIRROR,
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: trailer, value: x }] } }], TO }]",
        CONNECTION,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: Host, value: a.example }] } }], TO }]",
        ONE_HOST,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { remove: [host] } }], TO }]",
        ONE_HOST,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Host, value: 'a.example:http' }] } }], TO }]",
        "set to an invalid host",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-One, value: s }], add: [{ name: x-one, value: a }] } }], TO }]",
        EDITED_TWICE,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-One, value: s }], remove: [x-one] } }], TO }]",
        EDITED_TWICE,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: X-One, value: s }], remove: [x-one] } }], TO }]",
        EDITED_TWICE,
    ),
    broken(
        LINKERD,
        r#"rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-one, value: "a\r\nx-two: b" }] } }], TO }]"#,
        "empty or has a control character",
    ),
    broken(
        LINKERD,
        r#"rules: [{ matches: [{ headers: [{ name: x-one, value: "a\nb" }] }], TO }]"#,
        "empty or has a control character",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: '/new?src=old' } } }] }]",
        QUERY,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replaceFullPath: '/new#top' } } }] }]",
        QUERY,
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/new?a=b' } } }], TO }]",
        QUERY,
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ path: { value: /old } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: '/new?a=b' } } }] }]",
        QUERY,
    ),
    broken(
        HTTP,
        "rules: [{ matches: [{ path: { value: /old } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: new } } }], TO }]",
        "a replacePrefixMatch does not begin with '/'",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: new } } }], TO }]",
        "a filter writes an invalid path",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/a b' } } }], TO }]",
        "a filter writes an invalid path",
    ),
    broken(
        HTTP,
        "rules: [{ filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplaceFullPath, replaceFullPath: '/%zz' } } }], TO }]",
        "a filter writes an invalid path",
    ),
    broken(
        HTTP,
        "rules: [{ backendRefs: [{ group: multicluster.x-k8s.io, kind: ServiceImport, name: a, port: 80 }] }]",
        "a backendRef is not a Service: its share of the requests would be answered 500",
    ),
    broken(
        GRPC,
        "rules: [{ backendRefs: [{ group: gateway.networking.x-k8s.io, kind: XBackend, name: a }] }]",
        "a backendRef is not a Service: its share of the requests would be answered UNAVAILABLE",
    ),
    broken(
        TCP,
        "rules: [{ backendRefs: [{ group: multicluster.x-k8s.io, kind: ServiceImport, name: a, port: 80 }] }]",
        "a backendRef is not a Service",
    ),
    broken(
        LINKERD,
        "rules: [{ backendRefs: [{ group: example.org, kind: Bucket, name: a, port: 80 }] }]",
        "a backendRef is not a Service",
    ),
    broken(
        TCP,
        "parentRefs: [{ kind: Service, name: web }], rules: [{ TO }]",
        "write both group: \"\" and kind: Service",
    ),
    broken(
        HTTP,
        "parentRefs: [{ kind: Service, name: web }], rules: [{ TO }]",
        "write both group: \"\" and kind: Service",
    ),
    broken(
        HTTP,
        "parentRefs: [{ group: '', kind: Gateway, name: web }], rules: [{ TO }]",
        "a kind that its group does not have",
    ),
    broken(
        LINKERD,
        "parentRefs: [{ name: web }], rules: [{ TO }]",
        "write both group: \"\" and kind: Service",
    ),
    broken(
        OLD_LINKERD,
        "parentRefs: [{ kind: Service, name: web }], rules: [{ TO }]",
        "write both group: \"\" and kind: Service",
    ),
    broken(
        HTTP,
        "hostnames: [10.0.0.1], rules: [{ TO }]",
        "hostnames has an invalid host name",
    ),
    broken(
        LINKERD,
        "hostnames: ['*'], rules: [{ TO }]",
        "hostnames has an invalid host name",
    ),
    broken(
        LINKERD,
        "hostnames: ['shop.example.com:80'], rules: [{ TO }]",
        "without a port",
    ),
    broken(
        LINKERD,
        "rules: [{ name: a, TO }, { name: a, TO }]",
        "two rules have the same name",
    ),
    broken(
        LINKERD,
        "rules: [{ retry: { attempts: 2 }, TO }]",
        "retry is no field of policy.linkerd.io",
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { statusCode: 308 } }] }]",
        "a statusCode other than 301 and 302",
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: {} }], TO }]",
        "a rule has both backends and a filter RequestRedirect",
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { type: Glob, value: '/*' } }], TO }]",
        "a type that is not supported",
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { value: cart } }], TO }]",
        "a match has an invalid path",
    ),
    broken(
        LINKERD,
        "rules: [{ backendRefs: [{ name: a, port: 80, weight: 10O }] }]",
        "a weight that is not a whole number",
    ),
    broken(
        LINKERD,
        "rules: [{ backendRefs: [{ name: a, port: 80, weight: -1 }] }]",
        "a weight that is not a whole number",
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { value: '/a%2fb' } }], TO }]",
        REPLACED,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { type: Exact, value: '/a//b' } }], TO }]",
        REPLACED,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { value: '/a/../b' } }], TO }]",
        REPLACED,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { value: '/a/.' } }], TO }]",
        REPLACED,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { value: /a } }, { path: { value: /b } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }] }]",
        ONE_PREFIX,
    ),
    broken(
        LINKERD,
        "rules: [{ matches: [{ path: { type: Exact, value: /a } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }] }]",
        ONE_PREFIX,
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestRedirect }] }]",
        NO_FIELD,
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestHeaderModifier, responseHeaderModifier: { remove: [a] } }], TO }]",
        NO_FIELD,
    ),
    broken(
        LINKERD,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplaceFullPath, replacePrefixMatch: /new } } }] }]",
        NO_FIELD,
    ),
    broken(
        LINKERD,
        "rules: [{ backendRefs: [{ name: a }] }]",
        "a backendRef has no port",
    ),
    broken(
        HTTP,
        "rules: [{ backendRefs: [{ name: a.shop.svc.cluster.local, port: 80 }] }]",
        NAME,
    ),
    broken(
        GRPC,
        "rules: [{ backendRefs: [{ name: shop_v1, port: 80 }] }]",
        NAME,
    ),
    broken(
        TCP,
        "rules: [{ backendRefs: [{ name: a.example.com, port: 80 }] }]",
        NAME,
    ),
    broken(
        HTTP,
        "parentRefs: [{ group: '', kind: Service, name: web.shop.svc.cluster.local }], rules: [{ TO }]",
        NAME,
    ),
    broken(
        TCP,
        "parentRefs: [{ group: '', kind: Service, name: web.shop }], rules: [{ TO }]",
        NAME,
    ),
];

/// Valid routes. A retry with a backoff is valid too: Weir ignores the backoff.
const RIGHT: [(&str, &str); 11] = [
    (
        HTTP,
        "rules: [{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 } } }, { type: RequestMirror, requestMirror: { backendRef: { name: b, port: 80 } } }], TO }]",
    ),
    (
        GRPC,
        "rules: [{ filters: [{ type: RequestMirror, requestMirror: { backendRef: { name: a, port: 80 } } }], TO }]",
    ),
    (HTTP, "rules: [{ retry: { attempts: 3, backoff: 1s }, TO }]"),
    (
        HTTP,
        "rules: [{ matches: [{ path: { value: /old } }], filters: [{ type: URLRewrite, urlRewrite: { path: { type: ReplacePrefixMatch, replacePrefixMatch: '' } } }], TO }]",
    ),
    (
        HTTP,
        "rules: [{ filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: Host, value: 'a.example:8080' }], add: [{ name: x-a, value: '1' }, { name: X-A, value: '2' }], remove: [x-b] } }, { type: ResponseHeaderModifier, responseHeaderModifier: { remove: [host, x-a] } }], TO }]",
    ),
    (
        HTTP,
        "rules: [{ backendRefs: [{ group: '', kind: Service, name: canary, port: 80, weight: 5, filters: [{ type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: Set-Cookie, value: 'flagger-cookie=nROEvCteRd; Max-Age=21600' }] } }] }] }]",
    ),
    (
        GRPC,
        "rules: [{ matches: [{ method: { type: RegularExpression, service: '^shop[.][^.]+$', method: 'Get.*' } }], TO }]",
    ),
    (
        LINKERD,
        "rules: [{ backendRefs: [{ group: core, kind: Service, name: a, port: 80, weight: 1 }] }]",
    ),
    (
        LINKERD,
        "parentRefs: [{ group: core, kind: Service, name: 9-web }, { group: policy.linkerd.io, kind: Server, name: web.of.others }], rules: [{ matches: [{ path: { value: /a..b/.c/ } }], filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: /new } } }] }]",
    ),
    (
        HTTP,
        "parentRefs: [{ name: edge.public }], rules: [{ matches: [{ path: { type: RegularExpression, value: '/a%2Fb//c' } }], retry: { attempts: 1, codes: [503] }, TO }]",
    ),
    (
        HTTP,
        "rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { path: { type: ReplacePrefixMatch, replacePrefixMatch: '' } } }] }]",
    ),
];

/// Tries each edit on a stored route.
pub async fn broken_edits(cluster: &Cluster, namespace: &str, words: impl Fn(&Broken) -> Refusal) {
    for kind in [HTTP, OLD_HTTP, GRPC, LINKERD, OLD_LINKERD, TCP] {
        let good = object(kind, "rules: [{ TO }]");
        // The object may exist already, because the API server serves it at every version of its kind.
        if cluster.create(namespace, &good, Write::Try).await.is_ok() {
            let stored = cluster.create(namespace, &good, Write::Store).await;
            stored.expect("the object is valid");
        }
    }
    for (kind, spec) in RIGHT {
        let outcome = cluster.replace(namespace, &object(kind, spec)).await;
        assert!(outcome.is_ok(), "{spec}: {outcome:?}");
    }
    let outcome = cluster.replace(namespace, &object(HTTP, &largest())).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    for case in &BROKEN {
        let edit = object(case.kind, case.spec);
        broken_edit(cluster, namespace, &edit, words(case)).await;
    }
    // The schema of the standard channel allows several rules in a TCPRoute, but the policy refuses them.
    let two = object(TCP, "rules: [{ TO }, { TO }]");
    let outcome = cluster.replace(namespace, &two).await;
    assert_eq!(outcome.is_err(), words(&BROKEN[0]).is_some(), "{outcome:?}");
}

/// Returns the spec of the largest route that Gateway API allows.
fn largest() -> String {
    let fields = |count: usize| {
        let field =
            |i| format!("{{ name: n{i}, type: RegularExpression, value: '[a-z]+-{i}(;.*)?' }}");
        (0..count).map(field).collect::<Vec<_>>().join(", ")
    };
    let one = format!(
        "{{ path: {{ type: RegularExpression, value: '/v[0-9]+/cart(/.*)?' }}, headers: [{}], queryParams: [{}] }}",
        fields(16),
        fields(16)
    );
    let edits = |from: usize| {
        let name = |i| format!("{{ name: n{i}, value: v }}");
        (from..from + 16).map(name).collect::<Vec<_>>().join(", ")
    };
    let removed: Vec<String> = (32..48).map(|i| format!("n{i}")).collect();
    let edits = format!(
        "{{ set: [{}], add: [{}], remove: [{}] }}",
        edits(0),
        edits(16),
        removed.join(", ")
    );
    let filters = format!(
        "[{{ type: RequestHeaderModifier, requestHeaderModifier: {edits} }}, {{ type: ResponseHeaderModifier, responseHeaderModifier: {edits} }}]"
    );
    let backend = format!("{{ name: a, port: 80, weight: 5, filters: {filters} }}");
    let rule = format!(
        "{{ matches: [{}], filters: {filters}, backendRefs: [{}] }}",
        vec![one; 8].join(", "),
        vec![backend; 4].join(", ")
    );
    format!("rules: [{}]", vec![rule; 16].join(", "))
}

pub async fn routes_of_others_are_not_judged(cluster: &Cluster) {
    for (kind, spec) in [
        (
            HTTP,
            "parentRefs: [{ group: example.org, kind: Gateway, name: x }], rules: [{ filters: [{ type: CORS, cors: {} }], TO }]",
        ),
        (
            HTTP,
            "parentRefs: [{ kind: ListenerSet, name: x }], rules: [{ sessionPersistence: { sessionName: s }, TO }]",
        ),
        (
            LINKERD,
            "parentRefs: [{ group: policy.linkerd.io, kind: Server, name: x }], rules: [{ filters: [{ type: OfTomorrow }] }]",
        ),
        (
            TCP,
            "parentRefs: [{ group: example.org, kind: Gateway, name: x }], useDefaultGateways: All, rules: [{ TO }]",
        ),
    ] {
        let outcome = cluster
            .create("labelled", &named(kind, "other", spec), Write::Try)
            .await;
        assert!(outcome.is_ok(), "{spec}: {outcome:?}");
    }
}

pub fn object(kind: &str, spec: &str) -> serde_json::Value {
    named(kind, "route", spec)
}

fn named(kind: &str, name: &str, spec: &str) -> serde_json::Value {
    let (version, kind) = kind.split_once(' ').expect("version and kind");
    let parent = if spec.contains("parentRefs") {
        ""
    } else {
        "parentRefs: [{ group: '', kind: Service, name: web, port: 80 }], "
    };
    let spec = spec.replace("TO }", "backendRefs: [{ name: a, port: 80 }] }");
    parse(&format!(
        "{{ apiVersion: {version}, kind: {kind}, metadata: {{ name: {name} }}, spec: {{ {parent}{spec} }} }}"
    ))
}
