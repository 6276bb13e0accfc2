use super::*;
use crate::manifest::problem::Reason;

const SPLIT: &str = "apiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: {name: web}\nspec: {service: web, backends: []}\n";

fn names(manifests: &Manifests) -> Vec<String> {
    let objects = manifests.objects.iter();
    objects.map(|o| o.reference().to_string()).collect()
}

#[test]
fn list_items_are_read_as_documents() {
    let text = format!(
        "---\n# only a comment\n---\n{SPLIT}---\nkind: Job\napiVersion: batch/v1\n---\n\
         apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {{name: a, namespace: shop}}\n\
         - apiVersion: v1\n  kind: Namespace\n  metadata: {{name: shop, namespace: ignored}}\n---\n\
         apiVersion: split.smi-spec.io/v1alpha1\nkind: TrafficSplitList\nitems:\n- metadata: {{name: typed}}\n"
    );
    let manifests = read("a.yaml", &text).unwrap();
    assert_eq!(
        names(&manifests),
        [
            "TrafficSplit default/web",
            "Service shop/a",
            "Namespace shop",
            "TrafficSplit default/typed"
        ]
    );
    assert_eq!(manifests.problems(), []);
    assert_eq!(read("a.yaml", "").unwrap(), Manifests::default());
    assert_eq!(read("a.json", "").unwrap(), Manifests::default());
}

#[test]
fn bad_document_leaves_the_others() {
    let text = format!(
        "just text\n---\nkind: Service\n---\napiVersion: v1\nkind: Service\nmetadata: {{}}\n---\n\
         apiVersion: split.smi-spec.io/v1\nkind: TrafficSplit\nmetadata: {{name: x}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: a.b}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: a, creationTimestamp: soon}}\n---\n{SPLIT}"
    );
    let manifests = read("a.yaml", &text).unwrap();
    assert_eq!(names(&manifests), ["TrafficSplit default/web"]);
    let all = manifests.problems();
    let problems: Vec<_> = all.iter().map(|p| (p.path.as_str(), p.reason)).collect();
    assert_eq!(
        problems,
        [
            ("documents[0]", Reason::InvalidValue),
            ("documents[1].apiVersion", Reason::InvalidValue),
            ("documents[2].metadata.name", Reason::InvalidValue),
            ("apiVersion", Reason::UnknownVersion),
            ("metadata.name", Reason::InvalidValue),
            ("metadata.creationTimestamp", Reason::InvalidValue),
        ]
    );
    assert!(
        manifests.problems()[3]
            .remedy
            .contains("v1alpha1, v1alpha2")
    );
}

#[test]
fn ignored_kinds_have_no_problems() {
    let text = "{apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: {name: a}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: UDPRoute, metadata: {name: a}}
---
{apiVersion: v1, kind: Pod, metadata: {generateName: a-, creationTimestamp: soon}}
---
{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: old}}
---
{apiVersion: access.smi-spec.io/v1alpha4, kind: TrafficTarget, metadata: {name: late}}
";
    let manifests = read("a.yaml", text).unwrap();
    assert_eq!(
        names(&manifests),
        [
            "TCPRoute.specs.smi-spec.io default/a",
            "Pod",
            "TrafficTarget default/late"
        ]
    );
    assert_eq!(manifests.problems(), []);
}

#[test]
fn foreign_objects_keep_their_problem() {
    let text = "{apiVersion: policy.linkerd.io/v1alpha1, kind: HTTPRoute, metadata: {name: a}}
---
{apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: {name: a}}
---
{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {}}
---
{apiVersion: gateway.networking.k8s.io/v1/v1, kind: HTTPRoute, metadata: {name: a}}
";
    let manifests = read("a.yaml", text).unwrap();
    let refused = manifests.objects.iter().map(|object| {
        let problem = object.refused.as_ref();
        problem.map(|problem| (problem.path.as_str(), problem.reason))
    });
    assert_eq!(
        refused.collect::<Vec<_>>(),
        [
            Some(("apiVersion", Reason::UnknownVersion)),
            None,
            Some(("documents[2].metadata.name", Reason::InvalidValue)),
            Some(("apiVersion", Reason::UnknownVersion)),
        ]
    );
    assert_eq!(manifests.problems(), []);
}

#[test]
fn json_files_are_read_as_json() {
    let text = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}"#;
    assert_eq!(names(&read("a.json", text).unwrap()), ["Service default/a"]);
    assert_eq!(names(&read("a.yaml", text).unwrap()), ["Service default/a"]);
    assert_eq!(read("a.json", "{").unwrap_err().reason, Reason::Unreadable);
}

#[test]
fn syntax_errors_refuse_whole_file() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 9].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    let deep = "[".repeat(10_000);
    for text in [
        "a: [",
        "a: 1\na: 2",
        &bomb,
        &deep,
        &"x".repeat(MAX_BYTES + 1),
    ] {
        let problem = read("a.yaml", text).unwrap_err();
        assert_eq!(problem.reason, Reason::Unreadable, "{problem}");
        assert_eq!(
            (problem.object.kind.as_str(), problem.path.as_str()),
            ("", "")
        );
    }
}

#[test]
fn odd_numbers_leave_file_readable() {
    for weight in [
        "18446744073709551616",
        "-9223372036854775809",
        ".nan",
        "1e999",
        "0x10",
    ] {
        let text = format!("{SPLIT}---\nweight: {weight}\napiVersion: v1\nkind: ConfigMap\n");
        assert_eq!(
            read("a.yaml", &text).map(|m| m.objects.len()),
            Ok(1),
            "{weight}"
        );
    }
}
