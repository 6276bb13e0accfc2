//! `dist/weir.wasm`: what it asks of a proxy, and what it offers.

use std::collections::BTreeSet;

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
