//! Writes images without a container engine. `image` writes a docker-archive for `docker load` and `kind load
//! image-archive`. `artifact` writes a filter module as an OCI layout in an archive. `describe` writes the bill of
//! materials and the provenance of an archive.
//!
//! The same files give the same bytes: the outputs contain no time, no owner and no path of this machine.

mod archive;
mod artifact;
mod bill;
mod image;
mod packages;
mod provenance;
mod registry;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

#[derive(Parser)]
#[command(name = "weir-image")]
enum Cli {
    /// Writes an image with these files; a container of the image runs the first file
    Image {
        /// Name of the image: NAME:TAG
        #[arg(long)]
        name: String,
        out: PathBuf,
        /// FILE=PATH: a file of this machine, and its path in the image
        #[arg(required = true, value_parser = image::Entry::parse)]
        files: Vec<image::Entry>,
    },
    /// Writes an artifact with one filter module
    Artifact {
        /// Tag of the artifact
        #[arg(long)]
        tag: String,
        out: PathBuf,
        module: PathBuf,
    },
    /// Writes the bill of materials and the provenance of an archive next to it, as ARCHIVE.cdx.json and
    /// ARCHIVE.provenance.json. Must run in the root of the workspace, because it reads Cargo.lock
    Describe {
        /// The modules were packed without wasm-opt
        #[arg(long)]
        fast: bool,
        archive: PathBuf,
        /// The files in the archive that scripts/build has made
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Archive(#[from] io::Error),
    #[error("{0}")]
    Specification(#[from] oci_spec::OciSpecError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{}: scripts/build does not make this file, so its packages are unknown", .0.display())]
    UnknownFile(PathBuf),
    #[error("{}: neither an image nor a module", .0.display())]
    NoArchive(PathBuf),
    #[error("cargo tree: {0}")]
    Cargo(String),
    #[error("{program}: {errors}")]
    Program { program: String, errors: String },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    match cli {
        Cli::Image { name, out, files } => write(&out, &image::archive(&name, &files)?),
        Cli::Artifact { tag, out, module } => write(&out, &artifact::archive(&tag, &module)?),
        Cli::Describe {
            fast,
            archive,
            files,
        } => {
            let lock = Path::new("Cargo.lock");
            let rust = provenance::Toolchain::here()?;
            let bill = bill::of(&archive, &files, lock, &rust)?;
            write_json(&archive.with_extension("cdx.json"), &bill)?;
            let statement = provenance::of(&archive, &files, lock, &rust, fast)?;
            write_json(&archive.with_extension("provenance.json"), &statement)
        }
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    write(path, &bytes)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

/// Writes a new file and renames it, so that a reader never sees half an archive.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|error| Error::File {
            path: path.to_owned(),
            error,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result does not depend on the paths, the times and the order of the files.
    #[test]
    fn equal_files_give_equal_bytes() {
        let archives = ["a", "b"].map(|place| {
            let folder =
                std::env::temp_dir().join(format!("weir-image-{}-{place}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("program"), "runs").unwrap();
            std::fs::write(folder.join("module.wasm"), "\0asm").unwrap();
            let entry = |name: &str, path: &str| {
                image::Entry::parse(&format!("{}={path}", folder.join(name).display())).unwrap()
            };
            let files = [
                entry("program", "/program"),
                entry("module.wasm", "/filter/a/module.wasm"),
                entry("module.wasm", "/filter/module.wasm"),
            ];
            let image = image::archive("name:tag", &files).unwrap();
            let artifact = artifact::archive("tag", &folder.join("module.wasm")).unwrap();
            std::fs::remove_dir_all(&folder).unwrap();
            (image, artifact)
        });
        assert!(archives[0] == archives[1]);
    }
}
