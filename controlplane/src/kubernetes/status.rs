//! Writes what became of the objects: their status, and Events.
//!
//! ```text
//! Outcome, proxies of all replicas --verdict--> what each status should say --> patches, a bounded number each second
//! ```
//!
//! What is written is decided when it is written: of several changes that wait the newest state is all that counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::events::{Allowance, Events};
use super::lease::{Candidate, WRITE};
use super::peers::{Peers, Words};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::publish::Outcome;
use crate::serve::Proxies;
use crate::subject::{Subject, Written};
use crate::verdict::{Evidence, Findings, waits};
use crate::watermark::Watermark;

/// Between two looks at what there is to write, where nothing happens.
const ROUND: Duration = Duration::from_millis(250);
/// And where something does.
const BREATH: Duration = Duration::from_millis(50);
/// Between two looks at the proxies.
const PROXIES: Duration = Duration::from_millis(250);
const ASK_PEERS: Duration = Duration::from_secs(1);
/// Proxies that lost their replica with its process have found another one by then; before that nobody counts them.
const GATHER: Duration = Duration::from_secs(3);
const WRITES_PER_SECOND: f64 = 100.0;
const EVENTS_PER_SECOND: f64 = 20.0;
/// How often one object may be written: so many at once, and one each second.
const BURST: f64 = 4.0;
/// Where nothing but the count of proxies has changed.
const COUNTS: Duration = Duration::from_secs(1);
const MAX_IN_FLIGHT: usize = 16;
/// After a write that could not be made.
const AGAIN: Duration = Duration::from_secs(2);
/// After a write that the API server would not have: it will not like it better soon.
const REFUSED: Duration = Duration::from_secs(30);

/// The one who writes.
pub struct Teller {
    pub client: kube::Client,
    pub outcome: watch::Receiver<Arc<Outcome>>,
    /// Those of this replica.
    pub proxies: Arc<Proxies>,
    pub peers: Option<Peers>,
    /// Without one it may always write.
    pub lease: Option<Lease>,
    pub metrics: Arc<Metrics>,
}

/// What is known of one object's status beside what was read of it.
struct Page {
    /// What was written last: resource version and status.
    written: Option<(u64, Written)>,
    at: Option<Instant>,
    allowance: f64,
    is_in_flight: bool,
    /// There was nothing to write of this subject by this evidence, see [`Desk::epoch`].
    settled: Option<Settled>,
    /// Not before then, and where there is a resource version not before another one was read.
    not_before: Option<(Instant, Option<String>)>,
}

struct Settled {
    subject: Arc<Subject>,
    epoch: u64,
    /// Where it waits for proxies, see [`Desk::reads`].
    reads: Option<u64>,
}

enum Done {
    Written(u64, Written),
    /// The object is not as it was read.
    Conflict,
    Gone,
    Refused,
    Failed,
}

/// The name of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub namespace: String,
    pub name: String,
}

/// Who may write, and as whom.
struct Office {
    /// Until when a write may begin; None where there is no Lease.
    term: Option<watch::Receiver<Option<Instant>>>,
    identity: String,
}

impl Teller {
    /// Writes until the end, and then lets another replica do so.
    pub async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let replica = self.proxies.known().replica;
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "weir".to_owned());
        let identity = format!("{host}_{replica}");
        let candidate = self.lease.take().map(|Lease { namespace, name }| {
            Candidate::new(self.client.clone(), &namespace, &name, &identity)
        });
        let office = Office {
            term: candidate.as_ref().map(Candidate::term),
            identity,
        };
        let (heard, words) = watch::channel(None);
        let asking = ask_peers(self.peers.take(), replica, office.term.clone(), heard);
        let asking = tokio::spawn(asking);
        let end = ending.clone();
        let telling = async move {
            tokio::select! {
                () = self.write(office, words) => {}
                // Fails when the other end is gone, which is an end as well.
                _ = ending.wait_for(|ending| *ending) => {}
            }
        };
        match candidate {
            None => telling.await,
            Some(candidate) => {
                let telling = tokio::spawn(telling);
                candidate.stand(end, telling).await;
            }
        }
        asking.abort();
    }

    async fn write(mut self, office: Office, words: watch::Receiver<Option<Words>>) {
        let started = Instant::now();
        let mut desk = Desk::new(Instant::now());
        let mut proxies: Vec<Proxy> = Vec::new();
        let mut looked = None;
        loop {
            let begun = Instant::now();
            let may_write = office.may_write(begun);
            self.metrics.leader.set(i64::from(may_write));
            if !may_write {
                // Whoever writes now knows better what is written.
                desk = Desk::new(begun);
            } else if begun.duration_since(started) >= GATHER && words.borrow().is_some() {
                if looked.is_none_or(|at| begun.duration_since(at) >= PROXIES) {
                    looked = Some(begun);
                    let own = self.proxies.known().proxies;
                    let mut now = match &*words.borrow() {
                        Some(words) => words.with(own, begun),
                        None => own,
                    };
                    for proxy in &mut now {
                        proxy.silent = 0;
                    }
                    now.sort_by(|a, b| {
                        (&a.node, &a.instance, &a.scope).cmp(&(&b.node, &b.instance, &b.scope))
                    });
                    match news(&proxies, &now) {
                        News::None => {}
                        News::Reads => desk.reads += 1,
                        News::Proxies => desk.epoch += 1,
                    }
                    desk.is_stale |= now != proxies;
                    proxies = now;
                }
                let outcome = self.outcome.borrow_and_update().clone();
                desk.take_in(&outcome);
                desk.round(&self, &office.identity, &outcome, &proxies, begun);
            }
            let next = tokio::time::Instant::from_std(begun + ROUND);
            tokio::select! {
                () = sleep_until(next) => {}
                changed = self.outcome.changed() => if changed.is_err() {
                    return;
                },
                Some(done) = desk.writes.join_next(), if !desk.writes.is_empty() => {
                    desk.finish(done, &self.metrics);
                }
            }
            // Changes that follow each other closely are one.
            sleep_until(tokio::time::Instant::from_std(begun + BREATH)).await;
            desk.finish_all(&self.metrics);
        }
    }
}

