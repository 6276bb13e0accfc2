//! Starts the writes of statuses and Events. Limits the number of writes at the same time, and the number of writes per
//! second.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::StatusReporter;
use super::patch::{PatchResult, is_permanent, patch};
use super::write_state::{ObjectWriteState, Settled, newest};
use crate::publish::Outcome;
use crate::report::events::{Allowance, Events, Note};
use crate::report::lease::WRITE;
use weir_core::metrics::Metrics;
use weir_core::status::proxy::Proxy;
use weir_core::status::subject::Subject;
use weir_core::status::waits;

const WRITES_PER_SECOND: f64 = 100.0;
const EVENTS_PER_SECOND: f64 = 20.0;
const MAX_IN_FLIGHT: usize = 16;
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Pause after a write that the API server refused. The pause is long, because the API server would refuse the same
/// write again.
const RETRY_REFUSED: Duration = Duration::from_secs(30);

/// Remembers which statuses and Events were written, and which writes are running.
pub struct StatusWriter {
    /// The key is the uid of the object.
    states: HashMap<String, ObjectWriteState>,
    writes: JoinSet<FinishedWrite>,
    allowance: Allowance,
    /// Resources with a CustomResourceDefinition that drops fields of the status. The writer logs each resource once.
    dropping: HashSet<String>,
    events: Events,
    event_allowance: Allowance,
    events_not_before: Instant,
    outcome: Option<Arc<Outcome>>,
    /// A counter that rises when the problems, the Gateways, the refusal of a plan or the proxies have changed.
    epoch: u64,
    /// A counter that rises when only watermarks of proxies have changed. A proxy runs every object version up to its
    /// watermark.
    reads: u64,
    /// True if a status may need a write.
    is_stale: bool,
}

/// The result of a write that has ended.
enum FinishedWrite {
    Status {
        subject: Arc<Subject>,
        /// The status was made for this resource version of the object.
        version: String,
        result: PatchResult,
    },
    /// The Event that must be written again. None if the Event was written, or if the API server never accepts it.
    Event(Option<Note>),
}

impl StatusWriter {
    pub fn new(now: Instant) -> StatusWriter {
        StatusWriter {
            states: HashMap::new(),
            writes: JoinSet::new(),
            allowance: Allowance::new(WRITES_PER_SECOND, now),
            dropping: HashSet::new(),
            events: Events::default(),
            event_allowance: Allowance::new(EVENTS_PER_SECOND, now),
            events_not_before: now,
            outcome: None,
            epoch: 0,
            reads: 0,
            is_stale: true,
        }
    }

    /// Plans the writes for a new outcome.
    pub fn take_in(&mut self, outcome: &Arc<Outcome>, now: Instant) {
        let before = self.outcome.replace(outcome.clone());
        if before.as_ref().is_some_and(|it| Arc::ptr_eq(it, outcome)) {
            return;
        }
        self.is_stale = true;
        let has_same_problems = |before: &Outcome| Arc::ptr_eq(&before.problems, &outcome.problems);
        if before.as_deref().is_some_and(has_same_problems) {
            self.events.retain(outcome);
        } else {
            self.events.update(outcome, now);
        }
        let has_same_findings = |before: &Outcome| {
            has_same_problems(before)
                && before.gateways == outcome.gateways
                && before.refused == outcome.refused
                && (outcome.refused.is_none() || before.in_force == outcome.in_force)
        };
        if !before.as_deref().is_some_and(has_same_findings) {
            self.epoch += 1;
        }
        let subjects = outcome.subjects.iter();
        let uids: HashSet<&str> = subjects.map(|it| it.uid.as_str()).collect();
        self.states
            .retain(|uid, state| state.is_in_flight || uids.contains(uid.as_str()));
    }

