//! Paths of the cluster's programs. `scripts/cluster build` makes them once for each version.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Returns the repository's root.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// Returns the path of a program. Its family is a folder of `tests/cluster/go`. Builds the program if it is missing.
pub fn go_program(family: &str, program: &str) -> PathBuf {
    let build = Command::new(root().join("scripts/cluster"))
        .args(["build", family])
        .output()
        .expect("scripts/cluster starts");
    assert!(
        build.status.success(),
        "scripts/cluster build {family}: {}",
        String::from_utf8_lossy(&build.stderr)
    );
    let folder = String::from_utf8_lossy(&build.stdout);
    Path::new(folder.trim()).join(program)
}

/// Returns the folder with the files of a Go module, which `go.mod` of this family requires. Downloads the module if it
/// is missing.
pub fn go_module(family: &str, module: &str) -> PathBuf {
    let folder = root().join("tests/cluster/go").join(family);
    let go = |args: &[&str]| {
        let output = Command::new("go").args(args).current_dir(&folder).output();
        let output = output.unwrap_or_else(|error| panic!("go (Go 1.26 or later): {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "go {args:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    go(&["mod", "download", module]);
    PathBuf::from(go(&["list", "-m", "-f", "{{.Dir}}", module]))
}

/// Returns the folder with the CRDs of a Gateway API channel, `standard` or `experimental`, from its Go module. Only
/// `experimental` has TCPRoute.
pub fn gateway_api_crds(channel: &str) -> PathBuf {
    go_module("gateway-api", "sigs.k8s.io/gateway-api")
        .join("config/crd")
        .join(channel)
}

/// Returns the folder with the CRD of Linkerd's HTTPRoute, reduced to the parts that tests use.
pub fn linkerd_crds() -> PathBuf {
    root().join("tests/cluster/crds")
}

/// Returns the path of this crate's program, in the same target folder as the calling program.
pub fn cluster() -> PathBuf {
    let this = std::env::current_exe().expect("a program has a path");
    let mut folders = this.ancestors().skip(1);
    let program = folders.find_map(|folder| {
        let program = folder.join("weir-cluster");
        program.is_file().then_some(program)
    });
    let path = this.display();
    let remedy = "run `cargo build -p weir-cluster`";
    let program = program.unwrap_or_else(|| panic!("no weir-cluster next to {path}: {remedy}"));
    // Cargo builds the program for tests of this crate or of the whole workspace, but not for tests of another crate.
    let built = program.metadata().and_then(|file| file.modified()).ok();
    let changed = newest(&root().join("tests/cluster/src"));
    assert!(
        changed <= built,
        "{} is older than its source: {remedy}",
        program.display()
    );
    program
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let times = entries.map(|entry| match entry.path() {
        path if path.is_dir() => newest(&path),
        path => path.metadata().and_then(|file| file.modified()).ok(),
    });
    times.max().flatten()
}
