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

use weir_core::manifest::problem::messages::{Message, file as messages};
use weir_core::manifest::problem::{Extent, ObjectRef, Problem};
use weir_core::world;

mod beside;
mod file;
mod last_valid;
mod walk;
pub mod watch;

use file::{Entry, Loaded, Reading, read, unreadable};
use last_valid::{Contents, LastValid};
use walk::{Inode, Sight};

pub struct Folder {
    /// As the user wrote it; the sources of objects begin with it.
    typed: PathBuf,
    root: PathBuf,
    allow_empty: bool,
    default_namespace: String,
    entries: BTreeMap<PathBuf, Entry>,
    /// Where links led at the last look.
    links: BTreeMap<PathBuf, PathBuf>,
    in_force: Vec<Arc<world::Entry>>,
    last_valid: LastValid,
    /// Of the folder itself and of folders in it.
    trouble: Vec<Problem>,
    /// Of documents that no object could be made of.
    of_documents: Vec<Problem>,
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
            default_namespace: "default".to_owned(),
            entries: BTreeMap::new(),
            links: BTreeMap::new(),
            in_force: Vec::new(),
            last_valid: LastValid::default(),
            trouble: Vec::new(),
            of_documents: Vec::new(),
            unread: Some(format!("{} has not been read yet", typed.display())),
        })
    }

    /// The same, with this namespace for objects that name none.
    pub fn with_default_namespace(self, namespace: String) -> Folder {
        Folder {
            default_namespace: namespace,
            ..self
        }
    }

    /// The objects in force, sorted by file.
    pub fn objects(&self) -> &[Arc<world::Entry>] {
        &self.in_force
    }

    /// Of the folder, of its files, and of documents that are no objects; those of objects are theirs.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files = self.entries.iter().filter_map(|(path, entry)| {
            let problem = entry.problem.as_ref()?;
            (!self.is_passed(path, problem)).then_some(problem)
        });
        let unreadable: BTreeSet<&str> = of_files.clone().map(|it| &*it.object.source).collect();
        // A file that cannot be read has one problem, whatever it held before.
        let of_documents = self.of_documents.iter();
        let of_documents = of_documents.filter(|it| !unreadable.contains(&*it.object.source));
        let all = self.trouble.iter().chain(of_files).chain(of_documents);
        all.cloned().collect()
    }

    /// Files and documents that are passed over, one line for each; sorted by file.
    pub fn passed_over(&self) -> Vec<String> {
        let patches = beside::patches(&self.entries);
        let mut lines = Vec::new();
        for (path, entry) in &self.entries {
            let source = source(&self.typed, &self.root, path);
            if let Some(kustomization) = patches.get(path) {
                let by = self::source(&self.typed, &self.root, kustomization);
                lines.push(format!("{source}: a patch that {by} names"));
                continue;
            }
            match &entry.problem {
                Some(problem) if self.is_passed(path, problem) => {
                    lines.push(format!("{source}: a template of a Helm chart"));
                }
                _ => {
                    let passed = entry.good.iter().flat_map(|good| &good.passed);
                    lines.extend(passed.map(|it| format!("{source}: {}: {}", it.place, it.why)));
                }
            }
        }
        lines
    }

    /// Whether a file's problem is that it is a template, where templates belong.
    fn is_passed(&self, path: &Path, problem: &Problem) -> bool {
        problem.effect.extent == Extent::Nothing && beside::is_in_chart(path, &self.entries)
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
                Ok(stamp) if found.settled => read(path, source, *stamp, &self.default_namespace),
                Ok(stamp) => match entry.is_news(*stamp, now) {
                    Ok(true) => read(path, source, *stamp, &self.default_namespace),
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
                self.follow_renamed(&sight);
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
                self.trouble = vec![whole(&self.typed, messages::folder_is_gone(error))];
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

    /// A file that goes on under another name keeps what it held until it is read there.
    fn follow_renamed(&mut self, sight: &Sight) {
        let inodes = sight.files.iter().filter_map(|(path, found)| {
            let stamp = found.stamp.as_ref().ok()?;
            let known = self.entries.get(path).and_then(|entry| entry.inode);
            (known != Some(stamp.inode)).then_some((stamp.inode, path))
        });
        let inodes: BTreeMap<Inode, &PathBuf> = inodes.collect();
        let moved = self.entries.iter().filter_map(|(path, entry)| {
            let is_there = sight.files.contains_key(path);
            let to = *inodes.get(&entry.inode.filter(|_| !is_there)?)?;
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

    /// Drops what is no longer there: at once where the file goes on under another name.
    fn forget_gone(&mut self, sight: &Sight, now: Instant, scan: &mut Scan) {
        let stamps = sight.files.values().filter_map(|f| f.stamp.as_ref().ok());
        let there: BTreeSet<Inode> = stamps.map(|stamp| stamp.inode).collect();
        self.entries.retain(|path, entry| {
            let unseen = |above: &Path| sight.dark.contains_key(above);
            if sight.files.contains_key(path) || path.ancestors().any(unseen) {
                return true;
            }
            let is_renamed = entry.inode.is_some_and(|inode| there.contains(&inode));
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
        let patches = beside::patches(&self.entries);
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
        let outcome = self.last_valid.step(&contents.collect::<Vec<_>>());
        self.of_documents = outcome.problems;
        if holds_nothing(&outcome.entries) && !holds_nothing(&self.in_force) && !self.allow_empty {
            self.trouble
                .push(whole(&self.typed, messages::folder_is_empty()));
        } else {
            self.in_force = outcome.entries;
            self.last_valid = outcome.last_valid;
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
fn holds_nothing(entries: &[Arc<world::Entry>]) -> bool {
    entries.iter().all(|entry| entry.is_refused())
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

fn whole(typed: &Path, message: Message) -> Problem {
    let object = ObjectRef {
        source: typed.display().to_string(),
        ..ObjectRef::default()
    };
    object.problem("", message)
}

#[cfg(test)]
mod tests;
