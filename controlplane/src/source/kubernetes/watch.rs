//! One source followed: listed, then watched from there, and listed again whenever something went wrong.
//!
//! A watch is resumed only where the API server ended it when its term was over. An API server that goes away ends it
//! in good order as well, only sooner. After anything else than that term the list is read again:
//! the cluster may have been restored from a backup meanwhile, and to go on from a number of its lost past would
//! keep objects of that past.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt, TryStreamExt};
use kube::api::{WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::horizon::{Following, Nudge, Place};
use super::reading::{Head, Kept, Key, count};
use super::resource::{Served, Source};
use super::room::{Age, Changes, Room};
use super::store::News;
use weir_core::manifest::problem::messages::budget as messages;
use weir_core::metrics::Metrics;
use weir_core::status::subject::Subject;
use weir_core::translate::budget::Limits;

/// Objects of one page, if they are small and the API server answers in time.
const PAGE: u32 = 250;
/// Most bytes of a page of several objects. A larger page is asked for again with fewer objects.
const PAGE_BYTES: u64 = 4 << 20;
/// Most bytes of a page of one object. An API server accepts objects of at most 3 MiB.
const OBJECT_BYTES: u64 = 8 << 20;
/// How many pages all sources together read at a time.
static READING: Semaphore = Semaphore::const_new(4);
/// An API server that does not begin to answer within this is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds after which it ends a watch by itself.
const TERM: u32 = 290;
/// Seconds of the shortest watch that gets a bookmark, which it gets at once.
const GLANCE: u32 = 3;
/// It sends a bookmark each minute: a watch that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(90);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);
/// What is listed again earlier than this is listed after a pause. A watch's end may be earlier than its term by this.
const TOO_SHORT: Duration = Duration::from_secs(1);

pub struct Watch {
    client: kube::Client,
    source: Source,
    served: Served,
    following: Following,
    news: mpsc::Sender<News>,
    metrics: Arc<Metrics>,
    is_failing: bool,
    wait: Duration,
    /// Most bytes of text of an object; a larger object becomes a stub.
    largest: usize,
    /// Objects of the first page of a list.
    page: u32,
    room: Room,
}

/// Why a source cannot be followed for now.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    /// The one answer that says that there is none.
    #[error("the cluster does not have it")]
    Absent,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    #[error("{0}")]
    Failed(String),
    /// Nobody wants to know any more.
    #[error("nobody listens")]
    Unheard,
}

/// How a watch ended in good order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// At the end of its term, or by a nudge.
    Resumable,
    /// What was read is not what can be gone on from.
    Outdated,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    more: String,
}

impl From<kube::Error> for Interrupted {
    fn from(error: kube::Error) -> Interrupted {
        match error {
            kube::Error::Api(status) if status.code == 404 => Interrupted::Absent,
            kube::Error::Api(status) => Interrupted::Failed(format!(
                "{} {}: {}",
                status.code, status.reason, status.message
            )),
            other => Interrupted::Failed(in_full(&other)),
        }
    }
}

