//! Probes, restarts and deletion of containers.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::namespace::{CLUSTER, IDLE, Namespace, pod, wait};

#[test]
fn probes_control_traffic_and_restarts() {
    let space = Namespace::new("probes");
    let mut ready = pod("ready", IDLE);
    let main = &mut ready["spec"]["containers"][0];
    main["readinessProbe"] = json!({ "exec": { "command": ["test", "-e", "/ready"] },
        "periodSeconds": 1, "failureThreshold": 1 });
    space.apply(ready);
    space.apply(
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "ready" },
        "spec": { "selector": { "app": "ready" }, "ports": [{ "port": 80 }] } }),
    );
    let is_ready = || {
        let slices = [
            "get",
            "endpointslices",
            "-l",
            "kubernetes.io/service-name=ready",
            "-o",
        ];
        space.run(
            &[
                &slices[..],
                &["jsonpath={.items[*].endpoints[*].conditions.ready}"],
            ]
            .concat(),
        )
    };
    wait("an endpoint that is not ready", || is_ready() == "false");
    space.sh("ready", "touch /ready");
    wait("an endpoint that is ready", || is_ready() == "true");
    space.sh("ready", "rm /ready");
    wait("an endpoint that is not ready any more", || {
        is_ready() == "false"
    });

    let mut alive = pod("alive", &format!("touch /alive; {IDLE}"));
    let main = &mut alive["spec"]["containers"][0];
    main["startupProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/alive"] }, "periodSeconds": 1 });
    main["livenessProbe"] = json!({ "exec": { "command": ["test", "-e", "/alive"] },
        "periodSeconds": 1, "failureThreshold": 2 });
    space.apply(alive);
    space.ready("alive");
    space.sh("alive", "rm /alive");
    let restarts = "{.status.containerStatuses[0].restartCount}";
    wait("a restart", || space.get("pod/alive", restarts) == "1");
    space.ready("alive");

    let killed = CLUSTER
        .pid_of("probes", "alive", "main")
        .expect("a process");
    Command::new("kill")
        .args(["-KILL", &killed.to_string()])
        .status()
        .expect("kill");
    wait("another restart", || {
        space.get("pod/alive", restarts) == "2"
    });
    let code = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(space.get("pod/alive", code), "137");
    space.ready("alive");
}

#[test]
fn deletion_is_graceful() {
    let space = Namespace::new("grace");
    let delete = |pod: &str| {
        let start = Instant::now();
        space.run(&["delete", "pod", pod]);
        start.elapsed()
    };
    let mut polite = pod(
        "polite",
        "trap 'echo asked; sleep 0.5; exit' TERM; while :; do sleep 0.1; done",
    );
    polite["spec"]["containers"][0]["lifecycle"] =
        json!({ "preStop": { "exec": { "command": ["sh", "-c", "echo before >/proc/1/fd/1"] } } });
    polite["spec"]["terminationGracePeriodSeconds"] = json!(20);
    space.apply(polite);
    space.ready("polite");
    let took = delete("polite");
    assert_eq!(CLUSTER.logs("grace", "polite", "main"), "before\nasked\n");
    assert!(
        took > Duration::from_millis(500) && took < Duration::from_secs(10),
        "{took:?}"
    );

    space.apply(pod("deaf", "trap '' TERM; while :; do sleep 0.1; done"));
    space.ready("deaf");
    let process = CLUSTER.pid_of("grace", "deaf", "main").expect("a process");
    let took = delete("deaf");
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(10),
        "{took:?}"
    );
    assert!(!Path::new(&format!("/proc/{process}")).exists());
}
