//! Weir in a cluster, installed with `deploy/weir`. Helpers apply manifests, add Envoys to pods, and read their
//! counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::images::{Image, Start};
use weir_cluster::programs::{gateway_api_crds, go_program, linkerd_crds};
use weir_cluster::{Cluster, Images};
use weir_tests::tls::Authority;
use weir_tests::{dist, objects, root};

/// Returns an image of Weir that runs the local programs. `kind_demo.rs` and `installed.rs` test the image archive.
fn images() -> Images {
    let files = [
        ("/weir", "weir"),
        ("/filter/weir.wasm", "weir.wasm"),
        ("/filter/weir-lean.wasm", "weir-lean.wasm"),
    ];
    let files = files.map(|(at, name)| (PathBuf::from(at), dist(name)));
    let start = Start {
        entrypoint: vec!["/weir".to_owned()],
        ..Start::default()
    };
    let mut images = Images::default();
    let files = BTreeMap::from(files);
    images.add("weir.dev/weir", Image::Local { files, start });
    let flagger = go_program("flagger", "flagger");
    images.program("ghcr.io/fluxcd/flagger", &flagger);
    images.program("prom/prometheus", &prometheus());
    images
}

/// Returns the path of Prometheus, which `scripts/install --tests` unpacks.
fn prometheus() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = std::env::var("WEIR_CACHE").unwrap_or_else(|_| format!("{home}/.cache/weir"));
    let path = Path::new(&cache).join("prometheus/usr/bin/prometheus");
    assert!(
        path.exists(),
        "no {}: run scripts/install --tests",
        path.display()
    );
    path
}

pub struct Installed {
    pub cluster: Cluster,
    authority: Authority,
}

pub static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    let cluster = Cluster::start(images());
    let kubectl = cluster.kubectl();
    kubectl.crds(&[
        &gateway_api_crds("standard"),
        &linkerd_crds(),
        &root().join("deploy/crds"),
    ]);
    let authority = Authority::new();
    let certificate = authority.sign(&[
        "weir.weir-system.svc",
        "weir.weir-system",
        "weir-peers.weir-system.svc",
        "*.weir-peers.weir-system.svc",
    ]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": { "name": "weir-tls", "namespace": "weir-system" },
        "stringData": { "tls.crt": certificate.pem, "tls.key": certificate.key, "ca.crt": certificate.authority },
    });
    kubectl.run(&["create", "namespace", "weir-system"]);
    cluster.apply(&secret.to_string());
    let weir = root().join("deploy/weir").display().to_string();
    kubectl.run(&["apply", "-k", &weir]);
    let start = Instant::now();
    let args = ["rollout", "status", "deployment/weir", "--timeout=90s"];
    kubectl.run(&[&args[..], &["-n", "weir-system"]].concat());
    println!("the control plane was ready after {:?}", start.elapsed());
    Installed { cluster, authority }
});

/// Proxies in the cluster that belong to the guide of Flagger: two clients, and two that ended within five seconds.
const OF_FLAGGER: usize = 4;

impl Installed {
    pub fn run(&self, args: &[&str]) -> String {
        self.cluster.kubectl().run(args)
    }

    pub fn manifest(&self, namespace: &str, name: &str) {
        let path = root().join("tests/manifests").join(name);
        self.run(&["apply", "-n", namespace, "-f", &path.display().to_string()]);
    }

    pub fn available(&self, namespace: &str, deployment: &str) {
        let deployment = format!("deployment/{deployment}");
        self.run(&[
            "rollout",
            "status",
            &deployment,
            "-n",
            namespace,
            "--timeout=90s",
        ]);
    }

