//! Lists a folder of manifests, with a stamp for the state of each file. Opens no manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Maximum depth of the folders that are listed.
const MAX_DEPTH: usize = 64;

/// Device number and inode number.
pub(super) type Inode = (u64, u64);

/// The state of a file at one time, according to `stat`. If two stamps of a file are equal, the file has not changed
/// between the two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub inode: Inode,
    pub size: u64,
    modified: (i64, i64),
    /// This time also changes when the permissions change. So a file that becomes readable is read.
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

/// A manifest file.
pub(super) struct ListedFile {
    pub stamp: io::Result<Stamp>,
    /// True if the file is complete. A file is complete if it was closed after writing. It is also complete if the file
    /// or a folder above it was renamed into place, or is a link with a new target.
    pub settled: bool,
}

#[derive(Default)]
pub(super) struct Listing {
    pub files: BTreeMap<PathBuf, ListedFile>,
    pub folders: BTreeMap<PathBuf, Inode>,
    /// The target of the root, and of each link below the root, with all links resolved.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Folders below the root that could not be listed. Their files are unknown.
    pub unreadable_dirs: BTreeMap<PathBuf, io::Error>,
}

/// The links of the previous listing, and the file events since then.
pub(super) struct PreviousListing<'a> {
    /// Absolute paths that were closed after writing or renamed into place.
    pub settled: &'a BTreeSet<PathBuf>,
    /// [`Listing::links`] of the previous listing.
    pub links: &'a BTreeMap<PathBuf, PathBuf>,
}

/// Lists `root`, which is a folder or one file. Returns Err if the root cannot be read.
pub(super) fn list(root: &Path, previous: &PreviousListing<'_>) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let metadata = fs::metadata(root)?;
    // A pipe has no canonical path.
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.into());
    let settled = previous.settled.contains(root) || previous.links.get(root) != Some(&real);
    listing.links.insert(root.into(), real.clone());
    if metadata.is_dir() {
        let mut walk = Walk {
            previous,
            above: Vec::new(),
            listing,
        };
        walk.enter(root, real, inode(&metadata), settled)?;
        return Ok(walk.listing);
    }
    let stamp = Ok(Stamp::of(&metadata));
    listing
        .files
        .insert(root.into(), ListedFile { stamp, settled });
    Ok(listing)
}

struct Walk<'a> {
    previous: &'a PreviousListing<'a>,
    /// The folders that the walk is in, with all links resolved.
    above: Vec<PathBuf>,
    listing: Listing,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        folder: &Path,
        real: PathBuf,
        inode: Inode,
        settled: bool,
    ) -> io::Result<()> {
        self.listing.folders.insert(folder.into(), inode);
        self.above.push(real);
        let result = self.list(folder, settled);
        self.above.pop();
        result
    }

    fn list(&mut self, folder: &Path, settled: bool) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_hidden(&name) {
                continue;
            }
            let path = folder.join(&name);
            let mut settled = settled || self.previous.settled.contains(&path);
            let mut real = self.above.last().map(|above| above.join(&name));
            if entry.file_type()?.is_symlink()
                && let Ok(target) = fs::canonicalize(&path)
            {
                settled |= self.previous.links.get(&path) != Some(&target);
                self.listing.links.insert(path.clone(), target.clone());
                real = Some(target);
            }
            self.add(path, real.unwrap_or_default(), settled);
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, real: PathBuf, settled: bool) {
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                if self.above.len() >= MAX_DEPTH || self.above.contains(&real) {
                    return;
                }
                match self.enter(&path, real, inode(&metadata), settled) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        self.listing.unreadable_dirs.insert(path, error);
                    }
                    _ => {}
                }
            }
            Ok(metadata) if metadata.is_file() && is_manifest(&path) => {
                let stamp = Ok(Stamp::of(&metadata));
                self.listing
                    .files
                    .insert(path, ListedFile { stamp, settled });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound && is_manifest(&path) => {
                let stamp = Err(error);
                self.listing
                    .files
                    .insert(path, ListedFile { stamp, settled });
            }
            _ => {}
        }
    }
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}

/// True if the name begins with a dot. A mounted ConfigMap has folders with such names for its versions.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// True for `*.yaml`, `*.yml` and `*.json` if the name does not begin with a dot.
pub(super) fn is_manifest(path: &Path) -> bool {
    !path.file_name().is_none_or(is_hidden)
        && path
            .extension()
            .and_then(OsStr::to_str)
            .is_some_and(|extension| matches!(extension, "yaml" | "yml" | "json"))
}
