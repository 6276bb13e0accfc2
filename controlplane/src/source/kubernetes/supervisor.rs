//! Runs a watch for every source that the cluster has. A source is one kind of object, in all namespaces or in one. The
//! supervisor requests the cluster's kinds every two seconds, because the cluster may get a kind, lose a kind, or serve
//! a kind at another version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::cluster_versions::{ClusterVersions, ListLocation};
use super::discovery::{Discovery, Undiscovered};
use super::object_store::SourceEvent;
use super::resource::{ApiResource, Served, Source};
use super::watch::Watch;
use weir_core::manifest::object::Kind;
use weir_core::metrics::Metrics;
use weir_core::translate::budget::Limits;

/// Time between two requests for the cluster's kinds.
const DISCOVER: Duration = Duration::from_secs(2);
/// Time between two checks whether the cluster was restored from a backup.
const COMPARE: Duration = Duration::from_secs(20);
/// Time until the next check, if not every source has answered the last check.
const COMPARE_AGAIN: Duration = Duration::from_secs(5);
/// Time limit of one check. A check may wait for the request of another caller, then one second, and then for its own
/// request.
const COMPARISON: Duration = Duration::from_secs(10);
/// Time limit of a request. It is needed because the connection may be dead.
const TIMEOUT: Duration = Duration::from_secs(4);

pub struct Supervisor {
    client: kube::Client,
    sources: Vec<Source>,
    discovery: Discovery,
    versions: ClusterVersions,
    /// The watches, by the id of their source. Watches that have ended stay in the map.
    running: BTreeMap<Arc<str>, RunningWatch>,
    /// All watches end when this set is dropped.
    watches: JoinSet<()>,
    events: EventSenders,
    metrics: Arc<Metrics>,
    limits: Limits,
    is_failing: bool,
}

/// Where the watches send their events.
pub struct EventSenders {
    pub objects: mpsc::Sender<SourceEvent>,
    /// For the watches of EndpointSlices.
    pub slices: mpsc::Sender<SourceEvent>,
}

struct RunningWatch {
    /// The version that the watch began with.
    served: Served,
    watch: AbortHandle,
}

impl Supervisor {
    pub fn new(
        client: kube::Client,
        sources: Vec<Source>,
        versions: ClusterVersions,
        events: EventSenders,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Supervisor {
        Supervisor {
            discovery: Discovery::new(client.clone()),
            client,
            sources,
            versions,
            running: BTreeMap::new(),
            watches: JoinSet::new(),
            events,
            metrics,
            limits,
            is_failing: false,
        }
    }

    /// Runs until the receiver of the events is gone.
    pub async fn run(mut self) {
        let mut ticks = interval(DISCOVER);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last_check, mut pause) = (Instant::now(), COMPARE);
        while !self.events.objects.is_closed() {
            ticks.tick().await;
            let result = self.discover().await;
            // An error means that the receiver is gone. Then the loop ends.
            let _ = self
                .events
                .objects
                .send(SourceEvent::Discovered(result))
                .await;
            while self.watches.try_join_next().is_some() {}
            if last_check.elapsed() >= pause {
                let is_complete = timeout(COMPARISON, self.versions.check()).await == Ok(true);
                last_check = Instant::now();
                pause = if is_complete { COMPARE } else { COMPARE_AGAIN };
            }
        }
    }

    async fn discover(&mut self) -> Result<(), String> {
        let result = timeout(TIMEOUT, self.discovery.refresh()).await;
        if let Err(error) = result.unwrap_or(Err(Undiscovered::Silent)) {
            self.metrics.count_watch_error("apis");
            let why = format!("the kinds of the cluster cannot be read: {error}");
            if !self.is_failing {
                tracing::warn!("{why}");
            }
            self.is_failing = true;
            return Err(why);
        }
        if self.is_failing {
            tracing::info!("the kinds of the cluster can be read again");
        }
        self.is_failing = false;
        for source in self.sources.clone() {
            self.follow(source).await;
        }
        Ok(())
    }

    async fn follow(&mut self, source: Source) {
        let running = self.running.get(&source.id);
        let served = match (self.discovery.served(&source.resource), running) {
            (Some(served), _) => served,
            // The answer of discovery may be old. So the watch finds out whether the cluster has the kind.
            (None, None) => match Served::undiscovered(&source.resource) {
                Some(served) => served,
                None => return,
            },
            (None, Some(running)) => {
                if running.watch.is_finished() {
                    self.versions.forget(&source.id);
                }
                return;
            }
        };
        if let Some(running) = running {
            if running.served == served && !running.watch.is_finished() {
                return;
            }
            running.watch.abort();
        }
        let _ = self
            .events
            .objects
            .send(SourceEvent::Begun(source.id.clone()))
            .await;
        let id = source.id.clone();
        let handle = self
            .versions
            .register(&id, ListLocation::of(&source, served));
        let client = self.client.clone();
        let events = match source.resource.kind {
            Kind::EndpointSlice => self.events.slices.clone(),
            _ => self.events.objects.clone(),
        };
        let watch = Watch::new(
            client,
            source,
            served,
            handle,
            events,
            self.metrics.clone(),
            &self.limits,
        );
        let watch = self.watches.spawn(watch.run());
        self.running.insert(id, RunningWatch { served, watch });
    }
}

impl Served {
    /// Returns the first supported version, for a kind that is not in the answer of discovery.
    fn undiscovered(resource: &ApiResource) -> Option<Served> {
        let version = *resource.versions.first()?;
        let has_status = false;
        Some(Served {
            version,
            has_status,
        })
    }
}
