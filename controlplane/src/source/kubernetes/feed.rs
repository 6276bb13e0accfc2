//! From the watches to the publisher: news are taken in bursts, and what they come to is published.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::store::{News, Store, Worth};
use crate::publish::Publisher;

/// A burst of news has ended when nothing came for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A burst is not waited for longer than this.
const BURST: Duration = Duration::from_millis(50);
/// After a translation comes a rest of so many times its own length, and no longer than this: however much changes,
/// there is time for those who ask.
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_millis(500);

/// Runs until there is nobody left who brings news.
pub async fn feed(mut news: mpsc::Receiver<News>, mut publisher: Publisher) {
    let mut store = Store::default();
    let mut is_published = false;
    let mut worth = Worth::Nothing;
    let mut rested = Instant::now();
    while let Some(first) = news.recv().await {
        worth = worth.max(store.take(first));
        let latest = rested.max(Instant::now() + BURST);
        loop {
            let quiet = rested.max(Instant::now() + QUIET).min(latest);
            match timeout_at(quiet, news.recv()).await {
                Ok(Some(next)) => worth = worth.max(store.take(next)),
                Ok(None) => return,
                Err(_) => break,
            }
        }
        if !is_published && !store.is_whole() {
            if let Some(why) = store.obstacle() {
                publisher.hold_back(&why, &[]);
            }
            continue;
        }
        match worth {
            _ if !is_published => {}
            Worth::Nothing => continue,
            Worth::Outcome => {
                publisher.read_on(store.subjects(), store.watermark());
                worth = Worth::Nothing;
                continue;
            }
            Worth::Translation => {}
        }
        let reading = store.reading();
        let start = Instant::now();
        let published = spawn_blocking(move || {
            publisher.publish(reading);
            publisher
        });
        // Fails when it panicked, which must not be hidden.
        let Ok(back) = published.await else { return };
        publisher = back;
        rested = Instant::now() + LONGEST_REST.min(start.elapsed() * REST);
        is_published = true;
        worth = Worth::Nothing;
    }
}
