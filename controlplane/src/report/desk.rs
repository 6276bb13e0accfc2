//! What is to be written, and what is being written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::Teller;
use super::page::{Page, Settled, newest};
use super::patch::{Done, is_for_good, patch};
use crate::publish::Outcome;
use crate::report::events::{Allowance, Events, Note};
use crate::report::lease::WRITE;
use weir_core::metrics::Metrics;
use weir_core::status::proxy::Proxy;
use weir_core::status::subject::Subject;
use weir_core::status::{Evidence, Findings, waits};

const WRITES_PER_SECOND: f64 = 100.0;
const EVENTS_PER_SECOND: f64 = 20.0;
const MAX_IN_FLIGHT: usize = 16;
/// After a write that could not be made.
const AGAIN: Duration = Duration::from_secs(2);
/// After a write that the API server would not have: it will not like it better soon.
const REFUSED: Duration = Duration::from_secs(30);

/// What is being written, and what was.
pub struct Desk {
    pages: HashMap<String, Page>,
    writes: JoinSet<Ended>,
    allowance: Allowance,
    /// Resources whose definition drops what is written, as far as it was said.
    dropping: HashSet<String>,
    events: Events,
    event_allowance: Allowance,
    events_not_before: Instant,
    outcome: Option<Arc<Outcome>>,
    /// Raised where what statuses are made of has changed, beside the objects themselves.
    epoch: u64,
    /// Raised where proxies have followed what was read, and no more.
    reads: u64,
    /// Something may have to be written.
    is_stale: bool,
}

/// A write that is over.
enum Ended {
    Status {
        subject: Arc<Subject>,
        /// At which it was decided.
        version: String,
        done: Done,
    },
    /// With the one that could not be made and may be tried again.
    Event(Option<Note>),
}

