//! The three guides in a cluster, with `kubectl apply`: the control plane as `deploy/weir` installs it, the guides' own
//! Deployments, and Envoys of `envoy-config/` beside them or as a gateway. Each prints how long it took from an apply
//! until the last proxy had it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::images::{Image, Start};
use weir_cluster::programs::{gateway_api_crds, linkerd_crds};
use weir_cluster::{Cluster, Images};
use weir_tests::tls::Authority;
use weir_tests::{dist, objects, root};

/// The image of Weir, without its archive: `kind_demo.rs` and `deploy.rs` run that one.
fn images() -> Images {
    let files = [
        ("/weir", "weir"),
        ("/filter/weir.wasm", "weir.wasm"),
        ("/filter/weir-full.wasm", "weir-full.wasm"),
    ];
    let files = files.map(|(at, name)| (PathBuf::from(at), dist(name)));
    let start = Start {
        entrypoint: vec!["/weir".to_owned()],
        ..Start::default()
    };
    let mut images = Images::default();
    let files = BTreeMap::from(files);
    images.add("weir.dev/weir", Image::Local { files, start });
    images
}

struct Installed {
    cluster: Cluster,
    authority: Authority,
}

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
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

impl Installed {
    fn run(&self, args: &[&str]) -> String {
        self.cluster.kubectl().run(args)
    }

    fn manifest(&self, namespace: &str, name: &str) {
        let path = root().join("tests/manifests").join(name);
        self.run(&["apply", "-n", namespace, "-f", &path.display().to_string()]);
    }

