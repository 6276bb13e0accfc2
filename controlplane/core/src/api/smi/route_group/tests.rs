use super::*;
use crate::manifest::object::read;

fn object(version: &str, kind: &str, body: &str) -> Object {
    let text = format!(
        "{{apiVersion: specs.smi-spec.io/{version}, kind: {kind}, metadata: {{name: a}}, {body}}}"
    );
    read("a.yaml", &text).unwrap().objects.remove(0)
}

/// Returns matches as `NAME: METHODS PATH NAME=VALUE ...`, and problems as `PATH REASON`.
fn group(version: &str, body: &str) -> Result<Vec<String>, String> {
    let line = |problem: &Problem| format!("{} {}", problem.path, problem.reason);
    let (group, problems) =
        HttpRouteGroup::parse(&object(version, "HTTPRouteGroup", body)).map_err(|p| line(&p))?;
    let matches = group.matches.iter().map(|it| match &it.condition {
        None => format!("{}: never", it.name),
        Some(condition) => {
            let mut parts = condition.methods.clone();
            if let Some(PathMatch::Regex(path)) = &condition.path {
                parts.push(path.clone());
            }
            for header in &condition.headers {
                let ValueMatch::Regex(value) = &header.value else {
                    panic!("{header:?}");
                };
                parts.push(format!("{}={value}", header.name));
            }
            format!("{}: {}", it.name, parts.join(" "))
        }
    });
    Ok(matches.chain(problems.iter().map(line)).collect())
}

#[test]
fn matches_of_every_version_are_parsed() {
    let matches = "[{name: all}, {name: any, methods: [GET, '*']}, {name: old, pathRegex: ''}, \
        {name: some, pathRegex: '/books.*', methods: [POST, GET, GET], headers: [{User-Agent: '.*'}, {host: a}]}, \
        {name: map, headers: {b: '1', a: '2'}}]";
    let expected = [
        "all: ",
        "any: ",
        "old: ",
        "some: GET POST /books.* user-agent=.* :authority=a",
        "map: a=2 b=1",
    ];
    for (version, body) in [
        ("v1alpha1", format!("matches: {matches}")),
        ("v1alpha2", format!("matches: {matches}")),
        ("v1alpha3", format!("spec: {{matches: {matches}}}")),
        ("v1alpha4", format!("spec: {{matches: {matches}}}")),
    ] {
        assert_eq!(group(version, &body).unwrap(), expected, "{version}");
    }
}

#[test]
fn invalid_match_affects_no_other() {
    for (wrong, path) in [
        ("pathRegex: '('", "pathRegex"),
        ("methods: [GET, get]", "methods[1]"),
        ("headers: {a: '['}", "headers"),
        ("headers: {a: 1}", "headers"),
        ("headers: [{a: b, c: d}]", "headers"),
        ("headers: ['a: b']", "headers"),
        ("headers: {'a b': c}", "headers"),
        ("headers: {':path': c}", "headers"),
        ("port: 80", "port"),
    ] {
        let body = format!("spec: {{matches: [{{name: bad, {wrong}}}, {{name: good}}]}}");
        let expected = [
            "bad: never".to_owned(),
            "good: ".to_owned(),
            format!("spec.matches[0].{path} InvalidValue"),
        ];
        assert_eq!(group("v1alpha4", &body).unwrap(), expected, "{wrong}");
    }
}

#[test]
fn group_without_matches_has_a_problem() {
    for (version, body, expected) in [
        ("v1alpha1", "matches: []", "matches InvalidValue"),
        (
            "v1alpha4",
            "spec: {matches: []}",
            "spec.matches InvalidValue",
        ),
    ] {
        assert_eq!(group(version, body).unwrap(), [expected], "{version}");
    }
}

#[test]
fn invalid_groups_are_refused() {
    let many = vec!["{name: a}"; 257].join(", ");
    for (version, body, expected) in [
        ("v1alpha4", "spec: {}".to_owned(), "spec InvalidValue"),
        ("v1alpha4", "matches: []".to_owned(), "matches InvalidValue"),
        (
            "v1alpha4",
            "spec: {matches: []}, matches: []".to_owned(),
            "matches InvalidValue",
        ),
        (
            "v1alpha4",
            "spec: {matches: []}, methods: [GET]".to_owned(),
            "methods InvalidValue",
        ),
        (
            "v1alpha2",
            "spec: {matches: []}, matches: []".to_owned(),
            "spec.matches InvalidValue",
        ),
        (
            "v1alpha4",
            "spec: {matches: [], more: 1}".to_owned(),
            "spec.more InvalidValue",
        ),
        (
            "v1alpha4",
            format!("spec: {{matches: [{many}]}}"),
            "spec.matches InvalidValue",
        ),
    ] {
        assert_eq!(group(version, &body), Err(expected.to_owned()), "{body}");
    }
}

#[test]
fn total_size_of_expressions_is_bounded() {
    let matches: Vec<String> = (0..200)
        .map(|number| format!("{{name: m, pathRegex: '/{number}[ab]{{400}}'}}"))
        .collect();
    let body = format!("spec: {{matches: [{}]}}", matches.join(", "));
    let lines = group("v1alpha4", &body).unwrap();
    let never = lines.iter().filter(|line| *line == "m: never").count();
    assert!((1..200).contains(&never), "{never} of 200");
    assert_eq!(lines.len(), 200 + never);
    assert!(!lines[0].contains("never"));
}

#[test]
fn ports_of_tcp_route_are_parsed() {
    let ports = |version: &str, spec: &str| {
        let object = object(version, "TCPRoute", spec);
        let route = TcpRoute::parse(&object).map_err(|problem| problem.path);
        route.map(|route| (route.name, route.ports))
    };
    for spec in [
        "spec: {}",
        "spec: null",
        "spec: {matches: {}}",
        "spec: {matches: {ports: []}}",
    ] {
        assert_eq!(ports("v1alpha1", spec), Ok((None, vec![])), "{spec}");
    }
    assert_eq!(
        ports("v1alpha4", "spec: {matches: {name: x, ports: [2, 1, 2]}}"),
        Ok((Some("x".to_owned()), vec![1, 2]))
    );
    for (spec, path) in [
        ("spec: {matches: {ports: [0]}}", "spec.matches.ports[0]"),
        ("spec: {matches: {ports: [70000]}}", "spec.matches.ports[0]"),
        ("spec: {matches: {port: [1]}}", "spec.matches.port"),
        ("spec: {ports: [1]}", "spec.ports"),
        ("matches: {ports: [1]}", "matches"),
        ("ports: [1], spec: {}", "ports"),
        ("Spec: {matches: {ports: [1]}}", "Spec"),
    ] {
        assert_eq!(ports("v1alpha4", spec), Err(path.to_owned()), "{spec}");
    }
}
