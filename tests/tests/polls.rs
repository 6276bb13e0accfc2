//! Tests the polls of the filter. Each proxy process has one open poll for each scope (a namespace or a Gateway). The
//! headers of a poll follow `docs/protocol.md`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_tests::fault::{
    Behaviour, FakePlane, Poll, Web, answer, document, manifest, trapping_module,
};
use weir_tests::{Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;

fn serve(revision: &str, weights: [u64; 2]) -> Behaviour {
    Behaviour::Serve {
        revision: revision.into(),
        body: document(weights).to_string(),
    }
}

fn instance(poll: &Poll) -> String {
    poll.header("weir-instance").unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poll_is_held_per_process() {
    let plane = Plane::start(&[("web.yaml", &manifest([1, 1]))]);
    let fake = FakePlane::start(Behaviour::Forward(plane.listen)).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let held = plane.metric("weir_polls_held").await;
        // Between two polls no poll is held.
        assert!(held <= 1.0, "{held} polls");
    }
    let polls = fake.polls();
    // The first poll, the poll that timed out after 25 seconds, and the current poll.
    assert_eq!(polls.len(), 3, "{polls:#?}");
    assert_eq!(polls.iter().map(instance).collect::<BTreeSet<_>>().len(), 1);
    for pair in polls.windows(2) {
        let gap = pair[0]
            .ended
            .map(|ended| pair[1].received.checked_duration_since(ended));
        let gap = gap
            .flatten()
            .unwrap_or_else(|| panic!("two at once: {pair:#?}"));
        assert!(gap < Duration::from_millis(500), "{gap:?}: {pair:#?}");
    }
    assert_eq!(polls[1].status, Some(304));
    assert_eq!(envoy.stat("wasmcustom.weir_poll_failures_total").await, 0);
}

/// The test makes the polling VM trap. Another VM must then poll, with the same `weir-instance`.
#[tokio::test(flavor = "multi_thread")]
async fn another_vm_replaces_a_trapped_poller() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let fake = FakePlane::start(Behaviour::Forward(plane.listen)).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .module(trapping_module())
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for round in 0..3 {
        let held = fake.polls();
        let older = held.last().expect("a poll").clone();
        assert!(older.ended.is_none(), "{older:?}");
        connection
            .get_with("web", "/", &[("x-weir-trap", "poller")])
            .await;
        let marked = Instant::now();
        let newer = fake
            .wait_for_poll(held.len(), "of another VM", |_| true)
            .await;
        // The polling VM traps at its next tick, up to half a second after the request.
        let after = newer.received - marked;
        println!("round {round}: a newer poll {after:?} after the request that caused the trap");
        assert!(after < Duration::from_millis(3500), "{after:?}");
        assert_eq!(instance(&newer), instance(&older));
        let traps = envoy.log().matches("the poller trapped").count();
        assert_eq!(traps, round + 1);

        tokio::time::sleep(Duration::from_millis(200)).await;
        let polls = fake.polls();
        let open: Vec<_> = polls.iter().filter(|poll| poll.ended.is_none()).collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        let older = &polls[held.len() - 1];
        let ended = older.ended.expect("the older poll has ended") - newer.received;
        assert!(ended < Duration::from_millis(200), "{ended:?} {older:?}");
        assert_eq!(older.status, Some(304), "the control plane ended it");
        assert_eq!(plane.metric("weir_polls_held").await, 1.0);
    }
    // Workers whose VM trapped also get the changes that the new poller receives.
    plane.rename_into_place("web.yaml", &manifest([0, 100]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..8 {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        let answer = connection.get("web", "/").await;
        assert_eq!(answer.header("identity"), "v2", "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_differ_by_scope_and_process() {
    let fake = FakePlane::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let config = web
        .bootstrap(fake.address)
        .node("shared")
        .listener("default", PLUGIN, None)
        .listener(
            "edge",
            r#"{ "control_plane": "weir", "gateway": "default/edge" }"#,
            None,
        )
        .build();
    let envoys = [
        Envoy::start(&config, 2).await,
        Envoy::start(&config, 2).await,
    ];
    for envoy in &envoys {
        envoy.wait_for_updates(2).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let polls = fake.polls();
    let held: Vec<_> = polls.iter().filter(|poll| poll.ended.is_none()).collect();
    assert_eq!(held.len(), 4, "{held:#?}");
    let who: BTreeSet<_> = polls
        .iter()
        .map(|poll| (poll.path.clone(), instance(poll)))
        .collect();
    assert_eq!(who.len(), 4, "{who:#?}");
    let instances: BTreeSet<_> = who.iter().map(|(_, instance)| instance).collect();
    assert_eq!(
        instances.len(),
        4,
        "one instance for each process and scope"
    );
    for path in [
        "/v1/config?namespace=default",
        "/v1/config?gateway=default/edge",
    ] {
        assert_eq!(
            who.iter().filter(|(other, _)| other == path).count(),
            2,
            "{who:#?}"
        );
    }
    assert!(
        polls
            .iter()
            .all(|poll| poll.header("weir-node") == Some("shared"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_headers_follow_the_contract() {
    let fake = FakePlane::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .node("sidecar~1")
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;

    let first = fake.wait_for_poll(0, "at all", |_| true).await;
    let version = weir_split::wire::VERSION.to_string();
    for (name, value) in [
        ("prefer", Some("wait=25")),
        ("weir-version", Some(version.as_str())),
        ("weir-node", Some("sidecar~1")),
        ("if-none-match", None),
        ("weir-applied", None),
        ("weir-refused", None),
    ] {
        assert_eq!(first.header(name), value, "{name}");
    }
    assert_eq!(instance(&first).len(), 32, "{first:?}");

    // The control plane holds the poll until a change. The next poll reports that all VMs have applied the change.
    tokio::time::sleep(Duration::from_millis(800)).await;
    for revision in ["r2", "r3"] {
        let before = fake.polls().len();
        let changed = Instant::now();
        fake.switch(serve(revision, [1, 2]));
        let quoted = format!("\"{revision}\"");
        let next = fake
            .wait_for_poll(before, "with the new revision", |poll| {
                poll.header("if-none-match") == Some(&quoted)
            })
            .await;
        assert_eq!(next.header("weir-applied"), Some(quoted.as_str()));
        println!(
            "{revision}: applied by all VMs after {:?}",
            next.received - changed
        );
        // The change ended the held poll. The next poll received the document, and one more poll reported it as
        // applied.
        assert_eq!(fake.polls().len(), before + 2);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    // After a refused document, each poll has the document's revision and the reason, until a valid document arrives.
    let before = fake.polls().len();
    fake.switch(Behaviour::Serve {
        revision: "bad".into(),
        body: r#"{ "version": 1, "rules": { "web": { "backends": [], "mirror": 1 } } }"#.into(),
    });
    let complaint = fake
        .wait_for_poll(before, "with `weir-refused`", |poll| {
            poll.header("weir-refused").is_some()
        })
        .await;
    let reason = complaint.header("weir-refused").expect("a reason");
    assert!(reason.starts_with("\"bad\" "), "{reason}");
    assert!(reason.contains("mirror"), "{reason}");
    assert_eq!(complaint.header("if-none-match"), Some("\"r3\", \"bad\""));
    assert_eq!(complaint.header("weir-applied"), Some("\"r3\""));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        fake.polls().last().expect("a poll").ended,
        None,
        "the last poll is held"
    );

    let before = fake.polls().len();
    fake.switch(serve("r4", [1, 1]));
    let next = fake
        .wait_for_poll(before, "with r4", |poll| {
            poll.header("if-none-match") == Some("\"r4\"")
        })
        .await;
    assert_eq!(next.header("weir-refused"), None);
    assert_eq!(next.header("weir-applied"), Some("\"r4\""));
}

/// The filter keeps the last valid watermark of the control plane, and sends it back in each poll.
#[tokio::test(flavor = "multi_thread")]
async fn watermark_is_kept_and_sent_back() {
    let fake = FakePlane::start(Behaviour::Hang).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .listener("outbound", PLUGIN, None);
    let _envoy = Envoy::start(&bootstrap.build(), 2).await;
    let said = |status: u16, watermark: &str| {
        let answer = answer(status, "REVISION", document([1, 1]).to_string().as_bytes());
        let answer = String::from_utf8(answer).expect("text");
        answer.replacen("\r\n", &format!("\r\nweir-watermark: {watermark}\r\n"), 1)
    };
    let valid = "services=7,trafficsplits.split.smi-spec.io=9";
    let long = format!("services={}", "7".repeat(25_000));
    for (watermark, kept) in [
        (valid, Some(valid)),
        ("with a blank", None),
        (&long, None),
        (valid, Some(valid)),
    ] {
        let before = fake.polls().len();
        fake.switch(Behaviour::NewRevisions(said(200, watermark)));
        fake.wait_for_poll(before + 3, "after the answer", |poll| {
            poll.header("weir-watermark") == kept
        })
        .await;
    }
    // A lagging replica sends no watermark, so the filter keeps the last one.
    let before = fake.polls().len();
    fake.switch(Behaviour::Bytes(answer(304, "", b"")));
    let next = fake.wait_for_poll(before + 3, "after 304", |_| true).await;
    assert_eq!(next.header("weir-watermark"), Some(valid));
}

/// While a trapped VM has not applied a change, the next poll starts a second later, without `weir-applied`.
#[tokio::test(flavor = "multi_thread")]
async fn change_needs_all_vms_to_apply() {
    let fake = FakePlane::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(fake.address)
        .module(trapping_module())
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let before = fake.polls().len();

    // The request must not trap the polling VM, because the next poller would drop this VM from the member list.
    let trap = [("x-weir-trap", "bystander")];
    let mut requests = 0;
    loop {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        if connection.get_with("web", "/", &trap).await.status != 200 {
            break;
        }
        requests += 1;
        assert!(requests < 100, "every request came to the VM that polls");
    }
    let changed = Instant::now();
    fake.switch(serve("r2", [1, 2]));
    let next = fake
        .wait_for_poll(before, "with r2", |poll| {
            poll.header("if-none-match") == Some("\"r2\"")
        })
        .await;
    let after = next.received - changed;
    assert_eq!(next.header("weir-applied"), None, "{next:?}");
    assert!(after > Duration::from_millis(900), "{after:?}");

    // A VM without a heartbeat for three seconds is dropped; the other VMs apply the next change.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = fake.polls().len();
    fake.switch(serve("r3", [1, 3]));
    let next = fake
        .wait_for_poll(before, "with r3", |poll| {
            poll.header("if-none-match") == Some("\"r3\"")
        })
        .await;
    assert_eq!(next.header("weir-applied"), Some("\"r3\""));
}
