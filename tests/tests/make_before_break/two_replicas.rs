//! The stream of an Envoy is at one replica of the control plane, and its poll is at the other one. Backends come and
//! go under load, and in each round one of the replicas is killed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_cluster::ApiServer;
use weir_cluster::server::ADMIN;
use weir_tests::fault::{Load, Sample};
use weir_tests::{Bootstrap, Envoy, Plane, Relay};

use crate::pods::{Pod, split};

const ROUNDS: usize = 20;
const PLUGIN: &str =
    r#"{ "control_plane": "polls", "clusters_from": "weir", "namespace": "default" }"#;
const OLD: [(&str, u64); 2] = [("v1", 1), ("v2", 1)];
const NEW: [(&str, u64); 3] = [("v1", 1), ("v2", 1), ("v3", 2)];
/// A version that gets no request for this time has lost its weight: clients send hundreds of requests in this time.
const QUIET: Duration = Duration::from_millis(700);
const LEASE: [&str; 2] = ["--lease", "default/weir"];

struct Replicas {
    server: ApiServer,
    planes: [Plane; 2],
    /// The connections of the stream, and the connections of polls.
    relays: [Relay; 2],
}

impl Replicas {
    async fn start() -> Replicas {
        let server = ApiServer::start();
        let crds = weir_tests::root().join("deploy/crds");
        tokio::task::block_in_place(|| server.crds(&[&crds]));
        let kubeconfig = server.kubeconfig(ADMIN);
        let planes = [(); 2].map(|()| Plane::of_cluster(&kubeconfig, &LEASE));
        let relays = [
            Relay::start(&[planes[0].listen]).await,
            Relay::start(&[planes[1].listen]).await,
        ];
        let mut replicas = Replicas {
            server,
            planes,
            relays,
        };
        for index in 0..2 {
            replicas.restart(index).await;
        }
        replicas
    }

    async fn restart(&mut self, index: usize) {
        let peer = self.planes[1 - index].listen.to_string();
        self.planes[index].restart_with(&[&LEASE[..], &["--peers", &peer]].concat());
        self.planes[index].wait_until_ready().await;
    }

    /// Lets the stream go to the replica `stream`, and the polls to the other one.
    async fn part(&self, stream: usize) {
        self.relays[0].lead_to(&[self.planes[stream].listen]);
        self.relays[1].lead_to(&[self.planes[1 - stream].listen]);
        self.relays.iter().for_each(Relay::cut);
        let start = Instant::now();
        while self.planes[1 - stream].metric("weir_polls_held").await < 1.0 {
            assert!(start.elapsed() < Duration::from_secs(10), "no poll");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills a replica. New connections go to the other one.
    fn kill(&mut self, index: usize) {
        let other = self.planes[1 - index].listen;
        for relay in &self.relays {
            relay.lead_to(&[other]);
        }
        self.planes[index].kill();
    }

    async fn apply(&self, manifest: String) {
        tokio::task::block_in_place(|| self.server.apply(&manifest));
    }

    /// Writes the EndpointSlice into etcd, because an API server refuses endpoints on loopback.
    fn keep_slice(&self, service: &str, pod: &Pod) {
        let slice = slice(service, pod);
        let key = format!("/registry/endpointslices/default/{service}");
        self.server.keep(&[(key, slice)]);
    }

    fn delete(&self, kind: &str, name: &str) {
        let deleted = self.server.kubectl(&["delete", kind, name, "--wait=false"]);
        assert!(deleted.status.success(), "{deleted:?}");
    }
}

fn slice(service: &str, pod: &Pod) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": service,
            "namespace": "default",
            "uid": format!("00000000-0000-0000-0000-0000000{:05}", pod.address.port()),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": pod.address.port(), "protocol": "TCP" }],
        "endpoints": [{
            "addresses": [pod.address.ip()],
            "conditions": { "ready": true, "serving": true, "terminating": false },
        }],
    })
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: default }}\n\
         spec: {{ ports: [{{ name: http, port: 80 }}] }}\n"
    )
}

async fn envoy(replicas: &Replicas) -> Envoy {
    let [stream, polls] = &replicas.relays;
    let bootstrap = Bootstrap::default()
        .node("proxy-1")
        .clusters_from(
            stream.address,
            json!({ "weir": { "namespace": "default" } }),
        )
        .http2_cluster("polls", polls.address)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    envoy
}

fn wrong(samples: &[Sample]) -> Vec<&Sample> {
    let is_wrong = |it: &&Sample| it.status != 200 || !["v1", "v2", "v3"].contains(&&*it.by);
    samples.iter().filter(is_wrong).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_and_poll_at_different_replicas() {
    let mut replicas = Replicas::start().await;
    let pods = ["v1", "v2"].map(|name| (name, Pod::start(name)));
    replicas.apply(service("web")).await;
    for (name, pod) in &pods {
        replicas.apply(service(name)).await;
        replicas.keep_slice(name, pod);
    }
    replicas.apply(split(&OLD)).await;
    let envoy = envoy(&replicas).await;
    let load = Load::start(envoy.listener("outbound"), "web", 8).await;
    let (mut requests, mut delays) = (0, Vec::new());
    for round in 0..ROUNDS {
        replicas.part(round % 2).await;
        let victim = (round / 2) % 2;
        let pod = Pod::start("v3");
        replicas.apply(service("v3")).await;
        replicas.keep_slice("v3", &pod);
        replicas.apply(split(&NEW)).await;
        let weighted = Instant::now();
        // In every third round the replica ends in the middle of the change.
        if round % 3 == 0 {
            replicas.kill(victim);
        }
        while pod.last().is_none() {
            assert!(
                weighted.elapsed() < Duration::from_secs(10),
                "v3 gets no request in round {round}\n{}\n{}\n{}",
                envoy.log(),
                replicas.planes[0].log(),
                replicas.planes[1].log(),
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        delays.push(weighted.elapsed());
        if round % 3 != 0 {
            replicas.kill(victim);
        }
        replicas.apply(split(&OLD)).await;
        replicas.delete("service", "v3");
        replicas.delete("endpointslice", "v3");
        // A poll that was held by the killed replica is repeated within two seconds.
        let unweighted = Instant::now();
        while pod.last().is_some_and(|last| last.elapsed() < QUIET) {
            assert!(
                unweighted.elapsed() < Duration::from_secs(6),
                "v3 still gets requests in round {round}\n{}",
                envoy.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        replicas.restart(victim).await;
        drop(pod);
        let samples = load.take();
        let wrong = wrong(&samples);
        assert!(
            wrong.is_empty(),
            "round {round}: {} of {} requests failed: {:?}\n{}",
            wrong.len(),
            samples.len(),
            wrong.first(),
            envoy.log()
        );
        requests += samples.len();
    }
    let rest = load.stop().await;
    assert!(wrong(&rest).is_empty(), "{rest:?}");
    delays.sort();
    println!(
        "{} requests, 0 failed; {ROUNDS} rounds, a replica killed in each; from the weight to the first request of a new \
         cluster: p50 {:?}, max {:?}",
        requests + rest.len(),
        delays[ROUNDS / 2],
        delays[ROUNDS - 1]
    );
}
