//! Native sidecars: init containers with `restartPolicy: Always`.

use std::process::Command;

use serde_json::{Value, json};

use crate::namespace::{CLUSTER, Namespace, container, pod, wait};

/// Returns a container that prints `NAME start`, half a second later `NAME open`, and half a second after SIGTERM
/// `NAME end`. Each line begins with the nanoseconds since 1970.
fn chronicler(name: &str) -> Value {
    container(
        name,
        &format!(
            "say() {{ echo $(date +%s%N) {name} $1; }}
             trap 'sleep 0.5; say end; exit' TERM
             say start; sleep 0.5; say open; touch /open; while :; do sleep 0.1; done"
        ),
    )
}

/// Returns a native sidecar whose startup probe succeeds half a second after its start.
fn sidecar(name: &str) -> Value {
    let mut sidecar = chronicler(name);
    sidecar["restartPolicy"] = json!("Always");
    sidecar["startupProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/open"] }, "periodSeconds": 1 });
    sidecar
}

#[test]
fn sidecars_enclose_the_main_container() {
    let space = Namespace::new("enclose");
    let mut all = pod("pod", "");
    let mut first = sidecar("first");
    let before = "echo $(date +%s%N) first before-stop >>/proc/1/fd/1";
    first["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sh", "-c", before] } } });
    let between = container("between", "echo $(date +%s%N) between start");
    all["spec"]["terminationGracePeriodSeconds"] = json!(20);
    all["spec"]["initContainers"] = json!([first, between, sidecar("second")]);
    all["spec"]["containers"] = json!([chronicler("main")]);
    space.apply(all);
    space.ready("pod");
    wait("the container main", || {
        CLUSTER.logs("enclose", "pod", "main").contains("open")
    });
    space.run(&["delete", "pod", "pod"]);

    let names = ["first", "between", "second", "main"];
    let logs = names.map(|name| CLUSTER.logs("enclose", "pod", name));
    let text = logs.concat();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let events: Vec<&str> = lines
        .iter()
        .map(|line| line.split_once(' ').expect("a time").1)
        .collect();
    // The kubelet runs preStop of all containers at once, also of sidecars. But a sidecar gets SIGTERM only after the
    // containers that started later have ended.
    let expected = [
        "first start",
        "first open",
        "between start",
        "second start",
        "second open",
        "main start",
        "main open",
        "first before-stop",
        "main end",
        "second end",
        "first end",
    ];
    assert_eq!(events, expected);
}

#[test]
fn ended_sidecar_restarts_alone() {
    let space = Namespace::new("again");
    let mut all = pod("pod", crate::namespace::IDLE);
    all["spec"]["initContainers"] = json!([sidecar("proxy")]);
    space.apply(all);
    space.ready("pod");
    let process = |name| CLUSTER.pid_of("again", "pod", name).expect("a process");
    let (main, proxy) = (process("main"), process("proxy"));
    Command::new("kill")
        .args(["-KILL", &proxy.to_string()])
        .status()
        .expect("kill");
    let ready = |status: &str| {
        let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
        space.get("pod/pod", path) == status
    };
    wait("a pod that is not ready", || ready("False"));
    wait("a pod that is ready again", || ready("True"));
    let restarts = "{.status.initContainerStatuses[0].restartCount}";
    assert_eq!(space.get("pod/pod", restarts), "1");
    assert_eq!(process("main"), main);
}

#[test]
fn sidecar_ends_with_its_job() {
    let space = Namespace::new("done");
    let mut all = pod("pod", "echo done");
    all["spec"]["restartPolicy"] = json!("Never");
    all["spec"]["initContainers"] = json!([sidecar("proxy")]);
    space.apply(all);
    wait("the end of the pod", || {
        space.get("pod/pod", "{.status.phase}") == "Succeeded"
    });
    wait("the end of the sidecar", || {
        CLUSTER.pid_of("done", "pod", "proxy").is_err()
    });
}
