//! The list of the proxies that poll this replica, with the revision that each proxy runs and the revision that it
//! refuses.
//!
//! A watermark has a resource version for each kind of object: the proxy runs every object of the kind up to this
//! version. The owner of a proxy is its pod, ServiceAccount or namespace.

mod cluster_status;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use weir_split::wire::headers::{APPLIED, LEAN, MODULE, NODE, REFUSED, TRAPS};

pub(super) use self::cluster_status::{ClusterStatus, ExpectedPartial};
use super::polls::{PollGuard, Poller};
use super::revision_watermarks::{RevisionWatermarks, Subset};
use crate::publish::{Current, Publisher};
use crate::xds::module_table::ModuleTable;
use weir_core::metrics::Metrics;
use weir_core::owner::Owner;
use weir_core::status::proxy::{self, FORGET, GONE, MAX_OF_NAMESPACE, MAX_PROXIES, Replica};
use weir_core::watermark::Watermark;

/// Time between two searches for proxies that no longer poll.
const SWEEP: Duration = Duration::from_secs(1);
/// Maximum number of bytes that are kept from a header.
const MAX_TEXT: usize = 512;
/// Maximum number of bytes in a revision, which is a hash.
const MAX_REVISION: usize = 64;

/// The proxies that poll this replica.
pub struct Proxies {
    replica: String,
    current: watch::Receiver<Current>,
    watermark: watch::Receiver<Arc<Watermark>>,
    metrics: Arc<Metrics>,
    state: Mutex<ProxyTable>,
    modules: Arc<ModuleTable>,
    /// Changes when the list of proxies changes.
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct ProxyTable {
    proxies: HashMap<Poller, ProxyState>,
    counts: Counts,
    watermarks: RevisionWatermarks,
    last_sweep: Option<Instant>,
}

/// The number of proxies in the list.
#[derive(Default)]
struct Counts {
    by_owner: HashMap<Arc<Owner>, usize>,
    by_namespace: HashMap<String, usize>,
}

struct ProxyState {
    last_poll: Instant,
    /// When the connection of the last poll closed without an answer.
    closed: Option<Instant>,
    /// When the last poll ended; None while a poll is open.
    ended: Option<Instant>,
    /// When the proxy last ran the expected revision.
    last_current: Instant,
    report: Report,
    /// The proxy runs every object up to this watermark, except in rules with missing clusters.
    watermark: Arc<Watermark>,
}

/// What the headers of a poll report about the proxy. The replica only shows and counts these values, because it cannot
/// trust them.
#[derive(Debug)]
pub(super) struct Report {
    /// Envoy's node id. It may be empty, and several proxies may have the same id.
    node: String,
    /// The revision that every worker runs; empty while workers run different revisions.
    pub applied: String,
    /// The refused revision with the reason: `"REVISION" REASON`. Or the reason why the proxy's document version cannot
    /// express the configuration. Empty if the proxy refuses nothing.
    pub refused: String,
    /// True if the filter is `weir-lean.wasm`, which edits no response headers. False if the poll does not name the
    /// module.
    is_lean: bool,
    /// The document version that the proxy gets.
    version: u32,
    /// The number of VMs that ended without notice.
    traps: u64,
    /// The watermark that a replica has sent together with `applied`. None if the poll has no such watermark.
    pub watermark: Option<Arc<Watermark>>,
    pub clusters: ClusterStatus,
}

/// The revision that the proxy should run.
pub(super) struct ExpectedRevision<'a> {
    pub revision: &'a str,
    /// When this revision was published.
    pub at: Instant,
    pub watermark: &'a Arc<Watermark>,
}

impl Report {
    pub(super) fn of(headers: &HeaderMap, version: u32) -> Report {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| value.as_bytes());
            let value = value.unwrap_or_default();
            let value = value.get(..value.len().min(MAX_TEXT)).unwrap_or_default();
            String::from_utf8_lossy(value).into_owned()
        };
        Report {
            node: text(NODE),
            applied: unquote_revision(&text(APPLIED)),
            refused: text(REFUSED),
            is_lean: text(MODULE) == LEAN,
            version,
            traps: text(TRAPS).parse().unwrap_or_default(),
            watermark: None,
            clusters: ClusterStatus::default(),
        }
    }
}

/// Returns the revision without its quotes. Returns an empty text if the revision cannot come from Weir.
fn unquote_revision(quoted: &str) -> String {
    let revision = quoted.trim_matches('"');
    let is_alphanumeric = revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_alphanumeric && revision.len() <= MAX_REVISION {
        revision.into()
    } else {
        String::new()
    }
}

fn seconds_since(time: Option<Instant>, now: Instant) -> u64 {
    time.map_or(0, |time| now.saturating_duration_since(time).as_secs())
}

