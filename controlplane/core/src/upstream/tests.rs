use super::*;
use crate::api::smi::traffic_target::Policy;
use crate::manifest::object::read;
use crate::translate::budget::Limits;
use crate::translate::translate_objects;
use crate::world::Entry;

/// Returns one line for each cluster of these Services, which a route of this kind names at port 80.
fn lines(source: &str, kind: &str, services: &[&str]) -> Vec<String> {
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
    let mut objects = read("a.yaml", &text).unwrap().objects;
    for object in &mut objects {
        object.source = source.into();
    }
    let entries: Vec<Entry> = objects.iter().map(Entry::of).collect();
    let found = translate_objects(&entries, Policy::Unstated, &Limits::default());
    let clusters = clusters(&found.world, &found.plan);
    let line = |(name, it): (&Arc<str>, &Cluster)| {
        assert_eq!(**name, cluster_name(&it.service));
        let discovery = match &it.discovery {
            Discovery::Slices(selection) => format!("slices of {:?}", selection.port_name),
            Discovery::Addresses(it) => format!("addresses {it:?}"),
            Discovery::Names(it) => format!("names {it:?}"),
        };
        let protocol = if it.is_http2 { "h2" } else { "h1" };
        let tls = it.tls.as_ref().map(|it| format!(" tls {}", it.server_name));
        format!(
            "{}: {discovery} {protocol}{}",
            it.service,
            tls.unwrap_or_default()
        )
    };
    clusters.iter().map(line).collect()
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