impl Desk {
    pub fn new(now: Instant) -> Desk {
        Desk {
            pages: HashMap::new(),
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

    pub fn take_in(&mut self, outcome: &Arc<Outcome>) {
        let before = self.outcome.replace(outcome.clone());
        if before.as_ref().is_some_and(|it| Arc::ptr_eq(it, outcome)) {
            return;
        }
        self.is_stale = true;
        let is_told = |before: &Outcome| Arc::ptr_eq(&before.problems, &outcome.problems);
        if !before.as_deref().is_some_and(is_told) {
            self.events.hear(outcome);
        }
        let is_as_before = |before: &Outcome| {
            is_told(before)
                && before.gateways == outcome.gateways
                && before.refused == outcome.refused
                && (outcome.refused.is_none() || before.in_force == outcome.in_force)
        };
        if !before.as_deref().is_some_and(is_as_before) {
            self.epoch += 1;
        }
        let subjects = outcome.subjects.iter();
        let there: HashSet<&str> = subjects.map(|it| it.uid.as_str()).collect();
        self.pages
            .retain(|uid, page| page.is_in_flight || there.contains(uid.as_str()));
    }

    /// Begins the writes that are due.
    pub fn round(
        &mut self,
        teller: &Teller,
        identity: &str,
        outcome: &Outcome,
        proxies: &[Proxy],
        now: Instant,
    ) {
        if self.is_stale {
            self.is_stale = false;
            self.statuses(teller, outcome, proxies, now);
        }
        while !self.events.is_empty()
            && self.events_not_before <= now
            && self.writes.len() < MAX_IN_FLIGHT
            && self.event_allowance.take(now)
        {
            let Some(note) = self.events.take() else {
                break;
            };
            let count = self.events.count(&note);
            let (client, identity) = (teller.client.clone(), identity.to_owned());
            let metrics = teller.metrics.clone();
            self.writes.spawn(async move {
                match timeout(WRITE, note.make(client, &identity, count)).await {
                    Ok(Ok(is_new)) => {
                        if is_new {
                            metrics.events.inc();
                        }
                        Ended::Event(None)
                    }
                    Ok(Err(error)) => {
                        tracing::warn!("an Event could not be written: {error}");
                        Ended::Event((!is_for_good(&error)).then_some(note))
                    }
                    Err(_) => {
                        tracing::warn!("an Event could not be written in time");
                        Ended::Event(Some(note))
                    }
                }
            });
        }
    }

    fn statuses(&mut self, teller: &Teller, outcome: &Outcome, proxies: &[Proxy], now: Instant) {
        let published = outcome.published.as_ref();
        let findings = Findings {
            problems: &outcome.problems,
            gateways: &outcome.gateways,
            splits_of_literals: published
                .map(|it| it.splits_of_literals())
                .unwrap_or_default(),
            edited: published.map(|it| it.edited_shares()).unwrap_or_default(),
            refused: outcome.refused.as_deref(),
            in_force: &outcome.in_force,
        };
        let evidence = Evidence::new(findings, proxies);
        let time = jiff::Timestamp::now();
        let mut due = Vec::new();
        for subject in &outcome.subjects {
            let page = match self.pages.get_mut(&subject.uid) {
                Some(page) => page,
                None => self.pages.entry(subject.uid.clone()).or_default(),
            };
            if page.is_settled(subject, self.epoch, self.reads) {
                continue;
            }
            let (_, status) = newest(subject, page);
            let status = status.value();
            match evidence.status(subject, &status, time) {
                None => {
                    page.settled = Some(Settled {
                        subject: subject.clone(),
                        epoch: self.epoch,
                        reads: waits(&status).then_some(self.reads),
                    });
                }
                Some(wanted) if page.must_wait(subject, &status, &wanted, now) => {
                    self.is_stale = true;
                }
                Some(_) => due.push((page.at, subject)),
            }
        }
        // Who has waited longest comes first.
        due.sort_by_key(|(last, ..)| *last);
        for (_, subject) in due {
            if self.writes.len() >= MAX_IN_FLIGHT || !self.allowance.take(now) {
                self.is_stale = true;
                break;
            }
            let Some(page) = self.pages.get_mut(&subject.uid) else {
                continue;
            };
            // Made again: all that are due would fill memory, and few are written at once.
            let (version, status) = newest(subject, page);
            let Some(wanted) = evidence.status(subject, &status.value(), time) else {
                continue;
            };
            page.begin(now);
            let (client, subject) = (teller.client.clone(), subject.clone());
            self.writes.spawn(async move {
                let done = match timeout(WRITE, patch(client, &subject, &version, wanted)).await {
                    Ok(done) => done,
                    Err(_) => {
                        tracing::warn!(object = %subject.object, "status: no answer in time");
                        Done::Failed
                    }
                };
                Ended::Status {
                    subject,
                    version,
                    done,
                }
            });
        }
    }

    /// Waits for the end of a write, if there is one.
    pub async fn written(&mut self, metrics: &Metrics) {
        match self.writes.join_next().await {
            Some(done) => self.take_back(done, metrics),
            None => std::future::pending().await,
        }
    }

    /// Takes back what has ended.
    pub fn finish(&mut self, metrics: &Metrics) {
        while let Some(done) = self.writes.try_join_next() {
            self.take_back(done, metrics);
        }
    }

    /// Proxies have put more in force.
    pub fn proxies_followed(&mut self) {
        self.reads += 1;
        self.is_stale = true;
    }

    /// Proxies came or went, or say something else.
    pub fn proxies_changed(&mut self) {
        self.epoch += 1;
        self.is_stale = true;
    }

    fn take_back(&mut self, ended: Result<Ended, JoinError>, metrics: &Metrics) {
        let now = Instant::now();
        let (subject, version, done) = match ended {
            Ok(Ended::Status {
                subject,
                version,
                done,
            }) => (subject, version, done),
            Ok(Ended::Event(Some(note))) => {
                self.events.put_back(note);
                self.events_not_before = now + AGAIN;
                return;
            }
            Ok(Ended::Event(None)) | Err(_) => return,
        };
        let Some(page) = self.pages.get_mut(&subject.uid) else {
            return;
        };
        self.is_stale = true;
        page.is_in_flight = false;
        page.settled = None;
        match done {
            Done::Written {
                version,
                status,
                is_whole,
            } => {
                metrics.status_writes.inc();
                page.written = Some((version, status));
                // It would be written again and again.
                page.not_before = (!is_whole).then(|| (now + REFUSED, None));
                if !is_whole && self.dropping.insert(subject.resource.clone()) {
                    tracing::warn!(
                        object = %subject.object,
                        "the API server keeps another status than it is sent: the definition of {} lacks fields that \
                         Weir's (deploy/crds) has",
                        subject.resource
                    );
                }
            }
            Done::Conflict => page.not_before = Some((now + AGAIN, Some(version))),
            Done::Gone | Done::Failed => page.not_before = Some((now + AGAIN, None)),
            Done::Refused => page.not_before = Some((now + REFUSED, None)),
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
    use tokio::sync::watch;

    use super::*;
    use crate::publish::Publisher;
    use crate::serve::{Readers, Server};
    use crate::source::kubernetes::horizon::Horizon;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::manifest::problem::messages::backend as messages;

    #[tokio::test]
    async fn an_event_that_could_not_be_made_is_made_after_a_pause() {
        let asked = Arc::new(AtomicUsize::new(0));
        let api_server = {
            let asked = asked.clone();
            tower::service_fn(move |_: Request<Body>| {
                let event = json!({ "metadata": {}, "eventTime": null });
                let mut response = Response::new(Body::from(event.to_string().into_bytes()));
                if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                }
                async { Ok::<_, Infallible>(response) }
            })
        };
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let (_end, ending) = watch::channel(false);
        let (horizon, readers) = (Horizon::default(), Readers::Anyone);
        let server = Server::new(&publisher, horizon, readers, ending, metrics.clone());
        let teller = Teller {
            client: kube::Client::new(api_server, "default"),
            outcome: publisher.outcome(),
            proxies: server.proxies(),
            peers: None,
            lease: None,
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
        let mut desk = Desk::new(start);
        desk.take_in(&outcome);
        desk.round(&teller, "weir", &outcome, &[], start);
        desk.written(&metrics).await;
        desk.round(&teller, "weir", &outcome, &[], start + AGAIN / 2);
        assert!(desk.writes.is_empty(), "there is no pause");
        let later = Instant::now() + AGAIN;
        desk.round(&teller, "weir", &outcome, &[], later);
        desk.written(&metrics).await;
        desk.round(&teller, "weir", &outcome, &[], later + AGAIN);
        assert!(desk.writes.is_empty() && desk.events.is_empty());
        let made = (asked.load(Ordering::Relaxed), metrics.events.get());
        assert_eq!(made, (2, 1));
    }
}
