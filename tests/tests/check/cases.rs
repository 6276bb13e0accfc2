//! Tests the output and the exit code of `weir check` on manifests of real users (`tests/manifests/cases`).

use std::process::{Command, Output};

use weir_tests::{dist, root};

fn check(case: &str, arguments: &[&str]) -> Output {
    let path = root().join("tests/manifests/cases/smi").join(case);
    Command::new(dist("weir"))
        .arg("check")
        .args(arguments)
        .arg(path)
        .output()
        .expect("weir")
}

/// Returns the lines of standard output without the path, the last line of standard error, and the exit code.
fn said(case: &str, arguments: &[&str]) -> (Vec<String>, String, Option<i32>) {
    let output = check(case, arguments);
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let path = root().join("tests/manifests/cases/smi").join(case);
    let path = format!("{}: ", path.display());
    let lines = text(output.stdout);
    let lines = lines.lines().map(|line| line.replace(&path, ""));
    let last = text(output.stderr);
    let last = last.lines().last().unwrap_or_default();
    (lines.collect(), last.to_owned(), output.status.code())
}

fn assert_said(case: &str, line: &str, code: i32) {
    let (lines, _, exit) = said(case, &[]);
    assert_eq!((lines, exit), (vec![line.to_owned()], Some(code)), "{case}");
}

#[test]
fn wrong_group_is_a_warning() {
    assert_said(
        "02a-group-misspelled.yaml",
        "warning: TrafficSplit default/my-app-split: InvalidKind: TrafficSplit is not read under the group split.smi-specs.io: Weir ignores the object; write apiVersion: split.smi-spec.io/v1alpha4",
        0,
    );
    assert_said(
        "02b-group-of-linkerd.yaml",
        "warning: TrafficSplit default/metrics-split: InvalidKind: TrafficSplit is not read under the group linkerd.io: Weir ignores the object; write apiVersion: split.smi-spec.io/v1alpha4",
        0,
    );
    let (_, last, _) = said("02a-group-misspelled.yaml", &[]);
    assert_eq!(
        last,
        "no problems, 1 warning (3 objects in 1 files, 0 passed over)"
    );
}

#[test]
fn map_instead_of_name_is_explained() {
    assert_said(
        "17a-service-as-object.yaml",
        "TrafficSplit bank/money-split spec.service: InvalidValue: the field \"service\" is a map where a name is expected: the object is not in force; write the name alone: service: money",
        1,
    );
}

#[test]
fn template_is_a_warning() {
    assert_said(
        "24-helm-template.yaml",
        "warning: Unreadable: the file is a template, not a manifest: nothing is read from it; render it first (helm template)",
        0,
    );
}

#[test]
fn duplicate_key_is_named_with_lines() {
    assert_said(
        "25c-duplicate-key.yaml",
        "Unreadable: the key labels is there twice, at line 6 and at line 7: nothing is read from it; remove one of the two",
        1,
    );
}

#[test]
fn charts_and_kustomizations_are_passed_over() {
    let case = "27-chart-and-kustomize-tree";
    let (lines, last, code) = said(case, &[]);
    assert_eq!((lines, code), (vec![], Some(0)));
    assert_eq!(last, "no problems (4 objects in 9 files, 7 passed over)");
    let verbose = check(case, &["--verbose"]);
    let named = String::from_utf8(verbose.stderr).expect("UTF-8");
    let passed: Vec<&str> = named
        .lines()
        .filter(|line| line.starts_with("passed over: "))
        .collect();
    assert_eq!(passed.len(), 7, "{named}");
    for (file, what) in [
        ("base/kustomization.yaml", "a kustomization"),
        ("chart/Chart.yaml", "the head of a Helm chart"),
        ("chart/templates/split.yaml", "a template of a Helm chart"),
        ("chart/values.yaml", "values of a Helm chart"),
        ("overlays/prod/op.yaml", "a patch that "),
        ("overlays/prod/weights.yaml", "a patch that "),
    ] {
        let is_named = passed
            .iter()
            .any(|line| line.contains(file) && line.contains(what));
        assert!(is_named, "{file}: {named}");
    }
}

#[test]
fn octal_number_is_refused() {
    assert_said(
        "29-yaml11-numbers.yaml",
        "TrafficSplit default/web spec.backends[0].weight: InvalidValue: a number begins with 0, so kubectl reads it as an octal number, which is 64; YAML 1.2 reads it as 100: the object is not in force; write 100 or 64, without a 0 at the beginning",
        1,
    );
}

#[test]
fn default_namespace_applies_to_all_objects() {
    let case = "30-no-namespace-in-files.yaml";
    let (lines, last, code) = said(case, &["--default-namespace", "bookstore"]);
    assert_eq!((lines, code), (vec![], Some(0)));
    assert_eq!(last, "no problems (4 objects in 1 files, 0 passed over)");
    let translated = Command::new(dist("weir"))
        .args(["translate", "--default-namespace", "bookstore"])
        .arg(root().join("tests/manifests/cases/smi").join(case))
        .output()
        .expect("weir");
    let plan = String::from_utf8(translated.stdout).expect("UTF-8");
    assert!(
        plan.contains("\"TrafficSplit/bookstore/bookstore-split:14001/http\""),
        "{plan}"
    );
}