    /// Begins the writes that are due.
    pub fn begin_writes(
        &mut self,
        reporter: &StatusReporter,
        identity: &str,
        outcome: &Outcome,
        proxies: &[Proxy],
        now: Instant,
    ) {
        if self.is_stale {
            self.is_stale = false;
            self.begin_status_writes(reporter, outcome, proxies, now);
        }
        while self.events.has_due(now)
            && self.events_not_before <= now
            && self.writes.len() < MAX_IN_FLIGHT
            && self.event_allowance.take(now)
        {
            let Some(note) = self.events.take(now) else {
                break;
            };
            let count = self.events.count(&note);
            let (client, identity) = (reporter.client.clone(), identity.to_owned());
            let metrics = reporter.metrics.clone();
            self.writes.spawn(async move {
                match timeout(WRITE, note.write(client, &identity, count)).await {
                    Ok(Ok(is_new)) => {
                        if is_new {
                            metrics.events.inc();
                        }
                        FinishedWrite::Event(None)
                    }
                    Ok(Err(error)) => {
                        tracing::warn!("an Event could not be written: {error}");
                        FinishedWrite::Event((!is_permanent(&error)).then_some(note))
                    }
                    Err(_) => {
                        tracing::warn!("an Event could not be written in time");
                        FinishedWrite::Event(Some(note))
                    }
                }
            });
        }
    }

    fn begin_status_writes(
        &mut self,
        reporter: &StatusReporter,
        outcome: &Outcome,
        proxies: &[Proxy],
        now: Instant,
    ) {
        let evidence = outcome.evidence(proxies);
        let time = jiff::Timestamp::now();
        let mut due = Vec::new();
        for subject in &outcome.subjects {
            let state = match self.states.get_mut(&subject.uid) {
                Some(state) => state,
                None => self.states.entry(subject.uid.clone()).or_default(),
            };
            if state.is_settled(subject, self.epoch, self.reads) {
                continue;
            }
            let (_, status) = newest(subject, state);
            let status = status.value();
            match evidence.status(subject, &status, time) {
                None => {
                    state.settled = Some(Settled {
                        subject: subject.clone(),
                        epoch: self.epoch,
                        reads: waits(&status).then_some(self.reads),
                    });
                }
                Some(patch) if state.must_wait(subject, &status, &patch, now) => {
                    self.is_stale = true;
                }
                Some(_) => due.push((state.at, subject)),
            }
        }
        // The object that was written longest ago comes first.
        due.sort_by_key(|(at, ..)| *at);
        for (_, subject) in due {
            if self.writes.len() >= MAX_IN_FLIGHT || !self.allowance.take(now) {
                self.is_stale = true;
                break;
            }
            let Some(state) = self.states.get_mut(&subject.uid) else {
                continue;
            };
            // The first loop keeps no statuses, because all of them together would need much memory. So this loop makes
            // the status of each object again.
            let (version, status) = newest(subject, state);
            let Some(new_status) = evidence.status(subject, &status.value(), time) else {
                continue;
            };
            state.begin(now);
            let (client, subject) = (reporter.client.clone(), subject.clone());
            self.writes.spawn(async move {
                let write = patch(client, &subject, &version, new_status);
                let result = match timeout(WRITE, write).await {
                    Ok(result) => result,
                    Err(_) => {
                        tracing::warn!(object = %subject.object, "status could not be written in time");
                        PatchResult::Failed
                    }
                };
                FinishedWrite::Status {
                    subject,
                    version,
                    result,
                }
            });
        }
    }

    /// Waits until a write has ended, and records its result. Waits for ever if there is no write.
    pub async fn finish_one(&mut self, metrics: &Metrics) {
        match self.writes.join_next().await {
            Some(ended) => self.finish(ended, metrics),
            None => std::future::pending().await,
        }
    }

    /// Records the results of all writes that have ended.
    pub fn finish_all(&mut self, metrics: &Metrics) {
        while let Some(ended) = self.writes.try_join_next() {
            self.finish(ended, metrics);
        }
    }

    /// Call this when only watermarks of proxies have risen.
    pub fn proxies_followed(&mut self) {
        self.reads += 1;
        self.is_stale = true;
    }

    /// Call this after every other change of the list of proxies.
    pub fn proxies_changed(&mut self) {
        self.epoch += 1;
        self.is_stale = true;
    }

