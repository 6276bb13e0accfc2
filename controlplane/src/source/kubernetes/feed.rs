//! Brings events from the watches to the publisher. The feed collects a burst of events, and then publishes once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::object_store::{Impact, ObjectStore, SourceEvent};
use super::read_object::Key;
use crate::publish::Publisher;

/// A burst ends when there was no event for this time.
const QUIET: Duration = Duration::from_millis(5);
/// Maximum duration of a burst.
const BURST: Duration = Duration::from_millis(50);
/// After a translation there is a pause, which leaves time for requests when objects change often. The pause is this
/// many times as long as the translation, and at most [`MAX_PAUSE`].
const PAUSE_FACTOR: u32 = 2;
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Runs until all senders of events are gone. `config_maps` gets the names of the ConfigMaps that policies need.
pub async fn feed(
    mut events: mpsc::Receiver<SourceEvent>,
    mut publisher: Publisher,
    config_maps: watch::Sender<BTreeSet<Key>>,
) {
    let mut store = ObjectStore::default();
    let mut is_published = false;
    let mut impact = Impact::Nothing;
    let mut pause_end = Instant::now();
    while let Some(first) = events.recv().await {
        impact = impact.max(store.apply(first));
        let latest = pause_end.max(Instant::now() + BURST);
        loop {
            let quiet = pause_end.max(Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, events.recv()).await {
                Ok(Some(next)) => impact = impact.max(store.apply(next)),
                Ok(None) => return,
                Err(_) => break,
            }
        }
        let needed = store.needed_config_maps();
        config_maps.send_if_modified(|before| {
            let is_new = *before != needed;
            if is_new {
                before.clone_from(&needed);
            }
            is_new
        });
        // A policy without its certificates would close its Services. The reader of ConfigMaps answers within seconds,
        // also if a ConfigMap is absent.
        if !store.has_read_config_maps(&needed) {
            continue;
        }
        if !is_published && !store.is_complete() {
            if let Some(why) = store.obstacle() {
                publisher.hold_back(&why, &[]);
            }
            continue;
        }
        match impact {
            _ if !is_published => {}
            Impact::Nothing => continue,
            Impact::Outcome => {
                publisher.read_on(store.subjects(), store.watermark());
                impact = Impact::Nothing;
                continue;
            }
            Impact::Translation => {}
        }
        let snapshot = store.snapshot();
        let start = Instant::now();
        let published = spawn_blocking(move || {
            publisher.publish(snapshot);
            publisher
        });
        // An error means that the translation has panicked. Then the feed ends, and the process ends too.
        let Ok(back) = published.await else { return };
        publisher = back;
        pause_end = Instant::now() + MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR);
        is_published = true;
        impact = Impact::Nothing;
    }
}
