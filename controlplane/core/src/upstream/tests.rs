use super::*;
use crate::api::smi::traffic_target::Policy;
use crate::manifest::object::read;
use crate::translate::budget::Limits;
use crate::translate::translate_objects;
use crate::world::Entry;

/// Returns one line for each cluster of these Services, which a route of this kind names at port 80.
fn lines(source: &str, kind: &str, services: &[&str]) -> Vec<String> {
    found(source, kind, services, "").0
}

/// Returns the lines of [`lines`], and the problems. `more` has more manifests.
fn found(source: &str, kind: &str, services: &[&str], more: &str) -> (Vec<String>, Vec<Problem>) {
    let mut text = String::from(
        "apiVersion: v1\nkind: Service\nmetadata: {name: root}\nspec: {clusterIP: 10.0.0.9, ports: [{port: 80}]}\n",
    );
    let mut refs = Vec::new();
    for (index, spec) in services.iter().enumerate() {
        text += &format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{index}}}\n");
        // A Service with annotations begins its own metadata.
        text = match spec.split_once('|') {
            Some((annotations, spec)) => {
                text.truncate(text.len() - 2);
                format!("{text}, annotations: {annotations}}}\nspec: {spec}\n")
            }
            None => format!("{text}spec: {spec}\n"),
        };
        refs.push(format!("{{name: s{index}, port: 80}}"));
    }
    text += &format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r}}\n\
         spec: {{parentRefs: [{{group: '', kind: Service, name: root}}], rules: [{{backendRefs: [{}]}}]}}\n",
        refs.join(", ")
    );
    text += more;
    let mut objects = read("a.yaml", &text).unwrap().objects;
    for object in &mut objects {
        object.source = source.into();
    }
    let entries: Vec<Entry> = objects.iter().map(Entry::of).collect();
    let found = translate_objects(&entries, Policy::Unstated, &Limits::default());
    let clusters = found.clusters;
    let line = |(name, it): (&Arc<str>, &PlannedCluster)| {
        let it = it.settings().expect("the settings");
        assert_eq!(**name, cluster_name(&it.service));
        let discovery = match &it.discovery {
            Discovery::Slices(selection) => format!("slices of {:?}", selection.port_name),
            Discovery::Addresses(it) => format!("addresses {it:?}"),
            Discovery::Names(it) => format!("names {it:?}"),
        };
        let protocol = if it.is_http2 { "h2" } else { "h1" };
        let tls = it.tls.as_ref().map(|it| {
            let verified = it.verification.as_ref();
            let by = verified.map(|it| format!(" by {:?} for {:?}", it.authorities, it.names));
            format!(" tls {}{}", it.server_name, by.unwrap_or_default())
        });
        format!(
            "{}: {discovery} {protocol}{}",
            it.service,
            tls.unwrap_or_default()
        )
    };
    (clusters.iter().map(line).collect(), found.problems)
}

#[test]
fn protocol_follows_app_protocol() {
    let spec = |protocol: &str| format!("{{ports: [{{port: 80, name: web{protocol}}}]}}");
    let services = [
        spec(""),
        spec(", appProtocol: kubernetes.io/h2c"),
        spec(", appProtocol: https"),
        spec(", appProtocol: kubernetes.io/ws"),
        spec(", appProtocol: kubernetes.io/wss"),
    ];
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let expected = [
        "s0.default:80: slices of \"web\" h1",
        "s1.default:80: slices of \"web\" h2",
        "s2.default:80: slices of \"web\" h1 tls s2.default.svc.cluster.local",
        "s3.default:80: slices of \"web\" h1",
        "s4.default:80: slices of \"web\" h1 tls s4.default.svc.cluster.local",
    ];
    assert_eq!(lines("a.yaml", "HTTPRoute", &services), expected);
    let grpc = lines("a.yaml", "GRPCRoute", &services[..1]);
    assert_eq!(grpc, ["s0.default:80: slices of \"web\" h2"]);
}

#[test]
fn only_own_grpc_routes_choose_http2() {
    let plain = "{ports: [{port: 80, name: web}]}";
    let route = |namespace: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: calls, namespace: {namespace}}}