    fn finish(&mut self, ended: Result<FinishedWrite, JoinError>, metrics: &Metrics) {
        let now = Instant::now();
        let (subject, version, result) = match ended {
            Ok(FinishedWrite::Status {
                subject,
                version,
                result,
            }) => (subject, version, result),
            Ok(FinishedWrite::Event(Some(note))) => {
                self.events.put_back(note);
                self.events_not_before = now + RETRY;
                return;
            }
            Ok(FinishedWrite::Event(None)) | Err(_) => return,
        };
        let Some(state) = self.states.get_mut(&subject.uid) else {
            return;
        };
        self.is_stale = true;
        state.is_in_flight = false;
        state.settled = None;
        match result {
            PatchResult::Written {
                version,
                status,
                is_whole,
            } => {
                metrics.status_writes.inc();
                state.written = Some((version, status));
                // If the API server drops fields, the status still differs. Without a pause the writer would send the
                // same status again and again.
                state.not_before = (!is_whole).then(|| (now + RETRY_REFUSED, None));
                if !is_whole && self.dropping.insert(subject.resource.clone()) {
                    tracing::warn!(
                        object = %subject.object,
                        "the API server has dropped fields of the status: the CustomResourceDefinition of {} lacks \
                         these fields; apply deploy/crds",
                        subject.resource
                    );
                }
            }
            PatchResult::Conflict => state.not_before = Some((now + RETRY, Some(version))),
            PatchResult::Gone | PatchResult::Failed => state.not_before = Some((now + RETRY, None)),
            PatchResult::Refused => state.not_before = Some((now + RETRY_REFUSED, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::report::fixtures::split_subject;
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::publish::Publisher;
    use crate::report::all_proxies::AllProxies;
    use crate::report::events::HOLD;
    use crate::serve::{Authentication, Server};
    use crate::source::kubernetes::cluster_versions::ClusterVersions;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::manifest::problem::messages::backend as messages;

    #[tokio::test]
    async fn failed_event_is_written_after_pause() {
        let requests = Arc::new(AtomicUsize::new(0));
        let api_server = {
            let requests = requests.clone();
            tower::service_fn(move |_: Request<Body>| {
                let event = json!({ "metadata": {}, "eventTime": null });
                let mut response = Response::new(Body::from(event.to_string().into_bytes()));
                if requests.fetch_add(1, Ordering::Relaxed) == 0 {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                async { Ok::<_, Infallible>(response) }
            })
        };
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let ending = CancellationToken::new();
        let versions = ClusterVersions::default();
        let readers = Authentication::Anyone;
        let server = Server::new(&publisher, versions, readers, ending, metrics.clone());
        let reporter = StatusReporter {
            client: kube::Client::new(api_server, "default"),
            outcome: publisher.outcome(),
            proxies: Arc::new(AllProxies::new(server.proxies(), None)),
            lease: None,
            rollout: tokio::sync::watch::Sender::default(),
            module: tokio::sync::watch::channel(None).1,
            metrics: metrics.clone(),
        };
        let subject = split_subject(false);
        let problem = subject
            .object
            .problem("spec", messages::no_service("shop/v2"));
        let outcome = Arc::new(Outcome {
            subjects: vec![Arc::new(subject)],
            problems: [problem].into(),
            ..Outcome::default()
        });

        let start = Instant::now();
        let appeared = start.checked_sub(HOLD).unwrap();
        let mut status_writer = StatusWriter::new(appeared);
        status_writer.take_in(&outcome, appeared);
        status_writer.begin_writes(&reporter, "weir", &outcome, &[], appeared);
        assert!(status_writer.writes.is_empty(), "a warning waits");
        status_writer.begin_writes(&reporter, "weir", &outcome, &[], start);
        status_writer.finish_one(&metrics).await;
        status_writer.begin_writes(&reporter, "weir", &outcome, &[], start + RETRY / 2);
        assert!(status_writer.writes.is_empty(), "there is no pause");
        let later = Instant::now() + RETRY;
        status_writer.begin_writes(&reporter, "weir", &outcome, &[], later);
        status_writer.finish_one(&metrics).await;
        status_writer.begin_writes(&reporter, "weir", &outcome, &[], later + RETRY);
        assert!(status_writer.writes.is_empty() && status_writer.events.is_empty());
        let written = (requests.load(Ordering::Relaxed), metrics.events.get());
        assert_eq!(written, (2, 1));
    }
}
