//! One poll: what there is for it now, and the wait until there is something else.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::Server;
use super::answer::Answer;
use super::poll_headers::{self, Held};
use super::polls::{Poller, Turn};
use super::proxies::{Report, Wanted};
use super::reader::Reader;
use crate::publish::Current;
use crate::serve::listener::until;
use crate::source::kubernetes::horizon::Horizon;
use weir_core::metrics::Metrics;
use weir_core::plan::Scope;
use weir_core::watermark::Watermark;

/// Longer values of `weir-instance` are no instance.
pub(super) const MAX_INSTANCE: usize = 256;
/// At the end of the process a poll is still held for so long: a proxy takes what comes sooner for a failure.
const HELD: Duration = Duration::from_millis(300);
/// A resource that the poller has seen and this replica has not may be about to be found here: for so long after the
/// poll began. Then it is one that the cluster has no more.
const UNFOUND: Duration = Duration::from_secs(5);
/// A lag that is over sooner than this costs no question.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two questions whether the cluster is the one that the poller has seen.
const DOUBT: Duration = Duration::from_secs(5);

/// What is asked for.
struct Poll {
    /// Until when a resource that the poller has seen may yet be found here.
    unfound: Instant,
    scope: Scope,
    /// The only namespace that the poller may read of; None where it may read of all.
    reader: Option<String>,
    version: u32,
    held: Held,
    /// How far the replica that answered before had read.
    seen: Option<Watermark>,
}

impl Server {
    pub(super) async fn answer(
        &mut self,
        scope: Scope,
        reader: &Reader,
        headers: HeaderMap,
        begun: Instant,
        wait: Option<Duration>,
    ) -> Answer {
        let watched = self.watermark.borrow().clone();
        let version = match poll_headers::version(&headers) {
            Ok(version) => version,
            Err(message) => return Answer::BadRequest(message.to_string()),
        };
        let wait = wait.unwrap_or_default();
        let mut poll = Poll {
            unfound: begun + UNFOUND.min(wait),
            scope,
            reader: reader.namespace().map(str::to_owned),
            version,
            held: Held::of(&headers),
            seen: poll_headers::watermark(&headers, &watched),
        };
        let mut turn = self.take_turn(&headers, reader, &poll.scope);
        let (now, watermark) = self.look(&poll);
        if let Some(turn) = &turn {
            self.note(turn, &headers, &poll, &now, &watermark);
        }
        // The bytes of the whole head are kept for as long as one of them is.
        drop(headers);
        if wait.is_zero() || now.is_news() {
            return now;
        }
        let mut lags = matches!(now, Answer::Behind { .. });
        let _held = Gauged::new(&self.metrics);
        let end = sleep_until(begun + wait);
        let found = sleep_until(poll.unfound);
        tokio::pin!(end, found);
        let horizon = self.horizon.clone();
        let doubt =
            |poll: &Poll| is_restored(horizon.clone(), poll.seen.clone().unwrap_or_default());
        let restored = doubt(&poll);
        tokio::pin!(restored);
        loop {
            let ended = async {
                match &mut turn {
                    // The only message is that the other end is gone.
                    Some(turn) => drop((&mut turn.ended).await),
                    None => std::future::pending().await,
                }
            };
            let over = tokio::select! {
                biased;
                changed = self.current.changed() => changed.is_err(),
                () = ended => true,
                () = &mut end => true,
                () = ending(&mut self.ending, begun + HELD) => true,
                changed = self.watermark.changed(), if lags => changed.is_err(),
                () = &mut found, if lags && !found.is_elapsed() => false,
                () = &mut restored, if lags => {
                    poll.seen = None;
                    false
                }
            };
            let (answer, _) = self.look(&poll);
            if over || answer.is_news() {
                return answer;
            }
            lags = matches!(answer, Answer::Behind { .. });
            if !lags {
                // It may have its turn to ask, and nobody else has while it is not driven on.
                restored.set(doubt(&poll));
            }
        }
    }

    fn note(
        &self,
        turn: &Turn,
        headers: &HeaderMap,
        poll: &Poll,
        now: &Answer,
        watermark: &Arc<Watermark>,
    ) {
        let mut report = Report::of(headers, poll.version);
        if let Answer::NeedsNewerVersion(unsayable) = now {
            report.refused = unsayable.to_string();
        } else if report.refused.is_empty() && poll.held.contains(&report.applied) {
            // What it was told with the revision that it holds.
            let seen = poll.seen.clone();
            report.mark = seen.map(|seen| Arc::new(seen.only(watermark)));
        }
        let at = match &*self.current.borrow() {
            Current::Plan(published) => Some(published.at),
            Current::Nothing { .. } => None,
        };
        let wanted = now.revision().zip(at).map(|(revision, at)| Wanted {
            revision,
            at,
            watermark,
        });
        self.proxies.note(&turn.poller, report, wanted.as_ref());
    }

    fn take_turn(&self, headers: &HeaderMap, reader: &Reader, scope: &Scope) -> Option<Turn> {
        let instance = headers.get("weir-instance")?.as_bytes();
        if instance.is_empty() || instance.len() > MAX_INSTANCE {
            return None;
        }
        self.polls.enter(Poller {
            owner: reader.owner(),
            instance: instance.to_vec(),
            scope: scope.clone(),
        })
    }

    /// What there is now, and how far the cluster had been read for it at the least.
    fn look(&mut self, poll: &Poll) -> (Answer, Arc<Watermark>) {
        // Before the plan, which is as new as this or newer.
        let read = self.watermark.borrow_and_update().clone();
        let published = match &*self.current.borrow_and_update() {
            Current::Nothing { why } => return (Answer::Nothing { why: why.clone() }, read),
            Current::Plan(published) => published.clone(),
        };
        let watermark = published.watermark(&read);
        let seen = poll.seen.as_ref();
        let is_young = Instant::now() < poll.unfound;
        let is_behind =
            seen.is_some_and(|seen| !watermark.covers(seen) || (is_young && watermark.lacks(seen)));
        let behind = Answer::Behind {
            holds: !poll.held.is_nothing(),
        };
        let elsewhere = published.rules_elsewhere(&poll.scope, poll.reader.as_deref());
        let answer = match published.rendered(&poll.scope, poll.version) {
            Ok(rendered) if poll.held.contains(&rendered.revision) => Answer::Same {
                rendered,
                watermark: (!is_behind).then(|| watermark.clone()),
                elsewhere,
            },
            _ if is_behind => behind,
            Ok(rendered) => Answer::New {
                rendered,
                watermark: watermark.clone(),
                elsewhere,
            },
            Err(unsayable) => Answer::NeedsNewerVersion(unsayable),
        };
        (answer, watermark)
    }
}

/// Returns when the process ends, but not before this.
async fn ending(it: &mut watch::Receiver<bool>, earliest: Instant) {
    until(it).await;
    sleep_until(earliest).await;
}

/// Returns when it is certain that the cluster which was seen is no more: it was restored from a backup, and counts
/// from lower numbers.
async fn is_restored(horizon: Horizon, seen: Watermark) {
    sleep(PATIENCE).await;
    loop {
        if let Some(newest) = horizon.newest().await
            && !newest.covers(&seen)
        {
            return;
        }
        sleep(DOUBT).await;
    }
}

/// Counts a held poll for as long as it is held.
struct Gauged(Arc<Metrics>);

impl Gauged {
    fn new(metrics: &Arc<Metrics>) -> Gauged {
        metrics.polls_held.inc();
        Gauged(metrics.clone())
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.polls_held.dec();
    }
}
