//! Waiting for a folder to change: inotify for speed, a look every two seconds for what inotify
//! does not tell (lost events, another file system mounted over, a link that leads elsewhere).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::walk::{Inode, is_manifest};
use super::{Folder, Scan};
use crate::publish::Publisher;

/// Longest time without a look.
const TICK: Duration = Duration::from_secs(2);
/// A burst of events has ended when nothing came for this long.
const QUIET: Duration = Duration::from_millis(2);
/// A burst is not waited for longer than this.
const BURST: Duration = Duration::from_millis(8);

/// A file that nobody opens but us. inotify keeps the order of events, so once it tells of our
/// opening, it has told of everything before.
const MARK: &str = "/proc/self/exe";
/// The mark is waited for no longer than this.
const LATE: Duration = Duration::from_secs(1);

/// What somebody else had open while we read it is read again after this long.
const DOUBT: Duration = Duration::from_millis(50);

/// A folder and the eyes on it. Blocks; give it a thread of its own.
pub struct Watched {
    folder: Folder,
    eyes: Option<Eyes>,
    events: mpsc::Receiver<Seen>,
    /// Keeps `events` open where there are no eyes.
    _open: mpsc::Sender<Seen>,
    settled: BTreeSet<PathBuf>,
    /// What was written since the look began.
    written: BTreeSet<PathBuf>,
    /// How often what has settled was opened since.
    opened: BTreeMap<PathBuf, usize>,
    /// What somebody had open when we read it, and when to read it again.
    doubted: BTreeMap<PathBuf, Instant>,
    /// When to look next; None before the first look.
    next: Option<Instant>,
}

struct Eyes {
    inotify: RecommendedWatcher,
    watching: BTreeMap<PathBuf, Inode>,
    /// Folders that cannot be watched, each told of once.
    refused: BTreeSet<PathBuf>,
}

/// What an event means to us.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Closed after writing, or renamed into place.
    Settled(PathBuf),
    /// Somebody writes it (again).
    Writing(PathBuf),
    /// Opened by anybody, us as well.
    Opened(PathBuf),
    /// We opened [`MARK`].
    Mark,
    /// Came, went, or lost its name.
    Other(PathBuf),
    /// Events were lost.
    Lost,
}

