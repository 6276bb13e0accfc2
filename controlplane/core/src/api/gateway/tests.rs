use super::*;
use crate::api::reference_grant::ReferenceGrant;
use crate::manifest::object::read;
use crate::manifest::problem::Reason;

fn grant(spec: &str) -> ReferenceGrant {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: back}}\nspec: {spec}\n"
    );
    ReferenceGrant::parse(&read("a.yaml", &text).unwrap().objects[0]).unwrap()
}

fn gateway(listeners: &str) -> (Gateway, Vec<Problem>) {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g, namespace: infra}}\nspec: {{gatewayClassName: any, listeners: {listeners}}}\n"
    );
    Gateway::parse(&read("a.yaml", &text).unwrap().objects[0]).unwrap()
}

#[test]
fn only_matching_grants_permit() {
    let from = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: front}";
    let to = "{group: '', kind: Service}";
    let permits = |from: &str, to: &str| {
        grant(&format!("{{from: [{from}], to: [{to}]}}")).permits_service(
            RouteKind::Http,
            "front",
            "back",
            "web",
        )
    };
    assert!(permits(from, to));
    assert!(permits(from, "{group: '', kind: Service, name: web}"));
    assert!(permits(
        from,
        "{group: '', kind: Secret}, {group: '', kind: Service}"
    ));
    let grpc = from.replace("HTTPRoute", "GRPCRoute");
    assert!(!permits(&grpc, to));
    let of_grpc = grant(&format!("{{from: [{grpc}], to: [{to}]}}"));
    assert!(of_grpc.permits_service(RouteKind::Grpc, "front", "back", "web"));
    for wrong in [
        "{group: '', kind: Service, name: other}",
        "{group: '', kind: Secret}",
        "{group: apps, kind: Service}",
    ] {
        assert!(!permits(from, wrong), "{wrong}");
    }
    for wrong in [
        "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: back}",
        "{group: gateway.networking.k8s.io, kind: Gateway, namespace: front}",
        "{group: '', kind: HTTPRoute, namespace: front}",
    ] {
        assert!(!permits(wrong, to), "{wrong}");
    }
    let object = |to: &str| {
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1beta1, kind: ReferenceGrant, metadata: {{name: g}}, spec: {{from: [{from}], to: [{to}]}}}}"
        );
        read("a.yaml", &text).unwrap().objects.remove(0)
    };
    let nameless = format!("{to}, {{group: '', kind: Service, name: ''}}");
    let problem = ReferenceGrant::parse(&object(&nameless)).unwrap_err();
    assert_eq!(problem.path, "spec.to[1].name");
    let elsewhere = grant(&format!("{{from: [{from}], to: [{to}]}}"));
    assert!(!elsewhere.permits_service(RouteKind::Http, "front", "elsewhere", "web"));
}

#[test]
fn listener_admits_allowed_namespaces() {
    let labels = |pairs: &[(&str, &str)]| {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect::<BTreeMap<_, _>>()
    };
    let admits = |allowed: &str, own: &[(&str, &str)]| {
        let (gateway, problems) = gateway(&format!(
            "[{{name: http, port: 80, protocol: HTTP, allowedRoutes: {allowed}}}]"
        ));
        assert_eq!(problems, [], "{allowed}");
        gateway.listeners[0].admits("infra", "shop", &labels(own))
    };
    assert!(!admits("{}", &[]));
    assert!(!admits("{namespaces: {from: Same}}", &[]));
    assert!(admits("{namespaces: {from: All}}", &[]));
    let by_label = "{namespaces: {from: Selector, selector: {matchLabels: {a: b}}}}";
    assert!(admits(by_label, &[("a", "b")]));
    assert!(!admits(by_label, &[("a", "c")]));
    for (expression, with, without) in [
        ("{key: a, operator: In, values: [b]}", true, false),
        ("{key: a, operator: NotIn, values: [b]}", false, true),
        ("{key: a, operator: Exists}", true, false),
        ("{key: a, operator: DoesNotExist}", false, true),
    ] {
        let allowed = format!(
            "{{namespaces: {{from: Selector, selector: {{matchExpressions: [{expression}]}}}}}}"
        );
        assert_eq!(admits(&allowed, &[("a", "b")]), with, "{expression}");
        assert_eq!(admits(&allowed, &[]), without, "{expression}");
    }
}