impl Office {
    fn may_write(&self, now: Instant) -> bool {
        match &self.term {
            None => true,
            Some(term) => term.borrow().is_some_and(|until| now < until),
        }
    }
}

/// Keeps asking as long as what they say is of use. There are no words where nobody has been asked yet.
async fn ask_peers(
    peers: Option<Peers>,
    replica: String,
    term: Option<watch::Receiver<Option<Instant>>>,
    words: watch::Sender<Option<Words>>,
) {
    let Some(peers) = peers else {
        words.send_replace(Some(Words::default()));
        return;
    };
    loop {
        let leads = term.as_ref().is_none_or(|term| term.borrow().is_some());
        if leads {
            let answers = peers.ask(&replica).await;
            words.send_modify(|words| {
                let words = words.get_or_insert_default();
                words.hear(answers, Instant::now());
            });
        } else {
            words.send_replace(None);
        }
        tokio::time::sleep(ASK_PEERS).await;
    }
}

/// What has changed of the proxies.
enum News {
    None,
    /// They have followed what was read.
    Reads,
    Proxies,
}

fn news(before: &[Proxy], now: &[Proxy]) -> News {
    if before == now {
        return News::None;
    }
    let read = |text: &str| text.parse::<Watermark>().unwrap_or_default();
    let has_followed = |(before, now): (&Proxy, &Proxy)| {
        let is_alike = Proxy {
            watermark: now.watermark.clone(),
            ..before.clone()
        } == *now;
        is_alike && read(&now.watermark).covers(&read(&before.watermark))
    };
    let is_same = before.len() == now.len() && before.iter().zip(now).all(has_followed);
    if is_same { News::Reads } else { News::Proxies }
}

/// What is being written, and what was.
struct Desk {
    pages: HashMap<String, Page>,
    writes: JoinSet<(String, Option<String>, Done)>,
    allowance: Allowance,
    events: Events,
    event_allowance: Allowance,
    outcome: Option<Arc<Outcome>>,
    /// Raised where what statuses are made of has changed, beside the objects themselves.
    epoch: u64,
    /// Raised where proxies have followed what was read, and no more.
    reads: u64,
    /// Something may have to be written.
    is_stale: bool,
}

impl Desk {
    fn new(now: Instant) -> Desk {
        Desk {
            pages: HashMap::new(),
            writes: JoinSet::new(),
            allowance: Allowance::new(WRITES_PER_SECOND, now),
            events: Events::default(),
            event_allowance: Allowance::new(EVENTS_PER_SECOND, now),
            outcome: None,
            epoch: 0,
            reads: 0,
            is_stale: true,
        }
    }

    fn take_in(&mut self, outcome: &Arc<Outcome>) {
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
    fn round(
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
                    Ok(Ok(true)) => drop(metrics.events.inc()),
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => tracing::warn!("an Event could not be written: {error}"),
                    Err(_) => tracing::warn!("an Event could not be written in time"),
                }
                (String::new(), None, Done::Gone)
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
            let (version, status) = newest(subject, page);
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
                Some(wanted) => due.push((page.at, subject, version, wanted)),
            }
        }
        // Who has waited longest comes first.
        due.sort_by_key(|(last, ..)| *last);
        for (_, subject, version, wanted) in due {
            if self.writes.len() >= MAX_IN_FLIGHT || !self.allowance.take(now) {
                self.is_stale = true;
                break;
            }
            let Some(page) = self.pages.get_mut(&subject.uid) else {
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
                (subject.uid.clone(), Some(version), done)
            });
        }
    }

    fn finish_all(&mut self, metrics: &Metrics) {
        while let Some(done) = self.writes.try_join_next() {
            self.finish(done, metrics);
        }
    }

    fn finish(
        &mut self,
        done: Result<(String, Option<String>, Done), tokio::task::JoinError>,
        metrics: &Metrics,
    ) {
        let Ok((uid, version, done)) = done else {
            return;
        };
        let Some(page) = self.pages.get_mut(&uid) else {
            return;
        };
        self.is_stale = true;
        page.is_in_flight = false;
        page.settled = None;
        let now = Instant::now();
        match done {
            Done::Written(version, status) => {
                metrics.status_writes.inc();
                page.written = Some((version, status));
                page.not_before = None;
            }
            Done::Conflict => page.not_before = Some((now + AGAIN, version)),
            Done::Gone | Done::Failed => page.not_before = Some((now + AGAIN, None)),
            Done::Refused => page.not_before = Some((now + REFUSED, None)),
        }
    }
}

