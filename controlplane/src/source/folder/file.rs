//! One manifest file: its last valid content, and whether its present state may be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listing::{Inode, Stamp};
use weir_core::manifest::object::{self, BrokenDocument, IgnoredDocument, Manifests};
use weir_core::manifest::problem::messages::{Message, file as messages};
use weir_core::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use weir_core::world;

/// Larger files are not opened.
const MAX_BYTES: u64 = object::MAX_BYTES as u64;

/// If a file has changed without an event, this process reads it when its `stat` has stayed the same for this long.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// If another process had a file open while this process read it, this process reads the file again. It does so when
/// the `stat` of the file has not changed for this time, or earlier if an event comes.
pub(super) const DOUBT: Duration = Duration::from_millis(50);

/// The objects of a missing file stay for this long: editors move a file away before they write the new one.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// The state of one file.
#[derive(Default)]
pub(super) struct FileState {
    /// The stamp of the last read, successful or not; None if the file must be read again.
    pub read: Option<Stamp>,
    /// The inode of the last read.
    pub inode: Option<Inode>,
    change: Option<Change>,
    /// The last valid content; None if there was none.
    pub good: Option<Arc<Loaded>>,
    /// Why its present content is not in force.
    pub problem: Option<Problem>,
}

/// The content of a file. The file's objects are parsed when the file changes, and not when another file changes.
#[derive(Default)]
pub(super) struct Loaded {
    pub entries: Vec<Arc<world::Entry>>,
    pub broken: Vec<BrokenDocument>,
    pub passed: Vec<IgnoredDocument>,
    pub patches: Vec<String>,
    pub of_patches: Option<Problem>,
}

impl From<Manifests> for Loaded {
    fn from(manifests: Manifests) -> Loaded {
        let entry = |object| Arc::new(world::Entry::of(object));
        Loaded {
            entries: manifests.objects.iter().map(entry).collect(),
            broken: manifests.broken,
            passed: manifests.ignored,
            patches: manifests.patches,
            of_patches: manifests.patches_problem,
        }
    }
}

impl Loaded {
    /// The same content under another file name.
    pub(super) fn moved_to(&self, source: &str) -> Loaded {
        let moved = |entry: &Arc<world::Entry>| Arc::new(entry.moved_to(source));
        let mut broken = self.broken.clone();
        for broken in &mut broken {
            broken.problem.object.source = source.to_owned();
        }
        Loaded {
            entries: self.entries.iter().map(moved).collect(),
            broken,
            passed: self.passed.clone(),
            patches: self.patches.clone(),
            of_patches: self.of_patches.clone(),
        }
    }

    /// If the kustomization has an invalid list of patches, the patches of its previous content count too.
    fn after(mut self, before: Option<&Loaded>) -> (Loaded, Option<Problem>) {
        let problem = self.of_patches.clone();
        let before = before.filter(|before| problem.is_some() && !before.patches.is_empty());
        let Some(before) = before else {
            return (self, problem);
        };
        self.patches.extend(before.patches.iter().cloned());
        self.patches.sort();
        self.patches.dedup();
        let words = "the patches that it named before this edit stay patches";
        let effect = Effect::new(Extent::Part, words);
        (self, problem.map(|it| it.with_effect(effect)))
    }
}

/// A state that differs from the last read, and the time when it has lasted long enough.
struct Change {
    /// None: the file is gone.
    stamp: Option<Stamp>,
    due: Instant,
}

/// What to do with a file for which there was no event.
pub(super) enum ReadDecision {
    /// It was read in this state.
    Unchanged,
    /// It has changed, and its state has lasted long enough.
    Read,
    /// It has changed, and may still be written before this time.
    WaitUntil(Instant),
}

/// The result of reading a file.
pub(super) enum FileReading {
    Good(Stamp, Loaded),
    /// The content is invalid.
    Bad(Stamp, Problem),
    /// The file could not be read.
    Failed(Problem),
    /// Another process is writing the file.
    Moving,
    /// Another process may be writing the file.
    Doubtful(Stamp),
}

impl FileReading {
    /// The result of a read while another process had the file open.
    pub(super) fn in_doubt(self) -> FileReading {
        match self {
            FileReading::Good(stamp, _) | FileReading::Bad(stamp, _) => {
                FileReading::Doubtful(stamp)
            }
            other => other,
        }
    }
}