    /// The logs of all replicas.
    fn of_control_plane(&self) -> String {
        let pods = self.pods("weir-system", "app.kubernetes.io/name=weir");
        let logs = pods
            .iter()
            .map(|pod| self.cluster.logs("weir-system", pod, "weir"));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Creates Envoy's configuration in a namespace, with its token file and the CA.
    pub fn envoy(&self, namespace: &str, config: &Value) {
        let token = root().join("envoy-config/kubernetes-token.yaml");
        let token = std::fs::read_to_string(token).expect("kubernetes-token.yaml");
        let map = |name: &str, data: Value| {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": data,
                "metadata": { "name": name, "namespace": namespace } })
        };
        let authority = self.authority.sign(&[]).authority;
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
            map("envoy", json!({ "envoy.yaml": config.to_string(), "weir-token.yaml": token })),
            map("weir-ca", json!({ "ca.crt": authority })),
        ]});
        self.cluster.apply(&list.to_string());
    }

    /// Adds an Envoy as a native sidecar to a Deployment's pods, as `demo/kubernetes` does. If `port` is not None, an
    /// nftables rule redirects connections to this port into Envoy, except Envoy's own connections.
    pub fn inject(&self, namespace: &str, deployment: &str, port: Option<u16>) {
        let patch = root().join("demo/kubernetes/sidecar/envoy.yaml");
        let patch = std::fs::read_to_string(patch).expect("sidecar/envoy.yaml");
        let mut patch = objects(&patch).remove(0);
        let init = patch["spec"]["template"]["spec"]["initContainers"]
            .as_array_mut()
            .expect("init containers");
        let envoy = init.iter_mut().find(|it| it["name"] == "envoy");
        envoy.expect("an Envoy")["securityContext"]["runAsUser"] = json!(1337);
        if let Some(port) = port {
            let rules = format!(
                "nft add table weir && nft add chain weir out '{{ type nat hook output priority -100; }}' && \
                 nft add rule weir out meta skuid != 1337 tcp dport {port} redirect to :15001"
            );
            let redirect =
                json!({ "name": "redirect", "image": "busybox", "args": ["-ec", rules] });
            init.push(redirect);
        }
        let patch = json!({ "spec": patch["spec"] }).to_string();
        self.run(&[
            "patch",
            "deployment",
            deployment,
            "-n",
            namespace,
            "-p",
            &patch,
        ]);
        self.available(namespace, deployment);
    }

    /// Returns the pods with this label, without pods that are being deleted.
    pub fn pods(&self, namespace: &str, selector: &str) -> Vec<String> {
        let template = "{{ range .items }}{{ if not .metadata.deletionTimestamp }}{{ .metadata.name }} {{ end }}{{ end }}";
        let template = format!("go-template={template}");
        let pods = self.run(&[
            "get", "pods", "-n", namespace, "-l", selector, "-o", &template,
        ]);
        pods.split_whitespace().map(str::to_owned).collect()
    }

    pub fn in_envoy(&self, namespace: &str, pod: &str, args: &[&str]) -> String {
        let mut curl = self.cluster.command_in(namespace, pod, "envoy", "curl");
        let output = curl.arg("-s").args(args).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The sum of Envoy's counters whose names contain this name.
    pub fn count(&self, namespace: &str, pod: &str, name: &str) -> u64 {
        let stats = format!("http://127.0.0.1:15000/stats?filter={name}");
        let stats = self.in_envoy(namespace, pod, &[&stats]);
        let values = stats.lines().filter_map(|line| line.rsplit_once(": "));
        values
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Applies a file. Waits until the proxies of these pods run a newer configuration, and until the object's status
    /// reports the object as live on all proxies. Up to `others` more proxies may belong to other guides, and
    /// [`OF_FLAGGER`] to the guide of Flagger.
    pub fn until_followed(&self, namespace: &str, pods: &[String], others: usize, file: &str) {
        const UPDATES: &str = "weir_config_updates_total";
        let updates = || pods.iter().map(|pod| self.count(namespace, pod, UPDATES));
        let before: Vec<u64> = updates().collect();
        let start = Instant::now();
        self.manifest(namespace, file);
        let followed = || updates().zip(&before).all(|(now, before)| now > *before);
        wait(file, followed);
        let followed = start.elapsed();
        let path = root()
            .join("tests/manifests")
            .join(file)
            .display()
            .to_string();
        let state = || {
            let object = self.run(&["get", "-n", namespace, "-f", &path, "-o", "json"]);
            serde_json::from_str::<Value>(&object).expect("JSON")
        };
        let proxies = pods.len()..=pods.len() + others + OF_FLAGGER;
        while !live_on(&state()).is_some_and(|on| proxies.contains(&on)) {
            let status = &state()["status"];
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{file} is not live on {proxies:?} proxies: {status}\n{}",
                self.of_control_plane()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        println!(
            "{file}: {} proxies had the change after {followed:?}, and its status was live after {:?}",
            pods.len(),
            start.elapsed()
        );
    }

    /// Restarts the control plane's Deployment. Meanwhile these pods send requests, and `change` runs each second.
    pub fn restart_under_load(&self, pods: &[String], mut change: impl FnMut(u64)) {
        const URL: &str = "http://127.0.0.1:15001/books-bought?[1-200]";
        let host = "Host: bookstore.default.svc.cluster.local:14001";
        let curl = ["-o", "/dev/null", "-w", "%{http_code} ", "-H", host, URL];
        const LONGEST: Duration = Duration::from_secs(120);
        let (start, is_over) = (Instant::now(), AtomicBool::new(false));
        let load = |pod: &str| {
            let mut answers = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
                for status in self.in_envoy("default", pod, &curl).split_whitespace() {
                    *answers.entry(status.to_owned()).or_insert(0) += 1;
                }
            }
            answers
        };
        let before = self.pods("weir-system", "app.kubernetes.io/name=weir");
        std::thread::scope(|scope| {
            let loads: Vec<_> = pods.iter().map(|pod| scope.spawn(|| load(pod))).collect();
            self.run(&["rollout", "restart", "deployment/weir", "-n", "weir-system"]);
            let rollout = scope.spawn(|| self.available("weir-system", "weir"));
            let mut changes = 0;
            let is_left = || {
                let now = self.run(&["get", "pods", "-n", "weir-system", "-o", "name"]);
                before.iter().any(|pod| now.contains(pod.as_str()))
            };
            while !rollout.is_finished() || is_left() {
                change(changes);
                changes += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
            is_over.store(true, Ordering::Relaxed);
            rollout.join().expect("kubectl rollout status");
            println!("rolled out in {:?}, {changes} changes", start.elapsed());
            assert!(changes >= 3, "{changes} changes");
            for load in loads {
                let answers = load.join().expect("a client");
                println!("{answers:?}");
                assert!(answers.keys().eq(["200"]), "{answers:?}");
                assert!(answers["200"] >= 400, "{answers:?}");
            }
        });
    }
}

/// Returns the number of proxies on which a split or route is live; None if its current generation is not live on all
/// proxies.
fn live_on(object: &Value) -> Option<usize> {
    let status = &object["status"];
    let parents = status["parents"].as_array().into_iter().flatten();
    let mut all = parents
        .chain([status])
        .flat_map(|it| it["conditions"].as_array())
        .flatten();
    let live = all.find(|condition| {
        condition["type"] == "weir.dev/Live"
            && condition["status"] == "True"
            && condition["observedGeneration"] == object["metadata"]["generation"]
    })?;
    let message = live["message"].as_str()?;
    let (on, of) = message.strip_prefix("on ")?.split_once(" of ")?;
    let of = of.strip_suffix(" proxies")?;
    assert_eq!(on, of, "the condition is True, but: {message}");
    of.parse().ok()
}

pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what}: not within 60 s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
