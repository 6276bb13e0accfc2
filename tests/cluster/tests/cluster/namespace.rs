//! A cluster that all tests share. Each test has its own namespace.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::{Cluster, Images};

pub static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Images::default()));

/// The namespace of one test.
pub struct Namespace(pub &'static str);

impl Namespace {
    pub fn new(name: &'static str) -> Namespace {
        CLUSTER.kubectl().run(&["create", "namespace", name]);
        wait("its ServiceAccount", || {
            let args = ["get", "serviceaccount", "default", "-n", name];
            CLUSTER.kubectl().output(&args).status.success()
        });
        Namespace(name)
    }

    pub fn apply(&self, object: Value) {
        CLUSTER
            .kubectl()
            .apply(&object.to_string(), &["-n", self.0]);
    }

    pub fn run(&self, args: &[&str]) -> String {
        CLUSTER.kubectl().run(&[args, &["-n", self.0]].concat())
    }

    pub fn ready(&self, pod: &str) {
        self.run(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=30s",
            &format!("pod/{pod}"),
        ]);
    }

    pub fn get(&self, what: &str, path: &str) -> String {
        self.run(&["get", what, "-o", &format!("jsonpath={path}")])
    }

    /// Runs a shell script in a container and returns its output.
    pub fn sh(&self, pod: &str, script: &str) -> String {
        let mut command = CLUSTER.command_in(self.0, pod, "main", "sh");
        let output = command.args(["-c", script]).output().expect("nsenter");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Returns a pod with one container that runs a shell script in the image `busybox`.
pub fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "terminationGracePeriodSeconds": 2, "containers": [container("main", script)] },
    })
}

pub fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": "busybox", "args": ["-c", script] })
}

/// A script that waits for SIGTERM.
pub const IDLE: &str = "trap exit TERM; while :; do sleep 0.1; done";

pub fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(30), "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
