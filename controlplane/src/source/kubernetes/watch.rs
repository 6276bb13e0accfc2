//! Reads the objects of one source: one kind of object, in all namespaces or in one. First it lists the objects. Then
//! it watches from the resource version of the list. After every failure it lists the objects again.
//!
//! A watch is resumed only if it has lasted for its whole term. An API server that shuts down also ends a watch without
//! an error, but earlier. After such an end the objects are listed again, because the cluster may have been restored
//! from a backup. A watch from a resource version before the restore would keep objects that no longer exist.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::cluster_versions::{ListLocation, WatchCommand, WatchHandle};
use super::memory_budget::{Changes, MemoryBudget, ObjectAge};
use super::object_list::ObjectList;
use super::object_store::SourceEvent;
use super::read_object::{Head, Key, ReadObject, count};
use super::resource::{Served, Source};
use weir_core::manifest::problem::messages::budget as messages;
use weir_core::metrics::Metrics;
use weir_core::status::subject::Subject;
use weir_core::translate::budget::Limits;

/// Maximum number of objects in one page of a list. Pages have fewer objects if the objects are large or the API server
/// is slow.
const PAGE: u32 = 250;
/// Maximum size of a page with several objects. If a page is larger, the watch requests a page with fewer objects.
const PAGE_BYTES: u64 = 4 << 20;
/// Maximum size of a page with one object. An API server accepts objects of at most 3 MiB.
const OBJECT_BYTES: u64 = 8 << 20;
/// Limits the number of pages that all sources together read at the same time.
static READING: Semaphore = Semaphore::const_new(4);
/// Time limit for the beginning of an answer, and for the rest of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// `timeoutSeconds` of a watch: the API server ends the watch after this time.
const TERM: u32 = 290;
/// `timeoutSeconds` of a watch that only waits for a bookmark, which the API server sends at once.
const CATCH_UP_TERM: u32 = 3;
/// The API server sends a bookmark each minute, so a watch that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(90);
/// Pause after the first failure. The pause doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// If the last list is at least this old, the next list begins without a pause. A watch may also end this much before
/// its term, and still counts as complete.
const TOO_SHORT: Duration = Duration::from_secs(1);

pub struct Watch {
    client: kube::Client,
    source: Source,
    served: Served,
    handle: WatchHandle,
    events: mpsc::Sender<SourceEvent>,
    metrics: Arc<Metrics>,
    is_failing: bool,
    /// Pause after the next failure.
    pause: Duration,
    /// Maximum size of an object's text in bytes. A larger object becomes a stub: a name and a problem.
    max_object: usize,
    /// Number of objects in the first page of the next list.
    page: u32,
    budget: MemoryBudget,
}

/// Why the watch was interrupted.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// 404: the cluster does not have the source at this version.
    #[error("the cluster does not have this kind")]
    Absent,
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Silent,
    #[error("{0}")]
    Failed(String),
    #[error("the receiver of events is gone")]
    ReceiverGone,
}

/// How a watch ended without an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WatchEnd {
    /// The watch has lasted for its whole term, or there is a command. The next watch can continue.
    Resumable,
    /// The objects must be listed again.
    Outdated,
}

impl From<kube::Error> for Interrupted {
    fn from(error: kube::Error) -> Interrupted {
        match error {
            kube::Error::Api(status) if status.code == 404 => Interrupted::Absent,
            kube::Error::Api(status) => Interrupted::Failed(format!(
                "{} {}: {}",
                status.code, status.reason, status.message
            )),
            other => Interrupted::Failed(with_causes(&other)),
        }
    }
}

