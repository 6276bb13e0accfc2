//! Edits the split like an editor: writes a new file and renames it.

use std::path::Path;
use std::{fs, io};

use super::BACKENDS;

pub fn write(file: &Path, weights: [u64; 2]) -> io::Result<()> {
    // The control plane ignores names with a leading dot, so it never reads half a manifest.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.new"));
    fs::write(&new, manifest(weights))?;
    fs::rename(&new, file)
}

fn manifest(weights: [u64; 2]) -> String {
    let mut text = String::from(
        "apiVersion: split.smi-spec.io/v1alpha2\n\
         kind: TrafficSplit\n\
         metadata:\n\
         \x20 name: bookstore-split\n\
         \x20 namespace: bookstore\n\
         spec:\n\
         \x20 service: bookstore.bookstore\n\
         \x20 backends:\n",
    );
    for (backend, weight) in BACKENDS.iter().zip(weights) {
        text += &format!("  - service: {backend}\n    weight: {weight}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The demo writes the same splits that are in demo/splits.
    #[test]
    fn shipped_splits_match_written_splits() {
        assert_eq!(
            manifest([50, 50]),
            include_str!("../../splits/v1-50-v2-50.yaml")
        );
        assert_eq!(manifest([0, 100]), include_str!("../../splits/v2-100.yaml"));
    }
}
