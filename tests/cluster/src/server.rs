//! etcd and kube-apiserver with RBAC, as children of this process, and the controller manager if a test needs it. A
//! test can kill each program and start it again at the same address.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::certificates;
use crate::child::Child;
use crate::kubectl::Kubectl;
use crate::programs::{gateway_api_crds, go_program, linkerd_crds};
use crate::temporary::Temporary;

/// The administrator's token.
pub const ADMIN: &str = "admin-token";

pub struct ApiServer {
    /// This field removes the folder after `drop` has ended the processes.
    _temporary: Option<Temporary>,
    folder: PathBuf,
    bind: IpAddr,
    ports: Ports,
    etcd: Option<Child>,
    server: Option<Child>,
    controllers: Option<Child>,
    kubectl: Kubectl,
}

/// The ports of the programs.
#[derive(Clone, Copy)]
pub struct Ports {
    pub etcd: u16,
    pub peer: u16,
    pub server: u16,
}

impl ApiServer {
    /// Starts the programs on free loopback ports and waits until they are ready.
    pub fn start() -> ApiServer {
        ApiServer::start_with(&[])
    }

    /// Like [`ApiServer::start`], with more users: names with their groups. [`token`] returns the token of a user.
    pub fn start_with(users: &[(&str, &[&str])]) -> ApiServer {
        let temporary = Temporary::new("weir-api-");
        let folder = temporary.path().to_owned();
        let [etcd, peer, server] = free_ports();
        let ports = Ports { etcd, peer, server };
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut server = ApiServer::start_at(folder, loopback, loopback, ports, users);
        server._temporary = Some(temporary);
        server
    }

