//! Who polls, and what a poll says: one held poll per proxy process and scope, and the contract's headers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_tests::fault::{Liar, Manner, Poll, Web, answer, document, manifest, trapping_module};
use weir_tests::{Connection, Envoy, Plane};

const PLUGIN: &str = r#"{ "control_plane": "weir", "namespace": "default" }"#;

fn serve(revision: &str, weights: [u64; 2]) -> Manner {
    Manner::Serve {
        revision: revision.into(),
        body: document(weights).to_string(),
    }
}

fn instance(poll: &Poll) -> String {
    poll.header("weir-instance").unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_held_poll_at_a_time_for_thirty_seconds() {
    let plane = Plane::start(&[("web.yaml", &manifest([1, 1]))]);
    let liar = Liar::start(Manner::Honest(plane.listen)).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(liar.address)
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let held = plane.metric("weir_polls_held").await;
        // Between two polls there is a moment with none.
        assert!(held <= 1.0, "{held} polls");
    }
    let polls = liar.polls();
    // The first, the one that was held to its end after 25 seconds, and the one that is held now.
    assert_eq!(polls.len(), 3, "{polls:#?}");
    assert_eq!(polls.iter().map(instance).collect::<BTreeSet<_>>().len(), 1);
    for pair in polls.windows(2) {
        let gap = pair[0]
            .ended
            .map(|ended| pair[1].came.checked_duration_since(ended));
        let gap = gap
            .flatten()
            .unwrap_or_else(|| panic!("two at once: {pair:#?}"));
        assert!(gap < Duration::from_millis(500), "{gap:?}: {pair:#?}");
    }
    assert_eq!(polls[1].status, Some(304));
    assert_eq!(envoy.stat("wasmcustom.weir_poll_failures_total").await, 0);
}

