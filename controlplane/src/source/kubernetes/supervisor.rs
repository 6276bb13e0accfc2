//! A watch for every source that the cluster has: its kinds are looked for again and again, for one may come, go, or
//! be served at another version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::discovery::{Discovery, Undiscovered};
use super::horizon::{Horizon, Place};
use super::resource::{Resource, Served, Source};
use super::store::News;
use super::watch::Watch;
use weir_core::metrics::Metrics;
use weir_core::translate::budget::Limits;

/// How often the cluster is asked for its kinds.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is asked whether it has gone back in time.
const COMPARE: Duration = Duration::from_secs(20);
/// The same, where not all of it could be asked.
const COMPARE_AGAIN: Duration = Duration::from_secs(5);
/// One comparison: another's question, a second between the two, and its own.
const COMPARISON: Duration = Duration::from_secs(10);
/// The answer is waited for no longer than this: the connection may be dead.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct Supervisor {
    client: kube::Client,
    sources: Vec<Source>,
    discovery: Discovery,
    horizon: Horizon,
    /// By the id of their source, those that have ended as well.
    running: BTreeMap<Arc<str>, Running>,
    /// Ends the watches with itself.
    watches: JoinSet<()>,
    news: mpsc::Sender<News>,
    metrics: Arc<Metrics>,
    limits: Limits,
    is_failing: bool,
}

struct Running {
    /// As it was begun.
    served: Served,
    watch: AbortHandle,
}

impl Supervisor {
    pub fn new(
        client: kube::Client,
        sources: Vec<Source>,
        horizon: Horizon,
        news: mpsc::Sender<News>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Supervisor {
        Supervisor {
            discovery: Discovery::new(client.clone()),
            client,
            sources,
            horizon,
            running: BTreeMap::new(),
            watches: JoinSet::new(),
            news,
            metrics,
            limits,
            is_failing: false,
        }
    }

    /// Runs until nobody listens.
    pub async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut compared, mut pause) = (Instant::now(), COMPARE);
        while !self.news.is_closed() {
            looks.tick().await;
            let found = self.look().await;
            // Nobody listens: the loop ends.
            let _ = self.news.send(News::Discovered(found)).await;
            while self.watches.try_join_next().is_some() {}
            if compared.elapsed() >= pause {
                let is_full = timeout(COMPARISON, self.horizon.compare()).await == Ok(true);
                compared = Instant::now();
                pause = if is_full { COMPARE } else { COMPARE_AGAIN };
            }
        }
    }

    async fn look(&mut self) -> Result<(), String> {
        let looked = timeout(PATIENCE, self.discovery.look()).await;
        if let Err(error) = looked.unwrap_or(Err(Undiscovered::Silent)) {
            self.metrics.watch_failed("apis");
            let why = format!("the cluster does not tell its kinds: {error}");
            if !self.is_failing {
                tracing::warn!("{why}");
            }
            self.is_failing = true;
            return Err(why);
        }
        if self.is_failing {
            tracing::info!("the cluster tells its kinds again");
        }
        self.is_failing = false;
        for source in self.sources.clone() {
            self.follow(source).await;
        }
        Ok(())
    }

    async fn follow(&mut self, source: Source) {
        let known = self.running.get(&source.id);
        let served = match (self.discovery.served(&source.resource), known) {
            (Some(served), _) => served,
            // It may be there all the same, which its watch finds out.
            (None, None) => match Served::unseen(&source.resource) {
                Some(served) => served,
                None => return,
            },
            (None, Some(running)) => {
                if running.watch.is_finished() {
                    self.horizon.forget(&source.id);
                }
                return;
            }
        };
        if let Some(running) = known {
            if running.served == served && !running.watch.is_finished() {
                return;
            }
            running.watch.abort();
        }
        let _ = self.news.send(News::Begun(source.id.clone())).await;
        let id = source.id.clone();
        let following = self.horizon.follow(&id, Place::of(&source, served));
        let (client, news) = (self.client.clone(), self.news.clone());
        let watch = Watch::new(
            client,
            source,
            served,
            following,
            news,
            self.metrics.clone(),
            &self.limits,
        );
        let watch = self.watches.spawn(watch.run());
        self.running.insert(id, Running { served, watch });
    }
}

impl Served {
    /// What a kind is asked for at that does not stand in the cluster's list of kinds.
    fn unseen(resource: &Resource) -> Option<Served> {
        let version = *resource.versions.first()?;
        let has_status = false;
        Some(Served {
            version,
            has_status,
        })
    }
}
