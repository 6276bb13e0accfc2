//! The node: all processes of a cluster, in the Linux namespaces of one process. `init` is the first process of the PID
//! namespace. When `init` ends, the kernel ends all other processes, and the network and mounts disappear.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::json;

use crate::child::Child;
use crate::control::{Answer, Ask, FOLDER, SOCKET};
use crate::images::Images;
use crate::kubelet::{self, Kubelet, NODE_NAME};
use crate::network::{self, DNS, NODE, PODS};
use crate::programs::go_program;
use crate::server::{self, ADMIN, ApiServer, Ports};

/// Runs as the first process of the namespaces: starts `node` and reaps orphaned processes.
pub fn init(images: &str) -> Result<(), String> {
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .map_err(|error| format!("/run: {error}"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    std::fs::create_dir_all(FOLDER).map_err(|error| format!("{FOLDER}: {error}"))?;
    let mut command = Command::new("/proc/self/exe");
    let node = command
        .args(["node", images])
        .spawn()
        .map_err(|error| format!("node: {error}"))?;
    let node = Pid::from_raw(i32::try_from(node.id()).unwrap_or_default());
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(id, _) | WaitStatus::Signaled(id, ..)) if id == node => {
                return Err("the node has ended".to_owned());
            }
            Ok(_) => {}
            Err(error) => return Err(format!("wait: {error}")),
        }
    }
}

/// Starts the programs of the node, and serves the control socket. Returns only with an error.
pub fn run(images: &str) -> Result<(), String> {
    let images: Images =
        serde_json::from_str(images).map_err(|error| format!("images: {error}"))?;
    network::node()?;
    let folder = Path::new(FOLDER);
    let api = folder.join("api");
    std::fs::create_dir_all(&api).map_err(|error| format!("{}: {error}", api.display()))?;
    let ports = Ports {
        etcd: 2379,
        peer: 2380,
        server: 6443,
    };
    let anywhere = [0, 0, 0, 0].into();
    let mut server = ApiServer::start_at(api, anywhere, NODE.into(), ports, &[]);
    server.start_controllers(CONTROLLERS);
    server.apply(&objects().to_string());
    let kubeconfig = server.kubeconfig(ADMIN);
    let status = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": NODE.to_string() }],
        "conditions": [{ "type": "Ready", "status": "True" }] } });
    let args = [
        "patch",
        "node",
        NODE_NAME,
        "--subresource=status",
        "--type=merge",
        "-p",
    ];
    server
        .kubectl_client()
        .run(&[&args[..], &[&status.to_string()]].concat());
    let _proxy = proxy(&kubeconfig, folder);
    let _dns = dns(&kubeconfig, folder)?;

    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("tokio: {error}"))?;
    let client = runtime.block_on(server::client(&kubeconfig))?;
    let kubelet = runtime.block_on(async { Arc::new(Kubelet::new(client, images, folder.into())) });
    runtime.spawn(kubelet::run(kubelet.clone()));
    // Wait until Services have addresses and DNS answers, so that a user's first command works.
    let admin = server.kubectl_client();
    wait("the default ServiceAccount", || {
        admin
            .output(&["get", "serviceaccount", "default"])
            .status
            .success()
    })?;
    wait("kube-proxy", || {
        std::net::TcpStream::connect((DNS, 53)).is_ok()
    })?;
    serve(folder, &Mutex::new(server), &kubelet)
}

const CONTROLLERS: &[&str] = &[
    "deployment",
    "replicaset",
    "statefulset",
    "daemonset",
    "job",
    "endpointslice",
    "namespace",
    "serviceaccount",
    "serviceaccount-token",
    "garbagecollector",
    "root-ca-cert-publisher",
    "disruption",
    "clusterrole-aggregation",
];