/// An error and what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Many an error says its cause as well.
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
        following: Following,
        news: mpsc::Sender<News>,
        metrics: Arc<Metrics>,
        limits: &Limits,
    ) -> Watch {
        Watch {
            client,
            source,
            served,
            following,
            news,
            metrics,
            is_failing: false,
            wait: FIRST_WAIT,
            largest: usize::try_from(limits.object).unwrap_or(usize::MAX),
            page: PAGE,
            room: Room::new(limits),
        }
    }

    /// Runs until the cluster has the source no more, or nobody listens.
    pub async fn run(mut self) {
        loop {
            let interrupted = match self.follow().await {
                Ok(()) => continue,
                // Every cluster has the core group: a 404 comes from something in between.
                Err(Interrupted::Absent) if self.source.resource.group.is_empty() => {
                    Err(Interrupted::Failed(Interrupted::Absent.to_string()))
                }
                Err(Interrupted::Absent) => self.look_elsewhere().await,
                Err(interrupted) => Err(interrupted),
            };
            match interrupted {
                Ok(()) => {}
                Err(Interrupted::Unheard) => return,
                Err(Interrupted::Absent) => {
                    let _ = self.tell(News::Gone(self.source.id.clone())).await;
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

    /// Lists, and then watches until it has to be listed again.
    async fn follow(&mut self) -> Result<(), Interrupted> {
        let mut version = self.list().await?;
        let listed = Instant::now();
        loop {
            match self.watch(&mut version).await? {
                Ended::Outdated => {
                    if listed.elapsed() < TOO_SHORT {
                        self.pause().await;
                    }
                    return Ok(());
                }
                Ended::Resumable => {}
            }
        }
    }

    /// Where the version that was asked for is gone, another one may have come in its place.
    async fn look_elsewhere(&mut self) -> Result<(), Interrupted> {
        for version in self.source.resource.versions {
            let served = Served {
                version,
                ..self.served
            };
            let place = Place::of(&self.source, served);
            let request = Request::new(&place.path).list(&place.list().limit(1));
            match self.ask(request, OBJECT_BYTES).await {
                Ok(_) => {
                    self.served = served;
                    self.following.place = place;
                    return Ok(());
                }
                Err(Interrupted::Absent) => {}
                Err(other) => return Err(other),
            }
        }
        Err(Interrupted::Absent)
    }

    /// Reads all there is; the outcome is the resource version to go on from.
    async fn list(&mut self) -> Result<String, Interrupted> {
        self.following.take_nudge();
        self.room.clear();
        let (mut objects, mut changed) = (BTreeMap::new(), 0);
        let mut page = self.page;
        let mut params = self.following.place.list();
        let version = loop {
            params.limit = Some(page);
            let request = Request::new(&self.following.place.path).list(&params);
            let most = if page > 1 { PAGE_BYTES } else { OBJECT_BYTES };
            let answer = self.ask(request, most).await;
            if let Err(Interrupted::Silent) = answer {
                // Such as an API server that needs longer to make the page. The next list begins with fewer objects.
                self.page = fewer(page);
            }
            let Some(text) = answer? else {
                if page == 1 {
                    let why = format!("an object of more than {OBJECT_BYTES} bytes");
                    return Err(Interrupted::Failed(why));
                }
                page = fewer(page);
                continue;
            };
            if u64::try_from(text.len()).is_ok_and(|length| length < PAGE_BYTES / 4) {
                page = PAGE.min(page.saturating_mul(2));
            }
            let List { metadata, items } = read(&text)?;
            for text in items.unwrap_or_default() {
                let head = Head::of(&text);
                changed = changed.max(count(&head.resource_version));
                self.take_in(&text, head, &mut objects);
            }
            if metadata.more.is_empty() {
                break metadata.resource_version;
            }
            params.continue_token = Some(metadata.more);
        };
        self.page = PAGE;
        self.reach(&version)?;
        let id = self.source.id.clone();
        self.tell(News::Listed(id, objects, count(&version), changed))
            .await?;
        Ok(version)
    }

    /// The text of an answer; None where it has more bytes than `most`.
    async fn ask(
        &self,
        request: Result<hyper::Request<Vec<u8>>, kube::core::request::Error>,
        most: u64,
    ) -> Result<Option<Vec<u8>>, Interrupted> {
        let request = request.map_err(|error| Interrupted::Failed(in_full(&error)))?;
        let answer = timeout(PATIENCE, self.client.request_stream(request)).await;
        let body = pin!(answer.map_err(|_| Interrupted::Silent)??);
        let _turn = READING.acquire().await;
        let mut text = Vec::new();
        let mut body = body.take(most + 1);
        let whole = timeout(PATIENCE, body.read_to_end(&mut text)).await;
        let length = whole
            .map_err(|_| Interrupted::Silent)?
            .map_err(|error| Interrupted::Failed(in_full(&error)))?;
        let is_whole = u64::try_from(length).is_ok_and(|length| length <= most);
        Ok(is_whole.then_some(text))
    }

    /// Adds an object of a list to `objects`, and replaces objects without room by stubs.
    fn take_in(&mut self, text: &RawValue, head: Head, objects: &mut BTreeMap<Key, Kept>) {
        let kept = self.kept(text, &head);
        let age = Age::new(head.created.as_deref(), &head.key.1);
        let changes = self.room.put(&head.key, age, kept.weight());
        objects.insert(head.key, kept);
        for (key, hidden) in changes.stubs {
            let subject = objects.get_mut(&key).and_then(|kept| kept.subject.take());
            let stub = self.without_room(key.clone(), hidden, subject);
            objects.insert(key, stub);
        }
        for key in changes.hidden {
            objects.remove(&key);
        }
    }

    /// Sends news of an object that was written, and of objects that lost their room or are stubs now.
    async fn apply(
        &mut self,
        text: &RawValue,
        head: Head,
        version: u64,
    ) -> Result<(), Interrupted> {
        let kept = self.kept(text, &head);
        let age = Age::new(head.created.as_deref(), &head.key.1);
        let changes = self.room.put(&head.key, age, kept.weight());
        let is_stub = changes.stubs.iter().any(|(key, _)| *key == head.key);
        let subject = kept.subject.clone().filter(|_| is_stub);
        if !is_stub && !changes.hidden.contains(&head.key) {
            self.tell_applied(head.key.clone(), kept, version).await?;
        }
        self.tell_changes(changes, Some((&head.key, subject)), version)
            .await
    }

    /// `own` is the object that was written, and its subject.
    async fn tell_changes(
        &self,
        changes: Changes,
        own: Option<(&Key, Option<Arc<Subject>>)>,
        version: u64,
    ) -> Result<(), Interrupted> {
        for (key, hidden) in changes.stubs {
            let own = own.as_ref().filter(|(own, _)| **own == key);
            let subject = own.and_then(|(_, subject)| subject.clone());
            let stub = self.without_room(key.clone(), hidden, subject);
            self.tell_applied(key, stub, version).await?;
        }
        for key in changes.hidden {
            let id = self.source.id.clone();
            self.tell(News::Deleted(id, key, version)).await?;
        }
        Ok(())
    }

    async fn watch(&mut self, version: &mut String) -> Result<Ended, Interrupted> {
        let term = match self.following.take_nudge() {
            Nudge::None => TERM,
            Nudge::CatchUp => GLANCE,
            Nudge::Restart => return Ok(Ended::Outdated),
        };
        let start = Instant::now();
        let params = WatchParams {
            field_selector: self.following.place.field_selector.clone(),
            ..WatchParams::default()
        };
        let request = Request::new(&self.following.place.path)
            .watch(&params.timeout(term), version)
            .map_err(|error| Interrupted::Failed(in_full(&error)))?;
        let stream = self.client.request_events::<Box<RawValue>>(request);
        let stream = match timeout(PATIENCE, stream)
            .await
            .map_err(|_| Interrupted::Silent)?
        {
            Err(kube::Error::Api(status)) if status.code == 410 => return Ok(Ended::Outdated),
            other => other?,
        };
        let mut stream = pin!(stream);
        let mut settled = pin!(sleep(TOO_SHORT));
        let mut is_settled = false;
        let mut next_read = start;
        loop {
            if !self.room.wanted.is_empty() && next_read <= Instant::now() {
                next_read = self.read_again(count(version)).await?;
            }
            let has_wanted = !self.room.wanted.is_empty();
            let event = tokio::select! {
                () = sleep_until(next_read), if has_wanted => continue,
                () = self.following.nudged() => return Ok(Ended::Resumable),
                () = &mut settled, if !is_settled => {
                    is_settled = true;
                    self.wait = FIRST_WAIT;
                    self.recovered();
                    continue;
                }
                event = timeout(SILENCE, stream.try_next()) => event,
            };
            let silent = || Interrupted::Failed(format!("silent for {} s", SILENCE.as_secs()));
            let Some(event) = event.map_err(|_| silent())?? else {
                let lasted = start.elapsed() + TOO_SHORT;
                return Ok(match lasted >= Duration::from_secs(term.into()) {
                    true => Ended::Resumable,
                    false => Ended::Outdated,
                });
            };
            if !matches!(event, WatchEvent::Error(_)) {
                self.recovered();
            }
            match event {
                WatchEvent::Error(status) if status.code == 410 => return Ok(Ended::Outdated),
                WatchEvent::Error(status) => return Err(kube::Error::Api(status).into()),
                WatchEvent::Added(text) | WatchEvent::Modified(text) => {
                    let head = Head::of(&text);
                    version.clone_from(&head.resource_version);
                    self.reach(version)?;
                    self.apply(&text, head, count(version)).await?;
                }
                WatchEvent::Deleted(text) => {
                    let head = Head::of(&text);
                    *version = head.resource_version;
                    self.reach(version)?;
                    let id = self.source.id.clone();
                    let changes = self.room.remove(&head.key);
                    self.tell(News::Deleted(id, head.key, count(version)))
                        .await?;
                    self.tell_changes(changes, None, count(version)).await?;
                }
                WatchEvent::Bookmark(bookmark) => {
                    *version = bookmark.metadata.resource_version;
                    self.reach(version)?;
                    let id = self.source.id.clone();
                    self.tell(News::Reached(id, count(version))).await?;
                }
            }
        }
    }

    fn kept(&self, text: &RawValue, head: &Head) -> Kept {
        let Source { resource, id, .. } = &self.source;
        let kept = Kept::of(text, head, resource, self.served, id);
        let size = text.get().len();
        match size > self.largest {
            true => {
                let message = messages::text_over_object(size, self.largest);
                Kept::stub(head.key.clone(), resource, message, kept.subject)
            }
            false => kept,
        }
    }

    /// `hidden` is how many younger objects of the namespace are not named.
    fn without_room(&self, key: Key, hidden: usize, subject: Option<Arc<Subject>>) -> Kept {
        let limit = self.room.limit();
        let message = match hidden {
            0 => messages::no_room(&key.0, limit),
            _ => messages::no_room_for_more(hidden, &key.0, limit),
        };
        Kept::stub(key, &self.source.resource, message, subject)
    }

    async fn tell_applied(&self, key: Key, kept: Kept, version: u64) -> Result<(), Interrupted> {
        let id = self.source.id.clone();
        self.tell(News::Applied(id, key, kept, version)).await
    }

    fn reach(&self, version: &str) -> Result<(), Interrupted> {
        if version.is_empty() {
            let why = "an answer without a resource version";
            return Err(Interrupted::Failed(why.to_owned()));
        }
        self.following.reach(count(version));
        Ok(())
    }

    async fn tell(&self, news: News) -> Result<(), Interrupted> {
        let told = self.news.send(news).await;
        told.map_err(|_| Interrupted::Unheard)
    }

    async fn fail(&mut self, why: String) -> Result<(), Interrupted> {
        let resource = &self.source.id;
        self.metrics.watch_failed(resource);
        if !self.is_failing {
            tracing::warn!(%resource, "cannot be read, what was read of it holds: {why}");
        }
        self.is_failing = true;
        self.tell(News::Failing(resource.clone(), why)).await?;
        self.pause().await;
        Ok(())
    }

    async fn pause(&mut self) {
        sleep(self.wait).await;
        self.wait = LAST_WAIT.min(self.wait * 2);
    }

    /// Not before the watch has delivered something or lasted for a while: one that is begun and refused in turn is
    /// one failure.
    fn recovered(&mut self) {
        if self.is_failing {
            tracing::info!(resource = %self.source.id, "is read again");
        }
        self.is_failing = false;
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Interrupted> {
    serde_json::from_slice(text).map_err(|error| Interrupted::Failed(in_full(&error)))
}

fn fewer(page: u32) -> u32 {
    (page / 4).max(1)
}

mod again;
#[cfg(test)]
mod tests;
