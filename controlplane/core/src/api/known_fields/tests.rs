use super::*;
use crate::manifest::object::read;

fn found(text: &str) -> Vec<String> {
    let objects = read("a.yaml", text).unwrap().objects;
    let problems = problems(&objects[0]).into_iter();
    problems
        .map(|it| format!("{} {}", it.path, it.code))
        .collect()
}

#[test]
fn unknown_service_fields_are_reported() {
    let service = |spec: &str| {
        found(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: a}}, {spec}}}"
        ))
    };
    for (spec, expected) in [
        (
            "spec: {ports: [{port: 80, protocol: UDP, targetPort: http}]}",
            "",
        ),
        ("spec: {type: ExternalName, externalName: example.com}", ""),
        ("spec: {clusterIP: None}", ""),
        ("spec: {clusterIPs: [None]}", ""),
        ("spec: {}", "spec.ports no_ports"),
        ("status: {}", "spec.ports no_ports"),
        (
            "spec: {port: [{port: 80}]}",
            "spec.port unknown_field, spec.ports no_ports",
        ),
        ("spec: {ports: []}", "spec.ports no_ports"),
        (
            "spec: {ports: [{port: 80, protocol: TC}]}",
            "spec.ports[0].protocol unknown_protocol",
        ),
        (
            "spec: {ports: [{port: 80, apProtocol: tcp}]}",
            "spec.ports[0].apProtocol unknown_field",
        ),
        (
            "ports: [{port: 80}]",
            "ports unknown_field, spec.ports no_ports",
        ),
    ] {
        assert_eq!(service(spec).join(", "), expected, "{spec}");
    }
}

#[test]
fn unknown_namespace_fields_are_reported() {
    let namespace = |metadata: &str| {
        found(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: a, {metadata}}}}}"
        ))
    };
    assert!(namespace("labels: {a: b}").is_empty());
    assert_eq!(namespace("label: {a: b}"), ["metadata.label unknown_field"]);
}