    fn available(&self, namespace: &str, deployment: &str) {
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

    /// What its replicas have logged.
    fn of_control_plane(&self) -> String {
        let pods = self.pods("weir-system", "app.kubernetes.io/name=weir");
        let logs = pods
            .iter()
            .map(|pod| self.cluster.logs("weir-system", pod, "weir"));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// What Envoy needs in a namespace: its configuration, its token's place, and whom to trust.
    fn envoy(&self, namespace: &str, config: &Value) {
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

    /// Puts an Envoy into a Deployment's pods, as demo/kubernetes does. With a port, calls of other users to that port
    /// are led to it.
    fn inject(&self, namespace: &str, deployment: &str, port: Option<u16>) {
        let patch = root().join("demo/kubernetes/sidecar/envoy.yaml");
        let patch = std::fs::read_to_string(patch).expect("sidecar/envoy.yaml");
        let mut patch = objects(&patch).remove(0);
        let pod = &mut patch["spec"]["template"]["spec"];
        pod["containers"][0]["securityContext"]["runAsUser"] = json!(1337);
        if let Some(port) = port {
            let rules = format!(
                "nft add table weir && nft add chain weir out '{{ type nat hook output priority -100; }}' && \
                 nft add rule weir out meta skuid != 1337 tcp dport {port} redirect to :15001"
            );
            let redirect =
                json!({ "name": "redirect", "image": "busybox", "args": ["-ec", rules] });
            let init = pod["initContainers"]
                .as_array_mut()
                .expect("init containers");
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

    /// The pods that a label selects and that are not on their way out.
    fn pods(&self, namespace: &str, selector: &str) -> Vec<String> {
        let template = "{{ range .items }}{{ if not .metadata.deletionTimestamp }}{{ .metadata.name }} {{ end }}{{ end }}";
        let template = format!("go-template={template}");
        let pods = self.run(&[
            "get", "pods", "-n", namespace, "-l", selector, "-o", &template,
        ]);
        pods.split_whitespace().map(str::to_owned).collect()
    }

    fn in_envoy(&self, namespace: &str, pod: &str, args: &[&str]) -> String {
        let mut curl = self.cluster.command_in(namespace, pod, "envoy", "curl");
        let output = curl.arg("-s").args(args).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Envoy's counters of one name, summed up.
    fn count(&self, namespace: &str, pod: &str, name: &str) -> u64 {
        let stats = format!("http://127.0.0.1:15000/stats?filter={name}");
        let stats = self.in_envoy(namespace, pod, &[&stats]);
        let values = stats.lines().filter_map(|line| line.rsplit_once(": "));
        values
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Applies a file and waits until each of these pods' proxies runs a newer configuration, and until the object says
    /// so itself, of these proxies and of so many at most of other guides, which it concerns too where they are there.
    fn until_followed(&self, namespace: &str, pods: &[String], others: usize, file: &str) {
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
        let known = pods.len()..=pods.len() + others;
        while !live_on(&state()).is_some_and(|on| known.contains(&on)) {
            let told = &state()["status"];
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "{file} is not live on {known:?} proxies: {told}\n{}",
                self.of_control_plane()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        println!(
            "{file}: {} proxies had it {followed:?} after its apply began, and it was live after {:?}",
            pods.len(),
            start.elapsed()
        );
    }

    /// The control plane's Deployment, under load from these pods and with a change each second.
    fn roll_out_anew(&self, pods: &[String], mut change: impl FnMut(u64)) {
        const URL: &str = "http://127.0.0.1:15001/books-bought?[1-200]";
        let host = "Host: bookstore.default.svc.cluster.local:14001";
        let told = ["-o", "/dev/null", "-w", "%{http_code} ", "-H", host, URL];
        const LONGEST: Duration = Duration::from_secs(120);
        let (start, is_over) = (Instant::now(), AtomicBool::new(false));
        let load = |pod: &str| {
            let mut answers = BTreeMap::new();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < LONGEST {
                for status in self.in_envoy("default", pod, &told).split_whitespace() {
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
            println!(
                "rolled out anew in {:?}, {changes} changes",
                start.elapsed()
            );
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

/// On how many proxies, all that there are, the last generation of a split, or of a route at one of its parents, is.
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
    assert_eq!(on, of, "True, but {message}");
    of.parse().ok()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what}: not within 60 s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A configuration of `envoy-config/` with other names, as it is in a cluster: addresses are those of Services, and the
/// control plane is that of `kubernetes-sidecar.yaml`.
fn in_cluster(file: &str, names: &[(&str, &str)]) -> Value {
    let read = |file: &str| {
        let path = root().join("envoy-config").join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut text = read(file);
    for (from, to) in names {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    let mut config = objects(&text).remove(0);
    let sidecar = objects(&read("kubernetes-sidecar.yaml")).remove(0);
    let weir = sidecar["static_resources"]["clusters"]
        .as_array()
        .expect("clusters");
    let weir = weir
        .iter()
        .find(|cluster| cluster["name"] == "weir")
        .expect("weir");
    config["node"] = json!({ "id": "of-the-pod", "cluster": "of-the-pod" });
    for cluster in config["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters")
    {
        let name = cluster["name"].as_str().expect("a name").to_owned();
        if name == "weir" {
            *cluster = weir.clone();
            continue;
        }
        let (host, port) = name.split_once(':').expect("HOST:PORT");
        let port: u16 = port.parse().expect("a port");
        let address = json!({ "socket_address": { "address": host, "port_value": port } });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
        *cluster = json!({ "name": name, "type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED",
            "dns_refresh_rate": "1s",
            "load_assignment": { "cluster_name": name, "endpoints": endpoints } });
    }
    config
}

fn share(answers: &[String], what: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.contains(what))
        .count()
}

#[test]
fn osm_traffic_split() {
    let weir = &*INSTALLED;
    weir.manifest("default", "osm/bookstore.yaml");
    let config = in_cluster(
        "sidecar.yaml",
        &[
            ("dist/weir.wasm", "/filter/weir.wasm"),
            (".bookstore", ".default"),
            ("\"namespace\": \"bookbuyer\"", "\"namespace\": \"default\""),
        ],
    );
    weir.envoy("default", &config);
    let client = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "client" },
        "spec": { "replicas": 2, "selector": { "matchLabels": { "app": "client" } }, "template": {
            "metadata": { "labels": { "app": "client" } },
            "spec": { "terminationGracePeriodSeconds": 1,
                "containers": [{ "name": "client", "image": "registry.k8s.io/pause" }] } } } });
    weir.cluster.apply(&client.to_string());
    for deployment in ["bookstore-v1", "bookstore-v2"] {
        weir.available("default", deployment);
    }
    weir.inject("default", "client", None);
    let mut pods = Vec::new();
    wait("two clients", || {
        pods = weir.pods("default", "app=client");
        pods.len() == 2
    });
    let buy = |pod: &str| -> Vec<String> {
        let host = "Host: bookstore.default.svc.cluster.local:14001";
        // On one connection, so that one worker answers them all.
        let url = "http://127.0.0.1:15001/books-bought?[1-200]";
        let answers = weir.in_envoy(
            "default",
            pod,
            &["-D", "-", "-o", "/dev/null", "-H", host, url],
        );
        let lines = answers.lines().map(str::to_ascii_lowercase);
        lines.filter(|line| line.starts_with("identity:")).collect()
    };
    // Before the split, whom the Service selects: both versions.
    wait("both versions", || share(&buy(&pods[0]), "-v") == 200);

    weir.until_followed("default", &pods, 1, "osm/split.yaml");
    for pod in &pods {
        let answers = buy(pod);
        assert_eq!(
            [share(&answers, "-v1"), share(&answers, "-v2")],
            [180, 20],
            "{pod}"
        );
    }
    let split = |weights: [u64; 2]| {
        let weights = [0, 1].map(|at| json!({ "op": "replace", "path": format!("/spec/backends/{at}/weight"), "value": weights[at] }));
        let patch = Value::from(weights.to_vec()).to_string();
        let what = ["bookstore-split", "--type=json", "-p", &patch];
        weir.run(&[&["patch", "trafficsplit"], &what[..]].concat());
    };
    weir.roll_out_anew(&pods, |change| split([1 + change % 50, 50]));
    split([0, 1]);
    // The last of the changes.
    wait("the second version alone", || {
        let mut answers = pods.iter().map(|pod| buy(pod));
        answers.all(|answers| share(&answers, "-v2") == 200)
    });
}

#[test]
fn kong_canary_route() {
    let weir = &*INSTALLED;
    weir.run(&["create", "namespace", "kong"]);
    weir.manifest("kong", "kong/gateway.yaml");
    weir.manifest("kong", "kong/echo.yaml");
    let mut config = in_cluster("gateway.yaml", &[("dist/weir.wasm", "/filter/weir.wasm")]);
    let listener = &mut config["static_resources"]["listeners"][0]["address"]["socket_address"];
    listener["address"] = json!("0.0.0.0");
    config["admin"]["address"]["socket_address"]["port_value"] = json!(15000);
    weir.envoy("kong", &config);
    let gateway = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "kong", "namespace": "kong" },
          "spec": { "selector": { "app": "kong" }, "ports": [{ "port": 80, "targetPort": 8080 }] } },
        { "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "kong", "namespace": "kong" },
          "spec": { "selector": { "matchLabels": { "app": "kong" } }, "template": {
            "metadata": { "labels": { "app": "kong" } },
            "spec": { "containers": [{ "name": "nothing", "image": "registry.k8s.io/pause" }] } } } },
    ]});
    weir.cluster.apply(&gateway.to_string());
    weir.inject("kong", "kong", None);
    for deployment in ["echo-v1", "echo-v2"] {
        weir.available("kong", deployment);
    }
    let mut pods = Vec::new();
    wait("one gateway", || {
        pods = weir.pods("kong", "app=kong");
        pods.len() == 1
    });
    let address = weir.cluster.forward_service("kong", "kong", 80);
    let curl = || {
        let output = std::process::Command::new("curl")
            .args(["-s", &format!("http://{address}/echo?[1-10]")])
            .output()
            .expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect::<Vec<String>>()
    };
    wait("the Gateway's ordinary answer", || {
        weir.count("kong", &pods[0], "downstream_rq_4xx") > 0 || {
            curl();
            false
        }
    });
    weir.until_followed("kong", &pods, 0, "kong/canary-route.yaml");
    let answers = curl();
    let of = |version: &str| {
        share(
            &answers,
            &format!("Welcome, you are connected to node {version}."),
        )
    };
    assert_eq!([of("v1"), of("v2")], [5, 5], "{answers:?}");
}

#[test]
fn linkerd_traffic_shifting() {
    let weir = &*INSTALLED;
    let space = "traffic-shift-demo";
    weir.manifest(space, "linkerd/app.yaml");
    let config = in_cluster(
        "sidecar.yaml",
        &[
            ("dist/weir.wasm", "/filter/weir.wasm"),
            (
                "              - bookstore.bookstore\n",
                "              - bb\n              - bb:8080\n              - bookstore.bookstore\n",
            ),
            ("bookstore-v2.bookstore", "bb-v2.traffic-shift-demo"),
            ("bookstore-v1.bookstore", "bb-v1.traffic-shift-demo"),
            ("bookstore.bookstore", "bb.traffic-shift-demo"),
            ("14001", "8080"),
            (
                "\"namespace\": \"bookbuyer\"",
                "\"namespace\": \"traffic-shift-demo\"",
            ),
        ],
    );
    weir.envoy(space, &config);
    weir.inject(space, "slow-cooker", Some(8080));
    for deployment in ["v1", "v2"] {
        weir.available(space, deployment);
    }
    let mut pods = Vec::new();
    wait("one slow-cooker", || {
        pods = weir.pods(space, "app=slow-cooker");
        pods.len() == 1
    });
    let answered = || {
        let of = |service: &str| {
            let name = format!(
                "cluster.{service}.traffic-shift-demo.svc.cluster.local_8080.upstream_rq_200"
            );
            weir.count(space, &pods[0], &name)
        };
        [of("bb"), of("bb-v2")]
    };
    // Of the next hundred requests, at ten a second from connections of their own, to either worker.
    let hundred = || {
        let [v1, v2] = answered();
        let mut now = [v1, v2];
        wait("a hundred requests", || {
            now = answered();
            now[0] + now[1] >= v1 + v2 + 100
        });
        [now[0] - v1, now[1] - v2]
    };
    let [_, second] = hundred();
    assert_eq!(second, 0, "before any route");
    // It may have begun before its Envoy had.
    let failed = || {
        let log = weir.cluster.logs(space, &pods[0], "slow-cooker");
        let last = log.lines().last().expect("a line").to_owned();
        let words: Vec<_> = last.split(' ').collect();
        words[2].parse::<u64>().unwrap_or_else(|_| panic!("{last}"))
    };
    let before = failed();
    weir.until_followed(space, &pods, 2, "linkerd/split-90-10.yaml");
    let [first, second] = hundred();
    let tenth = (first + second) / 10;
    assert!(second.abs_diff(tenth) <= 2, "{first} and {second}");
    weir.until_followed(space, &pods, 2, "linkerd/split-100.yaml");
    let [first, _] = hundred();
    assert_eq!(first, 0, "after all was shifted");
    assert_eq!(failed(), before, "failed calls");
}
