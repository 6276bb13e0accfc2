//! Waits for changes of a folder, by inotify and by a listing every two seconds. The listing finds changes without an
//! event: lost events, another mounted file system, or a link with a new target.

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

use super::listing::{Inode, is_manifest};
use super::{EventsDuringRead, Folder, Scan};
use crate::publish::{Publisher, Snapshot};

/// Longest time between two listings.
const TICK: Duration = Duration::from_secs(2);
/// A burst of events ends when there was no event for this time.
const QUIET: Duration = Duration::from_millis(2);
/// Maximum duration of a burst.
const BURST: Duration = Duration::from_millis(8);

/// Longest wait for the event of the file `marker`.
const MARKER_TIMEOUT: Duration = Duration::from_secs(1);

/// A folder and its events. Its methods block, so it needs its own thread.
pub struct FolderWatcher {
    folder: Folder,
    inotify: Option<Inotify>,
    events: mpsc::Receiver<FileEvent>,
    /// Keeps `events` open if inotify is not available.
    _open: mpsc::Sender<FileEvent>,
    /// Files that were closed after writing, or renamed into place, since the last listing.
    settled: BTreeSet<PathBuf>,
    /// Files that were written since the listing began.
    written: BTreeSet<PathBuf>,
    /// How often each file was opened after it was added to `settled`.
    opened: BTreeMap<PathBuf, usize>,
    /// The time of the next listing; None before the first one.
    next: Option<Instant>,
}

struct Inotify {
    /// A file that no other process can open. inotify keeps the order of events. So after the event of this file, no
    /// earlier event is missing.
    marker: File,
    inotify: RecommendedWatcher,
    watching: BTreeMap<PathBuf, Inode>,
    /// Folders that cannot be watched; each is logged once.
    refused: BTreeSet<PathBuf>,
}

/// The meaning of an event.
#[derive(Debug, PartialEq, Eq)]
enum FileEvent {
    /// The file was closed after writing, or renamed into place.
    Settled(PathBuf),
    /// A process has written to the file.
    Writing(PathBuf),
    /// A process, maybe this process, has opened the file.
    Opened(PathBuf),
    /// This process has opened the marker.
    Marker,
    /// The path was created, removed, or renamed away.
    Other(PathBuf),
    /// Events were lost.
    Lost,
}

impl FolderWatcher {
    pub fn new(folder: Folder) -> FolderWatcher {
        let (sender, events) = mpsc::channel();
        let root = folder.root.clone();
        let inotify = Inotify::open(root, sender.clone())
            .inspect_err(|error| {
                tracing::warn!("inotify does not work, so the folder is listed every 2 s: {error}");
            })
            .ok();
        FolderWatcher {
            folder,
            inotify,
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
            // A second listing shows files that were written into a new folder before its watch began.
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

    /// Publishes the objects and each later change. Never returns.
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
                None => publisher.publish(Snapshot {
                    objects: folder.objects().to_vec(),
                    problems,
                    ..Snapshot::default()
                }),
            }
        }
    }

    fn scan(&mut self) -> Scan {
        let now = Instant::now();
        let settled = mem::take(&mut self.settled);
        self.written.clear();
        let listing = self.folder.list(&settled);
        // inotify merges two equal events in a row. If another process opens a file, and then this process opens the
        // same file, the marker event comes between the two events and keeps them separate.
        self.catch_up(&settled);
        let files = self.folder.read(listing, now);
        self.catch_up(&settled);
        // This process has opened each file once, so a second opening comes from another process.
        let opened = settled
            .into_iter()
            .filter(|path| !self.settled.contains(path))
            .filter(|path| self.opened.remove(path).is_some_and(|times| times > 1))
            .collect();
        let events = EventsDuringRead {
            written: mem::take(&mut self.written),
            opened,
        };
        self.folder.apply(files, &events, Instant::now())
    }

    /// Processes all events up to now. Does nothing if `settled` is empty.
    fn catch_up(&mut self, settled: &BTreeSet<PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        if settled.is_empty() || File::open(path_of(&inotify.marker)).is_err() {
            return;
        }
        let end = Instant::now() + MARKER_TIMEOUT;
        while let Ok(event) = self.events.recv_timeout(until(end)) {
            if event == FileEvent::Marker {
                return;
            }
            self.note(event);
        }
    }

    /// Waits for the end of the next burst of events. Returns at `next` if no burst has begun.
    fn wait(&mut self, next: Instant) {
        loop {
            let Ok(event) = self.events.recv_timeout(until(next)) else {
                return;
            };
            if self.note(event) {
                break;
            }
        }
        let end = Instant::now() + BURST;
        while let Ok(event) = self.events.recv_timeout(QUIET.min(until(end))) {
            self.note(event);
        }
    }

    /// Records an event. Returns true if the event requires a listing.
    fn note(&mut self, event: FileEvent) -> bool {
        match event {
            FileEvent::Settled(path) => {
                self.opened.insert(path.clone(), 0);
                self.settled.insert(path);
            }
            FileEvent::Writing(path) => {
                self.settled.remove(&path);
                self.opened.remove(&path);
                self.written.insert(path);
                return false;
            }
            FileEvent::Opened(path) => {
                if let Some(times) = self.opened.get_mut(&path) {
                    *times += 1;
                }
                return false;
            }
            FileEvent::Other(path) => {
                // inotify ends the watch of a folder that is renamed or removed.
                if let Some(inotify) = &mut self.inotify {
                    inotify.watching.remove(&path);
                }
            }
            FileEvent::Marker => return false,
            FileEvent::Lost => {}
        }
        true
    }

    /// Watches every listed folder and the parent of the root. Returns true if a folder was added.
    fn watch(&mut self, scan: &Scan) -> bool {
        let mut folders = scan.folders.clone();
        if let Some(parent) = self.folder.root.parent()
            && let Ok(metadata) = fs::metadata(parent)
        {
            folders.insert(parent.into(), (metadata.dev(), metadata.ino()));
        }
        self.inotify
            .as_mut()
            .is_some_and(|inotify| inotify.watch_only(folders))
    }
}

