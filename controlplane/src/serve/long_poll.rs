//! Answers one long poll. If the proxy already has the present configuration, waits for a new configuration, for the
//! end of the wait time, or for the end of the process.
//!
//! If the process is killed, the poll fails, and the filter polls again (`on_failure` in filter/src/root.rs).
//!
//! A watermark has a resource version for each kind of object: a replica has read every object of the kind up to this
//! version. A proxy sends the watermark of its last answer, so that another replica does not send an older
//! configuration.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Server;
use super::answer::Answer;
use super::cluster_poll::ClusterPoll;
use super::poll_headers::{self, KnownRevisions};
use super::polls::{PollGuard, Poller};
use super::proxies::{ExpectedRevision, Proxies, Report};
use super::reader::Reader;
use crate::publish::Current;
use crate::source::kubernetes::cluster_versions::ClusterVersions;
use weir_core::metrics::Metrics;
use weir_core::plan::Scope;
use weir_core::watermark::Watermark;
use weir_split::wire::headers::{INSTANCE, MAX_INSTANCE};

/// Shortest time for which a poll is held when the process ends. A proxy counts an earlier 304 as a failure.
const MIN_HOLD: Duration = Duration::from_millis(300);
/// A client's watermark can contain a resource (such as httproutes) that this replica has not found yet. The poll waits
/// this long for the resource. After this time, the replica assumes that the cluster no longer has the resource.
const DISCOVERY: Duration = Duration::from_secs(5);
/// If this replica has not reached the client's watermark after this time, it requests the newest resource versions
/// from the API server.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two requests for the newest resource versions.
const ASK_VERSIONS: Duration = Duration::from_secs(5);

/// A request for a configuration.
struct Poll {
    /// The end of the wait for a resource that is only in the client's watermark.
    discovery_end: Instant,
    scope: Scope,
    /// The only namespace that the client may read; None if the client may read every namespace.
    reader: Option<String>,
    version: u32,
    known_revisions: KnownRevisions,
    /// The watermark of the client's previous answer, from this replica or another one.
    seen: Option<Watermark>,
    /// None if the proxy does not get its clusters from Weir.
    clusters: Option<ClusterPoll>,
}

impl Server {
    /// Answers at once if the replica has a new configuration for the client. Otherwise waits for a new configuration,
    /// for the end of `wait`, for a newer poll of the same proxy, or for the end of the process.
    pub(super) async fn answer(
        &mut self,
        scope: Scope,
        reader: &Reader,
        headers: HeaderMap,
        start: Instant,
        wait: Option<Duration>,
    ) -> Answer {
        let watched = self.watermark.borrow().clone();
        let version = match poll_headers::version(&headers) {
            Ok(version) => version,
            Err(message) => return Answer::BadRequest(message.to_string()),
        };
        let wait = wait.unwrap_or_default();
        let mut poll = Poll {
            discovery_end: start + DISCOVERY.min(wait),
            scope,
            reader: reader.namespace().map(str::to_owned),
            version,
            known_revisions: KnownRevisions::of(&headers),
            seen: poll_headers::watermark(&headers, &watched),
            clusters: None,
        };
        let mut open = self.open_poll(&headers, reader, &poll.scope);
        let poller = open.as_ref().map(|open| &open.guard.poller);
        poll.clusters =
            self.cluster_poll(&headers, reader, &poll.scope, &poll.known_revisions, poller);
        let (answer, watermark) = self.current_answer(&mut poll);
        if let Some(open) = &open {
            self.record_report(&open.guard, &headers, &poll, &answer, &watermark);
        }
        // Each header value shares the bytes of the whole head, so even one value would keep all bytes in memory.
        drop(headers);
        let answer = if wait.is_zero() || answer.is_immediate() {
            answer
        } else {
            self.hold(
                &mut poll,
                open.as_mut(),
                answer,
                start + wait,
                start + MIN_HOLD,
            )
            .await
        };
        if let Some(open) = &mut open {
            open.is_answered = true;
        }
        answer
    }