impl FileState {
    /// Decides about a file for which there was no event.
    pub(super) fn check(&mut self, stamp: Stamp, now: Instant) -> ReadDecision {
        if self.read == Some(stamp) {
            self.change = None;
            return ReadDecision::Unchanged;
        }
        match self.wait_until_stable(Some(stamp), SETTLE, now) {
            Some(due) => ReadDecision::WaitUntil(due),
            None => ReadDecision::Read,
        }
    }

    /// Returns the time until which the objects of a missing file stay. Returns None if this time is over.
    pub(super) fn wait_until_gone(&mut self, now: Instant) -> Option<Instant> {
        self.wait_until_stable(None, GRACE, now)
    }

    /// Returns the time when the file will have been in this state for `patience`. Returns None if this time is over.
    fn wait_until_stable(
        &mut self,
        stamp: Option<Stamp>,
        patience: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let due = match &self.change {
            Some(change) if change.stamp == stamp => change.due,
            _ => now + patience,
        };
        self.change = Some(Change { stamp, due });
        (now < due).then_some(due)
    }

    /// Records the result of reading the file. Returns the time of the next try, or None if there is no next try.
    pub(super) fn record(&mut self, reading: FileReading, now: Instant) -> Option<Instant> {
        self.change = None;
        if let FileReading::Good(stamp, _) | FileReading::Bad(stamp, _) = &reading {
            self.inode = Some(stamp.inode);
        }
        match reading {
            FileReading::Good(stamp, loaded) => {
                self.read = Some(stamp);
                let (loaded, problem) = loaded.after(self.good.as_deref());
                self.good = Some(Arc::new(loaded));
                self.problem = problem;
                return None;
            }
            FileReading::Bad(stamp, problem) => {
                self.read = Some(stamp);
                self.problem = Some(self.with_effect(problem));
                return None;
            }
            FileReading::Failed(problem) => {
                self.read = None;
                self.problem = Some(self.with_effect(problem));
            }
            FileReading::Moving => self.read = None,
            // A truncated file is visible before its event; on a busy disk it is visible much earlier.
            FileReading::Doubtful(stamp) => {
                let patience = if stamp.size == 0 { SETTLE } else { DOUBT };
                self.read = None;
                return self.wait_until_stable(Some(stamp), patience, now);
            }
        }
        Some(now + SETTLE)
    }
}

impl FileState {
    /// Adds the effect on the objects that were read from the file before.
    fn with_effect(&mut self, problem: Problem) -> Problem {
        // A template is not an error, so it counts as read.
        if problem.effect.extent == Extent::Nothing {
            self.good.get_or_insert_default();
        }
        let mut good = self.good.iter().flat_map(|good| &good.entries);
        match good.next() {
            None => problem,
            Some(_) => problem.with_effect(Effect::new(
                Extent::Whole,
                "the objects read from it before stay in force",
            )),
        }
    }
}

/// Reads one file that had the stamp `stamp` in the listing.
pub(super) fn read(
    path: &Path,
    source: String,
    stamp: Stamp,
    default_namespace: &str,
) -> FileReading {
    let bad = |message: Message| {
        let object = ObjectRef {
            source: source.clone(),
            ..ObjectRef::default()
        };
        FileReading::Bad(stamp, object.problem("", message))
    };
    let too_large = || bad(messages::too_large(MAX_BYTES >> 20));
    if stamp.size > MAX_BYTES {
        return too_large();
    }
    let bytes = match read_whole(path, stamp) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return FileReading::Moving,
        Err(error) => return FileReading::Failed(unreadable(source, &error)),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return too_large();
    }
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            return bad(messages::not_utf8(at));
        }
    };
    match object::read_in(default_namespace, &source, &text) {
        Ok(manifests) => FileReading::Good(stamp, manifests.into()),
        Err(problem) => FileReading::Bad(stamp, problem),
    }
}

/// None if the file has changed while it was read.
fn read_whole(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    // A read from a pipe changes its `stat`.
    let is_regular = file.metadata()?.is_file();
    if is_regular && Stamp::of(&file.metadata()?) != stamp {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let is_unchanged = !is_regular || Stamp::of(&file.metadata()?) == stamp;
    Ok(is_unchanged.then_some(bytes))
}

pub(super) fn unreadable(source: String, error: &io::Error) -> Problem {
    let object = ObjectRef {
        source,
        ..ObjectRef::default()
    };
    object.problem("", messages::unreadable(error))
}