spec:
  parentRefs: [{{group: '', kind: Service, name: root, namespace: default}}]
  rules: [{{backendRefs: [{{name: s0, namespace: default, port: 80}}]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {{name: calls}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: {namespace}}}]
  to: [{{group: '', kind: Service}}]
"
        )
    };
    for (kind, namespace, protocol) in [
        ("HTTPRoute", "default", "h2"),
        ("HTTPRoute", "other", "h1"),
        ("GRPCRoute", "other", "h2"),
    ] {
        let (lines, problems) = found("a.yaml", kind, &[plain], &route(namespace));
        let expected = format!("s0.default:80: slices of \"web\" {protocol}");
        assert_eq!(lines, [expected], "{kind} {namespace} {problems:?}");
    }
}

#[test]
fn addresses_replace_endpoint_slices() {
    let services = [
        "{weir.dev/addresses: '10.0.0.1:8080,10.0.0.2'}|{ports: [{port: 80}]}",
        "{weir.dev/addresses: '10.0.0.1:8080,host.example:443'}|{ports: [{port: 80, appProtocol: https}]}",
    ];
    let expected = [
        "s0.default:80: addresses [10.0.0.1:8080, 10.0.0.2:80] h1",
        "s1.default:80: names [(\"10.0.0.1\", 8080), (\"host.example\", 443)] h1 tls host.example",
    ];
    assert_eq!(lines("a.yaml", "HTTPRoute", &services), expected);
    let expected = [
        "s0.default:80: slices of \"\" h1",
        "s1.default:80: slices of \"\" h1 tls s1.default.svc.cluster.local",
    ];
    assert_eq!(lines("", "HTTPRoute", &services), expected);
}

fn policy(name: &str, target: &str, authority: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {{name: {name}}}
spec:
  targetRefs: [{{group: '', kind: Service, {target}}}]
  validation: {{hostname: {name}.example, {authority}}}
"
    )
}

#[test]
fn tls_follows_policies() {
    let plain = "{ports: [{port: 80, name: web}]}";
    let certificates = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ca}\ndata: {ca.crt: '-----BEGIN CERTIFICATE-----'}\n";
    let map = "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]";
    let more = [
        certificates,
        &policy("all", "name: s0", map),
        &policy(
            "port",
            "name: s1, sectionName: web",
            "wellKnownCACertificates: System",
        ),
        &policy("whole", "name: s1", map),
        &policy("late", "name: s0", map),
    ]
    .concat();
    let (lines, problems) = found("a.yaml", "HTTPRoute", &[plain, plain], &more);
    let expected = [
        "s0.default:80: slices of \"web\" h1 tls all.example by Some(\"-----BEGIN CERTIFICATE-----\\n\") for [Hostname(\"all.example\")]",
        "s1.default:80: slices of \"web\" h1 tls port.example by None for [Hostname(\"port.example\")]",
    ];
    assert_eq!(lines, expected);
    let codes: Vec<_> = problems.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["older_policy"]);
}

#[test]
fn invalid_policy_closes_backend() {
    let plain = "{ports: [{port: 80, name: web}]}";
    let https = "{ports: [{port: 80, appProtocol: https}]}";
    let more = [
        &*policy(
            "missing",
            "name: s0",
            "caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]",
        ),
        &policy("wrong", "name: s1", "wellKnownCACertificates: Mine"),
        &policy("nowhere", "name: s9", "wellKnownCACertificates: System"),
        &policy(
            "nowhere-too",
            "name: s2, sectionName: x",
            "wellKnownCACertificates: System",
        ),
    ]
    .concat();
    let (lines, problems) = found("a.yaml", "HTTPRoute", &[plain, https, https], &more);
    let expected = [
        "s0.default:80: addresses [] h1",
        "s1.default:80: addresses [] h1",
        "s2.default:80: slices of \"\" h1 tls s2.default.svc.cluster.local",
    ];
    assert_eq!(lines, expected);
    let codes: Vec<_> = problems.iter().map(|it| it.code).collect();
    let expected = [
        "unknown_authority",
        "no_certificates",
        "target_missing",
        "target_port_missing",
        "not_verified",
    ];
    assert_eq!(codes, expected);
}
