//! The state of one manifest file: its last valid content, and whether the file may be read now.

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

/// Maximum size of a file. Larger files are not opened.
const MAX_BYTES: u64 = object::MAX_BYTES as u64;

/// A file that has changed without an inotify event is read when its `stat` has not changed for this time.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// If another process had a file open during a read, this process reads the file again. The second read begins when the
/// `stat` of the file has not changed for this time, or earlier after an event.
pub(super) const DOUBT: Duration = Duration::from_millis(50);

/// The objects of a missing file stay in force for this time, because editors move a file away before they write the
/// new one.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// The state of one file.
#[derive(Default)]
pub(super) struct FileState {
    /// The state of the file at the last read, successful or not. None if the file must be read again.
    pub read: Option<Stamp>,
    /// The inode of the last read.
    pub inode: Option<Inode>,
    change: Option<Change>,
    /// The last valid content. None if no content was valid.
    pub good: Option<Arc<Loaded>>,
    /// Why the present content is not used.
    pub problem: Option<Problem>,
}

/// The content of a file. The objects are parsed only when this file changes.
#[derive(Default)]
pub(super) struct Loaded {
    pub entries: Vec<Arc<world::Entry>>,
    pub broken: Vec<BrokenDocument>,
    pub passed: Vec<IgnoredDocument>,
    /// The patch files that this file lists, if it is a kustomization.
    pub patches: Vec<String>,
    /// The problem of an invalid list of patches.
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
    /// Returns the same content under another file name.
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

    /// Returns the content and its problem. If a kustomization has an invalid list of patches, adds the patches of the
    /// previous content.
    fn after(mut self, before: Option<&Loaded>) -> (Loaded, Option<Problem>) {
        let problem = self.of_patches.clone();
        let before = before.filter(|before| problem.is_some() && !before.patches.is_empty());
        let Some(before) = before else {
            return (self, problem);
        };
        self.patches.extend(before.patches.iter().cloned());
        self.patches.sort();
        self.patches.dedup();
        let words = "the files that it listed before this edit still count as patches";
        let effect = Effect::new(Extent::Part, words);
        (self, problem.map(|it| it.with_effect(effect)))
    }
}

/// A state of the file that differs from the state at the last read.
struct Change {
    /// None if the file is gone.
    stamp: Option<Stamp>,
    /// When the state has lasted long enough for a read.
    due: Instant,
}

/// What to do with a file for which there was no event.
pub(super) enum ReadDecision {
    /// The file has not changed since the last read.
    Unchanged,
    /// The file has changed, and its new state has lasted long enough.
    Read,
    /// The file has changed. Until this time another process may still be writing the file.
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
    /// Returns the result to use if another process had the file open during the read.
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
    /// Decides whether to read a file for which there was no event.
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

    /// Returns the time at which this state of the file has lasted for `patience`. Returns None if this time is over.
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
            // A process truncates a file before it writes the new content. On a busy disk the event for the new content
            // comes much later, so an empty file gets more time.
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
    /// If the file has previous objects, they stay in force. Adds this effect to the problem.
    fn with_effect(&mut self, problem: Problem) -> Problem {
        // A template is not an error. So a template without earlier content counts as a file without objects.
        if problem.effect.extent == Extent::Nothing {
            self.good.get_or_insert_default();
        }
        let mut good = self.good.iter().flat_map(|good| &good.entries);
        match good.next() {
            None => problem,
            Some(_) => problem.with_effect(Effect::new(
                Extent::Whole,
                "the previous objects of this file stay in force",
            )),
        }
    }
}

/// Reads one file. `stamp` is the state of the file in the listing.
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

/// Returns the content of the file. Returns None if the file has changed since the listing, or during the read.
fn read_whole(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    // Only regular files are compared, because a read from a pipe changes the `stat` of the pipe.
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
