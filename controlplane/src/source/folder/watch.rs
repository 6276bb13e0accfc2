//! Waiting for a folder to change: inotify for speed, a look every two seconds for what inotify
//! does not tell (lost events, another file system mounted over, a link that leads elsewhere).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::fs::{MemfdFlags, memfd_create};

use super::walk::{Inode, is_manifest};
use super::{Folder, Meanwhile, Scan};
use crate::publish::{Publisher, Reading};

/// Longest time without a look.
const TICK: Duration = Duration::from_secs(2);
/// A burst of events has ended when nothing came for this long.
const QUIET: Duration = Duration::from_millis(2);
/// A burst is not waited for longer than this.
const BURST: Duration = Duration::from_millis(8);

/// The mark is waited for no longer than this.
const LATE: Duration = Duration::from_secs(1);

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
    /// When to look next; None before the first look.
    next: Option<Instant>,
}

struct Eyes {
    /// A file that nobody else can open. inotify keeps the order of events, so once it tells of our
    /// opening, it has told of everything before.
    mark: File,
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
    /// We opened the mark.
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
        let eyes = Eyes::open(root, sender.clone())
            .inspect_err(|error| {
                tracing::warn!("no inotify ({error}): looking for changes every 2 s");
            })
            .ok();
        Watched {
            folder,
            eyes,
            events,
            _open: sender,
            settled: BTreeSet::new(),
            written: BTreeSet::new(),
            opened: BTreeMap::new(),
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
            let tick = scan.due.map_or(now + TICK, |due| due.min(now + TICK));
            self.next = Some(if self.settled.is_empty() { tick } else { now });
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
            if tracing::enabled!(tracing::Level::DEBUG) {
                for line in folder.passed_over() {
                    tracing::debug!("passed over: {line}");
                }
            }
            match folder.unread() {
                Some(why) => publisher.hold_back(why, &problems),
                None => publisher.publish(Reading {
                    objects: folder.objects().to_vec(),
                    problems,
                    ..Reading::default()
                }),
            }
        }
    }

    fn scan(&mut self) -> Scan {
        let now = Instant::now();
        let settled = mem::take(&mut self.settled);
        self.written.clear();
        let sight = self.folder.survey(&settled);
        // Keeps our opening of a file apart from somebody else's just before: inotify makes one
        // event of two that are alike and follow each other.
        self.catch_up(&settled);
        let look = self.folder.read(sight, now);
        self.catch_up(&settled);
        // One opening is ours.
        let opened = settled
            .into_iter()
            .filter(|path| !self.settled.contains(path))
            .filter(|path| self.opened.remove(path).is_some_and(|times| times > 1))
            .collect();
        let meanwhile = Meanwhile {
            written: mem::take(&mut self.written),
            opened,
        };
        self.folder.take(look, &meanwhile, Instant::now())
    }

    /// Hears of everything that has happened up to now, where that matters.
    fn catch_up(&mut self, settled: &BTreeSet<PathBuf>) {
        let Some(eyes) = &self.eyes else { return };
        if settled.is_empty() || File::open(place_of(&eyes.mark)).is_err() {
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
                self.settled.insert(path);
            }
            Seen::Writing(path) => {
                self.settled.remove(&path);
                self.opened.remove(&path);
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
    fn open(root: PathBuf, to: mpsc::Sender<Seen>) -> notify::Result<Eyes> {
        let mark = File::from(
            memfd_create("mark", MemfdFlags::CLOEXEC)
                .map_err(|error| notify::Error::io(error.into()))?,
        );
        let place = place_of(&mark);
        let mut inotify = notify::recommended_watcher({
            let place = place.clone();
            move |event: notify::Result<Event>| {
                for seen in meaning(event, &root, &place) {
                    // Fails when the control plane ends; then nobody wants to know.
                    let _ = to.send(seen);
                }
            }
        })?;
        inotify.watch(&place, RecursiveMode::NonRecursive)?;
        Ok(Eyes {
            mark,
            inotify,
            watching: BTreeMap::new(),
            refused: BTreeSet::new(),
        })
    }

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

fn place_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn meaning(event: notify::Result<Event>, root: &Path, mark: &Path) -> Vec<Seen> {
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
                path if path == mark => Some(Seen::Mark),
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
