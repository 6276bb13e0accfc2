//! A whole cluster as a test holds it. It ends with this value, or with the process that made it.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates;
use crate::child::Child;
use crate::control::{Ask, FOLDER, SOCKET, ask};
use crate::forward::Forwards;
use crate::images::Images;
use crate::kubectl::Kubectl;
use crate::network::NODE;
use crate::programs;
use crate::server::{ADMIN, write_kubeconfig};

pub struct Cluster {
    node: Child,
    /// The first process of its namespaces, as this one sees it.
    init: u32,
    forwards: Forwards,
    url: String,
    kubectl: Kubectl,
    temporary: TempDir,
}

impl Cluster {
    /// Ready when it returns. `images` come beside those of the guides.
    pub fn start(images: Images) -> Cluster {
        for family in ["etcd", "kubernetes", "coredns"] {
            programs::go_program(family, "");
        }
        let program = programs::cluster();
        let mut all = Images::of_guides(&program);
        all.extend(images);
        let images = serde_json::to_string(&all).expect("JSON");
        let temporary = tempfile::Builder::new().prefix("weir-cluster-").tempdir();
        let temporary = temporary.expect("a temporary folder");
        let args = [
            "--pid",
            "--mount",
            "--net",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child=KILL",
            "--mount-proc",
            "--propagation=private",
            "--",
        ];
        let mut args: Vec<String> = args.map(str::to_owned).to_vec();
        args.extend([program.display().to_string(), "init".to_owned(), images]);
        let log = temporary.path().join("node.log");
        let mut node = Child::start(Path::new("unshare"), &args, &log);
        let start = Instant::now();
        let init = loop {
            let init = children(node.id()).first().copied();
            if let Some(init) = init
                && inside(init, SOCKET).exists()
            {
                break init;
            }
            if node.has_ended() || start.elapsed() > Duration::from_secs(90) {
                panic!("the cluster does not start:\n{}", node.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let network = format!("/proc/{init}/ns/net");
        let forwards = Forwards::start(Path::new(&network));
        let server = forwards.forward(IpAddr::V4(NODE), 6443);
        let url = format!("https://{server}");
        let authority = inside(init, "api").join(certificates::AUTHORITY);
        let copied = std::fs::copy(authority, temporary.path().join(certificates::AUTHORITY));
        copied.expect("the authority of the API server");
        let kubeconfig = write_kubeconfig(temporary.path(), &url, ADMIN);
        let kubectl = Kubectl::new(kubeconfig);
        Cluster {
            node,
            init,
            forwards,
            url,
            kubectl,
            temporary,
        }
    }

    /// The API server's address for this process and its children.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn ca(&self) -> PathBuf {
        self.temporary.path().join(certificates::AUTHORITY)
    }

    /// A kubeconfig of whoever the token belongs to; `server::ADMIN` is the administrator's.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        write_kubeconfig(self.temporary.path(), &self.url, token)
    }

    /// As the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub fn apply(&self, yaml: &str) -> String {
        self.kubectl.apply(yaml, &[])
    }

    /// An address on loopback that leads to one of the cluster: a pod's, or a Service's.
    pub fn forward(&self, ip: IpAddr, port: u16) -> SocketAddr {
        self.forwards.forward(ip, port)
    }

    /// The same for a Service by its name.
    pub fn forward_service(&self, namespace: &str, service: &str, port: u16) -> SocketAddr {
        let path = "jsonpath={.spec.clusterIP}";
        let ip = self
            .kubectl
            .run(&["get", "service", service, "-n", namespace, "-o", path]);
        self.forward(ip.parse().expect("a ClusterIP"), port)
    }

    /// Image archives, by the names that they have themselves.
    pub fn load(&self, archives: &[&Path]) -> Result<(), String> {
        let mut images = Images::default();
        for archive in archives {
            images.archive(archive)?;
        }
        self.ask(&Ask::Load(images)).map(drop)
    }

    /// A command in the node's namespaces.
    pub fn command(&self, program: &str) -> Command {
        enter(self.init, program)
    }

    /// A command in a container: its root, network and processes.
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

    /// The id of a container's process, for signals.
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

    /// What a container has written, in all its runs.
    pub fn logs(&self, namespace: &str, pod: &str, container: &str) -> String {
        let log = inside(self.init, "logs").join(namespace).join(pod);
        let log = std::fs::read(log.join(format!("{container}.log")));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }

    /// Each request to the API server as a line of JSON.
    pub fn audit_log(&self) -> PathBuf {
        inside(self.init, "api/audit.log")
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

    /// The process that all others of the cluster end with.
    pub fn supervisor(&self) -> u32 {
        self.node.id()
    }

    /// The first process inside, which `nsenter` can be given.
    pub fn init(&self) -> u32 {
        self.init
    }

    fn ask(&self, question: &Ask) -> Result<i32, String> {
        ask(&inside(self.init, ""), question)
    }

    fn must(&self, question: &Ask) {
        if let Err(error) = self.ask(question) {
            panic!("{question:?}: {error}");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // What a failure was about would go with the namespaces.
        let kept = programs::root()
            .join("target/cluster-logs")
            .join(self.init.to_string());
        let _ = std::fs::create_dir_all(&kept);
        let copied: std::io::Result<Output> = Command::new("bash")
            .args([
                "-c",
                "cd \"$1\" && cp -r --parents logs *.log api/*.log \"$2\"",
                "keep",
            ])
            .args([&inside(self.init, ""), &kept])
            .output();
        let _ = std::fs::copy(
            self.temporary.path().join("node.log"),
            kept.join("node.log"),
        );
        eprintln!(
            "the cluster's logs are in {} ({})",
            kept.display(),
            copied.is_ok()
        );
    }
}

/// A path of the node's folder as this process sees it.
fn inside(init: u32, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{init}/root{FOLDER}")).join(path)
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

fn children(id: u32) -> Vec<u32> {
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

/// The id that a process has in the cluster's PID namespace, the first below ours.
fn id_inside(id: u32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
