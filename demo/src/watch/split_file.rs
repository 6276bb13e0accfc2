//! The edit: the whole manifest anew, written beside the old one and renamed into its place, as editors do.

use std::path::Path;
use std::{fs, io};

use super::BACKENDS;

pub fn write(file: &Path, weights: [u64; 2]) -> io::Result<()> {
    // A name with a dot in front is nobody's manifest while it is half written.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let beside = file.with_file_name(format!(".{name}.new"));
    fs::write(&beside, manifest(weights))?;
    fs::rename(&beside, file)
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

    /// What the demo writes by itself is what the folder of manifests shows to people.
    #[test]
    fn the_shipped_splits_are_the_ones_that_are_written() {
        assert_eq!(
            manifest([50, 50]),
            include_str!("../../splits/v1-50-v2-50.yaml")
        );
        assert_eq!(manifest([0, 100]), include_str!("../../splits/v2-100.yaml"));
    }
}
