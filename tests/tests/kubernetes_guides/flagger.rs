//! Runs the commands of docs/flagger.md under load, with the real Flagger and the real Prometheus: a canary that is
//! promoted, and a canary that fails and is rolled back. The module `analyses` has the other analyses.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::programs::go_module;
use weir_tests::pages::blocks;
use weir_tests::{objects, root};

use super::INSTALLED;
use super::analyses;
use super::installed::{Installed, wait};
use super::podinfo::{PROMETHEUS, start_client};

/// The workload that Flagger releases. After SIGTERM its pods serve some seconds more.
const PODINFO: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: podinfo }
spec:
  selector: { matchLabels: { app: podinfo } }
  template:
    metadata: { labels: { app: podinfo } }
    spec:
      containers:
      - name: podinfo
        image: stefanprodan/podinfo
        env: [{ name: PODINFO_UI_MESSAGE, value: v1 }]
        ports: [{ name: http, containerPort: 9898 }]
        readinessProbe: { httpGet: { path: /readyz, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: podinfo }
spec: { selector: { app: podinfo }, ports: [{ name: http, port: 9898, targetPort: http }] }
";

/// Installs Flagger from the manifests of its Go module.
fn install_flagger(weir: &Installed) {
    let module = go_module("flagger", "github.com/fluxcd/flagger");
    let base = module.join("kustomize/base/flagger");
    weir.run(&["create", "namespace", "flagger-system"]);
    weir.run(&["apply", "-k", &base.display().to_string()]);
    // The probes of the manifest need a program of Flagger's image.
    let patch = json!([
        { "op": "add", "path": "/spec/template/spec/containers/0/args",
          "value": ["-mesh-provider=smi:v1alpha3", "-metrics-server=http://prometheus.monitoring:9090"] },
        { "op": "remove", "path": "/spec/template/spec/containers/0/livenessProbe" },
        { "op": "remove", "path": "/spec/template/spec/containers/0/readinessProbe" },
    ]);
    let patch = patch.to_string();
    weir.run(&[
        "patch",
        "deployment",
        "flagger",
        "-n",
        "flagger-system",
        "--type=json",
        "-p",
        &patch,
    ]);
    weir.available("flagger-system", "flagger");
}

/// Starts podinfo, and a client of podinfo. Returns the client's pod.
fn start(weir: &Installed, namespace: &str) -> String {
    let services = ["podinfo", "podinfo-primary", "podinfo-canary"];
    let pod = start_client(weir, namespace, &services);
    let podinfo = PODINFO.replace(
        "name: podinfo }",
        &format!("name: podinfo, namespace: {namespace} }}"),
    );
    weir.cluster.apply(&podinfo);
    weir.available(namespace, "podinfo");
    wait("an answer of podinfo", || {
        get(weir, namespace, &pod, "http://127.0.0.1:15001/") == "v1 200\n"
    });
    pod
}

/// Runs curl with a URL. If the URL has a range, such as `[1-100]`, curl sends a request for each number of the range,
/// at most a hundred a second. Returns one line for each answer: text and status.
fn get(weir: &Installed, namespace: &str, pod: &str, url: &str) -> String {
    let host = format!("Host: podinfo.{namespace}:9898");
    let args = ["--rate", "100/s", "-w", " %{http_code}\n", "-H", &host, url];
    weir.in_envoy(namespace, pod, &args)
}

/// Sends about a hundred requests a second until `is_over`. Counts the answers: the key is the text and the status.
fn load(
    weir: &Installed,
    namespace: &str,
    pod: &str,
    is_over: &AtomicBool,
) -> BTreeMap<String, u64> {
    const URL: &str = "http://127.0.0.1:15001/?[1-100]";
    let mut answers = BTreeMap::new();
    while !is_over.load(Ordering::Relaxed) {
        for line in get(weir, namespace, pod, URL).lines() {
            *answers.entry(line.to_owned()).or_insert(0) += 1;
        }
    }
    answers
}

/// Returns the commands of the blocks of docs/flagger.md for which `is_wanted` is true.
pub fn page(is_wanted: impl Fn(&str) -> bool) -> String {
    let blocks = blocks("docs/flagger.md").into_iter();
    let own = blocks.filter(|it| it.mark == "run-by=kubernetes_guides" && is_wanted(&it.text));
    let texts: Vec<String> = own.map(|block| block.text).collect();
    texts.join("\n")
}

/// Runs the commands of docs/flagger.md for this kind in this namespace.
fn run_page(weir: &Installed, kind: &str, namespace: &str) {
    let script = page(|block| !block.contains("deploy/flagger/analysis-"));
    let script: String = script
        .lines()
        .filter(|line| !line.contains("-k deploy/flagger"))
        .map(|line| {
            let line = line.replace("-n test", &format!("-n {namespace}"));
            let line = match kind {
                "trafficsplit" => line,
                _ => line.replace("canary-smi.yaml", "canary-gatewayapi.yaml"),
            };
            line.replace("trafficsplit/", &format!("{kind}/")) + "\n"
        })
        .collect();
    let start = Instant::now();
    let (is_good, text) = weir.bash(&script);
    println!("{kind}: {:?}\n{text}", start.elapsed());
    let log = || {
        let pods = weir.pods("flagger-system", "app=flagger");
        weir.cluster.logs("flagger-system", &pods[0], "flagger")
    };
    if !is_good {
        let canary = weir.run(&["describe", "canary", "podinfo", "-n", namespace]);
        panic!("{script}\n{text}\n{canary}\n{}", log());
    }
    // Flagger has used the gate, and the success rate has stopped the failing canary.
    let log = log();
    for event in [
        "Confirm-traffic-increase check weights are live passed".to_owned(),
        "Confirm-promotion check last weights are live passed".to_owned(),
        format!("Halt podinfo.{namespace} advancement success rate "),
    ] {
        let is_own =
            |line: &str| line.contains(&format!("podinfo.{namespace}")) && line.contains(&event);
        assert!(log.lines().any(is_own), "no {event} in:\n{log}");
    }
}

/// Returns the value of the MetricTemplate `weir-success-rate` for the canary in this namespace; None without requests.
fn success_rate(weir: &Installed, namespace: &str) -> Option<f64> {
    let file = root().join("deploy/flagger/metrics.yaml");
    let templates = objects(&std::fs::read_to_string(file).expect("metrics.yaml"));
    let mut query = templates[0]["spec"]["query"]
        .as_str()
        .expect("a query")
        .to_owned();
    for (name, value) in [
        ("namespace", namespace),
        ("service", "podinfo"),
        ("interval", "15s"),
        ("variables.port", "9898"),
    ] {
        query = query.replace(&format!("{{{{ {name} }}}}"), value);
    }
    let prometheus = weir
        .cluster
        .forward_service("monitoring", "prometheus", 9090);
    let output = Command::new("curl")
        .args(["-s", "-G", "--data-urlencode", &format!("query={query}")])
        .arg(format!("http://{prometheus}/api/v1/query"))
        .output()
        .expect("curl");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["status"], "success", "{answer}");
    let value = answer["data"]["result"][0]["value"][1].as_str()?;
    value.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// No backend of this route exists, so Weir itself answers the requests. No cluster of Envoy counts these answers.
fn own_answers_lower_success_rate(weir: &Installed, namespace: &str, pod: &str) {
    let route = format!(
        "{{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{ name: podinfo, namespace: {namespace} }}, spec: {{
  parentRefs: [{{ group: '', kind: Service, name: podinfo, port: 9898 }}],
  rules: [{{ backendRefs: [{{ name: gone, port: 9898 }}] }}] }} }}"
    );
    weir.cluster.apply(&route);
    wait("a success rate of 0", || {
        get(weir, namespace, pod, "http://127.0.0.1:15001/?[1-100]");
        success_rate(weir, namespace) == Some(0.0)
    });
}

