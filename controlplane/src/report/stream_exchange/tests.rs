use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use weir_core::api::smi::traffic_target::Policy;
use weir_core::manifest::object;

use super::*;
use crate::publish::Publisher;
use crate::serve::{Authentication, Server};
use crate::source::kubernetes::cluster_versions::ClusterVersions;
use crate::xds::stream_table::{ClusterNames, ClusterState, Node, OpenStream, PollerId};

/// A replica with a socket.
struct Running {
    streams: Arc<StreamTable>,
    replica: String,
    address: SocketAddr,
    app: Router,
    _publisher: Publisher,
}

/// Starts a replica with a split of Service `web`, whose only backend is Service `one`.
async fn start() -> Running {
    let mut publisher = Publisher::new(Arc::default(), Policy::Unstated);
    let text = "
apiVersion: split.smi-spec.io/v1alpha2
kind: TrafficSplit
metadata: {name: web, namespace: shop}
spec: {service: web, backends: [{service: one, weight: 1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: one, namespace: shop}
spec: {ports: [{port: 80}]}
";
    publisher.publish(object::read("test.yaml", text).unwrap().into());
    let server = Server::new(
        &publisher,
        ClusterVersions::default(),
        Authentication::Anyone,
        CancellationToken::new(),
        Arc::default(),
    );
    let (streams, replica) = (server.streams(), server.proxies().replica().to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = server.router();
    let served = app.clone();
    tokio::spawn(async move { axum::serve(listener, served).await.unwrap() });
    Running {
        streams,
        replica,
        address,
        app,
        _publisher: publisher,
    }
}

/// Starts a replica that [`Runtime::shutdown_background`] kills.
async fn start_alone() -> (Running, Runtime) {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let running = runtime.spawn(start()).await.unwrap();
    (running, runtime)
}

fn follow(own: &Running, address: SocketAddr) -> JoinSet<()> {
    let exchange = StreamExchange {
        streams: own.streams.clone(),
        peers: Peers {
            name: address.to_string(),
            authority: None,
        },
        replica: own.replica.clone(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(exchange.follow());
    tasks
}

/// Waits until `is_true`, and returns the milliseconds.
async fn until(is_true: impl Fn() -> bool) -> u128 {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed().as_secs() < 10, "too late");
        sleep(Duration::from_millis(1)).await;
    }
    start.elapsed().as_millis()
}

fn set(stream: &OpenStream, state: ClusterState) {
    stream.record([("one.shop.svc.cluster.local:80".into(), Some(state))]);
}

#[tokio::test]
async fn acceptance_reaches_the_other_replica() {
    let own = start().await;
    let (other, runtime) = start_alone().await;
    let _tasks = follow(&own, other.address);
    let node = Node::new(Arc::default(), "a");
    let needed = ClusterNames::from(["one.shop.svc.cluster.local:80".into()]);
    let progress = || own.streams.progress(&node, &needed);
    let stream = other.streams.open(node.clone());
    until(|| progress().has_stream).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        for state in [ClusterState::Accepted, ClusterState::Sent] {
            let missing = usize::from(state == ClusterState::Sent);
            set(&stream, state);
            times.push(until(|| progress().missing.len() == missing).await);
        }
    }
    times.sort_unstable();
    assert!(times[times.len() / 2] < 100, "{times:?}");

    // The poll is at the first replica, and the stream is at the second one.
    let request = Request::get("/v1/config")
        .header("prefer", "wait=20")
        .header("weir-clusters", "weir")
        .header("weir-instance", "x")
        .header("weir-node", "a");
    let poll = own
        .app
        .clone()
        .oneshot(request.body(Body::empty()).unwrap());
    let mut poll = tokio::spawn(poll);
    assert!(
        timeout(Duration::from_millis(300), &mut poll)
            .await
            .is_err()
    );
    let start = Instant::now();
    set(&stream, ClusterState::Accepted);
    let response = poll.await.unwrap().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let time = start.elapsed();
    assert!(time < Duration::from_millis(500), "{time:?}");

    // The stream of a killed replica counts for some seconds.
    runtime.shutdown_background();
    sleep(Duration::from_secs(1)).await;
    assert!(progress().has_stream && progress().missing.is_empty());
    until(|| !progress().has_stream).await;
}

#[tokio::test]
async fn own_address_is_not_a_peer() {
    let own = start().await;
    let _tasks = follow(&own, own.address);
    let node = Node::new(Arc::default(), "a");
    let stream = own.streams.open(node.clone());
    sleep(Duration::from_millis(200)).await;
    drop(stream);
    let progress = own.streams.progress(&node, &ClusterNames::new());
    assert!(!progress.has_stream);
}

#[tokio::test(start_paused = true)]
async fn unknown_addresses_are_incomplete() {
    let streams = Arc::new(StreamTable::default());
    let node = Node::new(Arc::default(), "a");
    let poll = || {
        let id = PollerId {
            instance: "x".into(),
            scope: weir_core::plan::Scope::Producers,
        };
        streams.record_poll(&node, id, Some(Arc::default()), true);
    };
    poll();
    sleep(Duration::from_secs(59)).await;
    poll();
    sleep(Duration::from_secs(1)).await;
    assert!(streams.names_in_use(&node).is_some());
    let exchange = StreamExchange {
        streams: streams.clone(),
        peers: Peers {
            name: "a name without a port".into(),
            authority: None,
        },
        replica: "own".into(),
    };
    let followed = timeout(Duration::from_secs(3), exchange.follow()).await;
    assert!(followed.is_err());
    assert_eq!(streams.names_in_use(&node), None);
}
