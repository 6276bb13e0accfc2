//! A split of two Deployments whose pods answer with their names, and a pod with an Envoy.

use std::process::Command;

use serde_json::{Value, json};
use weir_tests::{dist, objects, root};

use crate::SPACE;

/// Returns a Service, and a Deployment whose pods answer with their names.
pub fn version(name: &str) -> Value {
    let labels = json!({ "app": "shop", "version": name });
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": SPACE },
          "spec": { "selector": labels, "ports": [{ "name": "http", "port": 80, "targetPort": 14001 }] } },
        { "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": SPACE },
          "spec": { "replicas": 2, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "terminationGracePeriodSeconds": 5, "containers": [{
                "name": "bookstore", "image": "openservicemesh/bookstore",
                "env": [{ "name": "IDENTITY", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "readinessProbe": { "httpGet": { "path": "/readiness", "port": 14001 }, "periodSeconds": 1 },
                "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } } }] } } } },
    ]})
}

pub fn split() -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "shop", "namespace": SPACE },
          "spec": { "selector": { "app": "shop" }, "ports": [{ "name": "http", "port": 80, "targetPort": 14001 }] } },
        { "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
          "metadata": { "name": "shop", "namespace": SPACE },
          "spec": { "service": "shop", "backends": [{ "service": "v1", "weight": 1 }, { "service": "v2", "weight": 1 }] } },
    ]})
}

/// Returns the output of `weir bootstrap` for a pod. Its listener is open for this test too.
pub fn configuration() -> Value {
    let mut weir = Command::new(dist("weir"));
    weir.args([
        "bootstrap",
        "--namespace",
        SPACE,
        "--ca",
        "/etc/weir/ca.crt",
    ]);
    weir.args(["--control-plane", "weir.weir-system.svc:9900"]);
    weir.args(["--token", "/etc/envoy/weir-token.yaml"]);
    let output = weir.output().expect("weir bootstrap");
    assert!(output.status.success(), "{output:?}");
    let mut config = objects(&String::from_utf8_lossy(&output.stdout)).remove(0);
    let clusters = config["static_resources"]["clusters"]
        .as_array()
        .expect("clusters");
    let names: Vec<_> = clusters.iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["weir"]);
    let listener = &mut config["static_resources"]["listeners"][0];
    listener["address"]["socket_address"]["address"] = json!("0.0.0.0");
    config
}

/// Returns a pod with the Envoy of `demo/kubernetes`, without the probe at the port of another listener.
pub fn client() -> Value {
    let patch = root().join("demo/kubernetes/sidecar/envoy.yaml");
    let patch = std::fs::read_to_string(patch).expect("sidecar/envoy.yaml");
    let mut spec = objects(&patch).remove(0)["spec"]["template"]["spec"].take();
    let mut envoy = spec["initContainers"][0].take();
    assert_eq!(envoy["name"], "envoy");
    let fields = envoy.as_object_mut().expect("a container");
    fields.remove("restartPolicy");
    fields.insert(
        "startupProbe".to_owned(),
        json!({ "tcpSocket": { "port": 15001 }, "periodSeconds": 1, "failureThreshold": 60 }),
    );
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "client", "namespace": SPACE },
        "spec": { "containers": [envoy], "volumes": spec["volumes"] } })
}
