use super::*;
use crate::manifest::object::read;

/// Returns the target as `DESTINATION[:PORT] <- SOURCES | RULES`, and problems as `PATH REASON`.
fn target(version: &str, body: &str) -> Result<Vec<String>, String> {
    let text = format!(
        "{{apiVersion: access.smi-spec.io/{version}, kind: TrafficTarget, metadata: {{name: t, namespace: shop}}, {body}}}"
    );
    let object = read("a.yaml", &text).unwrap().objects.remove(0);
    let line = |problem: &Problem| format!("{} {}", problem.path, problem.reason);
    let (target, problems) = TrafficTarget::parse(&object).map_err(|problem| line(&problem))?;
    let rules = target.rules.iter().map(|rule| {
        let matches = rule.matches.concat();
        format!("{:?} {} {matches}", rule.kind, rule.name)
    });
    let port = target.port.map(|(port, _)| format!(":{port}"));
    let first = format!(
        "{}{} <- {} | {}",
        target.destination,
        port.unwrap_or_default(),
        target.sources.join(" "),
        rules.collect::<Vec<_>>().join(", ")
    );
    Ok([first]
        .into_iter()
        .chain(problems.iter().map(line))
        .collect())
}

const DESTINATION: &str = "destination: {kind: ServiceAccount, name: web}";
const SOURCE: &str = "sources: [{kind: ServiceAccount, name: buyer, namespace: front}]";

#[test]
fn all_versions_are_parsed() {
    let port = "destination: {kind: ServiceAccount, name: web, namespace: shop, port: 80}";
    let text = port.replace("80", "'80'");
    let rules = "[{kind: HTTPRouteGroup, name: g, matches: [a]}, {kind: TCPRoute, name: t}]";
    let expected = "<- front/buyer | HttpRouteGroup g a, TcpRoute t ";
    for (version, body, destination) in [
        (
            "v1alpha1",
            format!("{text}, {SOURCE}, specs: {rules}"),
            "web:80",
        ),
        (
            "v1alpha1",
            format!("{DESTINATION}, {SOURCE}, specs: {rules}"),
            "web",
        ),
        (
            "v1alpha2",
            format!("spec: {{{port}, {SOURCE}, rules: {rules}}}"),
            "web:80",
        ),
        (
            "v1alpha3",
            format!("spec: {{{DESTINATION}, {SOURCE}, rules: {rules}}}"),
            "web",
        ),
    ] {
        let expected = format!("{destination} {expected}");
        assert_eq!(target(version, &body), Ok(vec![expected]), "{version}");
    }
}

#[test]
fn invalid_parts_are_left_out() {
    let spec = |sources: &str, rules: &str| {
        let spec = format!("spec: {{{DESTINATION}, sources: [{sources}], rules: [{rules}]}}");
        target("v1alpha3", &spec)
    };
    assert_eq!(
        spec(
            "{kind: ServiceAccount, name: b}, {kind: Group, name: c}, {kind: ServiceAccount, name: 'a b'}, \
             {kind: ServiceAccount, name: d, port: 1}, {kind: ServiceAccount, name: e, cluster: x}",
            "{kind: UDPRoute, name: u}, {kind: HTTPRouteGroup, name: g, namespace: x}, {kind: TCPRoute, name: t}"
        ),
        Ok([
            "web <- shop/b | TcpRoute t ",
            "spec.sources[1].kind InvalidKind",
            "spec.sources[2] InvalidValue",
            "spec.sources[3].port InvalidValue",
            "spec.sources[4].cluster InvalidValue",
            "spec.rules[0].kind InvalidKind",
            "spec.rules[1].namespace InvalidValue",
        ]
        .map(str::to_owned)
        .to_vec())
    );
    for (version, body, expected) in [
        (
            "v1alpha3",
            "spec: {destination: {kind: ServiceAccount, name: web, namespace: back}}",
            "spec.destination.namespace RefNotPermitted",
        ),
        (
            "v1alpha3",
            "spec: {destination: {kind: ServiceAccount, name: web, port: 80}}",
            "spec.destination.port InvalidValue",
        ),
        (
            "v1alpha2",
            "spec: {destination: {kind: ServiceAccount, name: web, port: 0}}",
            "spec.destination.port InvalidValue",
        ),
        (
            "v1alpha3",
            "spec: {destination: {kind: Pod, name: web}}",
            "spec.destination.kind InvalidKind",
        ),
        ("v1alpha3", "spec: {}", "spec InvalidValue"),
        (
            "v1alpha3",
            "spec: {destination: {kind: ServiceAccount, name: web}, specs: [1]}",
            "spec.specs InvalidValue",
        ),
        (
            "v1alpha3",
            "spec: {destination: {kind: ServiceAccount, name: web}}, port: 80",
            "port InvalidValue",
        ),
        (
            "v1alpha1",
            "destination: {kind: ServiceAccount, name: web}, port: '80'",
            "port InvalidValue",
        ),
    ] {
        assert_eq!(target(version, body), Err(expected.to_owned()), "{body}");
    }
}