impl Watched {
    pub fn new(folder: Folder) -> Watched {
        let (sender, events) = mpsc::channel();
        let root = folder.root.clone();
        let to = sender.clone();
        let handler = move |event: notify::Result<Event>| {
            for seen in meaning(event, &root) {
                // Fails when the control plane ends; then nobody wants to know.
                let _ = to.send(seen);
            }
        };
        let watcher = notify::recommended_watcher(handler).and_then(|mut watcher| {
            watcher.watch(Path::new(MARK), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let eyes = match watcher {
            Ok(inotify) => Some(Eyes {
                inotify,
                watching: BTreeMap::new(),
                refused: BTreeSet::new(),
            }),
            Err(error) => {
                tracing::warn!("no inotify ({error}): looking for changes every 2 s");
                None
            }
        };
        Watched {
            folder,
            eyes,
            events,
            _open: sender,
            settled: BTreeSet::new(),
            written: BTreeSet::new(),
            opened: BTreeMap::new(),
            doubted: BTreeMap::new(),
            next: None,
        }
    }

    /// Blocks until objects or problems may have changed. The first call returns at once.
    pub fn changed(&mut self) -> &Folder {
        let first = self.next.is_none();
        loop {
            if let Some(next) = self.next {
                self.wait(next);
            }
            let mut scan = self.scan();
            let mut changed = scan.changed;
            // What was written into a new folder before it was watched shows in a second look.
            while self.watch(&scan) {
                scan = self.scan();
                changed |= scan.changed;
            }
            let now = Instant::now();
            let unread = (!self.settled.is_empty()).then_some(now);
            let doubted = self.doubted.values().copied().min();
            let all = [Some(now + TICK), scan.due, unread, doubted];
            self.next = all.into_iter().flatten().min();
            if changed || first {
                return &self.folder;
            }
        }
    }

    /// Publishes what is in force now, and then each change of it, for as long as the process lives.
    pub fn feed(mut self, mut publisher: Publisher) -> ! {
        loop {
            let folder = self.changed();
            let problems = folder.problems();
            match folder.unread() {
                Some(why) => publisher.hold_back(why, &problems),
                None => publisher.publish(folder.objects().cloned().collect(), problems),
            }
        }
    }

    fn scan(&mut self) -> Scan {
        let now = Instant::now();
        let mut settled = mem::take(&mut self.settled);
        for (path, _) in self.doubted.extract_if(.., |_, at| *at <= now) {
            self.opened.insert(path.clone(), 0);
            settled.insert(path);
        }
        self.written.clear();
        let look = self.folder.look(&settled, now);
        if self.eyes.is_some() && settled.iter().any(|path| look.has_read(path)) {
            self.catch_up();
        }
        // The kernel tells of a truncation when it is done, but of the opening before it: an
        // opening that is not ours may be a writer's whose work is half visible.
        for path in settled {
            if self.settled.contains(&path) {
                continue;
            }
            if self.opened.remove(&path).is_some_and(|times| times > 1) {
                self.written.insert(path.clone());
                self.doubted.insert(path, Instant::now() + DOUBT);
            }
        }
        self.folder.take(look, &self.written, Instant::now())
    }

    /// Hears of everything that has happened up to now.
    fn catch_up(&mut self) {
        if File::open(MARK).is_err() {
            return;
        }
        let end = Instant::now() + LATE;
        while let Ok(seen) = self.events.recv_timeout(until(end)) {
            if seen == Seen::Mark {
                return;
            }
            self.note(seen);
        }
    }

    /// Waits for the end of the next burst of events, or until `next`.
    fn wait(&mut self, next: Instant) {
        loop {
            let Ok(seen) = self.events.recv_timeout(until(next)) else {
                return;
            };
            if self.note(seen) {
                break;
            }
        }
        let end = Instant::now() + BURST;
        while let Ok(seen) = self.events.recv_timeout(QUIET.min(until(end))) {
            self.note(seen);
        }
    }

    /// True when it is worth a look.
    fn note(&mut self, seen: Seen) -> bool {
        match seen {
            Seen::Settled(path) => {
                self.opened.insert(path.clone(), 0);
                self.doubted.remove(&path);
                self.settled.insert(path);
            }
            Seen::Writing(path) => {
                self.settled.remove(&path);
                self.doubted.remove(&path);
                self.written.insert(path);
                return false;
            }
            Seen::Opened(path) => {
                if let Some(times) = self.opened.get_mut(&path) {
                    *times += 1;
                }
                return false;
            }
            Seen::Other(path) => {
                // inotify drops its watch of a folder that loses its name.
                if let Some(eyes) = &mut self.eyes {
                    eyes.watching.remove(&path);
                }
            }
            Seen::Mark => return false,
            Seen::Lost => {}
        }
        true
    }

    /// Watches every folder in sight and the one above; true when one was added.
    fn watch(&mut self, scan: &Scan) -> bool {
        let mut folders = scan.folders.clone();
        if let Some(above) = self.folder.root.parent()
            && let Ok(metadata) = fs::metadata(above)
        {
            folders.insert(above.into(), (metadata.dev(), metadata.ino()));
        }
        self.eyes.as_mut().is_some_and(|eyes| eyes.turn_to(folders))
    }
}

impl Eyes {
    fn turn_to(&mut self, folders: BTreeMap<PathBuf, Inode>) -> bool {
        self.watching.retain(|path, inode| {
            let stays = folders.get(path) == Some(inode);
            if !stays {
                // Fails where the folder is gone, and its watch with it.
                let _ = self.inotify.unwatch(path);
            }
            stays
        });
        let mut added = false;
        for (path, inode) in folders {
            if self.watching.contains_key(&path) {
                continue;
            }
            match self.inotify.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.refused.remove(&path);
                    self.watching.insert(path, inode);
                    added = true;
                }
                Err(error) => {
                    if self.refused.insert(path) {
                        tracing::warn!("looking for changes every 2 s: {error}");
                    }
                }
            }
        }
        added
    }
}

fn meaning(event: notify::Result<Event>, root: &Path) -> Vec<Seen> {
    let Ok(event) = event else {
        return vec![Seen::Lost];
    };
    if event.need_rescan() {
        return vec![Seen::Lost];
    }
    let is_file = |path: &PathBuf| path == root || (path.starts_with(root) && is_manifest(path));
    let is_below = |path: &PathBuf| path.starts_with(root);
    let paths = event.paths.into_iter();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
            paths.filter(is_file).map(Seen::Settled).collect()
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            paths.filter(is_below).map(Seen::Settled).collect()
        }
        EventKind::Access(AccessKind::Open(_)) => paths
            .filter_map(|path| match path {
                path if path == Path::new(MARK) => Some(Seen::Mark),
                path => is_file(&path).then_some(Seen::Opened(path)),
            })
            .collect(),
        EventKind::Modify(ModifyKind::Data(_)) => {
            paths.filter(is_file).map(Seen::Writing).collect()
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::From))
        | EventKind::Create(_)
        | EventKind::Remove(_) => paths.filter(is_below).map(Seen::Other).collect(),
        _ => Vec::new(),
    }
}

fn until(time: Instant) -> Duration {
    time.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests;
