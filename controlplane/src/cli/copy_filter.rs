//! The filters that the image carries, for an init container that puts them where the proxy reads them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Where the image has them.
const FOLDER: &str = "/filter";

/// Puts each filter of the image into `dir`, whole or not at all.
pub fn copy(dir: &Path) -> io::Result<()> {
    copy_from(Path::new(FOLDER), dir)
}

fn copy_from(folder: &Path, dir: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder).map_err(|error| {
        let why = format!(
            "{} holds no filters: {error}; run this in Weir's image",
            folder.display()
        );
        io::Error::new(error.kind(), why)
    })?;
    fs::create_dir_all(dir)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Beside its place and then into it: a proxy that reads meanwhile reads the old one or the new one.
        let mut beside = std::ffi::OsString::from(".");
        beside.push(&name);
        let beside = dir.join(beside);
        let mut file = File::create(&beside)?;
        file.write_all(&fs::read(entry.path())?)?;
        file.sync_all()?;
        fs::rename(&beside, dir.join(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_put_in_its_place() {
        let (image, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(image.path().join("weir.wasm"), "new").unwrap();
        fs::write(image.path().join("weir-lean.wasm"), "lean").unwrap();
        let dir = dir.path().join("made");
        copy_from(image.path(), &dir).unwrap();
        fs::write(dir.join("weir.wasm"), "older and longer").unwrap();
        copy_from(image.path(), &dir).unwrap();
        let mut there: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        there.sort();
        assert_eq!(there, ["weir-lean.wasm", "weir.wasm"]);
        assert_eq!(fs::read(dir.join("weir.wasm")).unwrap(), b"new");
    }

    #[test]
    fn outside_of_the_image_it_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = copy_from(&dir.path().join("none"), dir.path()).unwrap_err();
        assert!(
            error.to_string().contains("run this in Weir's image"),
            "{error}"
        );
    }
}
