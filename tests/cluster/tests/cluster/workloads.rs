//! Deployments, Jobs and StatefulSets, and access to their pods.

use std::time::Instant;

use serde_json::json;

use crate::namespace::{CLUSTER, IDLE, Namespace, container, get, pod, wait};

#[test]
fn deployment_is_reached_through_its_service() {
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
fn jobs_end_stateful_sets_keep_names() {
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
