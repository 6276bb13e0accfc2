//! Brings events from the watches to the publisher. The feed takes events in bursts and publishes once for each burst.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::object_store::{Impact, ObjectStore, SourceEvent};
use crate::publish::Publisher;

/// A burst ends when there is no event for this long.
const QUIET: Duration = Duration::from_millis(5);
/// Longest burst.
const BURST: Duration = Duration::from_millis(50);
/// The pause after a translation is this many times as long as the translation, and at most [`MAX_PAUSE`]. The pause
/// leaves time for requests when objects change often.
const PAUSE_FACTOR: u32 = 2;
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Runs until all senders of events are gone.
pub async fn feed(mut events: mpsc::Receiver<SourceEvent>, mut publisher: Publisher) {
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
        // Returns Err if the translation panicked. Then the feed ends, and the process ends too.
        let Ok(back) = published.await else { return };
        publisher = back;
        pause_end = Instant::now() + MAX_PAUSE.min(start.elapsed() * PAUSE_FACTOR);
        is_published = true;
        impact = Impact::Nothing;
    }
}