#[test]
fn flagger_promotes_and_rolls_back() {
    let weir = &*INSTALLED;
    weir.cluster.apply(PROMETHEUS);
    install_flagger(weir);
    let gate = root().join("deploy/flagger").display().to_string();
    weir.run(&["apply", "-k", &gate]);
    weir.available("monitoring", "prometheus");
    let releases = [("trafficsplit", "test"), ("httproute", "routed")];
    std::thread::scope(|scope| {
        for (kind, namespace) in releases {
            scope.spawn(move || {
                let pod = start(weir, namespace);
                let is_over = AtomicBool::new(false);
                let answers = std::thread::scope(|scope| {
                    let load = scope.spawn(|| load(weir, namespace, &pod, &is_over));
                    let page = scope.spawn(|| run_page(weir, kind, namespace));
                    let done = page.join();
                    // In this second, the last version answers some requests.
                    std::thread::sleep(Duration::from_secs(1));
                    is_over.store(true, Ordering::Relaxed);
                    let answers = load.join().expect("the load");
                    println!("{kind}: {answers:?}");
                    done.expect("the commands of the page");
                    answers
                });
                let mut answers = answers;
                // The failing canary answers some requests with its own error. Nothing else fails.
                assert!(answers.remove("v3 error 500") > Some(0), "{answers:?}");
                assert!(
                    answers.keys().eq(["v1 200", "v2 200", "v3 200"]),
                    "{answers:?}"
                );
                if kind == "trafficsplit" {
                    own_answers_lower_success_rate(weir, namespace, &pod);
                }
            });
        }
        for analysis in ["ab", "mirror", "affinity"] {
            scope.spawn(move || {
                let pod = start(weir, analysis);
                analyses::release(weir, analysis, &pod);
            });
        }
    });
}