#[test]
fn invalid_listener_affects_no_other() {
    let (gateway, problems) = gateway(
        "[{name: a, port: 80, protocol: HTTP, hostname: '*.Example.com'}, {name: b, port: 81, protocol: HTTP, hostname: '10.0.0.1'},\
         {name: c, port: 82, protocol: TCP}, {name: d, port: 83, protocol: HTTPS, allowedRoutes: {kinds: [{kind: GRPCRoute}]}},\
         {name: e, port: 84, protocol: HTTP, allowedRoutes: {namespaces: {from: Some}}},\
         {name: f, port: 0, protocol: HTTP}, {name: a, port: 85, protocol: HTTP}, {name: e, port: 86, protocol: TLS}]",
    );
    let listeners: Vec<_> = gateway
        .listeners
        .iter()
        .map(|l| {
            let takes =
                [RouteKind::LinkerdHttp, RouteKind::Grpc, RouteKind::Tcp].map(|k| l.takes(k));
            (l.name.as_str(), takes)
        })
        .collect();
    assert_eq!(
        listeners,
        [
            ("a", [true, true, false]),
            ("c", [false, false, true]),
            ("d", [false, true, false]),
            ("e", [false, false, false])
        ]
    );
    let paths: Vec<_> = problems
        .iter()
        .map(|p| (p.path.as_str(), p.reason))
        .collect();
    assert_eq!(
        paths,
        [
            ("spec.listeners[1].hostname", Reason::InvalidValue),
            (
                "spec.listeners[4].allowedRoutes.namespaces.from",
                Reason::UnsupportedValue
            ),
            ("spec.listeners[5].port", Reason::InvalidValue),
            ("spec.listeners[6].name", Reason::InvalidValue),
        ]
    );
}

#[test]
fn listener_with_unknown_field_is_refused() {
    let selector = "allowedRoutes: {namespaces: {from: Selector, selector: ";
    let expression =
        |text: &str| format!("{selector}{{matchExpressions: [{{key: a, {text}}}]}}}}}}");
    let values = "allowedRoutes.namespaces.selector.matchExpressions[0].values";
    let cases = [
        ("hostName: a.b".to_owned(), "hostName"),
        (
            "allowedRoutes: {kind: [x]}".to_owned(),
            "allowedRoutes.kind",
        ),
        (
            format!("{selector}{{matchLabel: {{a: b}}}}}}}}"),
            "allowedRoutes.namespaces.selector.matchLabel",
        ),
        (expression("operator: In"), values),
        (expression("operator: NotIn, values: []"), values),
        (expression("operator: Exists, values: [b]"), values),
    ];
    for (field, path) in cases {
        let (gateway, problems) = gateway(&format!(
            "[{{name: a, port: 80, protocol: HTTP, {field}}}, {{name: b, port: 443, protocol: HTTPS, tls: {{mode: Terminate}}}}]"
        ));
        assert_eq!(gateway.listeners.len(), 1, "{field}");
        assert_eq!(problems.len(), 1, "{field}");
        assert_eq!(problems[0].path, format!("spec.listeners[0].{path}"));
    }
}

#[test]
fn gateway_with_many_listeners_is_refused() {
    let text = format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{listeners: [{}]}}\n",
        vec!["{name: a, port: 80, protocol: HTTP}"; 65].join(", ")
    );
    let problem = Gateway::parse(&read("a.yaml", &text).unwrap().objects[0]).unwrap_err();
    assert_eq!(problem.path, "spec.listeners");
}

#[test]
fn valid_gateways_have_no_problems() {
    let parse = |spec: &str| {
        let text = format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {{name: g}}, spec: {spec}}}"
        );
        let found = Gateway::parse(&read("a.yaml", &text).unwrap().objects[0]);
        let paths = |it: Vec<Problem>| it.into_iter().map(|it| it.path).collect::<Vec<_>>();
        found.map(|(_, problems)| paths(problems)).unwrap()
    };
    let listeners = "listeners: [\
        {name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}]}}, \
        {name: b, port: 81, protocol: UDP, allowedRoutes: {kinds: [{kind: UDPRoute}]}}, \
        {name: c, port: 82, protocol: TLS}, {name: d, port: 83, protocol: HBONE}, \
        {name: e, port: 84, protocol: example.com/own}]";
    for field in [
        "addresses: [{value: 10.0.0.1}]",
        "infrastructure: {labels: {a: b}}",
        "backendTLS: {clientCertificateRef: {name: a}}",
        "tls: {frontend: {}}",
        "allowedListeners: {namespaces: {from: All}}",
        "defaultScope: All",
    ] {
        let spec = format!("{{gatewayClassName: any, {field}, {listeners}}}");
        assert_eq!(parse(&spec), [""; 0], "{field}");
    }
    for spec in ["{}", "{listeners: []}", "{listeners: null}"] {
        assert_eq!(parse(spec), ["spec.listeners"], "{spec}");
    }
    let more = format!("{{listenersx: [1], {listeners}}}");
    assert_eq!(parse(&more), ["spec.listenersx"]);
}