/// The VM that holds the lease traps in its tick: another one polls for it, under the same name.
#[tokio::test(flavor = "multi_thread")]
async fn another_vm_takes_over_from_a_poller_that_trapped() {
    let plane = Plane::start(&[("web.yaml", &manifest([100, 0]))]);
    let liar = Liar::start(Manner::Honest(plane.listen)).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(liar.address)
        .module(trapping_module())
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    let mut connection = Connection::open(envoy.listener("outbound")).await;
    for round in 0..3 {
        let held = liar.polls();
        let older = held.last().expect("a poll").clone();
        assert!(older.ended.is_none(), "{older:?}");
        connection
            .get_with("web", "/", &[("x-weir-trap", "poller")])
            .await;
        let marked = Instant::now();
        let newer = liar
            .wait_for_poll(held.len(), "of another VM", |_| true)
            .await;
        // The trap comes with the poller's next tick, up to half a second after the request.
        let after = newer.came - marked;
        println!("round {round}: a newer poll {after:?} after the request that led to the trap");
        assert!(after < Duration::from_millis(3500), "{after:?}");
        assert_eq!(instance(&newer), instance(&older));
        let traps = envoy.log().matches("the poller trapped").count();
        assert_eq!(traps, round + 1);

        tokio::time::sleep(Duration::from_millis(200)).await;
        let polls = liar.polls();
        let open: Vec<_> = polls.iter().filter(|poll| poll.ended.is_none()).collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        let older = &polls[held.len() - 1];
        let ended = older.ended.expect("the older poll has ended") - newer.came;
        assert!(ended < Duration::from_millis(200), "{ended:?} {older:?}");
        assert_eq!(older.status, Some(304), "the control plane ended it");
        assert_eq!(plane.metric("weir_polls_held").await, 1.0);
    }
    // The new poller still brings news, to the workers whose VM trapped as well.
    plane.rename_into_place("web.yaml", &manifest([0, 100]));
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..8 {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        let answer = connection.get("web", "/").await;
        assert_eq!(answer.header("identity"), "v2", "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_processes_are_told_apart() {
    let liar = Liar::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let config = web
        .bootstrap(liar.address)
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
    let polls = liar.polls();
    let held: Vec<_> = polls.iter().filter(|poll| poll.ended.is_none()).collect();
    assert_eq!(held.len(), 4, "{held:#?}");
    let who: BTreeSet<_> = polls
        .iter()
        .map(|poll| (poll.path.clone(), instance(poll)))
        .collect();
    assert_eq!(who.len(), 4, "{who:#?}");
    let instances: BTreeSet<_> = who.iter().map(|(_, instance)| instance).collect();
    assert_eq!(instances.len(), 4, "made once for each process and scope");
    for path in [
        "/v1/config?namespace=default",
        "/v1/config?gateway=default/edge",
    ] {
        assert_eq!(
            who.iter().filter(|(known, _)| known == path).count(),
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
async fn what_a_poll_says() {
    let liar = Liar::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(liar.address)
        .node("sidecar~1")
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;

    let first = liar.wait_for_poll(0, "at all", |_| true).await;
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

    // Held until there is news, and the poll after it says that all VMs run it.
    tokio::time::sleep(Duration::from_millis(800)).await;
    for revision in ["r2", "r3"] {
        let before = liar.polls().len();
        let changed = Instant::now();
        liar.switch(serve(revision, [1, 2]));
        let quoted = format!("\"{revision}\"");
        let next = liar
            .wait_for_poll(before, "with what is new", |poll| {
                poll.header("if-none-match") == Some(&quoted)
            })
            .await;
        assert_eq!(next.header("weir-applied"), Some(quoted.as_str()));
        println!("{revision}: run by all VMs after {:?}", next.came - changed);
        // One that answers the change of manner, and the one that brings the news.
        assert_eq!(liar.polls().len(), before + 2);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    // A document that cannot be put in force is named with the reason, until there is a good one.
    let before = liar.polls().len();
    liar.switch(Manner::Serve {
        revision: "bad".into(),
        body: r#"{ "version": 1, "rules": { "web": { "backends": [], "mirror": 1 } } }"#.into(),
    });
    let complaint = liar
        .wait_for_poll(before, "with a complaint", |poll| {
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
        liar.polls().last().expect("a poll").ended,
        None,
        "it is held"
    );

    let before = liar.polls().len();
    liar.switch(serve("r4", [1, 1]));
    let next = liar
        .wait_for_poll(before, "with r4", |poll| {
            poll.header("if-none-match") == Some("\"r4\"")
        })
        .await;
    assert_eq!(next.header("weir-refused"), None);
    assert_eq!(next.header("weir-applied"), Some("\"r4\""));
}

/// What the control plane says of how far it has read comes back with the next poll, and nothing else that stands there.
#[tokio::test(flavor = "multi_thread")]
async fn a_watermark_is_kept_and_sent_back() {
    let liar = Liar::start(Manner::Hang).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(liar.address)
        .listener("outbound", PLUGIN, None);
    let _envoy = Envoy::start(&bootstrap.build(), 2).await;
    let said = |status: u16, watermark: &str| {
        let answer = answer(status, "REVISION", document([1, 1]).to_string().as_bytes());
        let answer = String::from_utf8(answer).expect("text");
        answer.replacen("\r\n", &format!("\r\nweir-watermark: {watermark}\r\n"), 1)
    };
    let told = "services=7,trafficsplits.split.smi-spec.io=9";
    let long = format!("services={}", "7".repeat(25_000));
    for (watermark, kept) in [
        (told, Some(told)),
        ("with a blank", None),
        (&long, None),
        (told, Some(told)),
    ] {
        let before = liar.polls().len();
        liar.switch(Manner::EverNew(said(200, watermark)));
        liar.wait_for_poll(before + 3, "after the answer", |poll| {
            poll.header("weir-watermark") == kept
        })
        .await;
    }
    // A replica that lags says nothing of it; what was kept stays.
    let before = liar.polls().len();
    liar.switch(Manner::Bytes(answer(304, "", b"")));
    let next = liar.wait_for_poll(before + 3, "after 304", |_| true).await;
    assert_eq!(next.header("weir-watermark"), Some(told));
}

/// A VM that trapped and has not come back does not run the change: the poll after it leaves a second later,
/// and does not say that all run it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_one_vm_does_not_run_is_not_applied() {
    let liar = Liar::start(serve("r1", [1, 1])).await;
    let web = Web::start().await;
    let bootstrap = web
        .bootstrap(liar.address)
        .module(trapping_module())
        .listener("outbound", PLUGIN, None);
    let envoy = Envoy::start(&bootstrap.build(), 4).await;
    envoy.wait_for_updates(1).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let before = liar.polls().len();

    // Not the VM that polls: until another one took over, the trapped one would be gone from the roll.
    let trap = [("x-weir-trap", "bystander")];
    let mut asked = 0;
    loop {
        let mut connection = Connection::open(envoy.listener("outbound")).await;
        if connection.get_with("web", "/", &trap).await.status != 200 {
            break;
        }
        asked += 1;
        assert!(asked < 100, "every request came to the VM that polls");
    }
    let changed = Instant::now();
    liar.switch(serve("r2", [1, 2]));
    let next = liar
        .wait_for_poll(before, "with r2", |poll| {
            poll.header("if-none-match") == Some("\"r2\"")
        })
        .await;
    let after = next.came - changed;
    assert_eq!(next.header("weir-applied"), None, "{next:?}");
    assert!(after > Duration::from_millis(900), "{after:?}");

    // Three seconds without a beat, and it is gone; the others all run the next one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = liar.polls().len();
    liar.switch(serve("r3", [1, 3]));
    let next = liar
        .wait_for_poll(before, "with r3", |poll| {
            poll.header("if-none-match") == Some("\"r3\"")
        })
        .await;
    assert_eq!(next.header("weir-applied"), Some("\"r3\""));
}
