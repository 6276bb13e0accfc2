//! A folder of manifests as a source of objects.
//!
//! A scan has three steps. First it lists the files. Then it reads the changed files, except a file that another
//! process may still be writing. Finally it puts the objects in force: the publisher gets these objects. A broken file
//! or a missing folder never removes objects. The thread of [`folder_watcher`] starts the scans.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use weir_core::manifest::problem::messages::{Message, file as messages};
use weir_core::manifest::problem::{Extent, ObjectRef, Problem};
use weir_core::world;

mod file;
pub mod folder_watcher;
mod last_valid;
mod listing;
mod passed_over;

use file::{FileReading, FileState, Loaded, ReadDecision, read, unreadable};
use last_valid::{Contents, LastValid};
use listing::{Inode, Listing};

pub struct Folder {
    /// The path as the user typed it. File names in messages begin with this path.
    typed: PathBuf,
    root: PathBuf,
    allow_empty: bool,
    default_namespace: String,
    entries: BTreeMap<PathBuf, FileState>,
    /// The targets of links in the last listing.
    links: BTreeMap<PathBuf, PathBuf>,
    /// The objects in force, sorted by file.
    in_force: Vec<Arc<world::Entry>>,
    last_valid: LastValid,
    /// Problems of the folder and of its subfolders.
    folder_problems: Vec<Problem>,
    /// Problems of documents that cannot be read as objects.
    document_problems: Vec<Problem>,
    /// Why the first publication has to wait. None after all files have been read.
    unread: Option<String>,
}

/// Files that were read. Their objects are not in force yet.
struct ReadFiles {
    listing: io::Result<Listing>,
    readings: Vec<(PathBuf, FileReading)>,
    due: Option<Instant>,
}

/// What other processes did to files while this process read the files.
#[derive(Default)]
struct EventsDuringRead {
    written: BTreeSet<PathBuf>,
    /// Files that another process has opened.
    opened: BTreeSet<PathBuf>,
}

/// The result of one listing.
struct Scan {
    /// True if objects or problems may have changed.
    changed: bool,
    /// The latest time for the next listing, if a file has to wait.
    due: Option<Instant>,
    /// Every folder that was listed, with its device and inode.
    folders: BTreeMap<PathBuf, Inode>,
}

impl Folder {
    /// `typed` is the path of a folder or of one file. Returns Err if the path does not exist or cannot be read.
    pub fn open(typed: &Path, allow_empty: bool) -> io::Result<Folder> {
        let root = std::path::absolute(typed)?;
        if fs::metadata(&root)?.is_dir() {
            fs::read_dir(&root)?;
        }
        Ok(Folder {
            typed: typed.into(),
            root,
            allow_empty,
            default_namespace: "default".to_owned(),
            entries: BTreeMap::new(),
            links: BTreeMap::new(),
            in_force: Vec::new(),
            last_valid: LastValid::default(),
            folder_problems: Vec::new(),
            document_problems: Vec::new(),
            unread: Some(format!("{} has not been read yet", typed.display())),
        })
    }

    /// Returns the same folder with this namespace for objects without a namespace.
    pub fn with_default_namespace(self, namespace: String) -> Folder {
        Folder {
            default_namespace: namespace,
            ..self
        }
    }

    /// Returns the objects in force, sorted by file.
    pub fn objects(&self) -> &[Arc<world::Entry>] {
        &self.in_force
    }

