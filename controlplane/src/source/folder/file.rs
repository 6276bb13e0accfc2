//! One manifest file: the last state that could be read, and whether the present one may be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::walk::{Inode, Stamp};
use weir_core::manifest::object::{self, Broken, Manifests, Passed};
use weir_core::manifest::problem::messages::{Message, file as messages};
use weir_core::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use weir_core::world;

/// Larger files are not even opened.
const MAX_BYTES: u64 = object::MAX_BYTES as u64;

/// A file that changed without a word from the watcher is read once its `stat` has stood this long.
pub(super) const SETTLE: Duration = Duration::from_secs(2);

/// A file that somebody else had open while we read it is read again once its `stat` has stood this
/// long. Its own end may come earlier.
pub(super) const DOUBT: Duration = Duration::from_millis(50);

/// A file that is gone keeps its objects this long: editors move a file away before they write the
/// new one.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// What is known of one file.
#[derive(Default)]
pub(super) struct Entry {
    /// Of the state that was read last, well or badly; None where it should be tried again.
    pub read: Option<Stamp>,
    /// Of the last state of which anything was read.
    pub inode: Option<Inode>,
    change: Option<Change>,
    /// What it held when it could last be read; None until then.
    pub good: Option<Arc<Loaded>>,
    /// Why its present state is not in force.
    pub problem: Option<Problem>,
}

/// What a file holds. Its objects are read once, not at each change of another file.
#[derive(Default)]
pub(super) struct Loaded {
    pub entries: Vec<Arc<world::Entry>>,
    pub broken: Vec<Broken>,
    pub passed: Vec<Passed>,
    pub patches: Vec<String>,
    pub of_patches: Option<Problem>,
}

impl From<Manifests> for Loaded {
    fn from(manifests: Manifests) -> Loaded {
        let entry = |object| Arc::new(world::Entry::of(object));
        Loaded {
            entries: manifests.objects.iter().map(entry).collect(),
            broken: manifests.broken,
            passed: manifests.passed,
            patches: manifests.patches,
            of_patches: manifests.of_patches,
        }
    }
}

impl Loaded {
    /// The same after the file got another name.
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

    /// With what is wrong with its patches, those that it named before stay patches.
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

/// A state that differs from the one that was read, and when it has lasted long enough.
struct Change {
    /// None: the file is gone.
    stamp: Option<Stamp>,
    due: Instant,
}

/// What came of reading a file.
pub(super) enum Reading {
    Good(Stamp, Loaded),
    /// This state of the file is of no use.
    Bad(Stamp, Problem),
    /// The file could not be read at all just now.
    Failed(Problem),
    /// Somebody is writing it.
    Moving,
    /// Somebody may be writing it.
    Doubtful(Stamp),
}

impl Reading {
    /// The same reading of a file that somebody else had open at the time.
    pub(super) fn in_doubt(self) -> Reading {
        match self {
            Reading::Good(stamp, _) | Reading::Bad(stamp, _) => Reading::Doubtful(stamp),
            other => other,
        }
    }
}

impl Entry {
    /// Whether the state `stamp`, of which the watcher has said nothing, is to be read now: Ok(false)
    /// where it has been already, Err(time) where it is not known before then to be complete.
    pub(super) fn is_news(&mut self, stamp: Stamp, now: Instant) -> Result<bool, Instant> {
        if self.read == Some(stamp) {
            self.change = None;
            return Ok(false);
        }
        self.ripe(Some(stamp), SETTLE, now).map(|()| true)
    }

    /// Ok when a file that is not there is gone for good, else the time when it will be.
    pub(super) fn is_gone(&mut self, now: Instant) -> Result<(), Instant> {
        self.ripe(None, GRACE, now)
    }

    /// Ok when the file has been in this state for so long; else the time when it will have been.
    fn ripe(
        &mut self,
        stamp: Option<Stamp>,
        patience: Duration,
        now: Instant,
    ) -> Result<(), Instant> {
        let due = match &self.change {
            Some(change) if change.stamp == stamp => change.due,
            _ => now + patience,
        };
        self.change = Some(Change { stamp, due });
        if now >= due { Ok(()) } else { Err(due) }
    }

    /// Err: the time to try again.
    pub(super) fn keep(&mut self, reading: Reading, now: Instant) -> Result<(), Instant> {
        self.change = None;
        if let Reading::Good(stamp, _) | Reading::Bad(stamp, _) = &reading {
            self.inode = Some(stamp.inode);
        }
        match reading {
            Reading::Good(stamp, loaded) => {
                self.read = Some(stamp);
                let (loaded, problem) = loaded.after(self.good.as_deref());
                self.good = Some(Arc::new(loaded));
                self.problem = problem;
                return Ok(());
            }
            Reading::Bad(stamp, problem) => {
                self.read = Some(stamp);
                self.problem = Some(self.judged(problem));
                return Ok(());
            }
            Reading::Failed(problem) => {
                self.read = None;
                self.problem = Some(self.judged(problem));
            }
            Reading::Moving => self.read = None,
            // The kernel shows a truncation before it tells of it, and a busy disk may lie between.
            Reading::Doubtful(stamp) => {
                let patience = if stamp.size == 0 { SETTLE } else { DOUBT };
                self.read = None;
                return self.ripe(Some(stamp), patience, now);
            }
        }
        Err(now + SETTLE)
    }
}

impl Entry {
    /// A file's problem, with what it means for the objects that were read from the file before.
    fn judged(&mut self, problem: Problem) -> Problem {
        // A file that is no error, a template, counts as read.
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

/// Reads one file whose state was `stamp` a moment ago.
pub(super) fn read(path: &Path, source: String, stamp: Stamp, default_namespace: &str) -> Reading {
    let bad = |message: Message| {
        let object = ObjectRef {
            source: source.clone(),
            ..ObjectRef::default()
        };
        Reading::Bad(stamp, object.problem("", message))
    };
    let too_large = || bad(messages::too_large(MAX_BYTES >> 20));
    if stamp.size > MAX_BYTES {
        return too_large();
    }
    let bytes = match read_whole(path, stamp) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Reading::Moving,
        Err(error) => return Reading::Failed(unreadable(source, &error)),
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
        Ok(manifests) => Reading::Good(stamp, manifests.into()),
        Err(problem) => Reading::Bad(stamp, problem),
    }
}

/// None where the file changed under the reader's hands.
fn read_whole(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    // Reading from a pipe changes what `stat` says of it.
    let fixed = file.metadata()?.is_file();
    if fixed && Stamp::of(&file.metadata()?) != stamp {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let unchanged = !fixed || Stamp::of(&file.metadata()?) == stamp;
    Ok(unchanged.then_some(bytes))
}

pub(super) fn unreadable(source: String, error: &io::Error) -> Problem {
    let object = ObjectRef {
        source,
        ..ObjectRef::default()
    };
    object.problem("", messages::unreadable(error))
}
