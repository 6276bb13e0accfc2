//! Reads the ConfigMaps with certificates that BackendTLSPolicies name.
//!
//! Weir does not watch ConfigMaps: a cluster has many, and most are not for Weir. So it gets the few that it needs, with
//! the permission `get`, and gets them again every 30 seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kube::api::GetParams;
use kube::core::Request;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

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
/// Maximum number of ConfigMaps. The others count as absent.
const MOST: usize = 256;

/// The answer of the API server for one ConfigMap.
enum Read {
    Present(ReadObject),
    /// There is no such ConfigMap, or Weir may not read it.
    Absent,
    /// The API server cannot answer now.
    Failed,
}

/// Reads the ConfigMaps in `needed` until the receiver of the events is gone. After each read, an event has all
/// ConfigMaps in `needed`; an absent ConfigMap has no entry. A ConfigMap that cannot be read stays as it was.
pub async fn read_certificates(
    client: kube::Client,
    mut needed: watch::Receiver<BTreeSet<Key>>,
    events: mpsc::Sender<SourceEvent>,
) {
    let Some(resource) = resource() else { return };
    let mut known: BTreeMap<Key, ReadObject> = BTreeMap::new();
    loop {
        let keys = needed.borrow_and_update().clone();
        known.retain(|key, _| keys.contains(key));
        for (index, key) in keys.iter().enumerate() {
            let read = match index {
                0..MOST => read(&client, &resource, key).await,
                _ => Read::Absent,
            };
            match read {
                Read::Present(object) => drop(known.insert(key.clone(), object)),
                Read::Absent => drop(known.insert(key.clone(), absent())),
                Read::Failed => drop(known.entry(key.clone()).or_insert_with(absent)),
            }
        }
        let id = Arc::from(CONFIG_MAPS);
        let event = SourceEvent::Listed(id, known.clone(), 0, 0);
        if events.send(event).await.is_err() {
            return;
        }
        tokio::select! {
            changed = needed.changed() => if changed.is_err() { return },
            () = sleep(EVERY), if !keys.is_empty() => {}
        }
    }
}

async fn read(client: &kube::Client, resource: &ApiResource, key: &Key) -> Read {
    for _ in 0..TRIES {
        let (namespace, name) = key;
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        let Ok(request) = Request::new(path).get(name, &GetParams::default()) else {
            return Read::Absent;
        };
        match timeout(TIMEOUT, client.request::<Box<RawValue>>(request)).await {
            Ok(Ok(text)) => {
                let served = Served {
                    version: "v1",
                    has_status: false,
                };
                let head = Head::of(&text);
                let object = ReadObject::of(&text, &head, resource, served, CONFIG_MAPS);
                return Read::Present(object);
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403 | 404) => {
                if status.code != 404 {
                    let code = status.code;
                    tracing::warn!("ConfigMap {namespace}/{name} cannot be read: status {code}");
                }
                return Read::Absent;
            }
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
    Read::Failed
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

    /// Returns `NAME` for a ConfigMap with certificates, and `NAME absent` for any other one.
    async fn event(events: &mut mpsc::Receiver<SourceEvent>) -> Vec<String> {
        let Some(SourceEvent::Listed(id, objects, 0, 0)) = events.recv().await else {
            panic!("a list");
        };
        assert_eq!(&*id, CONFIG_MAPS);
        let line = |((_, name), object): (&Key, &ReadObject)| match object.entry {
            Some(_) => name.clone(),
            None => format!("{name} absent"),
        };
        objects.iter().map(line).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn needed_config_maps_are_read() {
        let answer = Arc::new(Mutex::new(200));
        let code = answer.clone();
        let service = tower::service_fn(move |request: HttpRequest<Body>| {
            let name = request.uri().path().rsplit('/').next().unwrap().to_owned();
            let code = match &*name {
                "gone" => 404,
                "locked" => 403,
                _ => *code.lock().unwrap(),
            };
            let text = match code {
                200 => format!(
                    r#"{{"metadata":{{"name":"{name}","namespace":"shop"}},"data":{{"ca.crt":"-----BEGIN CERTIFICATE-----"}}}}"#
                ),
                code => status(code),
            };
            async move {
                let answer = Response::builder().status(code);
                Ok::<_, Infallible>(answer.body(Body::from(text.into_bytes())).unwrap())
            }
        });
        let (needed, receiver) = watch::channel(BTreeSet::new());
        let (sender, mut events) = mpsc::channel(1);
        let client = kube::Client::new(service, "default");
        tokio::spawn(read_certificates(client, receiver, sender));
        assert!(event(&mut events).await.is_empty());
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|it| ("shop".into(), (*it).into()))
                .collect()
        };
        needed.send_replace(names(&["ca", "gone", "locked"]));
        let expected = ["ca", "gone absent", "locked absent"];
        assert_eq!(event(&mut events).await, expected);
        // While the API server fails, the certificates stay.
        *answer.lock().unwrap() = 500;
        assert_eq!(event(&mut events).await, expected);
        *answer.lock().unwrap() = 404;
        assert_eq!(event(&mut events).await[0], "ca absent");
        needed.send_replace(names(&[]));
        assert!(event(&mut events).await.is_empty());
    }
}
