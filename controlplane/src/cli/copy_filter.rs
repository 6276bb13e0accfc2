//! `weir copy-filter`: copies the filters of the image into a folder. An init container runs this command, and the
//! proxy reads the folder.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::shared_arguments::print;

/// The folder in the image that contains the filters.
pub const FOLDER: &str = "/filter";

pub fn run(dir: &Path) -> ExitCode {
    if let Err(error) = copy_filter(Path::new(FOLDER), dir) {
        print(io::stderr(), &format!("weir: {error}\n"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Copies each file of `folder` into `dir`. Each file is copied as a whole or not at all.
fn copy_filter(folder: &Path, dir: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| {
        let why = format!(
            "the filters in {} cannot be read: {error}; run this command in Weir's image",
            folder.display()
        );
        io::Error::new(error.kind(), why)
    })?;
    fs::create_dir_all(dir)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // A rename is atomic: a proxy that reads at the same time reads the whole old file or the whole new file.
        let mut temporary = OsString::from(".");
        temporary.push(&name);
        let temporary = dir.join(temporary);
        let mut file = File::create(&temporary)?;
        file.write_all(&fs::read(entry.path())?)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_replace_older_files() {
        let (image, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(image.path().join("weir.wasm"), "new").unwrap();
        fs::write(image.path().join("weir-lean.wasm"), "lean").unwrap();
        let dir = dir.path().join("made");
        copy_filter(image.path(), &dir).unwrap();
        fs::write(dir.join("weir.wasm"), "older and longer").unwrap();
        copy_filter(image.path(), &dir).unwrap();
        let mut there: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        there.sort();
        assert_eq!(there, ["weir-lean.wasm", "weir.wasm"]);
        assert_eq!(fs::read(dir.join("weir.wasm")).unwrap(), b"new");
    }

    #[test]
    fn missing_image_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = copy_filter(&dir.path().join("none"), dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("run this command in Weir's image"),
            "{error}"
        );
    }
}
