//! A client that calls podinfo, and a Prometheus that reads the metrics of the client's Envoy. Release tools release
//! podinfo.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_tests::{objects, root};

use super::installed::{Installed, wait};

/// An answer of podinfo: its version and its status, such as `v1 200`.
pub struct Answer {
    pub at: Instant,
    pub client: usize,
    pub text: String,
}

/// Reads the metrics of the clients' Envoys every two seconds.
pub const PROMETHEUS: &str = "
apiVersion: v1
kind: Namespace
metadata: { name: monitoring }
---
apiVersion: v1
kind: ConfigMap
metadata: { name: prometheus, namespace: monitoring }
data:
  prometheus.yml: |
    global: { scrape_interval: 2s }
    scrape_configs:
    - job_name: envoy
      metrics_path: /stats/prometheus
      dns_sd_configs:
      - type: A
        port: 15090
        refresh_interval: 2s
        names:
        - stats.test.svc.cluster.local
        - stats.routed.svc.cluster.local
        - stats.ab.svc.cluster.local
        - stats.mirror.svc.cluster.local
        - stats.affinity.svc.cluster.local
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: prometheus, namespace: monitoring }
spec:
  selector: { matchLabels: { app.kubernetes.io/name: prometheus } }
  template:
    metadata: { labels: { app.kubernetes.io/name: prometheus } }
    spec:
      containers:
      - name: prometheus
        image: prom/prometheus
        args: [--config.file=/etc/prometheus/prometheus.yml, --storage.tsdb.path=/tmp/prometheus]
        volumeMounts: [{ name: config, mountPath: /etc/prometheus }]
      volumes: [{ name: config, configMap: { name: prometheus } }]
---
apiVersion: v1
kind: Service
metadata: { name: prometheus, namespace: monitoring }
spec:
  selector: { app.kubernetes.io/name: prometheus }
  ports: [{ port: 9090 }]
";

/// Starts a client with the Envoy of `envoy-config/kubernetes-sidecar.yaml`, which has a cluster for each of these
/// Services at port 9898. Returns the client's pod.
pub fn start_client(weir: &Installed, namespace: &str, services: &[&str]) -> String {
    weir.run(&["create", "namespace", namespace]);
    weir.envoy(namespace, &envoy_config(namespace, services));
    let stats = json!({ "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "stats", "namespace": namespace },
        "spec": { "clusterIP": "None", "selector": { "app": "client" }, "ports": [{ "port": 15090 }] } });
    let client = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "client", "namespace": namespace },
        "spec": { "selector": { "matchLabels": { "app": "client" } }, "template": {
            "metadata": { "labels": { "app": "client" } },
            "spec": { "terminationGracePeriodSeconds": 1,
                "containers": [{ "name": "client", "image": "registry.k8s.io/pause" }] } } } });
    weir.cluster.apply(&stats.to_string());
    weir.cluster.apply(&client.to_string());
    weir.inject(namespace, "client", None);
    let mut pods = Vec::new();
    // The first pod has no Envoy, and ends a moment later.
    wait("one client with Envoy", || {
        pods = weir.pods(namespace, "app=client");
        pods.len() == 1 && weir.cluster.pid_of(namespace, &pods[0], "envoy").is_ok()
    });
    pods.remove(0)
}

/// Returns the shipped configuration with a cluster for each of these Services, instead of the bookstore's clusters.
fn envoy_config(namespace: &str, services: &[&str]) -> Value {
    const VERSION: &str = "bookstore-v1.bookstore.";
    let file = root().join("envoy-config/kubernetes-sidecar.yaml");
    let mut config = std::fs::read_to_string(file).expect("kubernetes-sidecar.yaml");
    for (from, to) in [
        (
            r#""namespace": "bookbuyer""#,
            format!(r#""namespace": "{namespace}""#),
        ),
        ("bookstore.bookstore", format!("podinfo.{namespace}")),
        ("14001", "9898".to_owned()),
    ] {
        assert!(config.contains(from), "no {from}");
        config = config.replace(from, &to);
    }
    let mut config = objects(&config).remove(0);
    let clusters = config["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters");
    let name = |cluster: &Value| cluster["name"].as_str().unwrap_or_default().to_owned();
    let version = clusters
        .iter()
        .find(|it| name(it).starts_with(VERSION))
        .expect("a cluster of a version")
        .to_string();
    clusters.retain(|it| !name(it).contains(".svc.cluster.local:9898"));
    clusters.extend(services.iter().flat_map(|service| {
        objects(&version.replace(VERSION, &format!("{service}.{namespace}.")))
    }));
    config
}

/// Sends a hundred requests a second until `is_over`, as many clients one after the other. Each client sends a hundred
/// requests on one connection. `args` are more arguments for curl.
pub fn load(
    weir: &Installed,
    namespace: &str,
    pod: &str,
    args: &[&str],
    is_over: &AtomicBool,
) -> Vec<Answer> {
    let host = format!("Host: podinfo.{namespace}:9898");
    let mut answers = Vec::new();
    for client in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let mut curl = weir.cluster.command_in(namespace, pod, "envoy", "curl");
        curl.args([
            "-sN",
            "--rate",
            "100/s",
            "-w",
            " %{http_code}\\n",
            "-H",
            &host,
        ]);
        curl.args(args).arg("http://127.0.0.1:15001/?[1-100]");
        let mut curl = curl.stdout(Stdio::piped()).spawn().expect("curl");
        let lines = BufReader::new(curl.stdout.take().expect("a pipe")).lines();
        answers.extend(lines.map_while(Result::ok).map(|text| Answer {
            at: Instant::now(),
            client,
            text,
        }));
        curl.wait().expect("curl ends");
    }
    answers
}

/// Returns how many requests the canary has answered at each time, with copies.
pub fn canary_counts(
    weir: &Installed,
    namespace: &str,
    pod: &str,
    is_over: &AtomicBool,
) -> Vec<(Instant, u64)> {
    let name = format!("podinfo-canary.{namespace}.svc.cluster.local_9898.upstream_rq_completed");
    let mut counts = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        counts.push((Instant::now(), weir.count(namespace, pod, &name)));
        std::thread::sleep(Duration::from_millis(500));
    }
    counts
}
