//! A whole cluster for a test. The cluster ends when its [`Cluster`] is dropped, or when the process that started it
//! ends.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::certificates;
use crate::child::Child;
use crate::control::SOCKET;
use crate::forward::Forwards;
use crate::images::Images;
use crate::inside::{Inside, children};
use crate::kubectl::Kubectl;
use crate::network::NODE;
use crate::programs;
use crate::server::{ADMIN, write_kubeconfig};
use crate::temporary::Temporary;

pub struct Cluster {
    node: Child,
    inside: Inside,
    forwards: Forwards,
    url: String,
    kubectl: Kubectl,
    temporary: Temporary,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready. The cluster has `images` and the images of the guides.
    pub fn start(images: Images) -> Cluster {
        for family in ["etcd", "kubernetes", "coredns"] {
            programs::go_program(family, "");
        }
        let program = programs::cluster();
        let mut all = Images::of_guides(&program);
        all.extend(images);
        let images = serde_json::to_string(&all).expect("JSON");
        let temporary = Temporary::new("weir-cluster-");
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
                && Inside::of(init).path(SOCKET).exists()
            {
                break init;
            }
            if node.has_ended() || start.elapsed() > Duration::from_secs(90) {
                panic!("the cluster does not start:\n{}", node.tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let inside = Inside::of(init);
        let network = format!("/proc/{init}/ns/net");
        let forwards = Forwards::start(Path::new(&network));
        let server = forwards.forward(IpAddr::V4(NODE), 6443);
        let url = format!("https://{server}");
        let authority = inside.path("api").join(certificates::AUTHORITY);
        let copied = std::fs::copy(authority, temporary.path().join(certificates::AUTHORITY));
        copied.expect("the authority of the API server");
        let kubeconfig = write_kubeconfig(temporary.path(), &url, ADMIN);
        let kubectl = Kubectl::new(kubeconfig);
        Cluster {
            node,
            inside,
            forwards,
            url,
            kubectl,
            temporary,
        }
    }

    /// Returns the API server's URL for this process and its children.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn ca(&self) -> PathBuf {
        self.temporary.path().join(certificates::AUTHORITY)
    }

    /// Writes a kubeconfig with this token. `server::ADMIN` is the administrator's token.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        write_kubeconfig(self.temporary.path(), &self.url, token)
    }

    /// Returns kubectl for the administrator.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    pub fn apply(&self, yaml: &str) -> String {
        self.kubectl.apply(yaml, &[])
    }

    /// Returns a loopback address that forwards to this address of a pod or a Service.
    pub fn forward(&self, ip: IpAddr, port: u16) -> SocketAddr {
        self.forwards.forward(ip, port)
    }

    /// Like [`Cluster::forward`], for a Service with this name.
    pub fn forward_service(&self, namespace: &str, service: &str, port: u16) -> SocketAddr {
        let path = "jsonpath={.spec.clusterIP}";
        let ip = self
            .kubectl
            .run(&["get", "service", service, "-n", namespace, "-o", path]);
        self.forward(ip.parse().expect("a ClusterIP"), port)
    }

    /// Returns the process id of the supervisor. All other processes of the cluster end with this process.
    pub fn supervisor(&self) -> u32 {
        self.node.id()
    }
}

impl std::ops::Deref for Cluster {
    type Target = Inside;

    fn deref(&self) -> &Inside {
        &self.inside
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        // Keep the logs of a failed test, because the namespaces disappear with the cluster.
        let kept = programs::root()
            .join("target/cluster-logs")
            .join(self.init().to_string());
        let _ = std::fs::create_dir_all(&kept);
        let copied: std::io::Result<Output> = Command::new("bash")
            .args([
                "-c",
                "cd \"$1\" && cp -r --parents logs *.log api/*.log \"$2\"",
                "keep",
            ])
            .args([&self.inside.path(""), &kept])
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
