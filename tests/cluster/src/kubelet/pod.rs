//! Runs one pod on the node, from the creation of its network namespace to the deletion of the pod.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Kubelet;
use super::container::{Life, Process, Restart};
use super::status::{Conditions, End, Now, State, is_initialized, is_sidecar, now, status};
use super::volumes::Volumes;
use crate::network;

/// A pod that runs on the node.
pub struct Running {
    pub kubelet: Arc<Kubelet>,
    pub address: String,
    /// The file of the pod's network namespace.
    pub network: PathBuf,
    pub folder: PathBuf,
    pub volumes: Volumes,
    /// The newest version of the pod; None after its deletion.
    seen: watch::Receiver<Option<Arc<Pod>>>,
    first: Arc<Pod>,
    states: Mutex<BTreeMap<String, State>>,
    changed: Notify,
    attempts: AtomicU32,
}

impl Running {
    pub fn pod(&self) -> Arc<Pod> {
        self.seen
            .borrow()
            .clone()
            .unwrap_or_else(|| self.first.clone())
    }

    pub fn name(&self) -> String {
        let namespace = self.first.namespace().unwrap_or_default();
        format!("{namespace}/{}", self.first.name_any())
    }

    pub fn attempt(&self) -> u32 {
        self.attempts.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the time in which a container must run preStop and end after SIGTERM.
    pub fn grace(&self) -> Duration {
        let pod = self.pod();
        let own = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds);
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .or(own)
            .unwrap_or(30);
        Duration::from_secs(u64::try_from(grace).unwrap_or(0))
    }

    pub fn change(&self, container: &str, change: impl FnOnce(&mut State)) {
        if let Ok(mut states) = self.states.lock() {
            change(states.entry(container.to_owned()).or_default());
        }
        self.changed.notify_one();
    }

    pub fn states(&self) -> BTreeMap<String, State> {
        self.states
            .lock()
            .map(|states| states.clone())
            .unwrap_or_default()
    }

    pub fn process(&self, container: &str) -> Option<(Process, String)> {
        match self.states().remove(container)?.now {
            Now::Running { process, since } => Some((process, since)),
            _ => None,
        }
    }
}

/// Runs the pod until its object is deleted.
pub async fn run(kubelet: Arc<Kubelet>, seen: watch::Receiver<Option<Arc<Pod>>>) {
    let Some(first) = seen.borrow().clone() else {
        return;
    };
    let uid = first.uid().unwrap_or_default();
    let index = kubelet.next_address();
    let host = first
        .spec
        .as_ref()
        .is_some_and(|spec| spec.host_network == Some(true));
    let network_name = format!("pod{index}");
    let folder = kubelet.folder.join("pods").join(&uid);
    let (address, network) = if host {
        (network::NODE.to_string(), PathBuf::from("/proc/1/ns/net"))
    } else {
        (
            network::address(index).to_string(),
            PathBuf::from("/run/netns").join(&network_name),
        )
    };
    let running = Arc::new(Running {
        volumes: Volumes::new(&folder, &kubelet.folder.join("claims"), &kubelet.client),
        kubelet,
        address,
        network,
        folder,
        seen: seen.clone(),
        first,
        states: Mutex::default(),
        changed: Notify::new(),
        attempts: AtomicU32::new(0),
    });
    running.kubelet.add(running.clone());
    let reporting = tokio::spawn(report(running.clone()));
    let made = {
        let (running, name) = (running.clone(), network_name.clone());
        tokio::task::spawn_blocking(move || {
            sandbox(&running)?;
            if host {
                Ok(())
            } else {
                network::add_pod(&name, index)
            }
        })
    };
    match made.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(
            pod = running.name(),
            error,
            "the pod has no network or files"
        ),
        Err(error) => {
            tracing::error!(pod = running.name(), %error, "the pod has no network or files")
        }
    }
    tokio::select! {
        () = live(&running) => {}
        () = deletion(seen.clone()) => {}
    }
    tokio::select! {
        () = end(&running) => {}
        () = removal(seen.clone()) => kill(&running).await,
    }
    // A pod whose containers have ended keeps its last status until it is deleted.
    deletion(seen.clone()).await;
    reporting.abort();
    let _ = reporting.await;
    if !host {
        let _ = tokio::task::spawn_blocking(move || network::remove_pod(&network_name)).await;
    }
    forget(&running).await;
    running.kubelet.remove(&running);
    let _ = std::fs::remove_dir_all(&running.folder);
}

