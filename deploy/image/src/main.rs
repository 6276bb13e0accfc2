//! Writes images without a container engine: `image` one of files alone, as an archive that `docker load` and
//! `kind load image-archive` take; `artifact` a filter module, as an OCI layout in an archive.
//!
//! The same files give the same bytes: no time, no owner and no path of this machine gets into an archive.
//! `describe` writes two files next to an archive: its bill of materials and its provenance, also without time and path.

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
    /// An image of these files, that runs the first of them
    Image {
        /// What it is called: NAME:TAG
        #[arg(long)]
        name: String,
        out: PathBuf,
        /// FILE=PATH: a file of this machine, and where it stands in the image
        #[arg(required = true, value_parser = image::Entry::parse)]
        files: Vec<image::Entry>,
    },
    /// An artifact of one filter module
    Artifact {
        /// Its tag
        #[arg(long)]
        tag: String,
        out: PathBuf,
        module: PathBuf,
    },
    /// The bill of materials and the provenance of an archive: ARCHIVE.cdx.json and ARCHIVE.provenance.json, in the root
    /// of the workspace
    Describe {
        /// The modules were packed without wasm-opt
        #[arg(long)]
        fast: bool,
        archive: PathBuf,
        /// The files of scripts/build that are in it
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
    #[error("{}: scripts/build makes no such file, so that its packages are not known", .0.display())]
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

/// Writes by a rename, so that a reader never sees half an archive.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| Error::File {
            path: path.to_owned(),
            error,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the files lie, when they were written and in what order they are named makes no difference.
    #[test]
    fn the_same_files_give_the_same_bytes() {
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
