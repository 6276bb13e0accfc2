//! A running cluster as the machine sees it: its processes, its files, and requests to it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::control::{Ask, FOLDER, ask};
use crate::images::Images;

pub struct Inside {
    /// Process id of the init process of the cluster's namespaces, in this PID namespace.
    init: u32,
}

impl Inside {
    /// `init` is the process id of the first process in the cluster's namespaces.
    pub fn of(init: u32) -> Inside {
        Inside { init }
    }

    /// Returns the process id for `nsenter -t`.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// Returns a path in the node's folder, as this process sees it.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{FOLDER}", self.init)).join(path)
    }

    /// Loads image archives under the names in their manifests.
    pub fn load(&self, archives: &[&Path]) -> Result<(), String> {
        let mut images = Images::default();
        for archive in archives {
            images.archive(archive)?;
        }
        self.ask(&Ask::Load(images)).map(drop)
    }

    /// Returns a command that runs in the node's Linux namespaces.
    pub fn command(&self, program: &str) -> Command {
        enter(self.init, program)
    }

    /// Returns a command that runs in a container, with the container's root, network and processes.
    pub fn command_in(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        program: &str,
    ) -> Command {
        let process = self.pid_of(namespace, pod, container);
        let process = process.unwrap_or_else(|error| panic!("{namespace}/{pod}: {error}"));
        enter(process, program)
    }

    /// Returns the process id of a container's first process. The caller can send signals to it.
    pub fn pid_of(&self, namespace: &str, pod: &str, container: &str) -> Result<u32, String> {
        let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
        let container = container.to_owned();
        let inner = self.ask(&Ask::Process {
            namespace,
            pod,
            container,
        })?;
        let outer = descendants(self.init)
            .into_iter()
            .find(|id| id_inside(*id) == Some(inner));
        outer.ok_or_else(|| format!("process {inner} of the node has ended"))
    }

    /// Returns the output of all runs of a container.
    pub fn logs(&self, namespace: &str, pod: &str, container: &str) -> String {
        let log = self.path("logs").join(namespace).join(pod);
        let log = std::fs::read(log.join(format!("{container}.log")));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// Returns the path of the audit log, which has one line of JSON for each request to the API server.
    pub fn audit_log(&self) -> PathBuf {
        self.path("api/audit.log")
    }

    pub fn kill_apiserver(&self, signal: &str) {
        let signal = signal.to_owned();
        self.must(&Ask::KillApiserver { signal });
    }

    pub fn start_apiserver(&self) {
        self.must(&Ask::StartApiserver);
    }

    pub fn kill_etcd(&self, signal: &str) {
        let signal = signal.to_owned();
        self.must(&Ask::KillEtcd { signal });
    }

    pub fn start_etcd(&self) {
        self.must(&Ask::StartEtcd);
    }

    pub fn compact_etcd(&self) {
        self.must(&Ask::CompactEtcd);
    }

    fn ask(&self, question: &Ask) -> Result<i32, String> {
        ask(&self.path(""), question)
    }

    fn must(&self, question: &Ask) {
        if let Err(error) = self.ask(question) {
            panic!("{question:?}: {error}");
        }
    }
}

fn enter(process: u32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args([
        "-t",
        &process.to_string(),
        "-m",
        "-n",
        "-u",
        "-i",
        "-p",
        "--",
        program,
    ]);
    command
}

pub fn children(id: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children"));
        let children = children.unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
    }
    all
}

fn descendants(id: u32) -> Vec<u32> {
    let mut all = children(id);
    let mut next = 0;
    while let Some(id) = all.get(next).copied() {
        all.extend(children(id));
        next += 1;
    }
    all
}

/// Returns the id of the process in the cluster's PID namespace, which is one level below this process's namespace.
fn id_inside(id: u32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
