//! One look at a folder of manifests: which files are there, and what tells one state of a file
//! from the next. Opens no manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Folders nested deeper than this are not looked at.
const MAX_DEPTH: usize = 64;

/// Device and inode.
pub(super) type Inode = (u64, u64);

/// What `stat` says of a file; equal stamps mean that nobody has written in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub inode: Inode,
    pub size: u64,
    modified: (i64, i64),
    /// Changes with the permissions too, so that a file that becomes readable is read.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A manifest in sight.
pub(super) struct Found {
    pub stamp: io::Result<Stamp>,
    /// Nobody is writing it: it, or a folder above it, was closed after writing, renamed into
    /// place, or is a link that leads elsewhere than before.
    pub settled: bool,
}

#[derive(Default)]
pub(super) struct Sight {
    pub files: BTreeMap<PathBuf, Found>,
    pub folders: BTreeMap<PathBuf, Inode>,
    /// Where the root and the links below it lead, with all links resolved.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Folders below the root that could not be listed: nothing is known of what is in them.
    pub dark: BTreeMap<PathBuf, io::Error>,
}

/// What one look knows of the looks and events before it.
pub(super) struct Before<'a> {
    /// Absolute paths that were closed after writing or renamed into place.
    pub settled: &'a BTreeSet<PathBuf>,
    /// [`Sight::links`] of the last look.
    pub links: &'a BTreeMap<PathBuf, PathBuf>,
}

/// Looks at `root`, a folder or one file. Fails when the root itself cannot be looked at.
pub(super) fn look(root: &Path, before: &Before<'_>) -> io::Result<Sight> {
    let mut sight = Sight::default();
    let metadata = fs::metadata(root)?;
    // A pipe has no path of its own.
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.into());
    let settled = before.settled.contains(root) || before.links.get(root) != Some(&real);
    sight.links.insert(root.into(), real.clone());
    if metadata.is_dir() {
        let mut walk = Walk {
            before,
            above: Vec::new(),
            sight,
        };
        walk.enter(root, real, inode(&metadata), settled)?;
        return Ok(walk.sight);
    }
    let stamp = Ok(Stamp::of(&metadata));
    sight.files.insert(root.into(), Found { stamp, settled });
    Ok(sight)
}

struct Walk<'a> {
    before: &'a Before<'a>,
    /// The folders that the walk is in, with all links resolved.
    above: Vec<PathBuf>,
    sight: Sight,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        folder: &Path,
        real: PathBuf,
        inode: Inode,
        settled: bool,
    ) -> io::Result<()> {
        self.sight.folders.insert(folder.into(), inode);
        self.above.push(real);
        let listed = self.list(folder, settled);
        self.above.pop();
        listed
    }

    fn list(&mut self, folder: &Path, settled: bool) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_hidden(&name) {
                continue;
            }
            let path = folder.join(&name);
            let mut settled = settled || self.before.settled.contains(&path);
            let mut real = self.above.last().map(|above| above.join(&name));
            if entry.file_type()?.is_symlink()
                && let Ok(target) = fs::canonicalize(&path)
            {
                settled |= self.before.links.get(&path) != Some(&target);
                self.sight.links.insert(path.clone(), target.clone());
                real = Some(target);
            }
            self.see(path, real.unwrap_or_default(), settled);
        }
        Ok(())
    }

    fn see(&mut self, path: PathBuf, real: PathBuf, settled: bool) {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                if self.above.len() >= MAX_DEPTH || self.above.contains(&real) {
                    return;
                }
                match self.enter(&path, real, inode(&metadata), settled) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        self.sight.dark.insert(path, error);
                    }
                    _ => {}
                }
            }
            Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                let stamp = Ok(Stamp::of(&metadata));
                self.sight.files.insert(path, Found { stamp, settled });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound && is_manifest(&path) => {
                let stamp = Err(error);
                self.sight.files.insert(path, Found { stamp, settled });
            }
            _ => {}
        }
    }
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// A mounted ConfigMap keeps its versions beside the visible files, under names with a dot.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// True for the names that are read: `*.yaml`, `*.yml`, `*.json`, and not hidden.
pub(super) fn is_manifest(path: &Path) -> bool {
    !path.file_name().is_none_or(is_hidden)
        && path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}
