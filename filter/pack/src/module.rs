//! The rewriting itself: bytes of a module in, bytes of a smaller module out. Pure and deterministic.

use walrus::{ModuleConfig, passes};

use crate::keep::{Build, OF_FULL};

#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    #[error("not a module that can be read: {0}")]
    Unreadable(String),
    #[error("the module does not export `{export}`, without which it cannot work: {reason}")]
    Missing {
        export: &'static str,
        reason: &'static str,
    },
    #[error(
        "the module is not the {expected:?} build: another build of the filter has replaced it"
    )]
    OtherBuild { expected: Build },
}

/// What a module asks of its host, what it offers to it, and what it weighs.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// `module.name`, sorted.
    pub imports: Vec<String>,
    /// Sorted.
    pub exports: Vec<String>,
    /// Bytes of the whole module.
    pub size: usize,
}

/// Removes the exports that the filter does not use, and everything that only they reached.
///
/// Debug sections go. The names of the functions stay: they are about an eighth of the module, are
/// never loaded into the VM's memory, and without them the stack that Envoy logs after a trap is a
/// column of numbers.
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

/// Cargo gives both builds one name, so one may have come in the other's place.
fn is_full(module: &walrus::Module) -> bool {
    let names = module.funcs.iter().filter_map(|it| it.name.as_deref());
    let mut names = names.filter(|name| OF_FULL.iter().all(|part| name.contains(part)));
    names.next().is_some()
}

/// Reads and validates a module and says what is in it.
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

    /// A module of this build that exports all that any build keeps and one callback more, which alone uses an
    /// import: the SDK exports every callback in both.
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
