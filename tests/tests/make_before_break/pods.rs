//! Pods behind Services, a control plane with their EndpointSlices, and an Envoy without clusters of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use weir_tests::{Bootstrap, Envoy, Plane};

const PLUGIN: &str =
    r#"{ "control_plane": "weir", "clusters_from": "weir", "namespace": "default" }"#;

/// An HTTP server that answers with the header `identity`. When it is dropped, it closes its port and its connections.
pub struct Pod {
    pub address: SocketAddr,
    last: Arc<Mutex<Option<Instant>>>,
    runtime: Option<Runtime>,
}

impl Pod {
    pub fn start(identity: &str) -> Pod {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let last = Arc::<Mutex<Option<Instant>>>::default();
        let (identity, seen) = (identity.to_owned(), last.clone());
        let app = Router::new().fallback(move || {
            *seen.lock().expect("a time") = Some(Instant::now());
            let identity = identity.clone();
            async move { [("identity", identity)] }
        });
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, app).await.expect("the pod serves");
        });
        Pod {
            address,
            last,
            runtime: Some(runtime),
        }
    }

    /// Returns the time of the last request.
    pub fn last(&self) -> Option<Instant> {
        *self.last.lock().expect("a time")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // An asynchronous test must not wait for the threads of a runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ready,
    /// The pod gets no new requests, and ends after its grace period.
    Terminating,
}

/// Returns the manifest of a Service with port 80 and an EndpointSlice for each pod.
pub fn service<'p>(name: &str, pods: impl IntoIterator<Item = (&'p Pod, State)>) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec: {{ selector: {{ app: {name} }}, ports: [{{ name: http, port: 80 }}] }}\n"
    );
    for (pod, state) in pods {
        let port = pod.address.port();
        let conditions = match state {
            State::Ready => "ready: true, serving: true, terminating: false",
            State::Terminating => "ready: false, serving: true, terminating: true",
        };
        text += &format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}-{port}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: IPv4\nports: [{{ name: http, port: {port}, protocol: TCP }}]\n\
             endpoints: [{{ addresses: [{}], conditions: {{ {conditions} }} }}]\n",
            pod.address.ip(),
        );
    }
    text
}

/// Returns a TrafficSplit of the Service `web`.
pub fn split(weights: &[(&str, u64)]) -> String {
    let backends: Vec<_> = weights
        .iter()
        .map(|(name, weight)| json!({ "service": name, "weight": weight }))
        .collect();
    let backends = json!(backends);
    format!(
        "apiVersion: split.smi-spec.io/v1alpha4\nkind: TrafficSplit\nmetadata: {{ name: web }}\n\
         spec: {{ service: web, backends: {backends} }}\n"
    )
}

/// Returns the configuration of an Envoy whose only static cluster is the control plane at this address.
pub fn bootstrap(plane: SocketAddr) -> String {
    let bootstrap = Bootstrap::default()
        .node("proxy-1")
        .clusters_from(plane, json!({ "weir": { "namespace": "default" } }))
        .listener("outbound", PLUGIN, None);
    bootstrap.build()
}

/// Starts an Envoy whose only static cluster is the control plane at this address.
pub async fn envoy(plane: SocketAddr, workers: usize) -> Envoy {
    let envoy = Envoy::start(&bootstrap(plane), workers).await;
    envoy.wait_for_updates(1).await;
    envoy
}

/// The Service `web`, and the Services `v1`, `v2` and so on, each with one pod.
pub struct Scene {
    pub plane: Plane,
    pub pods: BTreeMap<String, Pod>,
}

impl Scene {
    /// Starts the control plane with a split of equal weights between these versions.
    pub fn start(versions: &[&str]) -> Scene {
        let weights: Vec<_> = versions.iter().map(|name| (*name, 1)).collect();
        Scene::weighted(&weights)
    }

    /// Starts the control plane with a split of these versions with these weights.
    pub fn weighted(weights: &[(&str, u64)]) -> Scene {
        let pods: BTreeMap<_, _> = weights
            .iter()
            .map(|(name, _)| (name.to_string(), Pod::start(name)))
            .collect();
        let manifests: Vec<_> = pods
            .iter()
            .map(|(name, pod)| (format!("{name}.yaml"), service(name, [(pod, State::Ready)])))
            .collect();
        let (web, split) = (service("web", []), split(weights));
        let mut files: Vec<(&str, &str)> = manifests
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        files.push(("web.yaml", &web));
        files.push(("split.yaml", &split));
        Scene {
            plane: Plane::start(&files),
            pods,
        }
    }
}