async fn deletion(mut seen: watch::Receiver<Option<Arc<Pod>>>) {
    let gone = |pod: &Option<Arc<Pod>>| match pod {
        Some(pod) => pod.metadata.deletion_timestamp.is_some(),
        None => true,
    };
    let _ = seen.wait_for(gone).await;
}

async fn removal(mut seen: watch::Receiver<Option<Arc<Pod>>>) {
    let _ = seen.wait_for(Option::is_none).await;
}

/// Creates the files `hosts`, `hostname` and `resolv.conf` of a pod.
fn sandbox(running: &Running) -> Result<(), String> {
    let pod = running.pod();
    let spec = pod.spec.clone().unwrap_or_default();
    let namespace = pod.namespace().unwrap_or_default();
    let name = spec.hostname.clone().unwrap_or_else(|| pod.name_any());
    let mut names = name.clone();
    if let Some(subdomain) = &spec.subdomain {
        names = format!("{name}.{subdomain}.{namespace}.svc.cluster.local {name}");
    }
    let mut hosts = format!(
        "127.0.0.1 localhost\n::1 localhost\n{} {names}\n",
        running.address
    );
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias
            .hostnames
            .iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ");
        hosts.push_str(&format!("{} {names}\n", alias.ip));
    }
    let domain = "cluster.local";
    let resolv = format!(
        "search {namespace}.svc.{domain} svc.{domain} {domain}\nnameserver {}\noptions ndots:5\n",
        network::DNS
    );
    let write = |file: &str, text: &str| {
        let path = running.folder.join(file);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    std::fs::create_dir_all(&running.folder).map_err(|error| error.to_string())?;
    write("hosts", &hosts)?;
    write("hostname", &format!("{name}\n"))?;
    write("resolv.conf", &resolv)
}

