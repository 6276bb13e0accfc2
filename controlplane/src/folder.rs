//! A folder of manifests as a source of objects: what is in force, and what is wrong with the rest.
//!
//! Three steps: survey the folder, read what has changed (but never a file that somebody may still
//! be writing), and put it in force (but never let a broken file or a folder that went away take
//! objects with it). They are told the time and what the watcher saw; the thread in [`watch`] does
//! the waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::object::{Manifests, Object};
use crate::problem::{ObjectRef, Problem, Reason};

mod file;
mod walk;
pub mod watch;

use file::{Entry, Reading, read, unreadable};
use walk::{Inode, Sight};

pub struct Folder {
    /// As the user wrote it; the sources of objects begin with it.
    typed: PathBuf,
    root: PathBuf,
    allow_empty: bool,
    entries: BTreeMap<PathBuf, Entry>,
    /// Where links led at the last look.
    links: BTreeMap<PathBuf, PathBuf>,
    in_force: Vec<Arc<Manifests>>,
    /// Of the folder itself and of folders in it.
    trouble: Vec<Problem>,
    unread: Option<String>,
}

/// What was seen and read, and is not in force yet.
struct Look {
    sight: io::Result<Sight>,
    readings: Vec<(PathBuf, Reading)>,
    due: Option<Instant>,
}

/// What happened to files while they were read.
#[derive(Default)]
struct Meanwhile {
    written: BTreeSet<PathBuf>,
    /// By somebody else.
    opened: BTreeSet<PathBuf>,
}

/// What taking a look has changed.
struct Scan {
    /// Objects or problems may differ from those before.
    changed: bool,
    /// When to look again at the latest, where something is waiting to be taken over.
    due: Option<Instant>,
    /// Every folder that was looked into, with its device and inode.
    folders: BTreeMap<PathBuf, Inode>,
}

impl Folder {
    /// `typed` is a folder or one file. Fails when it does not exist or cannot be read.
    pub fn open(typed: &Path, allow_empty: bool) -> io::Result<Folder> {
        let root = std::path::absolute(typed)?;
        if fs::metadata(&root)?.is_dir() {
            fs::read_dir(&root)?;
        }
        Ok(Folder {
            typed: typed.into(),
            root,
            allow_empty,
            entries: BTreeMap::new(),
            links: BTreeMap::new(),
            in_force: Vec::new(),
            trouble: Vec::new(),
            unread: Some(format!("{} has not been read yet", typed.display())),
        })
    }

