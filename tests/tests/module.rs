//! `dist/weir.wasm`: what it asks of a proxy, and what it offers.

use std::collections::BTreeSet;
use std::process::Command;

use wasmparser::{ExternalKind, Parser, Payload};
use weir_tests::{dist, root};

fn module() -> Vec<u8> {
    std::fs::read(dist("weir.wasm")).expect("the module")
}

/// `module.name` of every import, and the exported functions and memories.
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

/// The README's table of hosts names each import in backquotes.
#[test]
fn imports_are_those_that_the_readme_allows() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let (imports, _) = surface(&module());
    assert!(imports.len() > 10, "{imports:?}");
    let missing: Vec<_> = imports
        .iter()
        .filter(|import| {
            let name = import.rsplit('.').next().unwrap_or_default();
            !readme.contains(&format!("`{name}`"))
        })
        .collect();
    assert!(missing.is_empty(), "the README allows no {missing:?}");
}

#[test]
fn exports_are_only_what_is_used() {
    let (_, exports) = surface(&module());
    let used = [
        "_initialize",
        "memory",
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_delete",
        "proxy_on_http_call_response",
        "proxy_on_memory_allocate",
        "proxy_on_queue_ready",
        "proxy_on_request_headers",
        "proxy_on_tick",
        "proxy_on_vm_start",
    ];
    assert_eq!(exports, used.map(str::to_owned).into());
}

/// The same sources in another folder, compiled anew, give the same bytes.
#[test]
fn the_same_sources_give_the_same_bytes_twice() {
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
    let here = run(Command::new(root().join("filter/build")).env_remove("CARGO_TARGET_DIR"));
    let there = Command::new(copy.path().join("filter/build"))
        .env("CARGO_TARGET_DIR", copy.path().join("target"))
        .output()
        .expect("filter/build");
    assert!(
        there.status.success(),
        "{}",
        String::from_utf8_lossy(&there.stderr)
    );
    let there = String::from_utf8(there.stdout).expect("a path");
    let (here, there) = (std::fs::read(here), std::fs::read(there.trim()));
    assert!(
        here.expect("a module") == there.expect("a module"),
        "the modules differ"
    );
}

/// Paths of the machine that built it would make two machines' modules differ.
#[test]
fn no_path_of_this_machine_is_in_it() {
    let module = module();
    let has = |text: &str| {
        module
            .windows(text.len())
            .any(|window| window == text.as_bytes())
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