    /// Starts in a folder and on ports that the caller keeps free. `advertise` is the address that the API server
    /// publishes.
    pub fn start_at(
        folder: PathBuf,
        bind: IpAddr,
        advertise: IpAddr,
        ports: Ports,
        users: &[(&str, &[&str])],
    ) -> ApiServer {
        let service = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));
        certificates::write(&folder, &[Ipv4Addr::LOCALHOST.into(), advertise, service]);
        let mut tokens = format!("{ADMIN},admin,admin,system:masters\n");
        for (user, groups) in users {
            let line = format!("{},{user},{user},\"{}\"\n", token(user), groups.join(","));
            tokens.push_str(&line);
        }
        write(&folder.join("tokens.csv"), &tokens);
        write(&folder.join("audit.yaml"), AUDIT);
        let address = format!("https://127.0.0.1:{}", ports.server);
        let kubeconfig = write_kubeconfig(&folder, &address, ADMIN);
        let mut server = ApiServer {
            _temporary: None,
            folder,
            bind,
            ports,
            etcd: None,
            server: None,
            controllers: None,
            kubectl: Kubectl::new(kubeconfig),
        };
        server.start_etcd();
        server.start_apiserver_as(advertise);
        server
    }

    /// Returns `https://127.0.0.1:PORT`. The authority in `ca` signs its certificate.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.server)
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join(certificates::AUTHORITY)
    }

    /// Returns the path of the audit log, which has one line of JSON for each request, at the level Metadata.
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// Returns the folder with all files: logs, certificates and kubeconfigs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a kubeconfig with this token.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        write_kubeconfig(&self.folder, &self.url(), token)
    }

    /// Runs kubectl as the administrator. Does not panic if kubectl fails; `Kubectl::run` does.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl.output(args)
    }

    /// Returns kubectl for the administrator.
    pub fn kubectl_client(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Returns kubectl for the user of this token.
    pub fn kubectl_as(&self, token: &str) -> Kubectl {
        Kubectl::new(self.kubeconfig(token))
    }

    /// Applies YAML as the administrator. Panics if the API server refuses an object.
    pub fn apply(&self, yaml: &str) -> String {
        self.kubectl.apply(yaml, &[])
    }

    /// Applies folders of CRDs and waits until the API server serves them.
    pub fn crds(&self, folders: &[&Path]) {
        self.kubectl.crds(folders);
    }

    /// Applies the CRDs of Gateway API, with its experimental kinds, and Linkerd's HTTPRoute.
    pub fn route_crds(&self) {
        self.crds(&[&gateway_api_crds("experimental"), &linkerd_crds()]);
    }

    /// Requests a token of a ServiceAccount. Without an audience the token is for the API server.
    pub fn account_token(&self, namespace: &str, account: &str, audience: Option<&str>) -> String {
        self.kubectl.token(namespace, account, audience)
    }

    pub fn kill_apiserver(&mut self, signal: &str) {
        if let Some(server) = self.server.take() {
            server.end(signal);
        }
    }

    /// Starts kube-apiserver at its old address and waits until it is ready.
    pub fn start_apiserver(&mut self) {
        self.start_apiserver_as(self.bind);
    }

    fn start_apiserver_as(&mut self, advertise: IpAddr) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let args = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.ports.etcd),
            format!("--bind-address={}", self.bind),
            format!("--secure-port={}", self.ports.server),
            format!("--advertise-address={advertise}"),
            format!("--cert-dir={}", self.folder.display()),
            format!("--tls-cert-file={}", file(certificates::SERVER)),
            format!("--tls-private-key-file={}", file(certificates::SERVER_KEY)),
            format!("--client-ca-file={}", file(certificates::AUTHORITY)),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!(
                "--service-account-key-file={}",
                file(certificates::ACCOUNTS_PUBLIC)
            ),
            format!(
                "--service-account-signing-key-file={}",
                file(certificates::ACCOUNTS_KEY)
            ),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            format!("--audit-policy-file={}", file("audit.yaml")),
            format!("--audit-log-path={}", file("audit.log")),
        ];
        let program = go_program("kubernetes", "kube-apiserver");
        let child = Child::start(&program, &args, &self.folder.join("kube-apiserver.log"));
        let child = self.server.insert(child);
        let kubectl = &self.kubectl;
        wait_for("kube-apiserver", child, || {
            kubectl.output(&["get", "--raw=/readyz"]).status.success()
        });
    }

    pub fn kill_etcd(&mut self, signal: &str) {
        if let Some(etcd) = self.etcd.take() {
            etcd.end(signal);
        }
    }

    /// Starts etcd with its old data and waits until it is ready.
    pub fn start_etcd(&mut self) {
        let client = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peer = format!("http://127.0.0.1:{}", self.ports.peer);
        let args = [
            format!("--data-dir={}", self.folder.join("etcd").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let program = go_program("etcd", "etcd");
        let child = Child::start(&program, &args, &self.folder.join("etcd.log"));
        let child = self.etcd.insert(child);
        let port = self.ports.etcd;
        wait_for("etcd", child, || {
            post(port, "/v3/kv/range", r#"{"key":"AA=="}"#).is_some()
        });
    }

    /// Removes all revisions except the current one. Then a watch from an older revision gets 410 Gone.
    pub fn compact_etcd(&self) {
        let port = self.ports.etcd;
        let head = post(port, "/v3/kv/range", r#"{"key":"AA=="}"#).expect("etcd answers");
        let revision = &head["header"]["revision"];
        let body = serde_json::json!({ "revision": revision, "physical": true });
        let answer = post(port, "/v3/kv/compaction", &body.to_string());
        answer.expect("etcd compacts");
    }

    /// Writes objects to etcd directly, under their keys and in the API server's encoding. Each transaction writes a
    /// hundred objects, which is faster than creating them through the API server.
    pub fn keep(&self, objects: &[(String, serde_json::Value)]) {
        let encode = |text: &str| STANDARD.encode(text);
        for chunk in objects.chunks(100) {
            let put = |(key, object): &(String, serde_json::Value)| {
                serde_json::json!({
                    "requestPut": { "key": encode(key), "value": encode(&object.to_string()) }
                })
            };
            let puts: Vec<_> = chunk.iter().map(put).collect();
            let body = serde_json::json!({ "success": puts }).to_string();
            post(self.ports.etcd, "/v3/kv/txn", &body).expect("etcd stores the objects");
        }
    }

    /// Starts kube-controller-manager with the controllers of these names. Ends an earlier kube-controller-manager.
    pub fn start_controllers(&mut self, controllers: &[&str]) {
        self.controllers = None;
        let kubeconfig = self.kubeconfig(ADMIN).display().to_string();
        let file = |name: &str| self.folder.join(name).display().to_string();
        let args = [
            format!("--kubeconfig={kubeconfig}"),
            format!("--controllers={}", controllers.join(",")),
            format!(
                "--service-account-private-key-file={}",
                file(certificates::ACCOUNTS_KEY)
            ),
            format!("--root-ca-file={}", file(certificates::AUTHORITY)),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let program = go_program("kubernetes", "kube-controller-manager");
        let log = self.folder.join("kube-controller-manager.log");
        self.controllers = Some(Child::start(&program, &args, &log));
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // End the clients first, because they would fill their logs with errors.
        self.controllers = None;
        self.server = None;
        self.etcd = None;
    }
}

/// Returns the token of a user in `users`.
pub fn token(user: &str) -> String {
    format!("{user}-token")
}

/// Returns a client for requests that are too many or too large for kubectl processes.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client, String> {
    let failed = |error: String| format!("{}: {error}", kubeconfig.display());
    let config = Kubeconfig::read_from(kubeconfig).map_err(|error| failed(error.to_string()))?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await;
    let config = config.map_err(|error| failed(error.to_string()))?;
    kube::Client::try_from(config).map_err(|error| failed(error.to_string()))
}

/// Writes a kubeconfig for a server whose CA is in the folder. Returns its path.
pub fn write_kubeconfig(folder: &Path, url: &str, token: &str) -> PathBuf {
    let ca = folder.join(certificates::AUTHORITY);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "weir",
        "clusters": [{ "name": "weir", "cluster": { "server": url, "certificate-authority": ca } }],
        "users": [{ "name": "weir", "user": { "token": token } }],
        "contexts": [{ "name": "weir", "context": { "cluster": "weir", "user": "weir" } }],
    });
    // A token may be too long for a file name, so use its end, which is unique.
    let end = token.get(token.len().saturating_sub(40)..).unwrap_or(token);
    let path = folder.join(format!("kubeconfig-{end}"));
    write(&path, &config.to_string());
    path
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Returns different free ports below the range of outgoing connections, so that no connection uses a port while its
/// server is down.
fn free_ports<const N: usize>() -> [u16; N] {
    use std::hash::{BuildHasher, RandomState};
    let free = || loop {
        let random = RandomState::new().hash_one(std::process::id());
        let port = 20_000 + u16::try_from(random % 12_000).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return (port, listener);
        }
    };
    // Keep the listeners open until all ports are found.
    let found: [(u16, TcpListener); N] = std::array::from_fn(|_| free());
    found.map(|(port, _)| port)
}

fn wait_for(what: &str, child: &mut Child, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        let ended = child.has_ended();
        if ended || start.elapsed() > Duration::from_secs(60) {
            let how = if ended { "ended" } else { "is not ready" };
            panic!("{what} {how}:\n{}", child.tail());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends a request to etcd's JSON gateway over HTTP/1.0. Returns None if the status is not 200.
fn post(port: u16, path: &str, body: &str) -> Option<serde_json::Value> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.lines().next()?.contains(" 200 ") {
        return None;
    }
    serde_json::from_str(body).ok()
}

/// Logs every request with its user and its object, without its body.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";
