//! Tests the imports and exports of `dist/weir.wasm` and `dist/weir-lean.wasm`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use wasmparser::{ExternalKind, Parser, Payload};
use weir_tests::{dist, root};

const MODULES: [&str; 2] = ["weir.wasm", "weir-lean.wasm"];

fn module(name: &str) -> Vec<u8> {
    std::fs::read(dist(name)).expect("the module")
}

/// Returns `module.name` of every import, and the names of the exported functions and memories.
fn surface(module: &[u8]) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut imports, mut exports) = (BTreeSet::new(), BTreeSet::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.expect("a well-formed module") {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.expect("an import");
                    imports.insert(format!("{}.{}", import.module, import.name));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.expect("an export");
                    assert!(
                        matches!(export.kind, ExternalKind::Func | ExternalKind::Memory),
                        "{export:?}"
                    );
                    exports.insert(export.name.to_owned());
                }
            }
            _ => {}
        }
    }
    (imports, exports)
}

/// `docs/filter-config.md` names each import in backquotes.
#[test]
fn imports_are_documented() {
    let page = root().join("docs/filter-config.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for name in MODULES {
        let (imports, _) = surface(&module(name));
        assert!(imports.len() > 10, "{imports:?}");
        let missing: Vec<_> = imports
            .iter()
            .filter(|import| {
                let name = import.rsplit('.').next().unwrap_or_default();
                !page.contains(&format!("`{name}`"))
            })
            .collect();
        assert!(
            missing.is_empty(),
            "docs/filter-config.md does not name {missing:?}"
        );
    }
}

#[test]
fn every_export_is_used() {
    let [(_, whole), (_, lean)] = MODULES.map(|name| surface(&module(name)));
    let used = [
        "_initialize",
        "memory",
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_http_call_response",
        "proxy_on_memory_allocate",
        "proxy_on_new_connection",
        "proxy_on_queue_ready",
        "proxy_on_request_headers",
        "proxy_on_tick",
        "proxy_on_vm_start",
    ];
    assert_eq!(lean, used.map(str::to_owned).into());
    // Only `weir.wasm` has these exports. They cost time, because Envoy calls them for each response and each piece of
    // data.
    let more: Vec<_> = whole.difference(&lean).collect();
    let dear = [
        "proxy_on_downstream_data",
        "proxy_on_response_headers",
        "proxy_on_upstream_data",
    ];
    assert_eq!(more, dear);
    assert!(whole.is_superset(&lean));
}

/// A build of the same sources in another folder gives the same bytes.
#[test]
fn equal_sources_give_equal_modules() {
    let run = |command: &mut Command| {
        let output = command.output().expect("a command");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("text")
            .trim()
            .to_owned()
    };
    let copy = tempfile::TempDir::new().expect("a folder");
    let tracked =
        "git ls-files -z --cached --others --exclude-standard | tar c --null -T - | tar x -C";
    let script = format!("set -o pipefail; {tracked} \"$0\"");
    run(Command::new("bash")
        .args(["-c", &script])
        .arg(copy.path())
        .current_dir(root()));
    for build in [None, Some("lean")] {
        let built = |folder: &Path, target: &Path| {
            let mut command = Command::new(folder.join("filter/build"));
            let path = run(command.args(build).env("CARGO_TARGET_DIR", target));
            std::fs::read(path).expect("a module")
        };
        let here = built(&root(), &root().join("target"));
        let there = built(copy.path(), &copy.path().join("target"));
        assert!(here == there, "the modules differ: {build:?}");
    }
}

/// If a module contained build paths, each machine would build a different module.
#[test]
fn module_contains_no_build_paths() {
    let modules = MODULES.map(module);
    let has = |text: &str| {
        let is_in = |module: &Vec<u8>| {
            let mut windows = module.windows(text.len());
            windows.any(|window| window == text.as_bytes())
        };
        modules.iter().any(is_in)
    };
    let home = std::env::var("HOME").unwrap_or_default();
    for path in [
        root().display().to_string(),
        format!("{home}/.cargo"),
        format!("{home}/.rustup"),
    ] {
        assert!(!has(&path), "{path}");
    }
}
