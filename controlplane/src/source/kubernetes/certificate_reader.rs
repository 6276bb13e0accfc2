//! Reads the ConfigMaps with certificates that BackendTLSPolicies name.
//!
//! Weir does not watch ConfigMaps: a cluster has many, and most are not for Weir. So it gets the few that it needs, with
//! the permission `get`, and gets them again every 30 seconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use kube::api::GetParams;
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::object_store::{CONFIG_MAPS, SourceEvent};
use super::read_object::{Head, Key, ReadObject};
use super::resource::{ApiResource, Served};
use weir_core::manifest::object::{Kind, SUPPORTED_KINDS};

/// Time between two reads of the same ConfigMap.
const EVERY: Duration = Duration::from_secs(30);
/// Time limit of one request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Number of requests for one ConfigMap, if the API server cannot answer.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum number of ConfigMaps of one namespace. The others count as absent.
const MOST_IN_NAMESPACE: usize = 32;
/// Maximum number of ConfigMaps. Their certificates need at most 64 MiB.
const MOST: usize = 1_024;
/// Maximum number of ConfigMaps that are read for the first time at the same time.
const MOST_FIRST: usize = 8;
/// Maximum number of ConfigMaps that are read again at the same time.
const MOST_AGAIN: usize = 4;

/// The answer of the API server for one ConfigMap.
enum Read {
    Present(ReadObject),
    /// There is no such ConfigMap.
    Absent,
    /// The API server cannot answer now, or Weir may not read the ConfigMap.
    Failed(String),
}

/// Reads the ConfigMaps in `needed` until the receiver of the events is gone. Each change of a ConfigMap is an event; an
/// absent ConfigMap has an object without an entry. A ConfigMap that cannot be read stays as it was.
pub async fn read_certificates(
    client: kube::Client,
    mut needed: watch::Receiver<BTreeSet<Key>>,
    events: mpsc::Sender<SourceEvent>,
) {
    let Some(resource) = resource() else { return };
    let mut reads = FuturesUnordered::new();
    let mut queue = CertificateQueue::new(events);
    let mut next_round = Instant::now() + EVERY;
    loop {
        let started = queue.start().into_iter();
        reads.extend(started.map(|key| read(&client, &resource, key)));
        let is_open = tokio::select! {
            changed = needed.changed() => {
                let keys = needed.borrow_and_update().clone();
                changed.is_ok() && queue.replace_needed(keys).await
            }
            Some((key, read)) = reads.next() => queue.end(key, read).await,
            () = sleep_until(next_round), if queue.again.is_empty() => {
                next_round = Instant::now() + EVERY;
                queue.again = queue.chosen.iter().cloned().collect();
                true
            }
            () = queue.events.closed() => false,
        };
        if !is_open {
            return;
        }
    }
}

/// The needed ConfigMaps, and the order in which they are read. The first read of a ConfigMap does not wait for reads
/// of known ConfigMaps, because a translation may wait for it.
struct CertificateQueue {
    events: mpsc::Sender<SourceEvent>,
    /// The needed ConfigMaps within the limits.
    chosen: BTreeSet<Key>,
    /// The needed ConfigMaps outside the limits.
    ignored: BTreeSet<Key>,
    /// The last answer for each ConfigMap that was read. The ignored ConfigMaps count as absent.
    known: BTreeMap<Key, ReadObject>,
    /// The chosen ConfigMaps that were in `first`.
    begun: BTreeSet<Key>,
    first: VecDeque<Key>,
    again: VecDeque<Key>,
    /// The ConfigMaps that are read now. True for a first read.
    running: BTreeMap<Key, bool>,
    /// The ConfigMaps whose last read failed, with the reason in the log.
    failures: BTreeMap<Key, String>,
}

