//! Tests the guides of OSM, Kong and Linkerd in a cluster, with the control plane from `deploy/weir` and the guides'
//! own Deployments. Envoys with configurations of `envoy-config/` are sidecars or a gateway. Each test prints the time
//! from an apply until the last proxy has the change.

mod analyses;
mod changes;
mod flagger;
mod installed;
mod podinfo;

use std::sync::LazyLock;

use serde_json::{Value, json};
use weir_cluster::Images;
use weir_cluster::programs::go_program;
use weir_tests::{objects, root};

use installed::{Installed, wait};

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    let mut tool = Images::default();
    tool.program("ghcr.io/fluxcd/flagger", &go_program("flagger", "flagger"));
    Installed::start(tool)
});

/// Adapts a configuration of `envoy-config/` to a Kubernetes cluster. Replaces the texts in `names`, uses DNS names of
/// Services as addresses, and takes the listener `stats`, the clusters `weir` and `admin`, and the admin interface from
/// `kubernetes-sidecar.yaml`.
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
    let is_of_sidecar =
        |it: &Value| it["name"] == "stats" || it["name"] == "weir" || it["name"] == "admin";
    for kind in ["listeners", "clusters"] {
        let [own, given] =
            [&config, &sidecar].map(|config| config["static_resources"][kind].as_array());
        let own = own.expect(kind).iter().filter(|it| !is_of_sidecar(it));
        let given = given.expect(kind).iter().filter(|it| is_of_sidecar(it));
        config["static_resources"][kind] = own.chain(given).cloned().collect();
    }
    config["admin"] = sidecar["admin"].clone();
    config["node"] = json!({ "id": "of-the-pod", "cluster": "of-the-pod" });
    for cluster in config["static_resources"]["clusters"]
        .as_array_mut()
        .expect("clusters")
    {
        if is_of_sidecar(cluster) {
            continue;
        }
        let name = cluster["name"].as_str().expect("a name").to_owned();
        let (host, port) = name.split_once(':').expect("HOST:PORT");
        let port: u16 = port.parse().expect("a port");
        let address = json!({ "socket_address": { "address": host, "port_value": port } });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
        cluster["type"] = json!("STRICT_DNS");
        cluster["dns_lookup_family"] = json!("V4_PREFERRED");
        cluster["dns_refresh_rate"] = json!("1s");
        cluster["load_assignment"] = json!({ "cluster_name": name, "endpoints": endpoints });
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
fn osm_guide_splits_traffic() {
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
        // Use one connection, so that one worker answers all requests.
        let url = "http://127.0.0.1:15001/books-bought?[1-200]";
        let answers = weir.in_envoy(
            "default",
            pod,
            &["-D", "-", "-o", "/dev/null", "-H", host, url],
        );
        let lines = answers.lines().map(str::to_ascii_lowercase);
        lines.filter(|line| line.starts_with("identity:")).collect()
    };
    // Before the split the Service selects both versions.
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
    weir.restart_under_load(&pods, |change| split([1 + change % 50, 50]));
    split([0, 1]);
    // After the last change only the second version serves requests.
    wait("the second version alone", || {
        let mut answers = pods.iter().map(|pod| buy(pod));
        answers.all(|answers| share(&answers, "-v2") == 200)
    });
}

#[test]
fn kong_guide_splits_requests() {
    let weir = &*INSTALLED;
    weir.run(&["create", "namespace", "kong"]);
    weir.manifest("kong", "kong/gateway.yaml");
    weir.manifest("kong", "kong/echo.yaml");
    let mut config = in_cluster("gateway.yaml", &[("dist/weir.wasm", "/filter/weir.wasm")]);
    let listener = &mut config["static_resources"]["listeners"][0]["address"]["socket_address"];
    listener["address"] = json!("0.0.0.0");
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
fn linkerd_guide_shifts_traffic() {
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
    // Waits for the next hundred requests, and counts the answers of each version. The slow-cooker sends ten requests a
    // second, each on a new connection.
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
    // Requests may have failed before the Service had pods.
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
    assert_eq!(first, 0, "requests to v1 after the shift to v2");
    assert_eq!(failed(), before, "failed calls");
}