/// Mounts the volumes, runs the init containers in order, then runs all containers until they have ended.
async fn live(running: &Arc<Running>) {
    let pod = running.pod();
    let spec = pod.spec.clone().unwrap_or_default();
    let restart = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let objects = &running.kubelet.objects;
    let mut changes = objects.changes.clone();
    while let Err(message) = running.volumes.sync(&pod, objects, &running.address).await {
        tracing::debug!(pod = running.name(), message, "volumes");
        for container in spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
        {
            let (reason, message) = ("ContainerCreating".to_owned(), message.clone());
            running.change(&container.name, |state| {
                state.now = Now::Waiting { reason, message }
            });
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
    }
    // Dropping this set aborts its tasks, so they end with this future.
    let mut tasks = JoinSet::new();
    let owner = running.clone();
    tasks.spawn(async move {
        loop {
            let _ = tokio::time::timeout(Duration::from_secs(5), changes.changed()).await;
            let pod = owner.pod();
            let synced = owner
                .volumes
                .sync(&pod, &owner.kubelet.objects, &owner.address)
                .await;
            if let Err(error) = synced {
                tracing::debug!(pod = owner.name(), error, "volumes");
            }
        }
    });
    for container in spec.init_containers.into_iter().flatten() {
        if is_sidecar(&container) {
            let name = container.name.clone();
            let owner = running.clone();
            tasks.spawn(async move {
                let life = Life {
                    running: &owner,
                    container: &container,
                    restart: Restart::Always,
                };
                life.live().await;
            });
            while !running
                .states()
                .get(&name)
                .is_some_and(|state| state.started)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            continue;
        }
        let restart = if restart == Restart::Never {
            Restart::Never
        } else {
            Restart::OnFailure
        };
        if !(Life {
            running,
            container: &container,
            restart,
        })
        .live()
        .await
        {
            return;
        }
    }
    let lives = spec.containers.iter().map(|container| async move {
        let life = Life {
            running,
            container,
            restart,
        };
        life.live().await
    });
    futures::future::join_all(lives).await;
}

/// Stops all main containers at the same time, then the sidecars in reverse order. As in a real kubelet, only SIGTERM
/// of a sidecar waits for the main containers: preStop of a sidecar runs at once.
async fn end(running: &Arc<Running>) {
    let pod = running.pod();
    let Some(spec) = &pod.spec else { return };
    let until = Instant::now() + running.grace();
    let main = spec.containers.iter().map(|container| async move {
        before_stop(running, container, until).await;
        terminate(running, container, until).await;
    });
    let init = || spec.init_containers.iter().flatten();
    let sidecars = init().map(|container| before_stop(running, container, until));
    tokio::join!(
        futures::future::join_all(main),
        futures::future::join_all(sidecars)
    );
    for container in init().rev() {
        terminate(running, container, until).await;
    }
}

async fn before_stop(running: &Running, container: &Container, until: Instant) {
    if let Some((process, _)) = running.process(&container.name) {
        ending(running, container)
            .before_stop(&process, until)
            .await;
    }
}

async fn terminate(running: &Running, container: &Container, until: Instant) {
    let Some((process, since)) = running.process(&container.name) else {
        return;
    };
    let status = ending(running, container).terminate(&process, until).await;
    running.change(&container.name, |state| {
        (state.ready, state.started) = (false, false);
        state.now = Now::Terminated(End::new(status, None, since));
    });
}

fn ending<'a>(running: &'a Running, container: &'a Container) -> Life<'a> {
    Life {
        running,
        container,
        restart: Restart::Never,
    }
}

async fn kill(running: &Arc<Running>) {
    let pod = running.pod();
    let Some(spec) = &pod.spec else { return };
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        if let Some((process, _)) = running.process(&container.name) {
            let bare = Container::default();
            ending(running, &bare)
                .terminate(&process, Instant::now())
                .await;
        }
    }
}

/// Writes the status after every change.
async fn report(running: Arc<Running>) {
    let mut conditions = Conditions::default();
    let mut written = serde_json::Value::Null;
    let started = now();
    let mut seen = running.seen.clone();
    loop {
        seen.mark_unchanged();
        let pod = running.pod();
        let status = status(
            &pod,
            &running.address,
            &started,
            &running.states(),
            &mut conditions,
        );
        if status != written {
            match patch(&running, &status).await {
                Ok(()) => written = status,
                Err(error) => {
                    tracing::debug!(pod = running.name(), %error, "status");
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    continue;
                }
            }
        }
        tokio::select! {
            () = running.changed.notified() => {}
            changed = seen.changed() => if changed.is_err() { return },
        }
    }
}

async fn patch(running: &Running, status: &serde_json::Value) -> kube::Result<()> {
    let uid = running.first.uid();
    let patch = serde_json::json!({ "metadata": { "uid": uid }, "status": status });
    let name = running.first.name_any();
    let params = PatchParams::default();
    running
        .api()
        .patch_status(&name, &params, &Patch::Strategic(patch))
        .await
        .map(drop)
}

impl Running {
    fn api(&self) -> Api<Pod> {
        let namespace = self.first.namespace().unwrap_or_default();
        Api::namespaced(self.kubelet.client.clone(), &namespace)
    }
}

/// Deletes the pod's object, because all its processes have ended.
async fn forget(running: &Running) {
    let pod = running.pod();
    let states = running.states();
    let initialized = is_initialized(&pod, &states);
    tracing::debug!(pod = running.name(), initialized, "gone");
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: running.first.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    for _ in 0..100 {
        match running
            .api()
            .delete(&running.first.name_any(), &params)
            .await
        {
            Ok(_) => return,
            Err(kube::Error::Api(error)) if [404, 409].contains(&error.code) => return,
            Err(error) => {
                tracing::debug!(pod = running.name(), %error, "delete");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}