/// Objects that other components create in a real cluster: the node, the Service `kube-dns`, and the endpoints of the
/// Services `kube-dns` and `kubernetes`.
fn objects() -> serde_json::Value {
    let slice = |name: &str, namespace: &str, ports: serde_json::Value| {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": { "name": format!("{name}-node"), "namespace": namespace,
                "labels": { "kubernetes.io/service-name": name,
                    "endpointslice.kubernetes.io/managed-by": "weir-cluster" } },
            "endpoints": [{ "addresses": [NODE.to_string()], "conditions": { "ready": true } }],
            "ports": ports,
        })
    };
    let port = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol });
    let ports = json!([port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP")]);
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE_NAME,
            "labels": { "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux" } } },
        { "apiVersion": "v1", "kind": "Service",
          "metadata": { "name": "kube-dns", "namespace": "kube-system" },
          "spec": { "clusterIP": DNS.to_string(), "ports": ports } },
        slice("kube-dns", "kube-system", ports.clone()),
        slice("kubernetes", "default", json!([port("https", 6443, "TCP")])),
    ]})
}

fn proxy(kubeconfig: &Path, folder: &Path) -> Child {
    let args = [
        format!("--kubeconfig={}", kubeconfig.display()),
        "--proxy-mode=nftables".to_owned(),
        format!("--cluster-cidr={PODS}"),
        format!("--hostname-override={NODE_NAME}"),
        "--conntrack-max-per-core=0".to_owned(),
        // Pods share a bridge. Without masquerading, answers would skip the address translation.
        "--masquerade-all".to_owned(),
        "--bind-address=0.0.0.0".to_owned(),
    ];
    let program = go_program("kubernetes", "kube-proxy");
    Child::start(&program, &args, &folder.join("kube-proxy.log"))
}

fn dns(kubeconfig: &Path, folder: &Path) -> Result<Child, String> {
    let config = format!(
        "cluster.local in-addr.arpa ip6.arpa {{
             bind {NODE}
             errors
             kubernetes cluster.local in-addr.arpa ip6.arpa {{
                 kubeconfig {} weir
                 ttl 1
             }}
         }}
         . {{
             bind {NODE}
             template ANY ANY {{
                 rcode NXDOMAIN
             }}
         }}\n",
        kubeconfig.display()
    );
    let file = folder.join("Corefile");
    std::fs::write(&file, config).map_err(|error| format!("{}: {error}", file.display()))?;
    let args = [format!("-conf={}", file.display())];
    let program = go_program("coredns", "coredns");
    Ok(Child::start(&program, &args, &folder.join("coredns.log")))
}

fn wait(what: &str, ready: impl Fn() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while !ready() {
        if start.elapsed() > Duration::from_secs(60) {
            return Err(format!("{what} is not ready"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn serve(folder: &Path, server: &Mutex<ApiServer>, kubelet: &Kubelet) -> Result<(), String> {
    let socket: PathBuf = folder.join(SOCKET);
    // Create the socket under a temporary name, so that a socket with the final name always accepts connections.
    let new = folder.join("control.new");
    let listener = UnixListener::bind(&new).map_err(|error| format!("control: {error}"))?;
    std::fs::rename(&new, &socket).map_err(|error| format!("control: {error}"))?;
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            scope.spawn(|| converse(stream, server, kubelet));
        }
    });
    Err("the control socket is closed".to_owned())
}

fn converse(mut stream: UnixStream, server: &Mutex<ApiServer>, kubelet: &Kubelet) {
    let Ok(input) = stream.try_clone() else {
        return;
    };
    for line in BufReader::new(input).lines().map_while(Result::ok) {
        let answer: Answer = match serde_json::from_str::<Ask>(&line) {
            Ok(ask) => answer(ask, server, kubelet),
            Err(error) => Err(error.to_string()),
        };
        let text = serde_json::to_string(&answer).unwrap_or_default();
        if stream.write_all(format!("{text}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(ask: Ask, server: &Mutex<ApiServer>, kubelet: &Kubelet) -> Answer {
    let server = || {
        server
            .lock()
            .map_err(|_| "an earlier request failed".to_owned())
    };
    match ask {
        Ask::KillApiserver { signal } => server()?.kill_apiserver(&signal),
        Ask::StartApiserver => server()?.start_apiserver(),
        Ask::KillEtcd { signal } => server()?.kill_etcd(&signal),
        Ask::StartEtcd => server()?.start_etcd(),
        Ask::CompactEtcd => server()?.compact_etcd(),
        Ask::Load(images) => kubelet.load(images),
        Ask::Process {
            namespace,
            pod,
            container,
        } => {
            return kubelet.process(&namespace, &pod, &container);
        }
    }
    Ok(0)
}
