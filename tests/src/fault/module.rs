//! A build of the filter that traps on request (feature `trap`).

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Builds the module once. The build has its own target folder, because the `cargo` that runs the test may lock the
/// usual target folder.
pub fn trapping_module() -> PathBuf {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let target = crate::root().join("target/trap");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "filter"])
        .args(["-p", "weir-filter", "--features", "trap"])
        .args(["--target", "wasm32-wasip1", "--target-dir"])
        .arg(&target)
        .current_dir(crate::root())
        .output()
        .expect("cargo");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    target.join("wasm32-wasip1/filter/weir_filter.wasm")
}
