//! Runs one container: starts, probes, stops and restarts it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe, SecurityContext};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::Instant;

use super::environment::{arguments, environment, expand};
use super::pod::Running;
use super::probe::{Target, handler, probe};
use super::status::{End, Now};
use crate::enter::{Entry, Mount};
use crate::images::{Image, Start, unpack};

/// The first process of a container's PID namespace. When this process ends, the kernel ends all others in the
/// namespace.
#[derive(Clone)]
pub struct Process {
    /// The process id in the node's PID namespace.
    pub id: i32,
    exit: watch::Receiver<Option<ExitStatus>>,
    user: u32,
    group: u32,
    environment: BTreeMap<String, String>,
}

impl Process {
    fn signal(&self, signal: Signal) {
        if self.exit.borrow().is_none() {
            let _ = kill(Pid::from_raw(self.id), signal);
        }
    }

    async fn ended(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        let ended = exit
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit);
        ended.unwrap_or_else(|| ExitStatus::from_raw(9))
    }
}

/// Decides whether a container starts again after its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// One container of a running pod.
pub struct Life<'a> {
    pub running: &'a Running,
    pub container: &'a Container,
    pub restart: Restart,
}

impl Life<'_> {
    /// Runs the container again and again, as its restart policy requires. Returns true if the last run succeeded.
    pub async fn live(&self) -> bool {
        let name = &self.container.name;
        let mut failures = 0_u32;
        loop {
            let process = match self.start() {
                Ok(process) => process,
                Err((reason, message)) => {
                    tracing::warn!(pod = %self.running.name(), container = name, reason, message);
                    self.running.change(name, |state| {
                        state.now = Now::Waiting {
                            reason: reason.to_owned(),
                            message,
                        };
                    });
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
            };
            let started = super::status::now();
            self.running.change(name, |state| {
                state.now = Now::Running {
                    since: started.clone(),
                    process: process.clone(),
                };
            });
            let (status, why) = self.attend(&process).await;
            let end = End::new(status, why, started);
            tracing::info!(pod = %self.running.name(), container = name, code = end.code, "ended");
            let success = end.code == 0;
            let over = match self.restart {
                Restart::Always => false,
                Restart::OnFailure => success,
                Restart::Never => true,
            };
            self.running.change(name, |state| {
                state.ready = false;
                state.started = false;
                state.now = Now::Terminated(end.clone());
            });
            if over {
                return success;
            }
            // A real kubelet's backoff starts at ten seconds, which is too long for tests.
            let wait = Duration::from_millis(500 << failures.min(4));
            failures = failures.saturating_add(1);
            self.running.change(name, |state| {
                state.last = Some(end);
                state.restarts += 1;
                let message = format!("back-off {wait:?} restarting failed container={name}");
                state.now = Now::Waiting {
                    reason: "CrashLoopBackOff".to_owned(),
                    message,
                };
            });
            tokio::time::sleep(wait).await;
        }
    }

    /// Probes the process until it exits. Stops the process if a startup or liveness probe fails.
    async fn attend(&self, process: &Process) -> (ExitStatus, Option<String>) {
        let name = &self.container.name;
        let target = self.target(process);
        let hooks = self.container.lifecycle.as_ref();
        let probing = async {
            if let Some(start) = hooks.and_then(|hooks| hooks.post_start.as_ref())
                && let Err(error) = handler(start, &target).await
            {
                return format!("PostStartHookError: {error}");
            }
            if let Some(startup) = &self.container.startup_probe
                && let Err(error) = until_success(startup, &target).await
            {
                return format!("startup probe: {error}");
            }
            let readiness = self.container.readiness_probe.as_ref();
            self.running.change(name, |state| {
                state.started = true;
                state.ready = readiness.is_none();
            });
            let ready = async {
                match readiness {
                    Some(readiness) => self.follow(readiness, &target).await,
                    None => std::future::pending().await,
                }
            };
            let alive = async {
                match &self.container.liveness_probe {
                    Some(liveness) => until_failure(liveness, &target).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { () = ready => String::new(), error = alive => error }
        };
        tokio::select! {
            status = process.ended() => (status, None),
            error = probing => {
                let until = Instant::now() + self.running.grace();
                (self.stop(process, until).await, Some(error))
            }
        }
    }

    fn target<'a>(&'a self, process: &'a Process) -> Target<'a> {
        Target {
            container: self.container,
            address: &self.running.address,
            process: process.id,
            user: process.user,
            group: process.group,
            environment: &process.environment,
        }
    }

    /// Sets `ready` from the readiness probe. Never returns.
    async fn follow(&self, readiness: &Probe, target: &Target<'_>) {
        let (mut good, mut bad) = (0, 0);
        tokio::time::sleep(seconds(readiness.initial_delay_seconds, 0)).await;
        loop {
            match probe(readiness, target).await {
                Ok(()) => (good, bad) = (good + 1, 0),
                Err(error) => {
                    (good, bad) = (0, bad + 1);
                    tracing::debug!(container = self.container.name, error, "not ready");
                }
            }
            if good >= readiness.success_threshold.unwrap_or(1) {
                self.running
                    .change(&self.container.name, |state| state.ready = true);
            } else if bad >= readiness.failure_threshold.unwrap_or(3) {
                self.running
                    .change(&self.container.name, |state| state.ready = false);
            }
            tokio::time::sleep(seconds(readiness.period_seconds, 10)).await;
        }
    }

    /// Runs preStop, and then ends the process as [`Life::terminate`] does.
    pub async fn stop(&self, process: &Process, until: Instant) -> ExitStatus {
        self.before_stop(process, until).await;
        self.terminate(process, until).await
    }

    /// Runs preStop until it is done, the process ends or the grace period ends.
    pub async fn before_stop(&self, process: &Process, until: Instant) {
        let hooks = self.container.lifecycle.as_ref();
        let Some(hook) = hooks.and_then(|hooks| hooks.pre_stop.as_ref()) else {
            return;
        };
        let target = self.target(process);
        let asked = tokio::time::timeout_at(until, handler(hook, &target));
        match tokio::select! { asked = asked => asked, _ = process.ended() => Ok(Ok(())) } {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(container = self.container.name, error, "preStop"),
            Err(_) => tracing::warn!(container = self.container.name, "preStop takes too long"),
        }
    }

    /// Sends SIGTERM. Sends SIGKILL if the process still runs after the grace period.
    pub async fn terminate(&self, process: &Process, until: Instant) -> ExitStatus {
        process.signal(Signal::SIGTERM);
        match tokio::time::timeout_at(until, process.ended()).await {
            Ok(status) => status,
            Err(_) => {
                process.signal(Signal::SIGKILL);
                process.ended().await
            }
        }
    }

    /// Starts the process. The error contains the reason and the message of the state Waiting.
    fn start(&self) -> Result<Process, (&'static str, String)> {
        let running = self.running;
        let pod = running.pod();
        let images = running.kubelet.images();
        let name = self.container.image.as_deref().unwrap_or_default();
        let image = images.get(name).map_err(|error| ("ErrImagePull", error))?;
        let config = |error: String| ("CreateContainerConfigError", error);
        let (lower, files, start) = match image {
            Image::Local { files, start } => (PathBuf::from("/"), files.clone(), start.clone()),
            Image::Archive(archive) => {
                let unpacked = unpack(archive, &running.kubelet.folder.join("images"));
                let (lower, start) = unpacked.map_err(|error| ("ErrImagePull", error))?;
                (lower, BTreeMap::new(), start)
            }
        };
        let objects = &running.kubelet.objects;
        let environment = environment(&pod, self.container, &start, objects, &running.address);
        let environment = environment.map_err(config)?;
        let (user, group, groups) = user(&pod, self.container, &start).map_err(config)?;

        let expand = |text: &str| expand(text, &environment);
        let volumes = running
            .volumes
            .mounts(&pod, self.container, expand)
            .map_err(config)?;
        let own = ["hosts", "hostname", "resolv.conf"].map(|name| Mount {
            source: running.folder.join(name),
            target: Path::new("/etc").join(name),
            read_only: false,
        });
        let programs = files.into_iter().map(|(target, source)| {
            // Resolve links here, because inside the container's root they may point elsewhere.
            let source = std::fs::canonicalize(&source).unwrap_or(source);
            Mount {
                source,
                target,
                read_only: true,
            }
        });
        let attempt = running.attempt();
        let scratch = running
            .folder
            .join(format!("{}-{attempt}", self.container.name));
        std::fs::create_dir_all(&scratch).map_err(|error| config(error.to_string()))?;
        let context = self.container.security_context.as_ref();
        let given = self.container.working_dir.as_ref().map(PathBuf::from);
        let entry = Entry {
            lower,
            mounts: own.into_iter().chain(programs).chain(volumes).collect(),
            read_only: context.and_then(|context| context.read_only_root_filesystem) == Some(true),
            host: pod.metadata.name.clone().unwrap_or_default(),
            user,
            group,
            groups,
            no_new_privileges: context.and_then(|c| c.allow_privilege_escalation) == Some(false),
            directory: given.unwrap_or_else(|| start.directory.clone()),
            arguments: arguments(self.container, &start, &environment),
            environment: environment.clone().into_iter().collect(),
            scratch: scratch.clone(),
        };
        let file = scratch.join("entry.json");
        let text = serde_json::to_vec(&entry).map_err(|error| config(error.to_string()))?;
        std::fs::write(&file, text).map_err(|error| config(error.to_string()))?;
        let log = running.kubelet.log(&pod, &self.container.name);
        let started = spawn(&running.network, &file, &log);
        let (id, exit) = started.map_err(|error| ("RunContainerError", error))?;
        Ok(Process {
            id,
            exit,
            user,
            group,
            environment,
        })
    }
}

/// Starts the process from a new thread. The process inherits the namespaces of this thread, and the namespaces of
/// other threads must not change.
fn spawn(
    network: &Path,
    entry: &Path,
    log: &Path,
) -> Result<(i32, watch::Receiver<Option<ExitStatus>>), String> {
    let network = File::open(network).map_err(|error| format!("{}: {error}", network.display()))?;
    let mut file = File::options();
    let log = file
        .append(true)
        .create(true)
        .open(log)
        .map_err(|error| error.to_string())?;
    let mut command = Command::new("/proc/self/exe");
    command.arg("enter").arg(entry).stdin(Stdio::null());
    command
        .stdout(log.try_clone().map_err(|error| error.to_string())?)
        .stderr(log);
    let (sender, started) = std::sync::mpsc::channel();
    let (ended, exit) = watch::channel(None);
    std::thread::spawn(move || {
        let child = setns(network, CloneFlags::CLONE_NEWNET)
            .and_then(|()| unshare(CloneFlags::CLONE_NEWPID))
            .map_err(std::io::Error::from)
            .and_then(|()| command.spawn());
        match child {
            Ok(mut child) => {
                let _ = sender.send(Ok(i32::try_from(child.id()).unwrap_or_default()));
                let _ = ended.send(child.wait().ok());
            }
            Err(error) => {
                let _ = sender.send(Err(error.to_string()));
            }
        }
    });
    let id = started.recv().map_err(|error| error.to_string())??;
    Ok((id, exit))
}

/// Returns the user, the group and the supplementary groups.
fn user(pod: &Pod, container: &Container, start: &Start) -> Result<(u32, u32, Vec<u32>), String> {
    let default = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&default);
    let context = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.clone());
    let context = context.unwrap_or_default();
    let (image_user, image_group) = match start.user.split_once(':') {
        Some((user, group)) => (user, group),
        None => (start.user.as_str(), ""),
    };
    let of_image = |text: &str| -> Result<Option<i64>, String> {
        match text {
            "" => Ok(None),
            "root" => Ok(Some(0)),
            text => {
                let number = text.parse().map(Some);
                number.map_err(|_| format!("the image's user {text} is not a number"))
            }
        }
    };
    let given = own.run_as_user.or(context.run_as_user);
    let user = match given {
        Some(user) => user,
        None => of_image(image_user)?.unwrap_or(0),
    };
    let group = match own.run_as_group.or(context.run_as_group) {
        Some(group) => group,
        None => of_image(image_group)?.unwrap_or(0),
    };
    if own.run_as_non_root.or(context.run_as_non_root) == Some(true) && user == 0 {
        let error = "container has runAsNonRoot and image will run as root";
        return Err(error.to_owned());
    }
    let id = |id: i64| u32::try_from(id).map_err(|_| format!("{id} is not a user or group id"));
    let more = context
        .supplemental_groups
        .into_iter()
        .flatten()
        .chain(context.fs_group);
    let groups = more.map(id).collect::<Result<Vec<u32>, String>>()?;
    Ok((id(user)?, id(group)?, groups))
}

fn seconds(given: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        given
            .and_then(|given| u64::try_from(given).ok())
            .unwrap_or(default),
    )
}

async fn until_success(startup: &Probe, target: &Target<'_>) -> Result<(), String> {
    tokio::time::sleep(seconds(startup.initial_delay_seconds, 0)).await;
    let mut failures = 0;
    loop {
        match probe(startup, target).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                failures += 1;
                if failures >= startup.failure_threshold.unwrap_or(3) {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(seconds(startup.period_seconds, 10)).await;
    }
}

async fn until_failure(liveness: &Probe, target: &Target<'_>) -> String {
    tokio::time::sleep(seconds(liveness.initial_delay_seconds, 0)).await;
    let mut failures = 0;
    loop {
        match probe(liveness, target).await {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                if failures >= liveness.failure_threshold.unwrap_or(3) {
                    return format!("liveness probe: {error}");
                }
            }
        }
        tokio::time::sleep(seconds(liveness.period_seconds, 10)).await;
    }
}
