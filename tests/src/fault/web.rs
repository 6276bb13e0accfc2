//! A small set of objects for tests: the Service `web` in `default`, split between `web-v1` and `web-v2`. All three
//! Services have port 80.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{Bootstrap, Echo};

/// Returns the objects as a manifest.
pub fn manifest(weights: [u64; 2]) -> String {
    let mut text = String::new();
    for name in ["web", "web-v1", "web-v2"] {
        text += &format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ ports: [{{ port: 80 }}] }}\n---\n"
        );
    }
    let [v1, v2] = weights;
    text + &format!(
        "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{ name: web }}\n\
         spec: {{ service: web, backends: [{{ service: web-v1, weight: {v1} }}, {{ service: web-v2, weight: {v2} }}] }}\n"
    )
}

/// Returns the same split as a configuration for the filter.
pub fn document(weights: [u64; 2]) -> Value {
    let backend = |name: &str, weight: u64| {
        let service = json!({ "name": name, "namespace": "default", "port": 80 });
        json!({ "weight": weight, "to": { "service": service } })
    };
    let root =
        json!({ "service": "web", "namespace": "default", "port": 80, "default_port": true });
    json!({
        "version": 1,
        "hosts": [{ "hosts": { "root": root }, "matches": [{ "rule": "web" }] }],
        "rules": {
            "web": { "backends": [backend("web-v1", weights[0]), backend("web-v2", weights[1])] },
        },
    })
}

/// The backends `v1` and `v2`.
pub struct Web {
    pub v1: Echo,
    pub v2: Echo,
}

impl Web {
    pub async fn start() -> Web {
        Web {
            v1: Echo::start("v1").await,
            v2: Echo::start("v2").await,
        }
    }

    /// A bootstrap with the clusters of both backends and the cluster `weir` of the control plane.
    pub fn bootstrap(&self, plane: SocketAddr) -> Bootstrap {
        Bootstrap::default()
            .cluster("weir", plane)
            .cluster("web-v1.default.svc.cluster.local:80", self.v1.address)
            .cluster("web-v2.default.svc.cluster.local:80", self.v2.address)
    }
}
