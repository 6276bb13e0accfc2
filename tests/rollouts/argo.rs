//! Argo Rollouts in the cluster: its controller, built from its Go module, and a plugin for HTTPRoutes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use weir_cluster::Images;
use weir_cluster::images::{Image, Start};
use weir_cluster::programs::{go_module, go_program};

use super::installed::{Installed, wait};
use super::release::Place;

const NAMESPACE: &str = "argo-rollouts";
const PLUGIN: &str = "/plugins/gatewayapi";

/// Returns the image of the controller. The variable GATEWAY_API_PLUGIN may name another program for the plugin.
pub fn images() -> Images {
    let programs = go_program("argo-rollouts", "");
    let plugin = std::env::var_os("GATEWAY_API_PLUGIN").map(PathBuf::from);
    let plugin = plugin.unwrap_or_else(|| programs.join("gatewayapi"));
    let controller = programs.join("rollouts-controller");
    let files = [("/bin/rollouts-controller", controller), (PLUGIN, plugin)];
    let files = files.map(|(at, file)| (PathBuf::from(at), file));
    let start = Start {
        entrypoint: vec!["/bin/rollouts-controller".to_owned()],
        user: "999".to_owned(),
        directory: PathBuf::from("/home/argo-rollouts"),
        ..Start::default()
    };
    let mut images = Images::default();
    let files = BTreeMap::from(files);
    images.add(
        "quay.io/argoproj/argo-rollouts",
        Image::Local { files, start },
    );
    images
}

/// Installs the manifests of the Go module. Takes away the controller's own right to TrafficSplits, so that
/// `deploy/argo-rollouts` has to give it.
pub fn install(weir: &Installed) {
    let module = go_module("argo-rollouts", "github.com/argoproj/argo-rollouts");
    let manifests = module
        .join("manifests/cluster-install")
        .display()
        .to_string();
    weir.run(&["create", "namespace", NAMESPACE]);
    weir.run(&["apply", "--server-side", "-n", NAMESPACE, "-k", &manifests]);
    let role = weir.run(&["get", "clusterrole", "argo-rollouts", "-o", "json"]);
    let role: Value = serde_json::from_str(&role).expect("JSON");
    let rules = role["rules"].as_array().expect("rules");
    let others = rules
        .iter()
        .filter(|rule| rule["apiGroups"][0] != "split.smi-spec.io");
    let others: Vec<_> = others.collect();
    assert_eq!(others.len() + 1, rules.len());
    let patch = json!({ "rules": others }).to_string();
    weir.run(&[
        "patch",
        "clusterrole",
        "argo-rollouts",
        "--type=merge",
        "-p",
        &patch,
    ]);
    let plugins = format!("- {{ name: argoproj-labs/gatewayAPI, location: \"file://{PLUGIN}\" }}");
    let patch = json!({ "data": { "trafficRouterPlugins": plugins } }).to_string();
    let map = ["configmap", "argo-rollouts-config", "-n", NAMESPACE];
    weir.run(&[&["patch"], &map[..], &["--type=merge", "-p", &patch]].concat());
    weir.run(&[
        "rollout",
        "restart",
        "deployment/argo-rollouts",
        "-n",
        NAMESPACE,
    ]);
    weir.available(NAMESPACE, "argo-rollouts");
}

/// Returns the log of the controller.
pub fn log(weir: &Installed) -> String {
    let pods = weir.pods(NAMESPACE, "app.kubernetes.io/name=argo-rollouts");
    let logs = pods
        .iter()
        .map(|pod| weir.cluster.logs(NAMESPACE, pod, "argo-rollouts"));
    logs.collect::<Vec<_>>().join("\n")
}

/// The gate has answered each step, and the success rate has stopped the failing canary.
pub fn used_analyses(weir: &Installed, place: &Place) {
    let runs = weir.run(&["get", "analysisruns", "-n", place.namespace, "-o", "json"]);
    let runs: Value = serde_json::from_str(&runs).expect("JSON");
    let results = runs["items"].as_array().expect("runs").iter();
    let results = results.flat_map(|run| run["status"]["metricResults"].as_array());
    let (mut gates, mut retries, mut stopped) = (0, 0, 0);
    for result in results.flatten() {
        match (result["name"].as_str(), result["phase"].as_str()) {
            (Some("weights are live"), Some("Successful")) => {
                let last = result["measurements"].as_array().and_then(|all| all.last());
                let text = last
                    .and_then(|last| last["value"].as_str())
                    .unwrap_or_default();
                assert!(text.contains(" is live: "), "{result}");
                gates += 1;
                retries += result["error"].as_u64().unwrap_or_default();
            }
            (Some("success rate"), Some("Failed")) => stopped += 1,
            (_, Some("Successful")) => {}
            _ => panic!("{result}"),
        }
    }
    println!(
        "{}: the gate opened {gates} times after {retries} errors",
        place.kind
    );
    // The gate opened for three steps of the canary and for one step of the failing canary. Only the failing canary was
    // stopped.
    assert_eq!((gates, stopped), (4, 1), "{runs}");
}

/// Weir has written no Warning about the split or the route.
pub fn expect_no_warning(weir: &Installed, place: &Place) {
    let events = ["get", "events", "-n", place.namespace, "-o", "json"];
    let events = weir.run(&[&events[..], &["--field-selector", "type=Warning"]].concat());
    let events: Value = serde_json::from_str(&events).expect("JSON");
    let events = events["items"].as_array().expect("events").iter();
    let kinds = ["TrafficSplit", "HTTPRoute"];
    let ours = events.filter(|event| {
        kinds
            .iter()
            .any(|kind| event["involvedObject"]["kind"] == *kind)
    });
    let ours: Vec<_> = ours.collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// With SMI, Argo Rollouts refuses the steps for header routes and mirror routes.
pub fn refuses_managed_routes(weir: &Installed, place: &Place) {
    let rollout = ["rollout/podinfo", "-n", place.namespace];
    for step in [
        json!({ "setHeaderRoute": { "name": "a", "match": [{ "headerName": "a", "headerValue": { "exact": "a" } }] } }),
        json!({ "setMirrorRoute": { "name": "a", "match": [{ "method": { "exact": "GET" } }] } }),
    ] {
        let patch =
            json!({ "spec": { "strategy": { "canary": { "steps": [step] } } } }).to_string();
        weir.run(&[&["patch"], &rollout[..], &["--type=merge", "-p", &patch]].concat());
        let path = "jsonpath={.status.conditions[?(@.type==\"InvalidSpec\")].message}";
        wait("an invalid Rollout", || {
            let message = weir.run(&[&["get"], &rollout[..], &["-o", path]].concat());
            message.contains("requires TrafficRouting, supports Istio")
        });
        let steps = json!({ "spec": { "strategy": { "canary": { "steps": [] } } } }).to_string();
        weir.run(&[&["patch"], &rollout[..], &["--type=merge", "-p", &steps]].concat());
        wait("a valid Rollout", || {
            weir.run(&[&["get"], &rollout[..], &["-o", path]].concat())
                .is_empty()
        });
    }
}