impl Proxies {
    pub(super) fn new(publisher: &Publisher, metrics: Arc<Metrics>) -> Proxies {
        Proxies {
            replica: format!("{:016x}", RandomState::new().hash_one(0)),
            current: publisher.subscribe(),
            watermark: publisher.watermark(),
            metrics,
            state: Mutex::default(),
            modules: Arc::default(),
            changes: watch::Sender::default(),
        }
    }

    /// Returns the name of this replica: a random name of this process.
    pub fn replica(&self) -> &str {
        &self.replica
    }

    /// Returns the name of this replica, and the proxies that have polled it within the last minute. The list includes
    /// proxies that are gone.
    pub fn list(&self) -> Replica {
        let (watermark, revisions) = self.revisions();
        let mut state = self.lock();
        let now = Instant::now();
        if state.sweep(now) {
            self.count(&state);
        }
        state.advance(&self.watermark);
        for (subset, revision) in &revisions {
            state.watermarks.record(subset, revision, &watermark);
        }
        let ProxyTable {
            proxies,
            watermarks,
            ..
        } = &mut *state;
        let proxies = proxies.iter_mut().map(|(poller, state)| {
            let subset = (poller.scope.clone(), state.report.version);
            state.raise_watermark(watermarks, &subset);
            let newest = revisions.get(&subset);
            if state
                .report
                .clusters
                .is_current(&state.report.applied, newest)
            {
                state.last_current = now;
                state.raise_to(&watermark);
            } else if newest == Some(&state.report.applied) {
                state.last_current = now;
            }
            proxy::Proxy {
                instance: String::from_utf8_lossy(&poller.instance).into_owned(),
                owner: (*poller.owner).clone(),
                node: state.report.node.clone(),
                scope: poller.scope.clone(),
                applied: state.report.applied.clone(),
                watermark: state.watermark.to_string(),
                refused: state.report.refused.clone(),
                gaps: state.report.clusters.gaps.clone(),
                is_lean: state.report.is_lean,
                behind: now.duration_since(state.last_current).as_secs(),
                silent: now.duration_since(state.last_poll).as_secs(),
                closed: state.closed.map(|at| now.duration_since(at).as_secs()),
                unpolled: seconds_since(state.ended, now),
                traps: state.report.traps,
            }
        });
        Replica {
            replica: self.replica.clone(),
            proxies: proxies.collect(),
            modules: self.modules.list(now),
        }
    }

    /// Returns a receiver that changes when [`Proxies::list`] changes, except if only watermarks have changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Sets the metrics of proxies. Proxies that are gone do not count.
    pub fn set_metrics(&self) {
        let (_, expected) = self.revisions();
        let now = Instant::now();
        let mut state = self.lock();
        state.sweep(now);
        self.count(&state);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut behind = 0_usize;
        let present = state.proxies.iter().filter(|(_, it)| !it.is_gone(now));
        for (Poller { scope, .. }, state) in present {
            let applied = &state.report.applied;
            *counts.entry(applied.clone()).or_default() += 1;
            let newest = expected.get(&(scope.clone(), state.report.version));
            let is_current = state.report.clusters.is_current(applied, newest);
            if newest != Some(applied) && !is_current {
                behind += 1;
            }
        }
        self.metrics.set_proxies(counts, behind);
        let modules = self.modules.list(now);
        let modules = modules.iter().map(|it| it.module.as_str());
        self.metrics.set_modules(modules);
    }

    /// Records that a poll has ended. Does nothing if `ended` is cancelled, because then a newer poll of the proxy has
    /// replaced this poll.
    pub(super) fn record_end(&self, poller: &Poller, ended: &CancellationToken, is_answered: bool) {
        let mut state = self.lock();
        // A newer poll cancels `ended` before it takes the lock, so this change cannot overwrite the newer poll.
        if !ended.is_cancelled()
            && let Some(proxy) = state.proxies.get_mut(poller)
        {
            let now = Instant::now();
            proxy.ended = Some(now);
            proxy.closed = (!is_answered).then_some(now);
        }
    }

    /// Records what a proxy lacks while its poll is held. Does nothing if a newer poll of the proxy has replaced this
    /// poll.
    pub(super) fn record_clusters(&self, guard: &PollGuard, clusters: &ClusterStatus) {
        let mut state = self.lock();
        // A newer poll cancels `ended` before it takes the lock.
        let is_replaced = guard.ended.is_cancelled();
        let proxy = state.proxies.get_mut(&guard.poller);
        let Some(proxy) = proxy.filter(|_| !is_replaced) else {
            return;
        };
        let before = std::mem::replace(&mut proxy.report.clusters, clusters.clone());
        let gaps_before = before.gaps.clone();
        let partial = before.partial.as_ref();
        let runs_partial = partial.is_some_and(|it| it.revision == proxy.report.applied);
        let own = &mut proxy.report.clusters;
        own.follow(Some(before), !runs_partial);
        let is_change = own.gaps != gaps_before;
        proxy.raise_to_partial();
        if is_change {
            self.count(&state);
            drop(state);
            self.changes.send_replace(());
        }
    }