    /// The objects in force, sorted by file.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.in_force.iter().flat_map(|good| &good.objects)
    }

    /// Of the folder, of its files, and of documents that are no objects; sorted by file.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files = self.entries.values().flat_map(|entry| {
            let good = entry.good.iter().flat_map(|good| &good.problems);
            // A file that cannot be read has one problem, whatever it held before.
            let old = good.take_while(|_| entry.problem.is_none());
            entry.problem.iter().chain(old)
        });
        self.trouble.iter().chain(of_files).cloned().collect()
    }

    /// Why nothing may be published yet; None once every file has been read well.
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    /// Files in sight.
    pub fn files(&self) -> usize {
        self.entries.len()
    }

    /// Puts in force what there is, for those who do not follow the changes.
    pub fn read_all(&mut self) {
        let now = Instant::now();
        let look = self.read(self.survey(&BTreeSet::new()), now);
        self.take(look, &Meanwhile::default(), now);
    }

    /// Looks at what there is. `settled` holds absolute paths that were closed after writing or
    /// renamed into place since the last survey. In the first one every file is settled.
    fn survey(&self, settled: &BTreeSet<PathBuf>) -> io::Result<Sight> {
        let known = walk::Before {
            settled,
            links: &self.links,
        };
        walk::look(&self.root, &known)
    }

    /// Reads what has changed.
    fn read(&mut self, sight: io::Result<Sight>, now: Instant) -> Look {
        let mut look = Look {
            sight,
            readings: Vec::new(),
            due: None,
        };
        for (path, found) in look.sight.iter().flat_map(|sight| &sight.files) {
            let source = source(&self.typed, &self.root, path);
            let entry = self.entries.entry(path.clone()).or_default();
            let reading = match &found.stamp {
                Err(error) => Reading::Failed(unreadable(source, error)),
                Ok(stamp) if found.settled => read(path, source, *stamp),
                Ok(stamp) => match entry.is_news(*stamp, now) {
                    Ok(true) => read(path, source, *stamp),
                    Ok(false) => continue,
                    Err(due) => {
                        look.due = earlier(look.due, due);
                        continue;
                    }
                },
            };
            look.readings.push((path.clone(), reading));
        }
        look
    }

    /// Puts in force what a look has read.
    fn take(&mut self, look: Look, meanwhile: &Meanwhile, now: Instant) -> Scan {
        let before = self.problems();
        let mut scan = Scan {
            changed: false,
            due: look.due,
            folders: BTreeMap::new(),
        };
        match look.sight {
            Ok(sight) => {
                for (path, mut reading) in look.readings {
                    if meanwhile.written.contains(&path) {
                        reading = Reading::Moving;
                    } else if meanwhile.opened.contains(&path) {
                        reading = reading.in_doubt();
                    }
                    let entry = self.entries.entry(path).or_default();
                    scan.changed |= matches!(reading, Reading::Good(..));
                    if let Err(due) = entry.keep(reading, now) {
                        scan.due = earlier(scan.due, due);
                    }
                }
                self.forget_gone(&sight, now, &mut scan);
                self.trouble = sight
                    .dark
                    .iter()
                    .map(|(path, error)| unreadable(source(&self.typed, &self.root, path), error))
                    .collect();
                self.put_in_force();
                self.links = sight.links;
                scan.folders = sight.folders;
            }
            Err(error) => {
                self.trouble = vec![whole(
                    &self.typed,
                    format!("cannot be read ({error}); the last objects stay in force"),
                    "bring it back",
                )];
            }
        }
        if self.unread.is_some() {
            let unread = self.why_unread();
            scan.changed |= unread != self.unread;
            self.unread = unread;
        }
        scan.changed |= before != self.problems();
        scan
    }

    /// Drops what is no longer there: at once where the file goes on under another name.
    fn forget_gone(&mut self, sight: &Sight, now: Instant, scan: &mut Scan) {
        let stamps = sight.files.values().filter_map(|f| f.stamp.as_ref().ok());
        let there: BTreeSet<Inode> = stamps.map(|stamp| stamp.inode).collect();
        self.entries.retain(|path, entry| {
            let unseen = |above: &Path| sight.dark.contains_key(above);
            if sight.files.contains_key(path) || path.ancestors().any(unseen) {
                return true;
            }
            let is_renamed = entry.read.is_some_and(|read| there.contains(&read.inode));
            if !is_renamed
                && entry.good.is_some()
                && let Err(due) = entry.is_gone(now)
            {
                scan.due = earlier(scan.due, due);
                return true;
            }
            scan.changed = true;
            false
        });
    }

    /// An empty folder is far more often an accident than a wish.
    fn put_in_force(&mut self) {
        let good: Vec<Arc<Manifests>> = self
            .entries
            .values()
            .filter_map(|entry| entry.good.clone())
            .filter(|good| !good.objects.is_empty())
            .collect();
        if holds_nothing(&good) && !holds_nothing(&self.in_force) && !self.allow_empty {
            self.trouble.push(whole(
                &self.typed,
                "holds no objects any more; the last ones stay in force".into(),
                "put the manifests back, or start with --allow-empty",
            ));
        } else {
            self.in_force = good;
        }
    }

    fn why_unread(&self) -> Option<String> {
        if let Some(problem) = self.trouble.first() {
            return Some(problem.to_string());
        }
        if let Some((path, entry)) = self.entries.iter().find(|(_, e)| e.good.is_none()) {
            return Some(match &entry.problem {
                Some(problem) => problem.to_string(),
                None => {
                    let source = source(&self.typed, &self.root, path);
                    format!("{source} is being written")
                }
            });
        }
        (holds_nothing(&self.in_force) && !self.allow_empty).then(|| {
            format!(
                "{} holds no objects yet; --allow-empty publishes an empty configuration",
                self.typed.display()
            )
        })
    }
}

/// No object that could be understood.
fn holds_nothing(manifests: &[Arc<Manifests>]) -> bool {
    let mut objects = manifests.iter().flat_map(|manifests| &manifests.objects);
    objects.all(|object| object.refused.is_some())
}

fn earlier(due: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(due.map_or(other, |due| due.min(other)))
}

/// The path as the user would write it.
fn source(typed: &Path, root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => typed.join(below).display().to_string(),
        _ => typed.display().to_string(),
    }
}

fn whole(typed: &Path, message: String, remedy: &str) -> Problem {
    let object = ObjectRef {
        source: typed.display().to_string(),
        ..ObjectRef::default()
    };
    object.legacy("", Reason::Unreadable, message, remedy)
}

#[cfg(test)]
mod tests;
