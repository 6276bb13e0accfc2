//! How far a cluster itself has come, asked of its API server: whoever has read less lags behind, whoever has read
//! more has read another cluster, the one that this was before it was restored from a backup.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::reading::count;
use super::resource::{Served, Source};
use weir_core::watermark::Watermark;

/// There is one question in this time, however many ask.
const EVERY: Duration = Duration::from_secs(1);
/// An answer is waited for no longer than this.
const PATIENCE: Duration = Duration::from_secs(4);
/// Sources that are asked about at a time.
const AT_ONCE: usize = 16;

/// The default is that of a source without resource versions, such as a folder.
#[derive(Clone, Default)]
pub struct Horizon(Option<Arc<Shared>>);

struct Shared {
    client: kube::Client,
    sources: Mutex<BTreeMap<Arc<str>, Followed>>,
    newest: tokio::sync::Mutex<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    /// When it was asked for.
    at: Instant,
    newest: Option<Arc<Watermark>>,
    /// No source is left out.
    is_full: bool,
}

/// A source that is watched.
#[derive(Clone)]
struct Followed {
    place: Place,
    reached: Arc<AtomicU64>,
    nudge: watch::Sender<Nudge>,
}

/// Where a source is listed.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: String,
    pub field_selector: Option<String>,
}

/// What a watch is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Go on.
    None,
    /// Find out how far the cluster has come.
    CatchUp,
    /// Begin anew: the cluster counts from lower numbers.
    Restart,
}

/// A watch's own end of `Followed`: where it tells how far it has come, and is told what to do.
pub struct Following {
    pub place: Place,
    reached: Arc<AtomicU64>,
    nudge: watch::Sender<Nudge>,
    nudged: watch::Receiver<Nudge>,
}

impl Following {
    pub fn reach(&self, version: u64) {
        self.reached.store(version, Ordering::Release);
    }

    /// Ends when there is a nudge.
    pub async fn nudged(&mut self) {
        // It cannot fail: the other end is here as well.
        let _ = self.nudged.wait_for(|nudge| *nudge != Nudge::None).await;
    }

    pub fn take_nudge(&self) -> Nudge {
        self.nudge.send_replace(Nudge::None)
    }
}

impl Place {
    pub fn of(source: &Source, served: Served) -> Place {
        Place {
            path: source.path(served.version),
            field_selector: source.field_selector(),
        }
    }

    pub fn list(&self) -> ListParams {
        ListParams {
            field_selector: self.field_selector.clone(),
            ..ListParams::default()
        }
    }
}

impl Horizon {
    pub(super) fn new(client: kube::Client) -> Horizon {
        Horizon(Some(Arc::new(Shared {
            client,
            sources: Mutex::default(),
            newest: tokio::sync::Mutex::default(),
        })))
    }

    /// The API server's own newest resource versions, asked for after this was called. None where it cannot be
    /// asked, or where there is none. Those who wait share one question, and there is one a second at most.
    ///
    /// A watch that turns out to be behind is made to catch up, and one that is ahead to begin anew.
    pub async fn newest(&self) -> Option<Arc<Watermark>> {
        let newest = self.ask().await?.newest?;
        self.0.as_ref()?.catch_up(&newest);
        Some(newest)
    }

    /// As [`Horizon::newest`], but leaves those that are behind alone. Whether every source could be asked about.
    pub(super) async fn compare(&self) -> bool {
        self.ask().await.is_some_and(|answer| answer.is_full)
    }

    async fn ask(&self) -> Option<Answer> {
        let shared = self.0.as_ref()?;
        let called = Instant::now();
        let mut newest = shared.newest.lock().await;
        if let Some(answer) = &*newest {
            if answer.at >= called {
                return Some(answer.clone());
            }
            sleep_until(answer.at + EVERY).await;
        }
        let answer = shared.ask().await;
        *newest = Some(answer.clone());
        Some(answer)
    }

    pub(super) fn follow(&self, id: &Arc<str>, place: Place) -> Following {
        let (nudge, nudged) = watch::channel(Nudge::None);
        let reached = Arc::new(AtomicU64::default());
        let followed = Followed {
            place: place.clone(),
            reached: reached.clone(),
            nudge: nudge.clone(),
        };
        if let Some(shared) = &self.0 {
            shared.sources().insert(id.clone(), followed);
        }
        Following {
            place,
            reached,
            nudge,
            nudged,
        }
    }

    pub(super) fn forget(&self, id: &str) {
        if let Some(shared) = &self.0 {
            shared.sources().remove(id);
        }
    }
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
}

impl Shared {
    fn sources(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Followed>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source that cannot be asked about is left out.
    async fn ask(&self) -> Answer {
        let at = Instant::now();
        let sources = self.sources().clone();
        let mut is_full = true;
        let mut answers = JoinSet::new();
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        for (id, followed) in sources {
            // Taken before the question: what is read meanwhile may be newer than the answer.
            let reached = followed.reached.load(Ordering::Acquire);
            let (client, turns) = (self.client.clone(), turns.clone());
            answers.spawn(async move {
                let newest = async {
                    // Never closed.
                    let _turn = turns.acquire().await;
                    newest(&client, &followed.place).await
                };
                let newest = timeout(PATIENCE, newest).await;
                let newest = newest.ok()??;
                if reached > newest {
                    followed.nudge.send_replace(Nudge::Restart);
                }
                Some((id, newest))
            });
        }
        let mut watermark = Watermark::default();
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Some((id, newest))) => watermark.set(&id, newest),
                Ok(None) | Err(_) => is_full = false,
            }
        }
        let newest = (!watermark.is_empty()).then(|| Arc::new(watermark));
        Answer {
            at,
            newest,
            is_full,
        }
    }

    fn catch_up(&self, newest: &Watermark) {
        for (id, followed) in self.sources().iter() {
            let reached = followed.reached.load(Ordering::Acquire);
            // Before its first list it is on its way anyhow, and what begins anew catches up by it.
            let is_behind = reached > 0 && newest.get(id).is_some_and(|newest| reached < newest);
            followed.nudge.send_if_modified(|nudge| {
                let news = is_behind && *nudge == Nudge::None;
                if news {
                    *nudge = Nudge::CatchUp;
                }
                news
            });
        }
    }
}

async fn newest(client: &kube::Client, place: &Place) -> Option<u64> {
    let params = place.list().limit(1);
    let request = Request::new(&place.path).list(&params).ok()?;
    let list: List = client.request(request).await.ok()?;
    let newest = count(&list.metadata.resource_version);
    (newest > 0).then_some(newest)
}
