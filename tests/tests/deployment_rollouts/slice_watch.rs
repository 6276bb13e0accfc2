//! What the EndpointSlices of a Service say about its pods, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::SPACE;
use crate::installed::Installed;

/// When the EndpointSlices of a Service said that a pod is ready, and then that it is not ready any more.
#[derive(Default)]
pub struct Readiness {
    pub ready: BTreeMap<String, Instant>,
    pub ended: BTreeMap<String, Instant>,
}

impl Readiness {
    fn note(&mut self, slice: &Value, at: Instant) {
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let ready = endpoints.filter(|it| it["conditions"]["ready"] == true);
        let ready: BTreeSet<&str> = ready
            .filter_map(|it| it["targetRef"]["name"].as_str())
            .collect();
        for pod in &ready {
            self.ready.entry(pod.to_string()).or_insert(at);
            self.ended.remove(*pod);
        }
        let ended = self.ready.keys().filter(|pod| !ready.contains(&***pod));
        for pod in ended {
            self.ended.entry(pod.clone()).or_insert(at);
        }
    }
}

/// Follows the EndpointSlices of a Service. An event has the time at which this test has read it.
pub struct SliceWatch {
    kubectl: Child,
    pub readiness: Arc<Mutex<Readiness>>,
}

impl SliceWatch {
    pub fn start(weir: &Installed, service: &str) -> SliceWatch {
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices");
        let label = format!("labelSelector=kubernetes.io%2Fservice-name%3D{service}");
        let mut kubectl = weir.cluster.kubectl().command();
        kubectl.args(["get", "--raw", &format!("{slices}?watch=1&{label}")]);
        let mut kubectl = kubectl.stdout(Stdio::piped()).spawn().expect("kubectl");
        let lines = BufReader::new(kubectl.stdout.take().expect("a pipe")).lines();
        let readiness = Arc::<Mutex<Readiness>>::default();
        let seen = readiness.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let at = Instant::now();
                let event: Value = serde_json::from_str(&line).expect("an event");
                seen.lock().expect("times").note(&event["object"], at);
            }
        });
        SliceWatch { kubectl, readiness }
    }
}

impl Drop for SliceWatch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
