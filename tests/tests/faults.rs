//! Tests a real Envoy with a control plane that is down, slow or faulty. The filter must keep its last good table, and
//! must report each fault in the log and in a counter.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_split::wire;
use weir_tests::fault::{Behaviour, FakePlane, Load, Sample, Web, answer, document, manifest};
use weir_tests::{Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;
const FAILURES: &str = "wasmcustom.weir_poll_failures_total";
const REFUSED: &str = "wasmcustom.weir_config_refused_total";
const UPDATES: &str = "wasmcustom.weir_config_updates_total";
const V1: [u64; 2] = [100, 0];
const V2: [u64; 2] = [0, 100];

fn weights_of(backend: &str) -> [u64; 2] {
    if backend == "v1" { V1 } else { V2 }
}

/// Returns the other of the two backends.
fn other(backend: &str) -> &'static str {
    if backend == "v1" { "v2" } else { "v1" }
}

async fn until(what: &str, patience: Duration, mut is_true: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_true().await {
        assert!(
            start.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_all(samples: &[Sample], by: &str, what: &str) {
    assert!(
        samples.len() > 20,
        "{what}: only {} requests",
        samples.len()
    );
    for sample in samples {
        assert_eq!((sample.status, sample.by.as_str()), (200, by), "{what}");
    }
}

/// A real control plane, a [`FakePlane`] in front of it, an Envoy that polls the fake, and clients.
struct Scene {
    plane: Plane,
    fake: FakePlane,
    envoy: Envoy,
    load: Load,
    _web: Web,
}

impl Scene {
    /// Starts with a split that sends all requests to `v1`.
    async fn start() -> Scene {
        let plane = Plane::start(&[("web.yaml", &manifest(V1))]);
        let fake = FakePlane::start(Behaviour::Forward(plane.listen)).await;
        let web = Web::start().await;
        let bootstrap = web
            .bootstrap(fake.address)
            .listener("outbound", PLUGIN, None);
        let envoy = Envoy::start(&bootstrap.build(), 2).await;
        envoy.wait_for_updates(1).await;
        let load = Load::start(envoy.listener("outbound"), "web", 2).await;
        Scene {
            plane,
            fake,
            envoy,
            load,
            _web: web,
        }
    }

    /// Causes the fault until its counter increases, and moves the split to the other backend. During the fault the
    /// backend `now` must answer all requests. After the fault the other backend must answer all requests.
    async fn check_fault(&self, fault: &Fault, now: &str) {
        let counter = fault.counter;
        let what = fault.name;
        let before = self.envoy.stat(counter).await;
        let recoveries = self.recoveries();
        let seen = self.envoy.log().len();
        self.served();
        self.fake.switch(fault.behaviour.clone());
        self.plane
            .rename_into_place("web.yaml", &manifest(weights_of(other(now))));
        until(
            &format!("{counter} of {what}"),
            fault.patience,
            async || self.envoy.stat(counter).await > before,
        )
        .await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_all(&self.load.take(), now, what);
        let log = self.envoy.log();
        let new = &log[seen..];
        let says = |line: &str| line.contains("the proxy keeps") && line.contains(fault.says);
        assert!(new.lines().any(says), "{what} is not in the log:\n{new}");

        self.fake.switch(Behaviour::Forward(self.plane.listen));
        until(
            &format!("the new weights after {what}"),
            Duration::from_secs(3),
            async || {
                let samples = self.served();
                samples.last().is_some_and(|last| last.by == other(now))
                    && self.recoveries() > recoveries
            },
        )
        .await;
        // Both workers need a moment to apply the new weights.
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.served();
    }

    /// Returns the answers since the last call. Panics if an answer is not from a backend.
    fn served(&self) -> Vec<Sample> {
        let samples = self.load.take();
        for sample in &samples {
            let by_backend = matches!(sample.by.as_str(), "v1" | "v2");
            assert!(sample.status == 200 && by_backend, "{sample:?}");
        }
        samples
    }

    /// Returns the number of log lines about the end of a failure.
    fn recoveries(&self) -> usize {
        let log = self.envoy.log();
        log.matches("the control plane answers again").count()
    }

    async fn end(self) {
        for sample in self.load.stop().await {
            assert_eq!(sample.status, 200, "{sample:?}");
        }
        self.envoy.assert_no_traps().await;
    }
}

/// A fault of the control plane, the counter in which the filter counts it, and words that the log must contain.
struct Fault {
    name: &'static str,
    behaviour: Behaviour,
    counter: &'static str,
    says: &'static str,
    /// The counter must increase within this time. A poll times out after 30 seconds.
    patience: Duration,
}

fn fault(name: &'static str, bytes: Vec<u8>, counter: &'static str, says: &'static str) -> Fault {
    Fault {
        name,
        behaviour: Behaviour::Bytes(bytes),
        counter,
        says,
        patience: Duration::from_secs(5),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_answers_keep_last_good_table() {
    let good = document(V2).to_string();
    let (half, _) = good.split_at(good.len() / 2);
    let deep = [b"{\"version\":1,\"x\":".as_slice(), &[b'['; 1 << 20]].concat();
    let mebibytes = vec![b' '; 40 << 20];
    let faults = [
        fault(
            "bytes that are not HTTP",
            b"\x16\x03\x01garbage\r\n\r\n".to_vec(),
            FAILURES,
            "status 50",
        ),
        fault(
            "garbage",
            answer(200, "garbage", b"\x00\xff garbage"),
            REFUSED,
            "garbage refused",
        ),
        fault(
            "truncated JSON",
            answer(200, "half", half.as_bytes()),
            REFUSED,
            "EOF",
        ),
        fault(
            "JSON of another shape",
            answer(200, "shape", b"[{\"kind\":\"List\"}]"),
            REFUSED,
            "shape refused",
        ),
        fault(
            "a newer version",
            answer(
                200,
                "later",
                format!("{{\"version\":{}}}", wire::VERSION + 1).as_bytes(),
            ),
            REFUSED,
            "this filter reads version 1",
        ),
        fault(
            "no ETag",
            answer(200, "", good.as_bytes()),
            FAILURES,
            "200 without an ETag",
        ),
        fault(
            "an invalid ETag",
            answer(200, "a b", good.as_bytes()),
            FAILURES,
            "200 without an ETag",
        ),
        fault(
            "no body",
            answer(200, "empty", b""),
            REFUSED,
            "empty refused",
        ),
        fault(
            "406 without a body",
            answer(406, "", b""),
            FAILURES,
            "cannot read",
        ),
        fault(
            "deeply nested JSON",
            answer(200, "deep", &deep),
            REFUSED,
            "deep refused",
        ),
        fault("500", answer(500, "", b"oh"), FAILURES, "status 500"),
        fault("204", answer(204, "", b""), FAILURES, "status 204"),
        fault("304 at once", answer(304, "", b""), FAILURES, "304 at once"),
        fault(
            "406",
            answer(406, "", b"{\"error\":\"HTTPRoute default/new\"}"),
            FAILURES,
            "HTTPRoute default/new",
        ),
        fault(
            "40 MiB",
            answer(200, "big", &mebibytes),
            FAILURES,
            "no answer",
        ),
    ];
    let scene = Scene::start().await;
    let mut now = "v1";
    for fault in &faults {
        scene.check_fault(fault, now).await;
        now = other(now);
    }
    scene.end().await;
}

/// During each of these faults, the poll of the filter times out.
#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_keep_last_good_table() {
    let drops = answer(200, "drip", document(V2).to_string().as_bytes());
    let faults = [
        ("hangs", Behaviour::Hang),
        ("drips", Behaviour::Drip(drops)),
    ];
    let faults = faults.map(|(name, behaviour)| async move {
        let fault = Fault {
            name,
            behaviour,
            counter: FAILURES,
            says: "status 504",
            patience: Duration::from_secs(35),
        };
        let scene = Scene::start().await;
        scene.check_fault(&fault, "v1").await;
        scene.end().await;
    });
    let [hangs, drips] = faults;
    tokio::join!(hangs, drips);
}

/// The fake control plane answers each poll at once. The filter must still pause between polls.
#[tokio::test(flavor = "multi_thread")]
async fn immediate_answers_keep_poll_pauses() {
    let scene = Scene::start().await;
    let head = "HTTP/1.1 200 x\r\netag: \"REVISION\"\r\ncontent-length: 1\r\n\r\n{";
    let same = answer(200, "same", document(V1).to_string().as_bytes());
    let good = answer(200, "REVISION", document(V1).to_string().as_bytes());
    for (what, behaviour, polls_in_3_s) in [
        (
            "invalid, a new revision each time",
            Behaviour::NewRevisions(head.into()),
            3..=8,
        ),
        // After a valid change the filter may poll more often than after an invalid change, but not without a limit.
        (
            "valid, a new revision each time",
            Behaviour::NewRevisions(String::from_utf8_lossy(&good).into_owned()),
            3..=800,
        ),
        // After each failure the pause grows, up to two seconds.
        ("always the same revision", Behaviour::Bytes(same), 1..=4),
        ("always 304", Behaviour::Bytes(answer(304, "", b"")), 1..=4),
    ] {
        scene.fake.switch(behaviour);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before = scene.fake.polls().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let polls = scene.fake.polls().len() - before;
        assert!(
            polls_in_3_s.contains(&polls),
            "{what}: {polls} polls in 3 s"
        );
    }
    let failures = scene.envoy.stat(FAILURES).await;
    assert!(failures >= 4, "{failures}");
    assert_all(&scene.load.take(), "v1", "immediate answers");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_control_plane_is_polled_again() {
    let Scene {
        plane,
        fake,
        envoy,
        load,
        _web,
    } = Scene::start().await;
    let address = fake.address;
    drop(fake);
    let mut plane = plane;
    plane.kill();
    let before = envoy.stat(FAILURES).await;
    until("a failed poll", Duration::from_secs(3), async || {
        envoy.stat(FAILURES).await > before
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(envoy.log().contains("no configuration from"));
    assert_all(&load.take(), "v1", "killed");

    let plane = Plane::start(&[("web.yaml", &manifest(V2))]);
    let _fake = FakePlane::start_at(address, Behaviour::Forward(plane.listen)).await;
    let back = Instant::now();
    until(
        "the split of the new control plane",
        Duration::from_secs(2),
        async || load.take().last().is_some_and(|last| last.by == "v2"),
    )
    .await;
    println!("the new split is in use after {:?}", back.elapsed());
    for sample in load.stop().await {
        assert_eq!(sample.status, 200, "{sample:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_may_start_before_control_plane() {
    let address = free_address().await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(address)
        .cluster("web", web.v2.address)
        .listener("outbound", PLUGIN, Some("web"));
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    let untouched = connection
        .get_with("web", "/a?b", &[("x-other", "1")])
        .await;
    assert_eq!(untouched.header("x-cluster"), "web");
    let body = untouched.json();
    assert_eq!(body["path"], "/a?b");
    let names: Vec<_> = body["headers"]
        .as_array()
        .expect("headers")
        .iter()
        .map(|pair| pair[0].as_str().expect("a name"))
        .filter(|name| !name.starts_with("x-envoy-") && !name.starts_with("x-forwarded-"))
        .collect();
    assert_eq!(names, ["host", "x-other", "x-request-id"]);

    let plane = Plane::start(&[("web.yaml", &manifest(V1))]);
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Connection::open(envoy.listener("outbound")).await);
    }
    let _fake = FakePlane::start_at(address, Behaviour::Forward(plane.listen)).await;
    until(
        "the split on every worker",
        Duration::from_secs(2),
        async || {
            let mut live = true;
            for connection in &mut connections {
                live &= connection.get("web", "/").await.header("identity") == "v1";
            }
            live
        },
    )
    .await;
    assert_eq!(envoy.stat(UPDATES).await, 1);
}

/// Returns an address at which no process listens.
async fn free_address() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    listener.expect("a port").local_addr().expect("an address")
}