/// Resource version and status of an object as they are known best.
fn newest<'s>(subject: &'s Subject, page: &'s Page) -> (String, &'s Written) {
    let read: u64 = subject.resource_version.parse().unwrap_or_default();
    match &page.written {
        Some((version, status)) if *version > read => (version.to_string(), status),
        _ => (subject.resource_version.clone(), &subject.status),
    }
}

impl Default for Page {
    fn default() -> Page {
        Page {
            written: None,
            at: None,
            allowance: BURST,
            is_in_flight: false,
            settled: None,
            not_before: None,
        }
    }
}

impl Page {
    fn is_settled(&self, subject: &Arc<Subject>, epoch: u64, reads: u64) -> bool {
        self.settled.as_ref().is_some_and(|it| {
            Arc::ptr_eq(&it.subject, subject)
                && it.epoch == epoch
                && it.reads.is_none_or(|known| known == reads)
        })
    }

    fn must_wait(&self, subject: &Subject, is: &Value, wanted: &Value, now: Instant) -> bool {
        if self.is_in_flight {
            return true;
        }
        if let Some((until, version)) = &self.not_before
            && now < *until
            && version
                .as_ref()
                .is_none_or(|it| *it == subject.resource_version)
        {
            return true;
        }
        let passed = self.at.map(|at| now.saturating_duration_since(at));
        let passed = passed.unwrap_or(COUNTS);
        let only_counts = || essence(wanted) == essence(&same_fields(is, wanted));
        self.allowance + passed.as_secs_f64() < 1.0 || (passed < COUNTS && only_counts())
    }

    fn begin(&mut self, now: Instant) {
        let passed = self
            .at
            .map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.allowance = (self.allowance + passed).min(BURST) - 1.0;
        self.at = Some(now);
        self.is_in_flight = true;
    }
}

/// Those fields of a status that a patch writes.
fn same_fields(status: &Value, patch: &Value) -> Value {
    let fields = patch.as_object().into_iter().flatten();
    let fields = fields.map(|(name, _)| (name.clone(), status[name.as_str()].clone()));
    Value::Object(fields.collect())
}

/// A status without the words for people.
fn essence(status: &Value) -> Value {
    match status {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "message");
            Value::Object(
                fields
                    .map(|(name, it)| (name.clone(), essence(it)))
                    .collect(),
            )
        }
        Value::Array(entries) => Value::Array(entries.iter().map(essence).collect()),
        other => other.clone(),
    }
}

async fn patch(client: kube::Client, subject: &Subject, version: &str, wanted: Value) -> Done {
    let Subject {
        object,
        api_version,
        resource,
        ..
    } = subject;
    let (group, api) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: api.to_owned(),
        api_version: api_version.clone(),
        kind: object.kind.clone(),
        plural: resource.split('.').next().unwrap_or(resource).to_owned(),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &object.namespace, &resource);
    // The API server refuses it where the object is no longer as it was read.
    let body = json!({"metadata": {"resourceVersion": version}, "status": wanted});
    let params = PatchParams {
        field_manager: Some("weir".to_owned()),
        ..PatchParams::default()
    };
    match api
        .patch_status(&object.name, &params, &Patch::Merge(body))
        .await
    {
        Ok(written) => {
            let version = written.metadata.resource_version.unwrap_or_default();
            let status = written.data.get("status").map(Written::from);
            Done::Written(
                version.parse().unwrap_or_default(),
                status.unwrap_or_default(),
            )
        }
        Err(kube::Error::Api(status)) if status.code == 409 => Done::Conflict,
        Err(kube::Error::Api(status)) if status.code == 404 => Done::Gone,
        Err(error) => {
            tracing::warn!(%object, "status could not be written: {error}");
            match error {
                kube::Error::Api(status) if (400..500).contains(&status.code) => {
                    match status.code {
                        401 | 408 | 429 => Done::Failed,
                        _ => Done::Refused,
                    }
                }
                _ => Done::Failed,
            }
        }
    }
}
