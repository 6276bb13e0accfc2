//! The environment, user, volumes and image of a container.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use weir_cluster::programs::{cluster, go_program};

use crate::namespace::{CLUSTER, IDLE, Namespace, container, get, pod, wait};

#[test]
fn containers_follow_their_manifest() {
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
    println!(
        "the pod had the changed ConfigMap after {:?}",
        start.elapsed()
    );
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
fn image_archive_is_unpacked_and_entered() {
    let space = Namespace::new("archive");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    // An image with one program of this machine and the libraries that it needs.
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
    wait("ErrImagePull", || {
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