    /// Returns the modules of the streams of this replica.
    pub fn modules(&self) -> Arc<ModuleTable> {
        self.modules.clone()
    }

    /// Returns the present revision for each scope and version that a proxy requests. Also returns a watermark: the
    /// revisions include every change up to this watermark, and maybe more.
    fn revisions(&self) -> (Arc<Watermark>, HashMap<Subset, String>) {
        // The watermark is read before the plan, so that the plan is not older than the watermark.
        let read = self.watermark.borrow().clone();
        let published = match &*self.current.borrow() {
            Current::Nothing { .. } => return (read, HashMap::new()),
            Current::Plan(published) => published.clone(),
        };
        let watermark = published.watermark(&read);
        let mut revisions: HashMap<Subset, String> = HashMap::new();
        for (Poller { scope, .. }, state) in &self.lock().proxies {
            revisions
                .entry((scope.clone(), state.report.version))
                .or_default();
        }
        revisions.retain(|(scope, version), revision| {
            let rendered = published.rendered(scope, *version);
            let rendered = rendered.map(|rendered| rendered.revision);
            rendered.map(|it| *revision = it.to_string()).is_ok()
        });
        (watermark, revisions)
    }

    /// Records a poll. Without `expected` this replica does not know which revision the proxy should run. Returns false
    /// if there are too many proxies to list this one.
    pub(super) fn record(
        &self,
        poller: &Poller,
        report: Report,
        expected: Option<&ExpectedRevision<'_>>,
    ) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let has_swept = state.sweep(now);
        if !state.has_room(poller) {
            return false;
        }
        let subset = (poller.scope.clone(), report.version);
        state.advance(&self.watermark);
        if let Some(expected) = expected {
            let ExpectedRevision {
                revision,
                watermark,
                ..
            } = expected;
            state.watermarks.record(&subset, revision, watermark);
        }
        let ProxyTable {
            proxies,
            watermarks,
            counts,
            ..
        } = &mut *state;
        let before = proxies.remove(poller);
        if before.is_none() {
            counts.add(&poller.owner);
        }
        let is_current = expected.is_some_and(|expected| expected.revision == report.applied);
        let partial = report.clusters.partial.as_ref();
        let runs_partial = partial.is_some_and(|it| it.revision == report.applied);
        let last_current = before.as_ref().map(|it| it.last_current);
        let was_gone = before.as_ref().is_some_and(|it| it.is_gone(now));
        let mut own = ProxyState {
            last_poll: now,
            closed: None,
            ended: None,
            last_current: last_current
                .filter(|_| !is_current && !runs_partial)
                .unwrap_or(now),
            // Keeps the previous watermark, because a proxy never goes back to an older revision.
            watermark: before
                .as_ref()
                .map(|it| it.watermark.clone())
                .unwrap_or_default(),
            report,
        };
        if let Some(watermark) = &own.report.watermark
            && watermarks.get(&subset, &own.report.applied).is_none()
            && watermark.covers(&own.watermark)
        {
            if watermark != &own.watermark {
                own.watermark = watermark.clone();
            }
            // Both fields share one copy in memory.
            own.report.watermark = Some(own.watermark.clone());
        }
        own.raise_watermark(watermarks, &subset);
        own.raise_to_partial();
        let before = before.map(|it| it.report);
        let clusters_before = before.as_ref().map(|it| it.clusters.clone());
        own.report.clusters.follow(clusters_before, is_current);
        self.log_changes(poller, before.as_ref(), &own.report, expected, now);
        let is_change = was_gone
            || before.is_none_or(|before| {
                before.applied != own.report.applied
                    || before.refused != own.report.refused
                    || before.is_lean != own.report.is_lean
                    || before.clusters.gaps != own.report.clusters.gaps
            });
        proxies.insert(poller.clone(), own);
        if is_change || has_swept {
            self.count(&state);
        }
        drop(state);
        if is_change || has_swept {
            self.changes.send_replace(());
        }
        true
    }

    /// Logs and counts what has changed in the proxy since its previous poll.
    fn log_changes(
        &self,
        poller: &Poller,
        before: Option<&Report>,
        report: &Report,
        expected: Option<&ExpectedRevision<'_>>,
        now: Instant,
    ) {
        let instance = String::from_utf8_lossy(&poller.instance);
        if let Some(ExpectedRevision { revision, at, .. }) = expected
            && report.applied == *revision
            && before.is_some_and(|it| it.applied != *revision)
        {
            self.metrics.propagation.observe((now - *at).as_secs_f64());
            tracing::debug!(%instance, node = report.node, revision, "applied");
        }
        if !report.refused.is_empty() && before.is_none_or(|it| it.refused != report.refused) {
            let Report {
                node,
                refused,
                version,
                ..
            } = report;
            let Poller { scope, owner, .. } = poller;
            tracing::warn!(%instance, node, version, ?scope, owner = owner.name, "a proxy refuses {refused}");
        }
    }

    fn count(&self, state: &ProxyTable) {
        let now = Instant::now();
        let present = state.proxies.values().filter(|it| !it.is_gone(now));
        let is_refusing = |proxy: &&ProxyState| !proxy.report.refused.is_empty();
        let refusing = present.clone().filter(is_refusing).count();
        let lacks_cluster = |proxy: &&ProxyState| !proxy.report.clusters.gaps.is_empty();
        let without_cluster = present.clone().filter(lacks_cluster).count();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.proxies.set(gauge(present.count()));
        self.metrics.proxies_refusing.set(gauge(refusing));
        self.metrics
            .proxies_without_cluster
            .set(gauge(without_cluster));
    }

    fn lock(&self) -> MutexGuard<'_, ProxyTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyTable {
    fn has_room(&self, poller: &Poller) -> bool {
        self.proxies.contains_key(poller)
            || (self.proxies.len() < MAX_PROXIES && self.counts.have_room(&poller.owner))
    }

    /// Forgets proxies that no longer poll, at most once in each [`SWEEP`]. Returns true if it has forgotten a proxy.
    fn sweep(&mut self, now: Instant) -> bool {
        let is_due = |swept: Instant| now.duration_since(swept) >= SWEEP;
        if !self.last_sweep.is_none_or(is_due) {
            return false;
        }
        self.last_sweep = Some(now);
        let before = self.proxies.len();
        let ProxyTable {
            proxies, counts, ..
        } = self;
        proxies.retain(|poller, proxy| {
            let is_present = now.duration_since(proxy.last_poll) < FORGET;
            if !is_present {
                counts.remove(&poller.owner);
            }
            is_present
        });
        let in_use = self
            .proxies
            .iter()
            .map(|(poller, it)| (&poller.scope, it.report.version));
        let in_use: std::collections::HashSet<_> = in_use.collect();
        self.watermarks
            .retain(|(scope, version)| in_use.contains(&(scope, *version)));
        self.proxies.len() < before
    }

    /// Stores the newest watermark of the cluster. If the cluster was restored from a backup, deletes the watermarks of
    /// all proxies.
    fn advance(&mut self, watermark: &watch::Receiver<Arc<Watermark>>) {
        if self.watermarks.advance(&watermark.borrow()) {
            for proxy in self.proxies.values_mut() {
                proxy.watermark = Arc::default();
            }
        }
    }
}