impl CertificateQueue {
    fn new(events: mpsc::Sender<SourceEvent>) -> CertificateQueue {
        CertificateQueue {
            events,
            chosen: BTreeSet::new(),
            ignored: BTreeSet::new(),
            known: BTreeMap::new(),
            begun: BTreeSet::new(),
            first: VecDeque::new(),
            again: VecDeque::new(),
            running: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    /// Returns false if the receiver of the events is gone.
    async fn replace_needed(&mut self, needed: BTreeSet<Key>) -> bool {
        let chosen = choose(&needed);
        let ignored: BTreeSet<Key> = needed.difference(&chosen).cloned().collect();
        if ignored != self.ignored
            && let Some((namespace, name)) = ignored.first()
        {
            let count = ignored.len();
            tracing::warn!(
                "{count} ConfigMaps count as absent, for example {namespace}/{name}: Weir reads at most {MOST_IN_NAMESPACE} of each namespace and {MOST} of all namespaces"
            );
        }
        self.begun.retain(|key| chosen.contains(key));
        self.failures.retain(|key, _| chosen.contains(key));
        for key in &chosen {
            if self.begun.insert(key.clone()) {
                self.first.push_back(key.clone());
            }
        }
        self.chosen = chosen;
        self.ignored.clone_from(&ignored);
        let gone = self.known.keys().filter(|key| !needed.contains(*key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.known.remove(&key);
            let event = SourceEvent::Deleted(Arc::from(CONFIG_MAPS), key, 0);
            if self.events.send(event).await.is_err() {
                return false;
            }
        }
        for key in ignored {
            if !self.record(key, absent()).await {
                return false;
            }
        }
        true
    }

    /// Returns the ConfigMaps that are to be read now.
    fn start(&mut self) -> Vec<Key> {
        let mut started = Vec::new();
        for (is_first, most) in [(true, MOST_FIRST), (false, MOST_AGAIN)] {
            while self.running.values().filter(|it| **it == is_first).count() < most {
                let queue = if is_first {
                    &mut self.first
                } else {
                    &mut self.again
                };
                let Some(key) = queue.pop_front() else { break };
                if self.chosen.contains(&key) && !self.running.contains_key(&key) {
                    self.running.insert(key.clone(), is_first);
                    started.push(key);
                }
            }
        }
        started
    }

    /// Records the answer for a ConfigMap. Returns false if the receiver of the events is gone.
    async fn end(&mut self, key: Key, read: Read) -> bool {
        self.running.remove(&key);
        if !self.chosen.contains(&key) {
            return true;
        }
        let object = match read {
            Read::Present(object) => object,
            Read::Absent => absent(),
            Read::Failed(why) => {
                if self.failures.get(&key) != Some(&why) {
                    let (namespace, name) = &key;
                    tracing::warn!("ConfigMap {namespace}/{name} cannot be read: {why}");
                    self.failures.insert(key, why);
                }
                return true;
            }
        };
        self.failures.remove(&key);
        self.record(key, object).await
    }

    async fn record(&mut self, key: Key, object: ReadObject) -> bool {
        let before = self.known.get(&key);
        if before.is_some_and(|before| object.is_translated_as(before)) {
            return true;
        }
        self.known.insert(key.clone(), object.clone());
        let event = SourceEvent::Applied(Arc::from(CONFIG_MAPS), key, object, 0);
        self.events.send(event).await.is_ok()
    }
}

/// Returns the ConfigMaps within the limits. With too many ConfigMaps, each namespace loses its last names first, and
/// the namespaces with the most ConfigMaps lose names before the others.
fn choose(needed: &BTreeSet<Key>) -> BTreeSet<Key> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ranked = Vec::new();
    for key in needed {
        let rank = counts.entry(&key.0).or_default();
        if *rank < MOST_IN_NAMESPACE {
            ranked.push((*rank, key));
        }
        *rank = rank.saturating_add(1);
    }
    ranked.sort();
    let chosen = ranked.into_iter().take(MOST);
    chosen.map(|(_, key)| key.clone()).collect()
}

async fn read(client: &kube::Client, resource: &ApiResource, key: Key) -> (Key, Read) {
    let mut failure = String::new();
    for _ in 0..TRIES {
        let (namespace, name) = &key;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let request = match Request::new(path).get(name, &GetParams::default()) {
            Ok(request) => request,
            Err(error) => return (key, Read::Failed(error.to_string())),
        };
        match timeout(TIMEOUT, client.request::<Box<RawValue>>(request)).await {
            Ok(Ok(text)) => {
                let served = Served {
                    version: "v1",
                    has_status: false,
                };
                let head = Head::of(&text);
                let object = ReadObject::of(&text, &head, resource, served, CONFIG_MAPS);
                return (key, Read::Present(object));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => return (key, Read::Absent),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                return (key, Read::Failed(format!("status {}", status.code)));
            }
            Ok(Err(error)) => failure = error.to_string(),
            Err(_) => failure = "no answer".into(),
        }
        sleep(PAUSE).await;
    }
    (key, Read::Failed(failure))
}

fn absent() -> ReadObject {
    ReadObject {
        entry: None,
        problem: None,
        subject: None,
    }
}

fn resource() -> Option<ApiResource> {
    let supported = SUPPORTED_KINDS
        .into_iter()
        .find(|it| it.kind == Kind::ConfigMap)?;
    Some(ApiResource {
        kind: supported.kind,
        group: supported.group,
        name: supported.name,
        versions: supported.versions,
        unused: None,
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use hyper::{Request as HttpRequest, Response};
    use kube::client::Body;

    use super::*;

    fn status(code: u16) -> String {
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"no","reason":"no","code":{code}}}"#
        )
    }

    /// Returns `NAME` for a ConfigMap with certificates, `NAME absent` for any other one, and `NAME unneeded`.
    async fn event(events: &mut mpsc::Receiver<SourceEvent>) -> String {
        let (id, line) = match events.recv().await {
            Some(SourceEvent::Applied(id, (_, name), object, 0)) => match object.entry {
                Some(_) => (id, name),
                None => (id, format!("{name} absent")),
            },
            Some(SourceEvent::Deleted(id, (_, name), 0)) => (id, format!("{name} unneeded")),
            other => panic!("{other:?}"),
        };
        assert_eq!(&*id, CONFIG_MAPS);
        line
    }

    fn names(names: &[&str]) -> BTreeSet<Key> {
        let keys = names.iter().map(|it| ("shop".into(), (*it).into()));
        keys.collect()
    }

    /// Starts a reader of an API server that answers for `ca` and `new` with the status in `code`.
    fn start(code: Arc<Mutex<u16>>) -> (watch::Sender<BTreeSet<Key>>, mpsc::Receiver<SourceEvent>) {
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
            let code = match &*name {
                "gone" => 404,
                "locked" => 403,
                "new" => 200,
                _ => *code.lock().unwrap(),
            };
            let text = match code {
                200 => format!(
                    r#"{{"metadata":{{"name":"{name}","namespace":"shop"}},"data":{{"ca.crt":"-----BEGIN CERTIFICATE-----"}}}}"#
                ),
                code => status(code),
            };
            async move {
                if code == 0 {
                    std::future::pending::<()>().await;
                }
                let answer = Response::builder().status(code);
                Ok::<_, Infallible>(answer.body(Body::from(text.into_bytes())).unwrap())
            }
        });
        let (needed, receiver) = watch::channel(BTreeSet::new());
        let (sender, events) = mpsc::channel(1);
        let client = kube::Client::new(service, "default");
        tokio::spawn(read_certificates(client, receiver, sender));
        (needed, events)
    }

    #[tokio::test(start_paused = true)]
    async fn needed_config_maps_are_read() {
        let code = Arc::new(Mutex::new(200));
        let (needed, mut events) = start(code.clone());
        needed.send_replace(names(&["ca", "gone", "locked"]));
        let mut lines = [event(&mut events).await, event(&mut events).await];
        lines.sort();
        assert_eq!(lines, ["ca", "gone absent"]);
        // While the API server fails or denies, the certificates stay.
        for failing in [500, 401, 403] {
            *code.lock().unwrap() = failing;
            let time = Duration::from_secs(60);
            let more = timeout(time, event(&mut events)).await;
            assert!(more.is_err(), "{failing}: {more:?}");
        }
        *code.lock().unwrap() = 404;
        assert_eq!(event(&mut events).await, "ca absent");
        needed.send_replace(names(&["gone"]));
        assert_eq!(event(&mut events).await, "ca unneeded");
    }

    #[tokio::test(start_paused = true)]
    async fn new_names_are_read_first() {
        let (needed, mut events) = start(Arc::new(Mutex::new(0)));
        let mut all: Vec<String> = (0..6).map(|it| format!("ca{it}")).collect();
        let send = |all: &[String]| {
            let all: Vec<&str> = all.iter().map(|it| &**it).collect();
            needed.send_replace(names(&all));
        };
        send(&all);
        // The API server has never answered, and the second round hangs too.
        sleep(EVERY + Duration::from_secs(1)).await;
        all.push("new".into());
        send(&all);
        let start = Instant::now();
        assert_eq!(event(&mut events).await, "new");
        assert!(start.elapsed() < TIMEOUT);
    }

    #[test]
    fn namespaces_share_the_limit() {
        let key =
            |namespace: usize, name: usize| (format!("n{namespace:03}"), format!("{name:03}"));
        let greedy = (0..2_000).map(|name| key(0, name));
        let all: BTreeSet<Key> = greedy.chain([key(999, 0)]).collect();
        let chosen = choose(&all);
        assert_eq!(chosen.len(), MOST_IN_NAMESPACE + 1);
        assert!(chosen.contains(&key(999, 0)));
        let all = (0..100).flat_map(|it| (0..40).map(move |name| key(it, name)));
        let all: BTreeSet<Key> = all.chain([key(999, 0)]).collect();
        let chosen = choose(&all);
        assert_eq!(chosen.len(), MOST);
        assert!(chosen.contains(&key(999, 0)));
    }
}
