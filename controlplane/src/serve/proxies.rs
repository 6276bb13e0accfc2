//! What the proxies say of themselves: which of them are there, what they run, what they refuse.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use tokio::sync::watch;
use weir_split::module;

use super::marks::{Marks, Subset};
use super::polls::Poller;
use crate::publish::{Current, Publisher};
use weir_core::metrics::Metrics;
use weir_core::owner::Owner;
use weir_core::status::proxy::{self, FORGET, Replica};
use weir_core::watermark::Watermark;

/// Between two looks for such proxies.
const SWEEP: Duration = Duration::from_secs(1);
/// Proxies beyond this are served, but not known. Each takes at most 4 KiB.
const MAX_PROXIES: usize = 1 << 14;
/// The same for the proxies of one namespace: a client that has a token of it can make up instances.
const MAX_OF_NAMESPACE: usize = 1 << 12;
/// Bytes of a header that are kept.
const MAX_TEXT: usize = 512;
/// Bytes of a revision, which is a hash.
const MAX_REVISION: usize = 64;

/// The proxies that poll this replica.
pub struct Proxies {
    replica: String,
    current: watch::Receiver<Current>,
    watermark: watch::Receiver<Arc<Watermark>>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Changes when something else is to be told of them.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    known: HashMap<Poller, Known>,
    counts: Counts,
    marks: Marks,
    swept: Option<Instant>,
}

/// How many proxies are known.
#[derive(Default)]
struct Counts {
    by_owner: HashMap<Arc<Owner>, usize>,
    by_namespace: HashMap<String, usize>,
}

struct Known {
    seen: Instant,
    /// When it last ran the revision that it should.
    followed: Instant,
    report: Report,
    /// How far it has everything in force.
    mark: Arc<Watermark>,
}

/// What a poll says of its proxy. Nothing of it is trusted: it is shown and counted.
#[derive(Debug)]
pub(super) struct Report {
    /// Envoy's node id; may be empty or shared.
    node: String,
    /// The revision that every worker runs; empty while they differ.
    pub applied: String,
    /// `"REVISION" REASON`, or what could not be said to it; empty where nothing is refused.
    pub refused: String,
    /// Its filter edits no response headers. A filter that does not say so edits them.
    is_lean: bool,
    /// The document version that it is answered in.
    version: u32,
    /// How far another replica had read when `applied` was right there, as far as the poll tells.
    pub mark: Option<Arc<Watermark>>,
}

/// What the poller should run.
pub(super) struct Wanted<'a> {
    pub revision: &'a str,
    /// When it came in force.
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
            node: text("weir-node"),
            applied: revision(&text("weir-applied")),
            refused: text("weir-refused"),
            is_lean: text(module::HEADER) == module::LEAN,
            version,
            mark: None,
        }
    }
}

/// Of a quoted revision; what could not be one of ours is none.
fn revision(quoted: &str) -> String {
    let revision = quoted.trim_matches('"');
    let plain = revision.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain && revision.len() <= MAX_REVISION {
        revision.into()
    } else {
        String::new()
    }
}

impl Proxies {
    pub(super) fn new(publisher: &Publisher, metrics: Arc<Metrics>) -> Proxies {
        Proxies {
            replica: format!("{:016x}", RandomState::new().hash_one(0)),
            current: publisher.subscribe(),
            watermark: publisher.watermark(),
            metrics,
            state: Mutex::default(),
            news: watch::Sender::default(),
        }
    }

    /// Those that are known now, and this replica's own name.
    pub fn known(&self) -> Replica {
        let (watermark, revisions) = self.revisions();
        let mut state = self.lock();
        let now = Instant::now();
        if state.sweep(now) {
            self.count(&state);
        }
        state.read(&self.watermark);
        for (subset, revision) in &revisions {
            state.marks.note(subset, revision, &watermark);
        }
        let State { known, marks, .. } = &mut *state;
        let proxies = known.iter_mut().map(|(poller, known)| {
            let subset = (poller.scope.clone(), known.report.version);
            known.raise(marks, &subset);
            if revisions.get(&subset) == Some(&known.report.applied) {
                known.followed = now;
            }
            proxy::Proxy {
                instance: String::from_utf8_lossy(&poller.instance).into_owned(),
                owner: (*poller.owner).clone(),
                node: known.report.node.clone(),
                scope: poller.scope.clone(),
                applied: known.report.applied.clone(),
                watermark: known.mark.to_string(),
                refused: known.report.refused.clone(),
                is_lean: known.report.is_lean,
                behind: now.duration_since(known.followed).as_secs(),
                silent: now.duration_since(known.seen).as_secs(),
            }
        });
        Replica {
            replica: self.replica.clone(),
            proxies: proxies.collect(),
        }
    }

