//! `weir-pack IN.wasm OUT.wasm [lean]`: turns the filter module that cargo makes into the module that a proxy loads.
//!
//! read -> shrink -> (optimize, with the feature `optimize`) -> read again -> print imports, exports and size

mod keep;
mod module;
#[cfg(feature = "optimize")]
mod optimize;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

use keep::Build;
use module::Invalid;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: weir-pack IN.wasm OUT.wasm [lean]")]
    Usage,
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Module { path: PathBuf, source: Invalid },
    #[cfg(feature = "optimize")]
    #[error("wasm-opt: {0:?}")]
    Optimize(#[from] wasm_opt::OptimizationError),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-pack: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Error> {
    let arguments: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let (input, output, build) = match arguments.as_slice() {
        [input, output] => (input, output, Build::Full),
        [input, output, build] if build.as_os_str() == "lean" => (input, output, Build::Lean),
        _ => return Err(Error::Usage),
    };
    let before = read(input)?;
    let small = module::shrink(&before, build).map_err(|source| at(input, source))?;

    // The rename below makes sure that a proxy never reads half a module.
    let new = output.with_extension("wasm.new");
    fs::write(&new, &small).map_err(|source| file(&new, source))?;
    #[cfg(feature = "optimize")]
    optimize::optimize(&new)?;
    let packed = module::summary(&read(&new)?).map_err(|source| at(&new, source))?;
    fs::rename(&new, output).map_err(|source| file(output, source))?;

    println!("imports: {}", packed.imports.join(" "));
    println!("exports: {}", packed.exports.join(" "));
    println!(
        "{}: {} bytes ({} before, {} without the unused exports{})",
        output.display(),
        packed.size,
        before.len(),
        small.len(),
        if cfg!(feature = "optimize") {
            ""
        } else {
            "; wasm-opt was not used"
        },
    );
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| file(path, source))
}

fn file(path: &Path, source: io::Error) -> Error {
    Error::File {
        path: path.to_owned(),
        source,
    }
}

fn at(path: &Path, source: Invalid) -> Error {
    Error::Module {
        path: path.to_owned(),
        source,
    }
}
