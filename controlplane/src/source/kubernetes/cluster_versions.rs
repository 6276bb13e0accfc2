//! Requests the newest resource versions of the cluster from its API server. If this replica has read only lower
//! versions, it is behind. If this replica has read higher versions, the cluster was restored from a backup.
//!
//! A source is one kind of object, in all namespaces or in one namespace. Each source has a watch.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::ListParams;
use kube::core::Request;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::object_list::ObjectList;
use super::read_object::count;
use super::resource::{Served, Source};
use weir_core::manifest::object::Kind;
use weir_core::watermark::Watermark;

/// Shortest time between two requests for the versions of all sources.
const EVERY: Duration = Duration::from_secs(1);
/// Time limit of a request for one source.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum number of requests at the same time.
const CONCURRENCY: usize = 16;

/// Requests the newest versions. The default value has no API server, and is for a folder of manifests. A folder has no
/// resource versions.
#[derive(Clone, Default)]
pub struct ClusterVersions(Option<Arc<SharedVersions>>);

struct SharedVersions {
    client: kube::Client,
    sources: Mutex<BTreeMap<Arc<str>, WatchedSource>>,
    newest: tokio::sync::Mutex<Option<VersionsAnswer>>,
}

#[derive(Clone)]
struct VersionsAnswer {
    /// When the request began.
    at: Instant,
    /// None if no source has answered.
    newest: Option<Arc<Watermark>>,
    /// True if every source has answered.
    is_complete: bool,
}

/// A source that is watched.
#[derive(Clone)]
struct WatchedSource {
    location: ListLocation,
    /// The resource version that the watch has reached; 0 before the first list.
    reached: Arc<AtomicU64>,
    command: watch::Sender<WatchCommand>,
}

/// The path and the field selector of a list.
#[derive(Clone, Debug)]
pub struct ListLocation {
    pub path: String,
    pub field_selector: Option<String>,
    /// False for EndpointSlices: they are in no configuration, so no watermark has their versions.
    is_in_watermark: bool,
}

/// A command to a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchCommand {
    /// No command.
    None,
    /// Get the newest resource version from the API server.
    CatchUp,
    /// List the objects again, because the cluster was restored and counts from lower numbers.
    Restart,
}

/// The part of a `WatchedSource` that belongs to the watch. The watch uses it to report the version that it has
/// reached, and to receive commands.
pub struct WatchHandle {
    pub location: ListLocation,
    reached: Arc<AtomicU64>,
    sender: watch::Sender<WatchCommand>,
    receiver: watch::Receiver<WatchCommand>,
}

impl WatchHandle {
    pub fn set_reached(&self, version: u64) {
        self.reached.store(version, Ordering::Release);
    }

    /// Waits until there is a command.
    pub async fn wait_for_command(&mut self) {
        // An error is impossible, because this value also has a sender.
        let is_command = |command: &WatchCommand| *command != WatchCommand::None;
        let _ = self.receiver.wait_for(is_command).await;
    }

    pub fn take_command(&self) -> WatchCommand {
        self.sender.send_replace(WatchCommand::None)
    }
}

impl ListLocation {
    pub fn of(source: &Source, served: Served) -> ListLocation {
        ListLocation {
            path: source.path(served.version),
            field_selector: source.field_selector(),
            is_in_watermark: source.resource.kind != Kind::EndpointSlice,
        }
    }

    pub fn list(&self) -> ListParams {
        ListParams {
            field_selector: self.field_selector.clone(),
            ..ListParams::default()
        }
    }
}

impl ClusterVersions {
    pub(super) fn new(client: kube::Client) -> ClusterVersions {
        ClusterVersions(Some(Arc::new(SharedVersions {
            client,
            sources: Mutex::default(),
            newest: tokio::sync::Mutex::default(),
        })))
    }

    /// Returns the newest resource versions, from a request that starts after this call. Returns None if there is no
    /// API server, or the API server does not answer. Several callers share one request, and there is at most one
    /// request in each second.
    ///
    /// A watch with lower versions gets the command to catch up. A watch with higher versions gets the command to
    /// restart.
    pub async fn newest(&self) -> Option<Arc<Watermark>> {
        let newest = self.request().await?.newest?;
        self.0.as_ref()?.catch_up(&newest);
        Some(newest)
    }

