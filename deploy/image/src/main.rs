//! Writes images without a container engine: `image` one of files alone, as an archive that `docker load` and
//! `kind load image-archive` take; `artifact` a filter module, as an OCI layout in an archive.
//!
//! The same files give the same bytes: no time, no owner and no path of this machine gets into an archive.

mod archive;
mod artifact;
mod image;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

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
}

fn main() -> ExitCode {
    let (out, bytes) = match Cli::parse() {
        Cli::Image { name, out, files } => (out, image::archive(&name, &files)),
        Cli::Artifact { tag, out, module } => (out, artifact::archive(&tag, &module)),
    };
    match bytes.and_then(|bytes| write(&out, &bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-image: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::File {
        path: path.to_owned(),
        error,
    })
}

/// By a rename, so that nobody loads half an archive.
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
