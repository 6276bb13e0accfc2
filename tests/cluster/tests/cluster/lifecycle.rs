//! A cluster as a whole: its end, a second cluster on the same machine, and the end of its API server.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use weir_cluster::programs::{cluster, root};
use weir_cluster::{Cluster, Images};

use crate::namespace::{CLUSTER, IDLE, pod, wait};

#[test]
fn killed_cluster_leaves_nothing() {
    LazyLock::force(&CLUSTER);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = folder.path().join("state");
    let before = leftovers();
    let start = Instant::now();
    let mut other = Command::new(cluster())
        .arg("up")
        .arg(&state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("another cluster");
    wait("another cluster", || state.exists());
    println!("a second cluster was ready after {:?}", start.elapsed());
    let text = std::fs::read_to_string(&state).expect("its state");
    let line = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a line")
    };
    let (init, kubeconfig) = (line("init="), line("kubeconfig="));
    let namespace = std::fs::read_link(format!("/proc/{init}/ns/pid")).expect("a PID namespace");
    assert!(processes_in(&namespace) > 5);
    assert!(Path::new(kubeconfig).exists());
    other.kill().expect("SIGKILL");
    other.wait().expect("its end");
    wait("end of its processes", || processes_in(&namespace) == 0);
    wait("end of its files", || !Path::new(kubeconfig).exists());
    assert_eq!(leftovers(), before);
    CLUSTER.kubectl().run(&["get", "namespaces"]);
}

/// Returns the mounts, network interfaces and named network namespaces of the machine.
fn leftovers() -> [String; 3] {
    let read = |command: &[&str]| {
        let output = Command::new(command[0])
            .args(&command[1..])
            .output()
            .expect("a program");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    [
        read(&["cat", "/proc/self/mountinfo"]),
        read(&["ip", "-br", "link"]),
        read(&["ip", "netns"]),
    ]
}

/// Returns the number of processes in this PID namespace. Processes in nested namespaces are not counted, because each
/// of them has an ancestor in this namespace.
fn processes_in(namespace: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of = processes.map(|process| std::fs::read_link(process.path().join("ns/pid")));
    of.filter(|link| link.as_ref().is_ok_and(|link| link == namespace))
        .count()
}

#[test]
fn node_survives_its_api_server() {
    let other = Cluster::start(Images::default());
    let run = |args: &[&str]| other.kubectl().run(args);
    other.apply(&pod("before", IDLE).to_string());
    run(&[
        "wait",
        "--for=condition=Ready",
        "pod/before",
        "--timeout=30s",
    ]);
    let process = other
        .pid_of("default", "before", "main")
        .expect("a process");
    other.kill_apiserver("KILL");
    std::thread::sleep(Duration::from_secs(1));
    other.compact_etcd();
    other.start_apiserver();
    wait("a pod after the restart", || {
        other.apply(&pod("after", IDLE).to_string());
        other
            .kubectl()
            .output(&[
                "wait",
                "--for=condition=Ready",
                "pod/after",
                "--timeout=10s",
            ])
            .status
            .success()
    });
    assert_eq!(other.pid_of("default", "before", "main"), Ok(process));
}

#[test]
fn script_starts_and_stops_a_cluster() {
    let script = |args: &[&str]| {
        let output = by_hand(args).output().expect("scripts/cluster");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "scripts/cluster {args:?}: {errors}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let _down = Down;
    script(&["up"]);
    let hello = [
        "run",
        "hello",
        "--image=busybox",
        "--",
        "-c",
        "echo hello; exec sleep 100",
    ];
    script(&[&["kubectl"], &hello[..]].concat());
    script(&[
        "kubectl",
        "wait",
        "--for=condition=Ready",
        "pod/hello",
        "--timeout=30s",
    ]);
    wait("its log", || {
        script(&["logs", "default/hello"]) == "hello\n"
    });
    assert_eq!(
        script(&["enter", "default/hello/hello", "hostname"]),
        "hello\n"
    );
    assert!(script(&["exec", "ip", "-br", "address"]).contains("10.244.0.1/16"));
}

/// Runs scripts/cluster for a cluster that only this test uses.
fn by_hand(args: &[&str]) -> Command {
    let mut command = Command::new(root().join("scripts/cluster"));
    command
        .args(args)
        .env("WEIR_CLUSTER", format!("test-{}", std::process::id()));
    command
}

struct Down;

impl Drop for Down {
    fn drop(&mut self) {
        let down = by_hand(&["down"]).status();
        assert!(down.is_ok_and(|down| down.success()));
        assert!(
            !by_hand(&["exec", "true"])
                .output()
                .expect("scripts/cluster")
                .status
                .success()
        );
    }
}
