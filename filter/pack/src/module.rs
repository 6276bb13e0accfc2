//! Rewrites a module: the input is the bytes of a module, the output is the bytes of a smaller module. The code is pure
//! and deterministic.

use walrus::{ModuleConfig, passes};

use crate::keep::{Build, OF_FULL};

#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("not a readable wasm module: {0}")]
    Unreadable(String),
    #[error(
        "the module does not export `{export}`, and it cannot work without this export: {reason}"
    )]
    Missing {
        export: &'static str,
        reason: &'static str,
    },
    #[error(
        "the module is not the {expected:?} build: another build of the filter has overwritten the file"
    )]
    OtherBuild { expected: Build },
}

/// The imports, the exports and the size of a module.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// `module.name`, sorted.
    pub imports: Vec<String>,
    /// Sorted.
    pub exports: Vec<String>,
    /// Bytes of the whole module.
    pub size: usize,
}

/// Removes the exports that the filter does not use, and all code that only these exports use.
///
/// Also removes debug sections. The names of the functions stay, because without them the stack that Envoy logs after a
/// trap has only numbers. The names are about an eighth of the module, and a VM does not load them into its memory.
pub fn shrink(wasm: &[u8], build: Build) -> Result<Vec<u8>, Invalid> {
    let mut module = parse(wasm)?;
    if is_full(&module) != (build == Build::Full) {
        return Err(Invalid::OtherBuild { expected: build });
    }
    for (export, reason) in build.keeps() {
        if !module.exports.iter().any(|found| found.name == export) {
            return Err(Invalid::Missing { export, reason });
        }
    }
    let unused: Vec<_> = module
        .exports
        .iter()
        .filter(|export| !build.keeps().any(|(name, _)| name == export.name))
        .map(|export| export.id())
        .collect();
    for id in unused {
        module.exports.delete(id);
    }
    passes::gc::run(&mut module);
    Ok(module.emit_wasm())
}

/// True if the module is the full build. Cargo gives both builds the same file name, so one may have overwritten the
/// other.
fn is_full(module: &walrus::Module) -> bool {
    let names = module.funcs.iter().filter_map(|it| it.name.as_deref());
    let mut names = names.filter(|name| OF_FULL.iter().all(|part| name.contains(part)));
    names.next().is_some()
}

/// Reads and validates a module, and returns its summary.
pub fn summary(wasm: &[u8]) -> Result<Summary, Invalid> {
    let module = parse(wasm)?;
    let mut imports: Vec<_> = module
        .imports
        .iter()
        .map(|import| format!("{}.{}", import.module, import.name))
        .collect();
    imports.sort();
    let mut exports: Vec<_> = module.exports.iter().map(|e| e.name.clone()).collect();
    exports.sort();
    Ok(Summary {
        imports,
        exports,
        size: wasm.len(),
    })
}

fn parse(wasm: &[u8]) -> Result<walrus::Module, Invalid> {
    ModuleConfig::new()
        .generate_dwarf(false)
        .parse(wasm)
        .map_err(|error| Invalid::Unreadable(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use walrus::{FunctionBuilder, Module, ValType};

    use super::*;

    const BUILDS: [Build; 2] = [Build::Lean, Build::Full];

    /// Returns a module for `build`. Like the SDK, it exports all callbacks, also the callbacks that `build` does not
    /// need. One callback that no build needs is the only user of an import.
    fn wasteful(build: Build) -> Vec<u8> {
        let mut module = Module::default();
        let memory = module.memories.add_local(false, false, 1, None, None);
        module.exports.add("memory", memory);
        let ty = module.types.add(&[], &[]);
        let (import, _) = module.add_import_func("env", "proxy_done", ty);
        for (name, _) in Build::Full.keeps().filter(|(name, _)| *name != "memory") {
            let empty = FunctionBuilder::new(&mut module.types, &[], &[]);
            let function = empty.finish(vec![], &mut module.funcs);
            if build == Build::Full {
                let name = OF_FULL.join("..");
                module.funcs.get_mut(function).name = Some(name);
            }
            module.exports.add(name, function);
        }
        let mut done = FunctionBuilder::new(&mut module.types, &[], &[ValType::I32]);
        done.func_body().call(import).i32_const(1);
        let done = done.finish(vec![], &mut module.funcs);
        module.exports.add("proxy_on_done", done);
        module.emit_wasm()
    }

    #[test]
    fn code_of_unused_exports_is_removed() {
        for build in BUILDS {
            let packed = summary(&shrink(&wasteful(build), build).unwrap()).unwrap();
            let mut kept: Vec<_> = build.keeps().map(|(name, _)| name.to_owned()).collect();
            kept.sort();
            assert_eq!(packed.exports, kept);
            assert_eq!(packed.imports, Vec::<String>::new());
        }
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        for build in BUILDS {
            let input = wasteful(build);
            assert_eq!(
                shrink(&input, build).unwrap(),
                shrink(&input, build).unwrap()
            );
        }
    }

    #[test]
    fn module_of_other_build_is_refused() {
        for [expected, got] in [[Build::Lean, Build::Full], [Build::Full, Build::Lean]] {
            let refused = shrink(&wasteful(got), expected);
            assert!(
                matches!(refused, Err(Invalid::OtherBuild { .. })),
                "{expected:?}"
            );
        }
    }

    #[test]
    fn module_without_needed_export_is_refused() {
        let empty = Module::default().emit_wasm();
        assert!(matches!(
            shrink(&empty, Build::Lean),
            Err(Invalid::Missing {
                export: "memory",
                ..
            })
        ));
        assert!(matches!(
            shrink(b"text", Build::Lean),
            Err(Invalid::Unreadable(_))
        ));
    }
}
