//! The Deployments of the three guides run unchanged, with local programs in place of their images.

use std::path::Path;

use weir_cluster::{Cluster, Images};

#[test]
fn the_deployments_of_the_guides_run() {
    let cluster = Cluster::start(Images::default());
    let run = |args: &[&str]| cluster.kubectl().run(args);
    let manifest = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../manifests")
            .join(name);
        path.display().to_string()
    };
    run(&["create", "namespace", "kong"]);
    let files = ["kong/echo.yaml", "linkerd/app.yaml", "osm/bookstore.yaml"].map(manifest);
    for file in &files {
        run(&["apply", "-f", file]);
    }
    for namespace in ["kong", "traffic-shift-demo", "default"] {
        let args = [
            "wait",
            "--for=condition=Available",
            "deployment",
            "--all",
            "--timeout=60s",
        ];
        run(&[&args[..], &["-n", namespace]].concat());
    }
    let curl = |url: &str| {
        let output = cluster
            .command("curl")
            .args(["-si", url])
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let service = |namespace: &str, name: &str| {
        run(&[
            "get",
            "service",
            name,
            "-n",
            namespace,
            "-o",
            "jsonpath={.spec.clusterIP}",
        ])
    };
    let echo = service("kong", "echo-v2");
    wait(&|| curl(&format!("http://{echo}/echo")).contains("you are connected to node v2."));
    let bb = service("traffic-shift-demo", "bb");
    wait(&|| curl(&format!("http://{bb}:8080/")).contains("\"payload\":\"v1\""));
    let books = service("default", "bookstore-v2");
    wait(&|| curl(&format!("http://{books}:14001/books-bought")).contains("bookstore-v2"));
    let args = [
        "get",
        "pods",
        "-n",
        "traffic-shift-demo",
        "-l",
        "app=slow-cooker",
        "-o",
    ];
    let cooker = run(&[&args[..], &["jsonpath={.items[0].metadata.name}"]].concat());
    wait(&|| {
        cluster
            .logs("traffic-shift-demo", &cooker, "slow-cooker")
            .contains("20 good 0 bad")
    });
}

fn wait(ready: &dyn Fn() -> bool) {
    let start = std::time::Instant::now();
    while !ready() {
        assert!(start.elapsed().as_secs() < 30, "not within 30 s");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