impl Counts {
    fn have_room(&self, owner: &Arc<Owner>) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or_default();
        let namespace = owner.namespace.as_ref();
        let of_namespace = namespace.and_then(|namespace| self.by_namespace.get(namespace));
        of_owner < owner.limit() && of_namespace.copied().unwrap_or_default() < MAX_OF_NAMESPACE
    }

    fn add(&mut self, owner: &Arc<Owner>) {
        *self.by_owner.entry(owner.clone()).or_default() += 1;
        if let Some(namespace) = &owner.namespace {
            *self.by_namespace.entry(namespace.clone()).or_default() += 1;
        }
    }

    fn remove(&mut self, owner: &Arc<Owner>) {
        decrement(&mut self.by_owner, owner);
        if let Some(namespace) = &owner.namespace {
            decrement(&mut self.by_namespace, namespace);
        }
    }
}

fn decrement<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl ProxyState {
    fn is_gone(&self, now: Instant) -> bool {
        let closed = self.closed.map(|at| now.saturating_duration_since(at));
        closed.is_some_and(|since| since >= GONE)
    }

    fn raise_to(&mut self, watermark: &Arc<Watermark>) {
        if watermark.covers(&self.watermark) {
            self.watermark = watermark.clone();
        }
    }

    /// Raises the proxy's watermark if the proxy runs the partial document that it should run.
    fn raise_to_partial(&mut self) {
        if let Some(partial) = &self.report.clusters.partial
            && partial.revision == self.report.applied
        {
            let watermark = partial.watermark.clone();
            self.raise_to(&watermark);
        }
    }

    /// Raises the proxy's watermark to the watermark of the revision that the proxy runs. Also replaces a watermark
    /// that this replica has not reached, because it may be from before a restore of the cluster.
    fn raise_watermark(&mut self, watermarks: &RevisionWatermarks, subset: &Subset) {
        if let Some(newest) = watermarks.get(subset, &self.report.applied)
            && (newest.covers(&self.watermark) || !watermarks.cover(&self.watermark))
        {
            self.watermark = newest.clone();
        }
    }
}

#[cfg(test)]
mod tests;