    /// Wakes whoever wants to know when [`Proxies::known`] tells something else. What the mere reading of the cluster
    /// changes is not news.
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// How many run each revision, and how many another one than they should.
    pub fn by_revision(&self) -> (BTreeMap<String, usize>, usize) {
        let (_, wanted) = self.revisions();
        let state = self.lock();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        let mut behind = 0_usize;
        for (Poller { scope, .. }, known) in &state.known {
            let applied = &known.report.applied;
            *counts.entry(applied.clone()).or_default() += 1;
            let subset = (scope.clone(), known.report.version);
            if wanted.get(&subset) != Some(applied) {
                behind += 1;
            }
        }
        (counts, behind)
    }

    /// The revision that is in force for each scope that somebody asks for, and how far it is right at the least.
    fn revisions(&self) -> (Arc<Watermark>, HashMap<Subset, String>) {
        // Before the plan, which is as new as this or newer.
        let read = self.watermark.borrow().clone();
        let published = match &*self.current.borrow() {
            Current::Nothing { .. } => return (read, HashMap::new()),
            Current::Plan(published) => published.clone(),
        };
        let watermark = published.watermark(&read);
        let mut asked: HashMap<Subset, String> = HashMap::new();
        for (Poller { scope, .. }, known) in &self.lock().known {
            asked
                .entry((scope.clone(), known.report.version))
                .or_default();
        }
        asked.retain(|(scope, version), revision| {
            let rendered = published.rendered(scope, *version);
            let rendered = rendered.map(|rendered| rendered.revision);
            rendered.map(|it| *revision = it.to_string()).is_ok()
        });
        (watermark, asked)
    }

    /// Takes a poll into account.
    pub(super) fn note(&self, poller: &Poller, report: Report, wanted: Option<&Wanted<'_>>) {
        let now = Instant::now();
        let mut state = self.lock();
        let swept = state.sweep(now);
        if !state.has_room(poller) {
            return;
        }
        let subset = (poller.scope.clone(), report.version);
        state.read(&self.watermark);
        if let Some(wanted) = wanted {
            state.marks.note(&subset, wanted.revision, wanted.watermark);
        }
        let State {
            known,
            marks,
            counts,
            ..
        } = &mut *state;
        let before = known.remove(poller);
        if before.is_none() {
            counts.add(&poller.owner);
        }
        let is_right = wanted.is_some_and(|wanted| wanted.revision == report.applied);
        let followed = before.as_ref().map(|it| it.followed);
        let mut own = Known {
            seen: now,
            followed: followed.filter(|_| !is_right).unwrap_or(now),
            // What it had in force it still has: a proxy never goes back.
            mark: before
                .as_ref()
                .map(|it| it.mark.clone())
                .unwrap_or_default(),
            report,
        };
        if let Some(mark) = &own.report.mark
            && marks.of(&subset, &own.report.applied).is_none()
            && mark.covers(&own.mark)
        {
            if mark != &own.mark {
                own.mark = mark.clone();
            }
            // Both share one copy in memory.
            own.report.mark = Some(own.mark.clone());
        }
        own.raise(marks, &subset);
        let before = before.map(|it| it.report);
        self.tell(poller, before.as_ref(), &own.report, wanted, now);
        let is_news = before.is_none_or(|before| {
            let told = |of: &Report| (of.applied.clone(), of.refused.clone(), of.is_lean);
            told(&before) != told(&own.report)
        });
        known.insert(poller.clone(), own);
        if is_news || swept {
            self.count(&state);
        }
        drop(state);
        if is_news || swept {
            self.news.send_replace(());
        }
    }

