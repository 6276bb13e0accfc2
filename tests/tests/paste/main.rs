//! `weir bootstrap`: the configuration that it prints, and the given configurations of `cases/` that it edits.
//!
//! `cases/NAME.diff` has the remarks about `cases/NAME`, one line each after `#`, and the difference.
//! `UPDATE_GOLDEN=1` writes these files.

mod traffic;

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_core::paste::{
    EditedConfiguration, ModuleSource, PasteOptions, ServerAddress, edit, whole_file,
};
use weir_core::plan::Scope;
use weir_tests::tls::Authority;
use weir_tests::{Envoy, root};

/// Returns the options of `weir bootstrap --namespace NAMESPACE`.
fn options(namespace: &str) -> PasteOptions {
    PasteOptions {
        scope: Scope::Namespace(namespace.to_owned()),
        control_plane: ServerAddress::parse("127.0.0.1:9900").expect("an address"),
        authority: None,
        token: None,
        module: ModuleSource::ControlPlane,
        listener: None,
    }
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn compare(path: &Path, output: &str) {
    if is_updating() {
        std::fs::write(path, output).expect("written");
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        golden == output,
        "{}: UPDATE_GOLDEN=1 writes the file\n{output}",
        path.display()
    );
}

/// Returns the paths of the given configurations.
fn cases() -> Vec<PathBuf> {
    let files = std::fs::read_dir(root().join("tests/tests/paste/cases")).expect("cases");
    let files = files.map(|it| it.expect("a file").path());
    let mut files: Vec<PathBuf> = files
        .filter(|it| it.extension().is_some_and(|it| it != "diff"))
        .collect();
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    files
}

fn name(path: &Path) -> String {
    path.file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

fn edited(path: &Path) -> EditedConfiguration {
    edited_with(path, &options("shop"))
}

fn edited_with(path: &Path, options: &PasteOptions) -> EditedConfiguration {
    let text = std::fs::read_to_string(path).expect("a configuration");
    edit(&name(path), &text, options)
}

#[test]
fn shipped_file_is_the_output() {
    let path = root().join("envoy-config/ads.yaml");
    compare(&path, &whole_file(&options("bookbuyer")));
}

/// Returns the lines of `kubernetes-sidecar.yaml` from one line up to another line, without the marks of the file.
fn of_sidecar(from: &str, to: &str) -> String {
    let path = root().join("envoy-config/kubernetes-sidecar.yaml");
    let text = std::fs::read_to_string(path).expect("kubernetes-sidecar.yaml");
    let (_, rest) = text.split_once(from).expect("the first line");
    let (part, _) = rest.split_once(to).expect("the line after the last line");
    format!("{from}{part}").replace("(K5) ", "")
}

/// The file has the output for a pod, and the listener for Prometheus and probes of the file with clusters by hand.
#[test]
fn kubernetes_file_is_output_with_stats() {
    const FIRST: &str = "# An Envoy that gets its filter, clusters and endpoints from `weir serve`. `weir bootstrap` wrote this file.\n";
    let options = PasteOptions {
        control_plane: ServerAddress::parse("weir.weir-system.svc:9900").expect("an address"),
        authority: Some("/etc/weir/ca.crt".to_owned()),
        token: Some("/etc/envoy/weir-token.yaml".to_owned()),
        ..options("bookbuyer")
    };
    let mut text = whole_file(&options);
    for (place, lines) in [
        (FIRST, "\
# A sidecar that gets its filter, clusters and endpoints from `weir serve`. This command wrote the file, except the
# listener stats and the cluster admin:
#
#   weir bootstrap --namespace bookbuyer --control-plane weir.weir-system.svc:9900 --ca /etc/weir/ca.crt \\
#     --token /etc/envoy/weir-token.yaml
#
# demo/kubernetes mounts this file and kubernetes-token.yaml at /etc/envoy. demo/kubernetes/bookthief replaces the first
# text in single quotes.
".to_owned()),
        (
            "  clusters:\n",
            of_sidecar("  # (K5) Prometheus reads", "  clusters:\n") + "  clusters:\n",
        ),
        (
            "\nlayered_runtime:\n",
            of_sidecar("  # (K5) Envoy's admin interface", "\n# The switch") + "\nlayered_runtime:\n",
        ),
    ] {
        assert_eq!(text.matches(place).count(), 1, "{place}");
        text = text.replace(place, &lines);
    }
    compare(&root().join("envoy-config/kubernetes-ads.yaml"), &text);
}

#[test]
fn difference_has_only_needed_lines() {
    for path in cases() {
        let edited = edited(&path);
        let name = name(&path);
        let remarks = edited.remarks.iter();
        let remarks: String = remarks.map(|it| format!("# {name}:{it}\n")).collect();
        compare(
            &path.with_file_name(format!("{name}.diff")),
            &(remarks + &edited.diff),
        );
    }
}

/// `patch` reads the difference.
#[test]
fn difference_leads_to_the_result() {
    for path in cases() {
        let edited = edited(&path);
        if edited.diff.is_empty() {
            continue;
        }
        let folder = TempDir::new().expect("a folder");
        let copy = folder.path().join(name(&path));
        std::fs::copy(&path, &copy).expect("a copy");
        let patch = folder.path().join("patch");
        std::fs::write(&patch, &edited.diff).expect("a patch");
        let done = std::process::Command::new("git")
            .args(["apply", "-p0", "--unidiff-zero", "patch"])
            .current_dir(folder.path())
            .output()
            .expect("git");
        assert!(done.status.success(), "{done:?}\n{}", edited.diff);
        assert_eq!(std::fs::read_to_string(&copy).expect("text"), edited.text);
    }
}

#[test]
fn second_run_changes_nothing() {
    for path in cases() {
        let first = edited(&path);
        let second = edit(&name(&path), &first.text, &options("shop"));
        assert_eq!(second.diff, "", "{}", path.display());
        for remark in &second.remarks {
            let mut earlier = first.remarks.iter();
            assert!(earlier.any(|it| it.message == remark.message), "{remark}");
        }
    }
}

/// Writes the edited cases and their files into a folder. Returns the paths of the configurations. `fill` replaces the
/// placeholders of a text.
fn written(folder: &Path, options: &PasteOptions, fill: &dyn Fn(String) -> String) -> Vec<PathBuf> {
    let own = Authority::new().sign(&["shop.example.com"]);
    std::fs::write(folder.join("tls.crt"), &own.pem).expect("a certificate");
    std::fs::write(folder.join("tls.key"), &own.key).expect("a key");
    let mut configurations = Vec::new();
    for path in cases() {
        let here = format!("{}/", folder.display());
        let text = fill(edited_with(&path, options).text);
        let text = text.replace("certs/", &here).replace("folder/", &here);
        let path = folder.join(name(&path));
        std::fs::write(&path, text).expect("a configuration");
        // A file with another name, such as routes-file.routes.yaml, belongs to one of the configurations.
        if name(&path).matches('.').count() == 1 {
            configurations.push(path);
        }
    }
    configurations
}

#[test]
fn envoy_accepts_the_results() {
    let folder = TempDir::new().expect("a folder");
    for path in written(folder.path(), &options("shop"), &|it| it) {
        Envoy::assert_valid(&path);
    }
}

#[test]
fn ends_of_lines_stay() {
    let path = root().join("tests/tests/paste/cases/settings.yaml");
    let text = std::fs::read_to_string(path).expect("a configuration");
    let text = text.replace('\n', "\r\n");
    let result = edit("settings.yaml", &text, &options("shop")).text;
    assert_eq!(result.matches('\n').count(), result.matches("\r\n").count());
    assert!(result.len() > text.len());
}

/// Removes each line of each case in turn. What is left may be strange, but if it is YAML, the result is YAML, and a
/// second run changes nothing.
#[test]
fn strange_configurations_stay_readable() {
    for path in cases() {
        let text = std::fs::read_to_string(&path).expect("a configuration");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for removed in 0..lines.len() {
            let rest = lines.iter().enumerate();
            let rest = rest.filter(|(index, _)| *index != removed);
            let rest: String = rest.map(|(_, line)| *line).collect();
            let first = edit("it", &rest, &options("shop"));
            let parsed = serde_saphyr::from_str::<serde_json::Value>(&rest);
            if parsed.is_ok() {
                let what = format!("{} without line {}", path.display(), removed + 1);
                let result = serde_saphyr::from_str::<serde_json::Value>(&first.text);
                assert!(result.is_ok(), "{what}: {result:?}\n{}", first.diff);
                let second = edit("it", &first.text, &options("shop"));
                assert_eq!(second.diff, "", "{what}\n{}", first.diff);
            }
        }
    }
}
