//! The cluster itself: what a kubelet, kube-proxy and cluster DNS do for pods, and that nothing of it stays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::programs::{cluster, go_program};
use weir_cluster::{Cluster, Images};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(Images::default()));

/// A namespace of its own for each test.
struct Namespace(&'static str);

impl Namespace {
    fn new(name: &'static str) -> Namespace {
        CLUSTER.kubectl().run(&["create", "namespace", name]);
        wait("its ServiceAccount", || {
            let args = ["get", "serviceaccount", "default", "-n", name];
            CLUSTER.kubectl().output(&args).status.success()
        });
        Namespace(name)
    }

    fn apply(&self, object: Value) {
        CLUSTER
            .kubectl()
            .apply(&object.to_string(), &["-n", self.0]);
    }

    fn run(&self, args: &[&str]) -> String {
        CLUSTER.kubectl().run(&[args, &["-n", self.0]].concat())
    }

    fn ready(&self, pod: &str) {
        self.run(&[
            "wait",
            "--for=condition=Ready",
            "--timeout=30s",
            &format!("pod/{pod}"),
        ]);
    }

    fn get(&self, what: &str, path: &str) -> String {
        self.run(&["get", what, "-o", &format!("jsonpath={path}")])
    }

    /// A shell's output in a container.
    fn sh(&self, pod: &str, script: &str) -> String {
        let mut command = CLUSTER.command_in(self.0, pod, "main", "sh");
        let output = command.args(["-c", script]).output().expect("nsenter");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// A pod with one container, of the image `busybox`, that runs a shell script.
fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "terminationGracePeriodSeconds": 2, "containers": [container("main", script)] },
    })
}

fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": "busybox", "args": ["-c", script] })
}

/// Nothing, until it is told to end.
const IDLE: &str = "trap exit TERM; while :; do sleep 0.1; done";

fn wait(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(30), "no {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: test\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_deployment_is_reached_by_its_service_from_pods_and_from_outside() {
    let space = Namespace::new("reach");
    let labels = json!({ "app": "web" });
    space.apply(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "main", "image": "kong/go-echo:latest",
                "env": [{ "name": "NODE_NAME", "value": "v1" },
                    { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "readinessProbe": { "httpGet": { "path": "/", "port": 1027 }, "periodSeconds": 1 } }] },
        } },
    }));
    space.apply(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": 1027 }] },
    }));
    space.apply(pod("client", IDLE));
    let start = Instant::now();
    space.run(&["rollout", "status", "deployment/web", "--timeout=30s"]);
    println!("two replicas were ready after {:?}", start.elapsed());
    space.ready("client");
    let names = ["web", "web.reach", "web.reach.svc.cluster.local"];
    for name in names {
        wait(name, || {
            space
                .sh("client", &format!("curl -s {name} || :"))
                .contains("node v1")
        });
    }
    let outside = CLUSTER.forward_service("reach", "web", 80);
    let mut answers = Vec::new();
    wait("both replicas", || {
        let answer = get(outside).expect("an answer");
        let pod = answer
            .lines()
            .find_map(|line| line.strip_prefix("Running on Pod "));
        answers.extend(pod.map(str::to_owned));
        answers.sort();
        answers.dedup();
        answers.len() == 2
    });
}