/// Returns the text of an error and of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors already contain the text of their cause.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Watch {
    pub fn new(
        client: kube::Client,
        source: Source,
        served: Served,
        handle: WatchHandle,
        events: mpsc::Sender<SourceEvent>,
        metrics: Arc<Metrics>,
        limits: &Limits,
    ) -> Watch {
        Watch {
            client,
            source,
            served,
            handle,
            events,
            metrics,
            is_failing: false,
            pause: MIN_PAUSE,
            max_object: usize::try_from(limits.object).unwrap_or(usize::MAX),
            page: PAGE,
            budget: MemoryBudget::new(limits),
        }
    }

    /// Runs until the cluster no longer has the source, or the receiver of the events is gone.
    pub async fn run(mut self) {
        loop {
            let interrupted = match self.follow().await {
                Ok(()) => continue,
                // Every cluster has the core group, so this 404 does not come from the API server. A proxy between Weir
                // and the API server may have sent it.
                Err(Interrupted::Absent) if self.source.resource.group.is_empty() => {
                    Err(Interrupted::Failed(Interrupted::Absent.to_string()))
                }
                Err(Interrupted::Absent) => self.find_version().await,
                Err(interrupted) => Err(interrupted),
            };
            match interrupted {
                Ok(()) => {}
                Err(Interrupted::ReceiverGone) => return,
                Err(Interrupted::Absent) => {
                    let _ = self.send(SourceEvent::Gone(self.source.id.clone())).await;
                    return;
                }
                Err(failed @ (Interrupted::Silent | Interrupted::Failed(_))) => {
                    if self.fail(failed.to_string()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Lists the objects, and then watches them until they must be listed again.
    async fn follow(&mut self) -> Result<(), Interrupted> {
        let mut version = self.list().await?;
        let listed = Instant::now();
        loop {
            match self.watch(&mut version).await? {
                WatchEnd::Outdated => {
                    if listed.elapsed() < TOO_SHORT {
                        self.pause().await;
                    }
                    return Ok(());
                }
                WatchEnd::Resumable => {}
            }
        }
    }

    /// Finds another API version at which the cluster serves the kind.
    async fn find_version(&mut self) -> Result<(), Interrupted> {
        for version in self.source.resource.versions {
            let served = Served {
                version,
                ..self.served
            };
            let location = ListLocation::of(&self.source, served);
            let request = Request::new(&location.path).list(&location.list().limit(1));
            match self.request(request, OBJECT_BYTES).await {
                Ok(_) => {
                    self.served = served;
                    self.handle.location = location;
                    return Ok(());
                }
                Err(Interrupted::Absent) => {}
                Err(other) => return Err(other),
            }
        }
        Err(Interrupted::Absent)
    }

    /// Reads all objects. Returns the resource version from which the watch begins.
    async fn list(&mut self) -> Result<String, Interrupted> {
        self.handle.take_command();
        self.budget.clear();
        let (mut objects, mut changed) = (BTreeMap::new(), 0);
        let mut page = self.page;
        let mut params = self.handle.location.list();
        let version = loop {
            params.limit = Some(page);
            let request = Request::new(&self.handle.location.path).list(&params);
            let most = if page > 1 { PAGE_BYTES } else { OBJECT_BYTES };
            let answer = self.request(request, most).await;
            if let Err(Interrupted::Silent) = answer {
                // The API server may need more time for such a page, so the next list begins with fewer objects.
                self.page = fewer(page);
            }
            let Some(text) = answer? else {
                if page == 1 {
                    let why = format!("an object has more than {OBJECT_BYTES} bytes");
                    return Err(Interrupted::Failed(why));
                }
                page = fewer(page);
                continue;
            };
            if u64::try_from(text.len()).is_ok_and(|length| length < PAGE_BYTES / 4) {
                page = PAGE.min(page.saturating_mul(2));
            }
            let ObjectList { metadata, items } = read(&text)?;
            for text in items.unwrap_or_default() {
                let head = Head::of(&text);
                changed = changed.max(count(&head.resource_version));
                self.add_listed(&text, head, &mut objects);
            }
            if metadata.continue_token.is_empty() {
                break metadata.resource_version;
            }
            params.continue_token = Some(metadata.continue_token);
        };
        self.page = PAGE;
        self.set_reached(&version)?;
        let id = self.source.id.clone();
        self.send(SourceEvent::Listed(id, objects, count(&version), changed))
            .await?;
        Ok(version)
    }

    /// Returns the text of an answer. Returns None if the text has more than `most` bytes.
    async fn request(
        &self,
        request: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
        most: u64,
    ) -> Result<Option<Vec<u8>>, Interrupted> {
        let request = request.map_err(|error| Interrupted::Failed(with_causes(&error)))?;
        let answer = timeout(TIMEOUT, self.client.request_stream(request)).await;
        let body = pin!(answer.map_err(|_| Interrupted::Silent)??);
        let _permit = READING.acquire().await;
        let mut text = Vec::new();
        let mut body = body.take(most + 1);
        let whole = timeout(TIMEOUT, body.read_to_end(&mut text)).await;
        let length = whole
            .map_err(|_| Interrupted::Silent)?
            .map_err(|error| Interrupted::Failed(with_causes(&error)))?;
        let is_whole = u64::try_from(length).is_ok_and(|length| length <= most);
        Ok(is_whole.then_some(text))
    }

    /// Adds an object of a list to `objects`. Objects that do not fit into the memory limit become stubs.
    fn add_listed(&mut self, text: &RawValue, head: Head, objects: &mut BTreeMap<Key, ReadObject>) {
        let kept = self.read_object(text, &head);
        let age = ObjectAge::new(head.created.as_deref(), &head.key.1);
        let changes = self.budget.put(&head.key, age, kept.weight());
        objects.insert(head.key, kept);
        for (key, hidden) in changes.stubs {
            let subject = objects.get_mut(&key).and_then(|kept| kept.subject.take());
            let stub = self.stub(key.clone(), hidden, subject);
            objects.insert(key, stub);
        }
        for key in changes.hidden {
            objects.remove(&key);
        }
    }

    /// Sends an event for a new or changed object, and for each object that becomes a stub or hidden.
    async fn apply(
        &mut self,
        text: &RawValue,
        head: Head,
        version: u64,
    ) -> Result<(), Interrupted> {
        let kept = self.read_object(text, &head);
        let age = ObjectAge::new(head.created.as_deref(), &head.key.1);
        let changes = self.budget.put(&head.key, age, kept.weight());
        let is_stub = changes.stubs.iter().any(|(key, _)| *key == head.key);
        let subject = kept.subject.clone().filter(|_| is_stub);
        if !is_stub && !changes.hidden.contains(&head.key) {
            self.send_applied(head.key.clone(), kept, version).await?;
        }
        self.send_changes(changes, Some((&head.key, subject)), version)
            .await
    }

    /// Sends an event for each change. `own` is the key of the new or changed object, and its subject.
    async fn send_changes(
        &self,
        changes: Changes,
        own: Option<(&Key, Option<Arc<Subject>>)>,
        version: u64,
    ) -> Result<(), Interrupted> {
        for (key, hidden) in changes.stubs {
            let own = own.as_ref().filter(|(own, _)| **own == key);
            let subject = own.and_then(|(_, subject)| subject.clone());
            let stub = self.stub(key.clone(), hidden, subject);
            self.send_applied(key, stub, version).await?;
        }
        for key in changes.hidden {
            let id = self.source.id.clone();
            self.send(SourceEvent::Deleted(id, key, version)).await?;
        }
        Ok(())
    }

    /// Watches the objects from `version` on. Raises `version` with each event.
    async fn watch(&mut self, version: &mut String) -> Result<WatchEnd, Interrupted> {
        let term = match self.handle.take_command() {
            WatchCommand::None => TERM,
            WatchCommand::CatchUp => CATCH_UP_TERM,
            WatchCommand::Restart => return Ok(WatchEnd::Outdated),
        };
        let start = Instant::now();
        let params = WatchParams {
            field_selector: self.handle.location.field_selector.clone(),
            ..WatchParams::default()
        };
        let request = Request::new(&self.handle.location.path)
            .watch(&params.timeout(term), version)
            .map_err(|error| Interrupted::Failed(with_causes(&error)))?;
        let stream = self.client.request_events::<Box<RawValue>>(request);
        let stream = match timeout(TIMEOUT, stream)
            .await
            .map_err(|_| Interrupted::Silent)?
        {
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(WatchEnd::Outdated),
            other => other?,
        };
        let mut stream = pin!(stream);
        let mut settled = pin!(sleep(TOO_SHORT));
        let mut is_settled = false;
        let mut next_read = start;
        loop {
            if !self.budget.to_read.is_empty() && next_read <= Instant::now() {
                next_read = self.read_again(count(version)).await?;
            }
            let has_unread = !self.budget.to_read.is_empty();
            let event = tokio::select! {
                () = sleep_until(next_read), if has_unread => continue,
                () = self.handle.wait_for_command() => return Ok(WatchEnd::Resumable),
                () = &mut settled, if !is_settled => {
                    is_settled = true;
                    self.pause = MIN_PAUSE;
                    self.log_recovery();
                    continue;
                }
                event = timeout(SILENCE, stream.try_next()) => event,
            };
            let silent = || Interrupted::Failed(format!("no event for {} s", SILENCE.as_secs()));
            let Some(event) = event.map_err(|_| silent())?? else {
                if start.elapsed() + TOO_SHORT >= Duration::from_secs(term.into()) {
                    return Ok(WatchEnd::Resumable);
                }
                return Ok(WatchEnd::Outdated);
            };
            if !matches!(event, WatchEvent::Error(_)) {
                self.log_recovery();
            }
            match event {
                WatchEvent::Error(status) if status.code == 410 => return Ok(WatchEnd::Outdated),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
                WatchEvent::Added(text) | WatchEvent::Modified(text) => {
                    let head = Head::of(&text);
                    version.clone_from(&head.resource_version);
                    self.set_reached(version)?;
                    self.apply(&text, head, count(version)).await?;
                }
                WatchEvent::Deleted(text) => {
                    let head = Head::of(&text);
                    *version = head.resource_version;
                    self.set_reached(version)?;
                    let id = self.source.id.clone();
                    let changes = self.budget.remove(&head.key);
                    self.send(SourceEvent::Deleted(id, head.key, count(version)))
                        .await?;
                    self.send_changes(changes, None, count(version)).await?;
                }
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    self.set_reached(version)?;
                    let id = self.source.id.clone();
                    self.send(SourceEvent::Reached(id, count(version))).await?;
                }
            }
        }
    }

    fn read_object(&self, text: &RawValue, head: &Head) -> ReadObject {
        let Source { resource, id, .. } = &self.source;
        let kept = ReadObject::of(text, head, resource, self.served, id);
        let size = text.get().len();
        if size <= self.max_object {
            return kept;
        }
        let message = messages::text_over_object(size, self.max_object);
        ReadObject::stub(head.key.clone(), resource, message, kept.subject)
    }

    /// Returns a stub that reports `hidden` hidden objects.
    fn stub(&self, key: Key, hidden: usize, subject: Option<Arc<Subject>>) -> ReadObject {
        let limit = self.budget.limit();
        let message = match hidden {
            0 => messages::no_room(&key.0, limit),
            _ => messages::no_room_for_more(hidden, &key.0, limit),
        };
        ReadObject::stub(key, &self.source.resource, message, subject)
    }

    async fn send_applied(
        &self,
        key: Key,
        kept: ReadObject,
        version: u64,
    ) -> Result<(), Interrupted> {
        let id = self.source.id.clone();
        self.send(SourceEvent::Applied(id, key, kept, version))
            .await
    }

    fn set_reached(&self, version: &str) -> Result<(), Interrupted> {
        if version.is_empty() {
            let why = "an answer has no resource version";
            return Err(Interrupted::Failed(why.to_owned()));
        }
        self.handle.set_reached(count(version));
        Ok(())
    }

    async fn send(&self, event: SourceEvent) -> Result<(), Interrupted> {
        let result = self.events.send(event).await;
        result.map_err(|_| Interrupted::ReceiverGone)
    }

    async fn fail(&mut self, why: String) -> Result<(), Interrupted> {
        let resource = &self.source.id;
        self.metrics.count_watch_error(resource);
        if !self.is_failing {
            tracing::warn!(%resource, "the objects cannot be read, and the previous objects stay in force: {why}");
        }
        self.is_failing = true;
        self.send(SourceEvent::Failing(resource.clone(), why))
            .await?;
        self.pause().await;
        Ok(())
    }

    async fn pause(&mut self) {
        sleep(self.pause).await;
        self.pause = MAX_PAUSE.min(self.pause * 2);
    }

    /// Logs that a failure is over. Call this when the watch has delivered an event or has lasted for a while. So a
    /// watch that fails many times in a row logs only one failure.
    fn log_recovery(&mut self) {
        if self.is_failing {
            tracing::info!(resource = %self.source.id, "the objects can be read again");
        }
        self.is_failing = false;
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Interrupted> {
    serde_json::from_slice(text).map_err(|error| Interrupted::Failed(with_causes(&error)))
}

fn fewer(page: u32) -> u32 {
    (page / 4).max(1)
}

mod reread;
#[cfg(test)]
mod tests;
