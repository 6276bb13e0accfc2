//! Weir in a cluster, installed with `deploy/weir`. Helpers apply manifests, add Envoys to pods, and read their
//! counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::images::{Image, Start};
use weir_cluster::programs::{gateway_api_crds, go_program, linkerd_crds};
use weir_cluster::server::ADMIN;
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

impl Installed {
    /// Starts a cluster with Weir. Pods may also use the images of a release tool.
    pub fn start(tool: Images) -> Installed {
        let mut images = images();
        images.extend(tool);
        let cluster = Cluster::start(images);
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
    }

    pub fn run(&self, args: &[&str]) -> String {
        self.cluster.kubectl().run(args)
    }

    /// Runs commands in the root of the repository, as the administrator of the cluster. Returns whether all of them
    /// succeeded, and what they printed.
    pub fn bash(&self, script: &str) -> (bool, String) {
        let kubectl = go_program("kubernetes", "");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1; set -eux\n{script}")])
            .current_dir(root())
            .env("PATH", format!("{}:{path}", kubectl.display()))
            .env("KUBECONFIG", self.cluster.kubeconfig(ADMIN))
            .output()
            .expect("bash");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
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

    /// Adds an Envoy as a native sidecar to a Deployment's pods, as `demo/kubernetes` does, and the module of the filter
    /// as a file. If `port` is not None, an
    /// nftables rule redirects connections to this port into Envoy, except Envoy's own connections.
    pub fn inject(&self, namespace: &str, deployment: &str, port: Option<u16>) {
        let patch = root().join("demo/kubernetes/sidecar/envoy.yaml");
        let patch = std::fs::read_to_string(patch).expect("sidecar/envoy.yaml");
        let mut patch = objects(&patch).remove(0);
        let init = patch["spec"]["template"]["spec"]["initContainers"]
            .as_array_mut()
            .expect("init containers");
        let envoy = init.iter_mut().find(|it| it["name"] == "envoy");
        let envoy = envoy.expect("an Envoy");
        envoy["securityContext"]["runAsUser"] = json!(1337);
        let mounts = envoy["volumeMounts"].as_array_mut().expect("mounts");
        mounts.push(json!({ "name": "filter", "mountPath": "/filter" }));
        // The configurations with clusters by hand load the module from a file.
        let copy = json!({ "name": "weir-filter", "image": "weir.dev/weir",
            "args": ["copy-filter", "/filter-of-envoy"],
            "volumeMounts": [{ "name": "filter", "mountPath": "/filter-of-envoy" }] });
        init.insert(0, copy);
        if let Some(port) = port {
            let rules = format!(
                "nft add table weir && nft add chain weir out '{{ type nat hook output priority -100; }}' && \
                 nft add rule weir out meta skuid != 1337 tcp dport {port} redirect to :15001"
            );
            let redirect =
                json!({ "name": "redirect", "image": "busybox", "args": ["-ec", rules] });
            init.push(redirect);
        }
        let volumes = &mut patch["spec"]["template"]["spec"]["volumes"];
        let volumes = volumes.as_array_mut().expect("volumes");
        volumes.push(json!({ "name": "filter", "emptyDir": {} }));
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
