//! What a file is because of the files around it: a patch of a kustomization, or a template of a Helm chart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::file::Entry;

/// The files that kustomizations name as patches, and by which kustomization. A patch looks like an object and is half
/// of one.
pub(super) fn patches(entries: &BTreeMap<PathBuf, Entry>) -> BTreeMap<PathBuf, &PathBuf> {
    let mut patches = BTreeMap::new();
    for (path, entry) in entries {
        let written = entry.good.iter().flat_map(|good| &good.patches);
        for patch in written {
            let folder = path.parent().unwrap_or(Path::new("/"));
            patches.insert(resolved(folder, patch), path);
        }
    }
    patches
}

/// Whether a file stands below `templates` of a chart, which has its `Chart.yaml` beside that folder.
pub(super) fn is_in_chart(path: &Path, entries: &BTreeMap<PathBuf, Entry>) -> bool {
    let mut above = path.ancestors().skip(1);
    above.any(|folder| {
        let chart = folder.with_file_name("Chart.yaml");
        folder.file_name() == Some(OsStr::new("templates")) && entries.contains_key(&chart)
    })
}

/// `written`, without its `.` and `..`, as seen from `folder`. The folder's own name may have them: it stays as it is.
fn resolved(folder: &Path, written: &str) -> PathBuf {
    let mut resolved = folder.to_owned();
    for component in Path::new(written).components() {
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
