//! A kubelet and scheduler for one node. Every pod is bound to this node, and its containers are local processes.
//!
//! watch -> bind -> pod (network, volumes) -> container (process, probes) -> status

mod container;
mod environment;
mod objects;
mod pod;
mod probe;
mod status;
mod volumes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use crate::images::Images;
use objects::Objects;
use pod::Running;

pub const NODE_NAME: &str = "node";

pub struct Kubelet {
    client: Client,
    objects: Objects,
    images: Mutex<Images>,
    folder: PathBuf,
    addresses: AtomicU16,
    /// Pods by namespace and name.
    running: Mutex<BTreeMap<(String, String), Arc<Running>>>,
}

impl Kubelet {
    pub fn new(client: Client, images: Images, folder: PathBuf) -> Kubelet {
        Kubelet {
            objects: Objects::watch(&client),
            client,
            images: Mutex::new(images),
            folder,
            addresses: AtomicU16::new(1),
            running: Mutex::default(),
        }
    }

    pub fn load(&self, more: Images) {
        if let Ok(mut images) = self.images.lock() {
            images.extend(more);
        }
    }

    /// Returns the process id of a container in the node's PID namespace.
    pub fn process(&self, namespace: &str, pod: &str, container: &str) -> Result<i32, String> {
        let running = self.running.lock().map_err(|error| error.to_string())?;
        let pod = running.get(&(namespace.to_owned(), pod.to_owned()));
        let pod = pod.ok_or("no such pod runs")?.clone();
        drop(running);
        let process = pod.process(container);
        process
            .map(|(process, _)| process.id)
            .ok_or_else(|| "no such container runs".to_owned())
    }

    fn images(&self) -> Images {
        self.images
            .lock()
            .map(|images| images.clone())
            .unwrap_or_default()
    }

    fn next_address(&self) -> u16 {
        self.addresses.fetch_add(1, Ordering::Relaxed)
    }

    fn log(&self, pod: &Pod, container: &str) -> PathBuf {
        let folder = self
            .folder
            .join("logs")
            .join(pod.namespace().unwrap_or_default());
        let folder = folder.join(pod.name_any());
        let _ = std::fs::create_dir_all(&folder);
        folder.join(format!("{container}.log"))
    }

    fn add(&self, pod: Arc<Running>) {
        let key = key(&pod.pod());
        if let Ok(mut running) = self.running.lock() {
            running.insert(key, pod);
        }
    }

    fn remove(&self, pod: &Arc<Running>) {
        let key = key(&pod.pod());
        if let Ok(mut running) = self.running.lock()
            && running
                .get(&key)
                .is_some_and(|known| Arc::ptr_eq(known, pod))
        {
            running.remove(&key);
        }
    }
}

fn key(pod: &Pod) -> (String, String) {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

type Seen = BTreeMap<String, watch::Sender<Option<Arc<Pod>>>>;

/// Watches all pods and never returns.
pub async fn run(kubelet: Arc<Kubelet>) {
    let pods = Api::<Pod>::all(kubelet.client.clone());
    let mut stream = watcher(pods, watcher::Config::default())
        .default_backoff()
        .boxed();
    // The key is the uid, because a later pod may have the same name.
    let mut seen = Seen::new();
    let mut listed: Option<Vec<String>> = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = Some(Vec::new()),
            Ok(watcher::Event::InitApply(pod)) => {
                if let Some(listed) = &mut listed {
                    listed.extend(pod.uid());
                }
                apply(&kubelet, &mut seen, pod);
            }
            Ok(watcher::Event::InitDone) => {
                let listed = listed.take().unwrap_or_default();
                let gone = |uid: &String| !listed.contains(uid);
                let gone: Vec<String> = seen.keys().filter(|uid| gone(uid)).cloned().collect();
                for uid in gone {
                    remove(&mut seen, &uid);
                }
            }
            Ok(watcher::Event::Apply(pod)) => apply(&kubelet, &mut seen, pod),
            Ok(watcher::Event::Delete(pod)) => remove(&mut seen, &pod.uid().unwrap_or_default()),
            Err(error) => tracing::debug!(%error, "watching pods"),
        }
    }
}

fn apply(kubelet: &Arc<Kubelet>, seen: &mut Seen, pod: Pod) {
    let uid = pod.uid().unwrap_or_default();
    let pod = Arc::new(pod);
    if let Some(known) = seen.get(&uid) {
        let _ = known.send(Some(pod));
        return;
    }
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
        Some(NODE_NAME) => {
            let (sender, receiver) = watch::channel(Some(pod));
            seen.insert(uid, sender);
            tokio::spawn(pod::run(kubelet.clone(), receiver));
        }
        Some(_) => {}
        None if pod.metadata.deletion_timestamp.is_some() => {}
        // After the binding the watch delivers the pod again, with the node's name.
        None => drop(tokio::spawn(bind(kubelet.clone(), pod))),
    }
}

fn remove(seen: &mut Seen, uid: &str) {
    if let Some(known) = seen.remove(uid) {
        let _ = known.send(None);
    }
}

async fn bind(kubelet: Arc<Kubelet>, pod: Arc<Pod>) {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.scheduling_gates.as_ref());
    if gates.is_some_and(|gates| !gates.is_empty()) {
        return;
    }
    let (namespace, name) = key(&pod);
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            uid: pod.uid(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(NODE_NAME.to_owned()),
            ..ObjectReference::default()
        },
    };
    let pods = Api::<Pod>::namespaced(kubelet.client.clone(), &namespace);
    let bound: kube::Result<serde_json::Value> = pods
        .create_subresource("binding", &name, &PostParams::default(), &binding)
        .await;
    match bound {
        Ok(_) => tracing::info!(namespace, name, "bound"),
        Err(error) => tracing::debug!(namespace, name, %error, "binding"),
    }
}