    /// What happened to the proxy since it polled before.
    fn tell(
        &self,
        poller: &Poller,
        before: Option<&Report>,
        report: &Report,
        wanted: Option<&Wanted<'_>>,
        now: Instant,
    ) {
        let instance = String::from_utf8_lossy(&poller.instance);
        if let Some(Wanted { revision, at, .. }) = wanted
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

    fn count(&self, state: &State) {
        let refusing = |known: &&Known| !known.report.refused.is_empty();
        let refusing = state.known.values().filter(refusing).count();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.proxies.set(gauge(state.known.len()));
        self.metrics.proxies_refusing.set(gauge(refusing));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, poller: &Poller) -> bool {
        self.known.contains_key(poller)
            || (self.known.len() < MAX_PROXIES && self.counts.have_room(&poller.owner))
    }

    /// Forgets who is gone, now and then. True where somebody is.
    fn sweep(&mut self, now: Instant) -> bool {
        let is_due = |swept: Instant| now.duration_since(swept) >= SWEEP;
        if !self.swept.is_none_or(is_due) {
            return false;
        }
        self.swept = Some(now);
        let before = self.known.len();
        let State { known, counts, .. } = self;
        known.retain(|poller, proxy| {
            let is_there = now.duration_since(proxy.seen) < FORGET;
            if !is_there {
                counts.remove(&poller.owner);
            }
            is_there
        });
        let known = &self.known;
        let asked_for = known
            .iter()
            .map(|(poller, it)| (&poller.scope, it.report.version));
        let asked_for: std::collections::HashSet<_> = asked_for.collect();
        self.marks
            .retain(|(scope, version)| asked_for.contains(&(scope, *version)));
        self.known.len() < before
    }

    fn read(&mut self, watermark: &watch::Receiver<Arc<Watermark>>) {
        if self.marks.read(&watermark.borrow()) {
            for known in self.known.values_mut() {
                known.mark = Arc::default();
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
        take(&mut self.by_owner, owner);
        if let Some(namespace) = &owner.namespace {
            take(&mut self.by_namespace, namespace);
        }
    }
}

fn take<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Known {
    /// Follows the mark of the revision that the proxy runs. One of a past that the cluster has lost, which another
    /// replica told of, is not held on to.
    fn raise(&mut self, marks: &Marks, subset: &Subset) {
        if let Some(mark) = marks.of(subset, &self.report.applied)
            && (mark.covers(&self.mark) || !marks.cover(&self.mark))
        {
            self.mark = mark.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::api::smi::traffic_target::Policy;
    use weir_core::plan::Scope;

    #[test]
    fn the_module_of_a_proxy_is_known_and_its_change_is_news() {
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let proxies = Proxies::new(&publisher, metrics);
        let mut news = proxies.news();
        let mut poll = |module: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = module {
                headers.insert(module::HEADER, value.parse().unwrap());
            }
            let poller = poller("a", Owner::default());
            proxies.note(&poller, Report::of(&headers, 1), None);
            let is_news = news.has_changed().unwrap();
            news.mark_unchanged();
            (is_news, proxies.known().proxies[0].is_lean)
        };
        assert_eq!(poll(None), (true, false));
        assert_eq!(poll(Some("lean")), (true, true));
        assert_eq!(poll(Some("lean")), (false, true));
        assert_eq!(poll(Some("another")), (true, false));
    }

    fn poller(instance: &str, owner: Owner) -> Poller {
        Poller {
            owner: Arc::new(owner),
            instance: instance.as_bytes().to_vec(),
            scope: Scope::Producers,
        }
    }

    fn known_after(proxies: &Proxies, instance: usize, owner: Owner) -> usize {
        let poller = poller(&instance.to_string(), owner);
        proxies.note(&poller, Report::of(&HeaderMap::new(), 1), None);
        proxies.lock().known.len()
    }

    #[test]
    fn one_namespace_leaves_places_to_the_others() {
        let metrics = Arc::new(Metrics::default());
        let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
        let proxies = Proxies::new(&publisher, metrics);
        let of_pod = |number: usize| Owner::of_pod("many", &number.to_string());
        for number in 0..MAX_OF_NAMESPACE {
            assert_eq!(known_after(&proxies, 0, of_pod(number)), number + 1);
        }
        let all = MAX_OF_NAMESPACE;
        assert_eq!(known_after(&proxies, 0, of_pod(all)), all);
        // One that has its place keeps it.
        assert_eq!(known_after(&proxies, 0, of_pod(1)), all);
        let few = Owner::of_pod("few", "1");
        assert_eq!(known_after(&proxies, 0, few), all + 1);
        assert_eq!(known_after(&proxies, 0, Owner::default()), all + 2);
    }

    #[test]
    fn a_token_has_as_many_instances_as_its_owner_may_have() {
        for (owner, limit) in [
            (Owner::of_pod("shop", "1"), 32),
            (
                Owner::of_account("shop", "system:serviceaccount:shop:a"),
                256,
            ),
        ] {
            let metrics = Arc::new(Metrics::default());
            let publisher = Publisher::new(metrics.clone(), Policy::Unstated);
            let proxies = Proxies::new(&publisher, metrics);
            for number in 0..8_192 {
                known_after(&proxies, number, owner.clone());
            }
            assert_eq!(proxies.lock().known.len(), limit, "{owner:?}");
            let other = Owner::of_pod("shop", "2");
            assert_eq!(known_after(&proxies, 0, other), limit + 1);
            // A proxy that is forgotten no longer counts.
            let mut state = proxies.lock();
            state.swept = None;
            state.sweep(Instant::now() + FORGET);
            assert!(state.known.is_empty() && state.counts.by_owner.is_empty());
            assert!(state.counts.by_namespace.is_empty());
        }
    }
}