    /// Holds the poll until there is a new configuration, or until another reason to answer. `answer` is the present
    /// answer. The end of the process is no reason before `earliest`.
    async fn hold(
        &mut self,
        poll: &mut Poll,
        mut open: Option<&mut OpenPoll>,
        answer: Answer,
        end: Instant,
        earliest: Instant,
    ) -> Answer {
        let mut is_behind = matches!(answer, Answer::Behind { .. });
        let _gauge = HeldPollGauge::new(&self.metrics);
        let end = sleep_until(end);
        let discovery = sleep_until(poll.discovery_end);
        tokio::pin!(end, discovery);
        let versions = self.versions.clone();
        let wait_for_restore =
            |poll: &Poll| is_restored(versions.clone(), poll.seen.clone().unwrap_or_default());
        let restored = wait_for_restore(poll);
        tokio::pin!(restored);
        loop {
            let ended = async {
                match &mut open {
                    Some(open) => open.guard.ended.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let clusters = async {
                match &mut poll.clusters {
                    Some(clusters) => clusters.changed().await,
                    None => std::future::pending().await,
                }
            };
            let over = tokio::select! {
                biased;
                changed = self.current.changed() => changed.is_err(),
                () = ended => true,
                () = &mut end => true,
                () = ending(&self.ending, earliest) => true,
                () = clusters => false,
                changed = self.watermark.changed(), if is_behind => changed.is_err(),
                () = &mut discovery, if is_behind && !discovery.is_elapsed() => false,
                () = &mut restored, if is_behind => {
                    poll.seen = None;
                    false
                }
            };
            let (answer, _) = self.current_answer(poll);
            self.record_clusters(poll, open.as_deref(), &answer);
            if over || answer.is_immediate() {
                return answer;
            }
            is_behind = matches!(answer, Answer::Behind { .. });
            if !is_behind {
                // This future may hold the lock of a request for versions, and the loop does not run the future
                // now. Replace the future, because otherwise other polls would wait for this lock.
                restored.set(wait_for_restore(poll));
            }
        }
    }

    fn record_report(
        &self,
        guard: &PollGuard,
        headers: &HeaderMap,
        poll: &Poll,
        answer: &Answer,
        watermark: &Arc<Watermark>,
    ) {
        let mut report = Report::of(headers, poll.version);
        let clusters = poll.clusters.as_ref();
        let is_partial = clusters.is_some_and(ClusterPoll::is_waiting);
        report.clusters = clusters.map(|it| it.status.clone()).unwrap_or_default();
        // Until the proxy runs the whole document, it may run a partial document of another replica.
        let may_be_partial =
            clusters.is_some() && !is_partial && !matches!(answer, Answer::Same { .. });
        if let Answer::NeedsNewerVersion(reason) = answer {
            report.refused = reason.to_string();
        } else if report.refused.is_empty()
            && poll.known_revisions.contains(&report.applied)
            && !may_be_partial
        {
            // A replica has sent this watermark together with the revision that the proxy uses.
            let seen = poll.seen.clone();
            report.watermark = seen.map(|seen| Arc::new(seen.only(watermark)));
        }
        let at = match &*self.current.borrow() {
            Current::Plan(published) => Some(published.at),
            Current::Nothing { .. } => None,
        };
        let expected = answer
            .revision()
            // The revision of a partial document may also be the revision of an older whole document.
            .filter(|_| !is_partial)
            .zip(at)
            .map(|(revision, at)| ExpectedRevision {
                revision,
                at,
                watermark,
            });
        let is_listed = self
            .proxies
            .record(&guard.poller, report, expected.as_ref());
        if let Some(clusters) = clusters {
            self.record_running(clusters, &guard.poller, is_listed);
        }
    }

    /// Records what the proxy lacks now, except if the answer ends the poll. Then the next poll records it.
    fn record_clusters(&self, poll: &Poll, open: Option<&OpenPoll>, answer: &Answer) {
        if let (Some(clusters), Some(open)) = (&poll.clusters, open)
            && !answer.is_immediate()
        {
            self.proxies.record_clusters(&open.guard, &clusters.status);
        }
    }

    /// Registers the poll. Returns None if the poll has no valid instance, or if the limit of instances is reached.
    fn open_poll(&self, headers: &HeaderMap, reader: &Reader, scope: &Scope) -> Option<OpenPoll> {
        let instance = headers.get(INSTANCE)?.as_bytes();
        if instance.is_empty() || instance.len() > MAX_INSTANCE {
            return None;
        }
        let guard = self.polls.register(Poller {
            owner: reader.owner(),
            instance: instance.to_vec(),
            scope: scope.clone(),
        })?;
        Some(OpenPoll {
            guard,
            proxies: self.proxies.clone(),
            is_answered: false,
        })
    }

    /// Returns the present answer and a watermark. The answer includes every change up to the watermark, and maybe
    /// more.
    fn current_answer(&mut self, poll: &mut Poll) -> (Answer, Arc<Watermark>) {
        // The watermark is read before the plan, so that the plan is not older than the watermark.
        let read = self.watermark.borrow_and_update().clone();
        let published = match &*self.current.borrow_and_update() {
            Current::Nothing { why } => return (Answer::Nothing { why: why.clone() }, read),
            Current::Plan(published) => published.clone(),
        };
        let watermark = published.watermark(&read);
        let seen = poll.seen.as_ref();
        let may_be_discovered = Instant::now() < poll.discovery_end;
        let is_behind = seen.is_some_and(|seen| {
            !watermark.covers(seen) || (may_be_discovered && watermark.lacks(seen))
        });
        let behind = Answer::Behind {
            has_document: !poll.known_revisions.is_empty(),
        };
        let elsewhere = published.rules_elsewhere(&poll.scope, poll.reader.as_deref());
        let answer = match published.rendered(&poll.scope, poll.version) {
            Ok(rendered) if poll.known_revisions.contains(&rendered.revision) => Answer::Same {
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
            Err(reason) => Answer::NeedsNewerVersion(reason),
        };
        let Some(clusters) = &mut poll.clusters else {
            return (answer, watermark);
        };
        let document = (&poll.scope, poll.version);
        let known = &poll.known_revisions;
        let answer = self.with_clusters(clusters, document, known, &published, answer);
        (answer, watermark)
    }
}

/// A registered poll. hyper drops the future of a request when the client closes the connection. So if the poll is
/// dropped without an answer, its connection has closed.
struct OpenPoll {
    guard: PollGuard,
    proxies: Arc<Proxies>,
    is_answered: bool,
}

impl Drop for OpenPoll {
    fn drop(&mut self) {
        let PollGuard { poller, ended, .. } = &self.guard;
        self.proxies.record_end(poller, ended, self.is_answered);
    }
}

/// Waits until the process ends, and at least until `earliest`.
async fn ending(token: &CancellationToken, earliest: Instant) {
    token.cancelled().await;
    sleep_until(earliest).await;
}

/// Waits until the API server reports lower versions than `seen`. This means that the cluster was restored from a
/// backup.
async fn is_restored(versions: ClusterVersions, seen: Watermark) {
    sleep(PATIENCE).await;
    loop {
        if let Some(newest) = versions.newest().await
            && !newest.covers(&seen)
        {
            return;
        }
        sleep(ASK_VERSIONS).await;
    }
}

/// Counts a held poll in the metrics until this value is dropped.
struct HeldPollGauge(Arc<Metrics>);

impl HeldPollGauge {
    fn new(metrics: &Arc<Metrics>) -> HeldPollGauge {
        metrics.polls_held.inc();
        HeldPollGauge(metrics.clone())
    }
}

impl Drop for HeldPollGauge {
    fn drop(&mut self) {
        self.0.polls_held.dec();
    }
}