    /// Like [`ClusterVersions::newest`], but gives no command to a watch that is behind. Returns true if every source
    /// has answered.
    pub(super) async fn check(&self) -> bool {
        self.request()
            .await
            .is_some_and(|answer| answer.is_complete)
    }

    async fn request(&self) -> Option<VersionsAnswer> {
        let shared = self.0.as_ref()?;
        let called = Instant::now();
        let mut newest = shared.newest.lock().await;
        if let Some(answer) = &*newest {
            if answer.at >= called {
                return Some(answer.clone());
            }
            sleep_until(answer.at + EVERY).await;
        }
        let answer = shared.request().await;
        *newest = Some(answer.clone());
        Some(answer)
    }

    /// Registers a watch.
    pub(super) fn register(&self, id: &Arc<str>, location: ListLocation) -> WatchHandle {
        let (sender, receiver) = watch::channel(WatchCommand::None);
        let reached = Arc::new(AtomicU64::default());
        let source = WatchedSource {
            location: location.clone(),
            reached: reached.clone(),
            command: sender.clone(),
        };
        if let Some(shared) = &self.0 {
            shared.sources().insert(id.clone(), source);
        }
        WatchHandle {
            location,
            reached,
            sender,
            receiver,
        }
    }

    pub(super) fn forget(&self, id: &str) {
        if let Some(shared) = &self.0 {
            shared.sources().remove(id);
        }
    }
}

impl SharedVersions {
    fn sources(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, WatchedSource>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the newest version of each source. Leaves out sources without an answer. A watch with a higher version
    /// gets the command to restart.
    async fn request(&self) -> VersionsAnswer {
        let at = Instant::now();
        let sources = self.sources().clone();
        let mut is_complete = true;
        let mut answers = JoinSet::new();
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        for (id, source) in sources {
            // The version is read before the request, because the watch may reach a newer version during the request.
            let reached = source.reached.load(Ordering::Acquire);
            let (client, permits) = (self.client.clone(), permits.clone());
            answers.spawn(async move {
                let newest = async {
                    // An error is impossible, because the semaphore is never closed.
                    let _permit = permits.acquire().await;
                    newest_version(&client, &source.location).await
                };
                let newest = timeout(TIMEOUT, newest).await;
                let newest = newest.ok()??;
                if reached > newest {
                    source.command.send_replace(WatchCommand::Restart);
                }
                Some((source.location.is_in_watermark.then_some(id), newest))
            });
        }
        let mut watermark = Watermark::default();
        while let Some(answer) = answers.join_next().await {
            match answer {
                Ok(Some((Some(id), newest))) => watermark.set(&id, newest),
                Ok(Some((None, _))) => {}
                Ok(None) | Err(_) => is_complete = false,
            }
        }
        let newest = (!watermark.is_empty()).then(|| Arc::new(watermark));
        VersionsAnswer {
            at,
            newest,
            is_complete,
        }
    }

    fn catch_up(&self, newest: &Watermark) {
        for (id, source) in self.sources().iter() {
            let reached = source.reached.load(Ordering::Acquire);
            // Before its first list a watch needs no command, because the list returns the newest version.
            let is_behind = reached > 0 && newest.get(id).is_some_and(|newest| reached < newest);
            source.command.send_if_modified(|command| {
                let is_new = is_behind && *command == WatchCommand::None;
                if is_new {
                    *command = WatchCommand::CatchUp;
                }
                is_new
            });
        }
    }
}

/// Returns the newest version of a list. Returns None if there is no answer, or the version is not a number.
async fn newest_version(client: &kube::Client, location: &ListLocation) -> Option<u64> {
    let params = location.list().limit(1);
    let request = Request::new(&location.path).list(&params).ok()?;
    let list: ObjectList = client.request(request).await.ok()?;
    let newest = count(&list.metadata.resource_version);
    (newest > 0).then_some(newest)
}
