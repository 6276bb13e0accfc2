//! Tests that certain dependencies, host calls and writes of the control plane do not exist, as ARCHITECTURE.md
//! promises. Also tests that no test is ignored.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use weir_tests::root;

/// Returns the name of a workspace package and the names of all its dependencies.
fn dependencies(package: &str, target: Option<&str>) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}",
    ]);
    cargo.args(["--package", package]);
    if let Some(target) = target {
        cargo.args(["--target", target]);
    }
    let output = cargo.current_dir(root()).output().expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).expect("names");
    let names: BTreeSet<_> = names
        .lines()
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert!(
        names.contains(package),
        "cargo tree does not list {package}: {names:?}"
    );
    names
}

#[track_caller]
fn assert_absent(package: &str, target: Option<&str>, absent: &[&str]) {
    let names = dependencies(package, target);
    let found: Vec<_> = absent
        .iter()
        .filter(|name| names.contains(**name))
        .collect();
    assert!(found.is_empty(), "{package} depends on {found:?}");
}

#[test]
fn split_has_no_runtime_or_kubernetes() {
    let absent = [
        "tokio",
        "kube",
        "k8s-openapi",
        "axum",
        "hyper",
        "proxy-wasm",
        "weir",
    ];
    assert_absent("weir-split", None, &absent);
}

#[test]
fn filter_and_control_plane_are_separate() {
    assert_absent(
        "weir-filter",
        Some("wasm32-wasip1"),
        &["weir", "tokio", "axum", "kube"],
    );
    assert_absent("weir", None, &["weir-filter", "proxy-wasm"]);
}

/// `controlplane/core/clippy.toml` forbids files, sockets and clocks of the standard library, so this test does not
/// check them.
#[test]
fn core_has_no_runtime_or_network() {
    let absent = [
        "tokio",
        "axum",
        "kube",
        "k8s-openapi",
        "hyper",
        "notify",
        "rustls",
        "tracing",
        "weir",
        "weir-filter",
    ];
    assert_absent("weir-core", None, &absent);
}

/// Returns the path of each `.rs` file below a folder, and its text without comments.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let code = code.collect::<Vec<_>>().join("\n");
            found.push((path.display().to_string(), code));
        }
    }
    found
}

#[test]
fn one_filter_file_names_host_calls() {
    for (path, code) in sources(&root().join("filter/src")) {
        assert_eq!(
            code.contains("hostcalls"),
            path.ends_with("host.rs"),
            "{path}"
        );
    }
}

/// In a cluster the control plane writes only status, its Lease, TokenReviews, and Events about objects and about the
/// expiry of its certificate.
#[test]
fn control_plane_writes_only_known_objects() {
    const WRITERS: [&str; 5] = [
        "report/events.rs",
        "report/expiry_event.rs",
        "report/lease.rs",
        "report/patch.rs",
        "serve/tokens.rs",
    ];
    let mut writers = 0;
    for (path, code) in sources(&root().join("controlplane/src")) {
        let is_writer = WRITERS.iter().any(|writer| path.ends_with(writer));
        for word in ["PostParams", "PatchParams", "DeleteParams", "EvictParams"] {
            let is_named = code.contains(word);
            assert!(is_writer || !is_named, "{path} contains {word}");
        }
        writers += usize::from(is_writer);
        let patches = code.contains(".patch_status(");
        assert_eq!(patches, path.ends_with("report/patch.rs"), "{path}");
    }
    assert_eq!(writers, WRITERS.len());
}

/// The control plane writes no file, except the files of `weir copy-filter` and `weir bootstrap --write`.
#[test]
fn control_plane_writes_no_file() {
    let controlplane = root().join("controlplane/src");
    let mut looked_at = 0;
    for (path, code) in sources(&controlplane) {
        let inside = Path::new(&path)
            .strip_prefix(&controlplane)
            .expect("below src");
        if inside
            .iter()
            .any(|part| part == "tests" || part == "tests.rs")
            || inside == Path::new("cli/copy_filter.rs")
            || inside == Path::new("cli/bootstrap.rs")
        {
            continue;
        }
        let code = code
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        looked_at += 1;
        for word in [
            "fs::write",
            "File::create",
            "fs::rename",
            "fs::remove",
            "OpenOptions",
        ] {
            assert!(!code.contains(word), "{path} contains {word}");
        }
    }
    assert!(looked_at >= 25, "only {looked_at} files");
}

/// A test that cannot run must fail, not be skipped.
#[test]
fn no_test_is_ignored() {
    for folder in ["split", "filter", "controlplane", "demo", "tests"] {
        for (path, code) in sources(&root().join(folder)) {
            let ignore = concat!("#[", "ignore");
            assert!(!code.contains(ignore), "{path} has an ignored test");
        }
    }
}