impl Inotify {
    fn open(root: PathBuf, to: mpsc::Sender<FileEvent>) -> notify::Result<Inotify> {
        let marker = File::from(
            memfd_create("marker", MemfdFlags::CLOEXEC)
                .map_err(|error| notify::Error::io(error.into()))?,
        );
        let path = path_of(&marker);
        let mut inotify = notify::recommended_watcher({
            let path = path.clone();
            move |event: notify::Result<Event>| {
                for event in meaning(event, &root, &path) {
                    // An error means that the receiver is gone, because the process ends.
                    let _ = to.send(event);
                }
            }
        })?;
        inotify.watch(&path, RecursiveMode::NonRecursive)?;
        Ok(Inotify {
            marker,
            inotify,
            watching: BTreeMap::new(),
            refused: BTreeSet::new(),
        })
    }

    /// Watches these folders and no other folders. Returns true if a folder was added.
    fn watch_only(&mut self, folders: BTreeMap<PathBuf, Inode>) -> bool {
        self.watching.retain(|path, inode| {
            let stays = folders.get(path) == Some(inode);
            if !stays {
                // An error means that the folder and its watch are already gone.
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
                        tracing::warn!(
                            "a folder cannot be watched, so it is listed every 2 s: {error}"
                        );
                    }
                }
            }
        }
        added
    }
}

fn path_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

fn meaning(event: notify::Result<Event>, root: &Path, marker: &Path) -> Vec<FileEvent> {
    let Ok(event) = event else {
        return vec![FileEvent::Lost];
    };
    if event.need_rescan() {
        return vec![FileEvent::Lost];
    }
    let is_file = |path: &PathBuf| path == root || (path.starts_with(root) && is_manifest(path));
    let is_below = |path: &PathBuf| path.starts_with(root);
    let paths = event.paths.into_iter();
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
            paths.filter(is_file).map(FileEvent::Settled).collect()
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
            paths.filter(is_below).map(FileEvent::Settled).collect()
        }
        EventKind::Access(AccessKind::Open(_)) => paths
            .filter_map(|path| match path {
                path if path == marker => Some(FileEvent::Marker),
                path => is_file(&path).then_some(FileEvent::Opened(path)),
            })
            .collect(),
        EventKind::Modify(ModifyKind::Data(_)) => {
            paths.filter(is_file).map(FileEvent::Writing).collect()
        }
        EventKind::Modify(ModifyKind::Name(RenameMode::From))
        | EventKind::Create(_)
        | EventKind::Remove(_) => paths.filter(is_below).map(FileEvent::Other).collect(),
        _ => Vec::new(),
    }
}

fn until(time: Instant) -> Duration {
    time.saturating_duration_since(Instant::now())
}

#[cfg(test)]
mod tests;