#[test]
fn containers_get_what_their_manifest_says() {
    let space = Namespace::new("config");
    let map = |value: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "map" },
            "data": { "key": value, "other": "o" } })
    };
    space.apply(map("one"));
    space.apply(
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
        "stringData": { "word": "hidden" } }),
    );
    let mut pod = pod("pod", IDLE);
    let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path });
    let mut main = container(
        "main",
        "echo $0 $1 started; trap exit TERM; while :; do sleep 0.1; done",
    );
    main["command"] = json!(["sh"]);
    main["args"]
        .as_array_mut()
        .expect("args")
        .extend([json!("$(FIRST)"), json!("$(NONE)")]);
    main["workingDir"] = json!("/data");
    main["resources"] = json!({ "requests": { "cpu": "10m" }, "limits": { "memory": "64Mi" } });
    main["env"] = json!([
        { "name": "FIRST", "value": "1" },
        { "name": "SECOND", "value": "$(FIRST)2" },
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        { "name": "WORD", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "word" } } },
        { "name": "MAYBE", "valueFrom": { "configMapKeyRef": { "name": "map", "key": "no", "optional": true } } },
    ]);
    main["envFrom"] = json!([{ "prefix": "M_", "configMapRef": { "name": "map" } }]);
    main["securityContext"] = json!({ "runAsUser": 1234, "runAsGroup": 5678, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false });
    let mut part = mount("map", "/etc/part");
    part["subPath"] = json!("key");
    main["volumeMounts"] = json!([
        mount("data", "/data"),
        mount("map", "/etc/map"),
        part,
        mount("all", "/etc/all")
    ]);
    let mut first = container("first", "sleep 0.3; echo one >/data/made");
    first["volumeMounts"] = json!([mount("data", "/data")]);
    let mut second = container("second", "cat /data/made >>/data/copied");
    second["volumeMounts"] = first["volumeMounts"].clone();
    pod["spec"]["initContainers"] = json!([first, second]);
    pod["spec"]["containers"] = json!([main]);
    pod["spec"]["volumes"] = json!([
        { "name": "data", "emptyDir": {} },
        { "name": "map", "configMap": { "name": "map", "items": [{ "key": "key", "path": "key" }] } },
        { "name": "all", "projected": { "sources": [
            { "secret": { "name": "secret" } },
            { "downwardAPI": { "items": [{ "path": "labels/all", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
            { "serviceAccountToken": { "path": "token", "audience": "weir", "expirationSeconds": 600 } },
        ] } },
    ]);
    space.apply(pod);
    space.ready("pod");
    let ip = space.get("pod/pod", "{.status.podIP}");
    assert_eq!(
        space.sh("pod", "cat /data/copied; cat /proc/1/cwd/made"),
        "one\none\n"
    );
    assert_eq!(CLUSTER.logs("config", "pod", "main"), "1 $(NONE) started\n");
    let environment = space.sh("pod", "tr '\\0' '\\n' </proc/1/environ");
    for line in ["SECOND=12", &format!("IP={ip}"), "WORD=hidden", "M_other=o"] {
        assert!(
            environment.lines().any(|known| known == line),
            "{line}: {environment}"
        );
    }
    assert!(!environment.contains("MAYBE"), "{environment}");
    let status = space.sh("pod", "cat /proc/1/status");
    assert!(
        status.contains("Uid:\t1234\t1234") && status.contains("Gid:\t5678\t5678"),
        "{status}"
    );
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(
        space.sh(
            "pod",
            "touch /new 2>&1 || touch /etc/map/new 2>&1 || echo refused"
        ),
        {
            let refused = "Read-only file system\n";
            format!(
                "touch: cannot touch '/new': {refused}touch: cannot touch '/etc/map/new': {refused}refused\n"
            )
        }
    );
    assert_eq!(
        space.sh("pod", "cat /etc/all/word /etc/all/labels/all"),
        "hiddenapp=\"pod\""
    );

    space.apply(map("two"));
    let start = Instant::now();
    wait("the ConfigMap's new value", || {
        space.sh("pod", "cat /etc/map/key") == "two"
    });
    println!("a changed ConfigMap was there after {:?}", start.elapsed());
    assert_eq!(space.sh("pod", "cat /etc/part"), "one");

    let token = space.sh("pod", "cat /etc/all/token");
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": { "token": token, "audiences": ["weir"] } });
    let answer = CLUSTER
        .kubectl()
        .with_input(&["create", "-o", "json", "-f", "-"], &review.to_string());
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(
        answer["status"]["user"]["username"],
        "system:serviceaccount:config:default"
    );
    let pod = &answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"];
    assert_eq!(pod[0], "pod");
    let own = "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -s --cacert ca.crt -H \"authorization: Bearer $(cat token)\" https://kubernetes.default.svc/apis";
    assert!(space.sh("pod", own).contains("APIGroupList"));
}

#[test]
fn probes_decide_who_gets_traffic_and_who_is_started_again() {
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

#[test]
fn jobs_end_and_stateful_sets_keep_their_names() {
    let space = Namespace::new("sets");
    space.apply(
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "once" },
        "spec": { "template": { "spec": { "restartPolicy": "Never",
            "containers": [container("main", "echo done")] } } } }),
    );
    space.run(&[
        "wait",
        "--for=condition=Complete",
        "job/once",
        "--timeout=30s",
    ]);
    let labels = json!({ "app": "db" });
    space.apply(
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "db" },
        "spec": { "clusterIP": "None", "selector": labels, "ports": [{ "port": 80 }] } }),
    );
    space.apply(json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db" },
        "spec": { "serviceName": "db", "replicas": 2, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": [container("main", IDLE)] } } } }));
    space.run(&["rollout", "status", "statefulset/db", "--timeout=30s"]);
    let ip = space.get("pod/db-1", "{.status.podIP}");
    wait("its name", || {
        space
            .sh("db-0", "getent hosts db-1.db || :")
            .starts_with(&ip)
    });
}

#[test]
fn an_image_archive_is_unpacked_and_entered() {
    let space = Namespace::new("archive");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    // A program of this machine with the libraries that it is linked with, and nothing else.
    let script = r#"set -e; mkdir "$2"; cp "$1" "$2/program"
        ldd "$1" | grep -o '/[^ ]*' | while read -r file; do mkdir -p "$2$(dirname "$file")"; cp "$file" "$2$file"; done
        tar -C "$2" -cf "$2.tar" ."#;
    let program = cluster().display().to_string();
    let layer = Command::new("bash")
        .args(["-c", script, "layer", &program, &path("layer")])
        .status();
    assert!(layer.expect("bash").success());
    let crane = Command::new(go_program("crane", "crane"))
        .args([
            "append",
            "--new_layer",
            &path("layer.tar"),
            "--new_tag",
            "weir.test/program:dev",
            "--output",
        ])
        .arg(path("image.tar"))
        .output()
        .expect("crane");
    assert!(
        crane.status.success(),
        "{}",
        String::from_utf8_lossy(&crane.stderr)
    );

    let mut pod = pod("pod", "");
    pod["spec"]["containers"][0] = json!({ "name": "main", "image": "weir.test/program:dev",
        "command": ["/program", "echo"], "env": [{ "name": "NODE_NAME", "value": "archived" }],
        "readinessProbe": { "tcpSocket": { "port": 1027 }, "periodSeconds": 1 },
        "securityContext": { "runAsUser": 65532, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
            "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" } } });
    space.run(&[
        "label",
        "namespace",
        "archive",
        "pod-security.kubernetes.io/enforce=restricted",
    ]);
    space.apply(pod);
    let reason = "{.status.containerStatuses[0].state.waiting.reason}";
    wait("a complaint", || {
        space.get("pod/pod", reason) == "ErrImagePull"
    });
    CLUSTER
        .load(&[Path::new(&path("image.tar"))])
        .expect("an image archive");
    space.ready("pod");
    let ip = space
        .get("pod/pod", "{.status.podIP}")
        .parse()
        .expect("an address");
    let answer = get(CLUSTER.forward(ip, 1027)).expect("an answer");
    assert!(answer.contains("connected to node archived"), "{answer}");
    let process = CLUSTER.pid_of("archive", "pod", "main").expect("a process");
    assert!(!Path::new(&format!("/proc/{process}/root/usr/bin")).exists());
}

#[test]
fn a_cluster_that_is_killed_leaves_nothing_and_another_does_not_notice() {
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

/// Mounts, network interfaces and named network namespaces of the machine.
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

/// Processes whose PID namespace is this one or was made inside it have a process of it as an ancestor; those that are
/// left of it alone would show its name.
fn processes_in(namespace: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of = processes.map(|process| std::fs::read_link(process.path().join("ns/pid")));
    of.filter(|link| link.as_ref().is_ok_and(|link| link == namespace))
        .count()
}

#[test]
fn a_node_survives_its_api_server() {
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
    wait("a pod after it", || {
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