    /// Returns the problems of the folder, of its files, and of documents that are not objects. The problems of an
    /// object are in the object.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files = self.entries.iter().filter_map(|(path, entry)| {
            let problem = entry.problem.as_ref()?;
            (!self.is_passed(path, problem)).then_some(problem)
        });
        let unreadable: BTreeSet<&str> = of_files.clone().map(|it| &*it.object.source).collect();
        // If a file cannot be read, this is its only problem. The problems of its previous content are left out.
        let document_problems = self.document_problems.iter();
        let document_problems =
            document_problems.filter(|it| !unreadable.contains(&*it.object.source));
        let all = self
            .folder_problems
            .iter()
            .chain(of_files)
            .chain(document_problems);
        all.cloned().collect()
    }

    /// Returns one line for each file or document that the folder source ignores, sorted by file.
    pub fn passed_over(&self) -> Vec<String> {
        let patches = passed_over::patches(&self.entries);
        let mut lines = Vec::new();
        for (path, entry) in &self.entries {
            let source = source(&self.typed, &self.root, path);
            if let Some(kustomization) = patches.get(path) {
                let by = self::source(&self.typed, &self.root, kustomization);
                lines.push(format!("{source}: a patch that {by} lists"));
                continue;
            }
            match &entry.problem {
                Some(problem) if self.is_passed(path, problem) => {
                    lines.push(format!("{source}: a template of a Helm chart"));
                }
                _ => {
                    let passed = entry.good.iter().flat_map(|good| &good.passed);
                    lines.extend(passed.map(|it| format!("{source}: {}: {}", it.place, it.reason)));
                }
            }
        }
        lines
    }

    /// True if the file is a template in the templates folder of a Helm chart. `problem` is the problem of the file.
    fn is_passed(&self, path: &Path, problem: &Problem) -> bool {
        problem.effect.extent == Extent::Nothing && passed_over::is_in_chart(path, &self.entries)
    }

    /// Returns why the source may publish nothing yet. Returns None after every file was read without an error.
    pub fn unread(&self) -> Option<&str> {
        self.unread.as_deref()
    }

    /// Returns the number of manifest files.
    pub fn files(&self) -> usize {
        self.entries.len()
    }

    /// Reads all files and puts their objects in force. Use this if nothing watches the folder for changes.
    pub fn read_all(&mut self) {
        let now = Instant::now();
        let files = self.read(self.list(&BTreeSet::new()), now);
        self.apply(files, &EventsDuringRead::default(), now);
    }

    /// Lists the files. `settled` has the absolute paths of files that were closed after writing, or renamed into
    /// place, since the last listing. In the first listing every file counts as settled.
    fn list(&self, settled: &BTreeSet<PathBuf>) -> io::Result<Listing> {
        let previous = listing::PreviousListing {
            settled,
            links: &self.links,
        };
        listing::list(&self.root, &previous)
    }

    /// Reads the files that have changed.
    fn read(&mut self, listing: io::Result<Listing>, now: Instant) -> ReadFiles {
        let mut files = ReadFiles {
            listing,
            readings: Vec::new(),
            due: None,
        };
        for (path, found) in files.listing.iter().flat_map(|listing| &listing.files) {
            let source = source(&self.typed, &self.root, path);
            let entry = self.entries.entry(path.clone()).or_default();
            let reading = match &found.stamp {
                Err(error) => FileReading::Failed(unreadable(source, error)),
                Ok(stamp) if found.settled => read(path, source, *stamp, &self.default_namespace),
                Ok(stamp) => match entry.check(*stamp, now) {
                    ReadDecision::Read => read(path, source, *stamp, &self.default_namespace),
                    ReadDecision::Unchanged => continue,
                    ReadDecision::WaitUntil(due) => {
                        files.due = earlier(files.due, due);
                        continue;
                    }
                },
            };
            files.readings.push((path.clone(), reading));
        }
        files
    }

    /// Puts the objects of `files` in force.
    fn apply(&mut self, files: ReadFiles, events: &EventsDuringRead, now: Instant) -> Scan {
        let before = self.problems();
        let mut scan = Scan {
            changed: false,
            due: files.due,
            folders: BTreeMap::new(),
        };
        match files.listing {
            Ok(listing) => {
                self.follow_renamed(&listing);
                for (path, mut reading) in files.readings {
                    if events.written.contains(&path) {
                        reading = FileReading::Moving;
                    } else if events.opened.contains(&path) {
                        reading = reading.in_doubt();
                    }
                    let entry = self.entries.entry(path).or_default();
                    scan.changed |= matches!(reading, FileReading::Good(..));
                    if let Some(due) = entry.record(reading, now) {
                        scan.due = earlier(scan.due, due);
                    }
                }
                self.forget_gone(&listing, now, &mut scan);
                self.folder_problems = listing
                    .unreadable_dirs
                    .iter()
                    .map(|(path, error)| unreadable(source(&self.typed, &self.root, path), error))
                    .collect();
                self.put_in_force();
                self.links = listing.links;
                scan.folders = listing.folders;
            }
            Err(error) => {
                self.folder_problems =
                    vec![folder_problem(&self.typed, messages::folder_is_gone(error))];
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

    /// Keeps the content of each renamed file under its new name, until the file is read again.
    fn follow_renamed(&mut self, listing: &Listing) {
        let inodes = listing.files.iter().filter_map(|(path, found)| {
            let stamp = found.stamp.as_ref().ok()?;
            let before = self.entries.get(path).and_then(|entry| entry.inode);
            (before != Some(stamp.inode)).then_some((stamp.inode, path))
        });
        let inodes: BTreeMap<Inode, &PathBuf> = inodes.collect();
        let moved = self.entries.iter().filter_map(|(path, entry)| {
            let is_present = listing.files.contains_key(path);
            let to = *inodes.get(&entry.inode.filter(|_| !is_present)?)?;
            Some((path.clone(), to.clone()))
        });
        let moved: Vec<(PathBuf, PathBuf)> = moved.collect();
        let mut sources = BTreeMap::new();
        for (from, to) in moved {
            let [old, new] = [&from, &to].map(|path| source(&self.typed, &self.root, path));
            let good = self.entries.get_mut(&from).and_then(|it| it.good.take());
            if let Some(good) = good {
                let good = Some(Arc::new(good.moved_to(&new)));
                self.entries.entry(to).or_default().good = good;
            }
            sources.insert(old, new);
        }
        if !sources.is_empty() {
            self.last_valid = self.last_valid.renamed(&sources);
        }
    }

    /// Forgets files that are gone. Forgets a renamed file at once, and a missing file after a pause.
    fn forget_gone(&mut self, listing: &Listing, now: Instant, scan: &mut Scan) {
        let stamps = listing.files.values().filter_map(|f| f.stamp.as_ref().ok());
        let present: BTreeSet<Inode> = stamps.map(|stamp| stamp.inode).collect();
        self.entries.retain(|path, entry| {
            let is_unreadable = |dir: &Path| listing.unreadable_dirs.contains_key(dir);
            if listing.files.contains_key(path) || path.ancestors().any(is_unreadable) {
                return true;
            }
            let is_renamed = entry.inode.is_some_and(|inode| present.contains(&inode));
            if !is_renamed
                && entry.good.is_some()
                && let Some(due) = entry.wait_until_gone(now)
            {
                scan.due = earlier(scan.due, due);
                return true;
            }
            scan.changed = true;
            false
        });
    }

    /// Puts the objects of all files in force. An empty folder is usually an accident. So its previous objects stay in
    /// force, unless `allow_empty` is true.
    fn put_in_force(&mut self) {
        let patches = passed_over::patches(&self.entries);
        let files = self
            .entries
            .iter()
            .filter(|(path, _)| !patches.contains_key(*path));
        let files: Vec<(String, Arc<Loaded>)> = files
            .filter_map(|(path, entry)| {
                let source = source(&self.typed, &self.root, path);
                Some((source, entry.good.clone()?))
            })
            .collect();
        let contents = files.iter().map(|(source, loaded)| Contents {
            source,
            entries: &loaded.entries,
            broken: &loaded.broken,
        });
        let step = self.last_valid.step(&contents.collect::<Vec<_>>());
        self.document_problems = step.problems;
        if has_no_objects(&step.entries) && !has_no_objects(&self.in_force) && !self.allow_empty {
            self.folder_problems
                .push(folder_problem(&self.typed, messages::folder_is_empty()));
        } else {
            self.in_force = step.entries;
            self.last_valid = step.last_valid;
        }
    }

    fn why_unread(&self) -> Option<String> {
        if let Some(problem) = self.folder_problems.first() {
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
        (has_no_objects(&self.in_force) && !self.allow_empty).then(|| {
            format!(
                "{} contains no objects yet; --allow-empty publishes an empty configuration",
                self.typed.display()
            )
        })
    }
}

/// True if no object could be parsed.
fn has_no_objects(entries: &[Arc<world::Entry>]) -> bool {
    entries.iter().all(|entry| entry.is_refused())
}

fn earlier(due: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(due.map_or(other, |due| due.min(other)))
}

/// Returns the path with the beginning that the user typed.
fn source(typed: &Path, root: &Path, path: &Path) -> String {
    match path.strip_prefix(root) {
        Ok(below) if !below.as_os_str().is_empty() => typed.join(below).display().to_string(),
        _ => typed.display().to_string(),
    }
}

fn folder_problem(typed: &Path, message: Message) -> Problem {
    let object = ObjectRef {
        source: typed.display().to_string(),
        ..ObjectRef::default()
    };
    object.problem("", message)
}

#[cfg(test)]
mod tests;
