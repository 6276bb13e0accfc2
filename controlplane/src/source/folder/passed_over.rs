//! Finds files that look like manifests, but are not: patches that a kustomization lists, and templates of a Helm
//! chart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::file::FileState;

/// Returns the files that kustomizations list as patches, each with its kustomization. A patch looks like an object,
/// but is only a part of an object.
pub(super) fn patches(entries: &BTreeMap<PathBuf, FileState>) -> BTreeMap<PathBuf, &PathBuf> {
    let mut patches = BTreeMap::new();
    for (path, entry) in entries {
        let names = entry.good.iter().flat_map(|good| &good.patches);
        for patch in names {
            let folder = path.parent().unwrap_or(Path::new("/"));
            patches.insert(resolve(folder, patch), path);
        }
    }
    patches
}

/// True if a file is below a folder `templates` that has a `Chart.yaml` next to it.
pub(super) fn is_in_chart(path: &Path, entries: &BTreeMap<PathBuf, FileState>) -> bool {
    let mut folders = path.ancestors().skip(1);
    folders.any(|folder| {
        let chart = folder.with_file_name("Chart.yaml");
        folder.file_name() == Some(OsStr::new("templates")) && entries.contains_key(&chart)
    })
}

/// Resolves `.` and `..` in `patch` relative to `folder`, but not in `folder` itself.
fn resolve(folder: &Path, patch: &str) -> PathBuf {
    let mut resolved = folder.to_owned();
    for component in Path::new(patch).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved
}
