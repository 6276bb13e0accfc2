use super::*;

#[tokio::test]
async fn every_stream_must_accept() {
    let table = Arc::new(StreamTable::default());
    let node = Node::new(Arc::default(), "a");
    let needed = ClusterNames::from(["one".into(), "two".into()]);
    let missing = || {
        let progress = table.progress(&node, &needed);
        let names = progress.missing.keys().map(|it| it.to_string());
        (progress.has_stream, names.collect::<Vec<_>>())
    };
    assert_eq!(missing(), (false, vec![]));
    let mut changes = table.changes(&node);
    let first = table.open(node.clone());
    assert_eq!(missing(), (true, vec!["one".into(), "two".into()]));
    let accept = |stream: &OpenStream, name: &str| {
        stream.record([(name.into(), Some(ClusterState::Accepted))]);
    };
    accept(&first, "one");
    accept(&first, "two");
    changes.changed().await;
    assert_eq!(missing(), (true, vec![]));
    let second = table.open(node.clone());
    accept(&second, "two");
    assert_eq!(missing(), (true, vec!["one".into()]));
    drop(second);
    assert_eq!(missing(), (true, vec![]));
    drop((first, changes));
    assert!(table.lock().nodes.is_empty());
}

#[test]
fn worst_state_of_all_streams_counts() {
    let table = Arc::new(StreamTable::default());
    let node = Node::new(Arc::default(), "a");
    let needed = ClusterNames::from(["one".into()]);
    let refused = ClusterState::Refused("no".into());
    let mut streams = Vec::new();
    for (state, expected) in [
        (ClusterState::Accepted, None),
        (ClusterState::Changed, Some(ClusterState::Changed)),
        (ClusterState::Sent, Some(ClusterState::Sent)),
        (ClusterState::Changed, Some(ClusterState::Sent)),
        (refused.clone(), Some(refused.clone())),
        (ClusterState::Sent, Some(refused.clone())),
    ] {
        let stream = table.open(node.clone());
        stream.record([("one".into(), Some(state))]);
        streams.push(stream);
        let mut progress = table.progress(&node, &needed);
        assert_eq!(progress.missing.remove("one"), expected);
    }
}

#[test]
fn node_ids_are_visible_text() {
    let id = |raw: &str| Node::new(Arc::default(), raw).id.to_string();
    assert_eq!(id("sidecar~10.0.0.1 a"), "sidecar~10.0.0.1 a");
    assert_eq!(id("\u{fc}\n\0"), "???");
    assert_eq!(id(&"x".repeat(1_000)).len(), MAX_ID);
}

fn names(text: &str) -> ClusterNames {
    text.split_whitespace().map(Arc::from).collect()
}

fn id(instance: &str) -> PollerId {
    PollerId {
        instance: instance.into(),
        scope: weir_core::plan::Scope::Producers,
    }
}

async fn seconds(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn every_poller_names_its_clusters() {
    let table = Arc::new(StreamTable::default());
    let node = Node::new(Arc::default(), "a");
    let poll = |instance: &str, running: Option<&str>| {
        let running = running.map(|text| Arc::new(names(text)));
        table.record_poll(&node, id(instance), running, true);
    };
    poll("x", Some("one"));
    assert_eq!(table.names_in_use(&node), None, "the first minute");
    seconds(59).await;
    poll("x", Some("one"));
    seconds(1).await;
    assert_eq!(table.names_in_use(&node), Some(names("one")));
    poll("y", None);
    assert_eq!(table.names_in_use(&node), None, "an unknown document");
    poll("y", Some("one two"));
    assert_eq!(table.names_in_use(&node), Some(names("one two")));
    table.set_complete(false);
    assert_eq!(table.names_in_use(&node), None, "an unknown replica");
    table.set_complete(true);
    seconds(30).await;
    poll("x", Some("three"));
    seconds(30).await;
    assert_eq!(table.names_in_use(&node), Some(names("three")));
    seconds(60).await;
    assert_eq!(table.names_in_use(&node), None, "no poller");
    assert!(table.lock().nodes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn invented_pollers_are_bounded() {
    let table = Arc::new(StreamTable::default());
    let node = Node::new(Arc::default(), "a");
    table.record_poll(&node, id("first"), Some(Arc::default()), true);
    seconds(61).await;
    for number in 0..1_000 {
        table.record_poll(&node, id(&number.to_string()), Some(Arc::default()), true);
    }
    assert_eq!(table.lock().pollers, 256);
    assert_eq!(table.names_in_use(&node), None);
}

/// Sends the changes of `from` to `to`.
fn exchange(from: &StreamTable, to: &StreamTable, since: u64) -> u64 {
    let report = from.report("other", since, 0);
    let json = serde_json::to_vec(&report).unwrap();
    let report: StreamReport = serde_json::from_slice(&json).unwrap();
    let until = report.until;
    to.replace_remote(report);
    until
}

#[tokio::test(start_paused = true)]
async fn remote_stream_counts_like_own() {
    let [own, other] = [(); 2].map(|()| Arc::new(StreamTable::default()));
    let node = Node::new(Arc::default(), "a");
    let needed = names("one two");
    let missing = |table: &StreamTable| {
        let progress = table.progress(&node, &needed);
        let names: Vec<String> = progress.missing.keys().map(|it| it.to_string()).collect();
        (progress.has_stream, names.join(" "))
    };
    let mut changes = own.changes(&node);
    let stream = other.open(node.clone());
    stream.record([("one".into(), Some(ClusterState::Accepted))]);
    let refused = ClusterState::Refused("bad".into());
    stream.record([("two".into(), Some(refused.clone()))]);
    let since = exchange(&other, &own, 0);
    changes.changed().await;
    assert_eq!(missing(&own), (true, "two".into()));
    assert_eq!(own.progress(&node, &needed).missing["two"], refused);
    stream.record([("two".into(), Some(ClusterState::Accepted))]);
    let since = exchange(&other, &own, since);
    changes.changed().await;
    assert_eq!(missing(&own), (true, String::new()));

    // The other replica is killed. Its stream counts for some seconds, or until the node has another stream.
    own.lose_remote("other");
    assert_eq!(missing(&own), (true, String::new()));
    let new = own.open(node.clone());
    assert_eq!(missing(&own), (true, "one two".into()));
    drop(new);
    seconds(5).await;
    assert_eq!(missing(&own), (false, String::new()));

    // It answers again.
    let since = exchange(&other, &own, since);
    assert_eq!(missing(&own), (true, String::new()));
    drop(stream);
    exchange(&other, &own, since);
    assert_eq!(missing(&own), (false, String::new()));
}

#[tokio::test(start_paused = true)]
async fn remote_pollers_count_for_use() {
    let [own, other] = [(); 2].map(|()| Arc::new(StreamTable::default()));
    let node = Node::new(Arc::default(), "a");
    own.record_poll(&node, id("x"), Some(Arc::new(names("one"))), true);
    seconds(60).await;
    own.record_poll(&node, id("x"), Some(Arc::new(names("one"))), true);
    other.record_poll(&node, id("y"), Some(Arc::new(names("two"))), true);
    let since = exchange(&other, &own, 0);
    assert_eq!(own.names_in_use(&node), Some(names("one two")));
    other.record_poll(&node, id("y"), None, true);
    exchange(&other, &own, since);
    assert_eq!(own.names_in_use(&node), None);
    own.lose_remote("other");
    seconds(30).await;
    own.record_poll(&node, id("x"), Some(Arc::new(names("one"))), true);
    assert_eq!(own.names_in_use(&node), None);
    seconds(31).await;
    assert_eq!(own.names_in_use(&node), Some(names("one")));
}

#[test]
fn reports_are_complete_in_pages() {
    let [own, other] = [(); 2].map(|()| Arc::new(StreamTable::default()));
    let node = |number: usize| Node::new(Arc::default(), &number.to_string());
    let mut streams: Vec<OpenStream> = (0..3_000).map(|it| other.open(node(it))).collect();
    let count_of = |table: &StreamTable| {
        let has_stream = |number: &usize| {
            let progress = table.progress(&node(*number), &ClusterNames::new());
            progress.has_stream
        };
        (0..3_000).filter(has_stream).count()
    };
    let mut since = 0;
    let mut pages = 0;
    while since < *other.count().borrow() {
        since = exchange(&other, &own, since);
        pages += 1;
    }
    assert_eq!((pages, count_of(&own)), (3, 3_000));
    streams.truncate(1);
    while since < *other.count().borrow() {
        since = exchange(&other, &own, since);
    }
    assert_eq!(count_of(&own), 1);
    // A reader that has missed too many removals gets everything.
    for number in 0..20_000 {
        drop(other.open(node(number + 10)));
    }
    let report = other.report("other", since, 0);
    assert_eq!(report.since, 0);
    assert!(other.lock().log.counts.len() <= 16_500);
}

#[test]
fn full_read_ends_after_removals() {
    let table = Arc::new(StreamTable::default());
    let node = |number: usize| Node::new(Arc::default(), &number.to_string());
    let _streams: Vec<OpenStream> = (0..3_000).map(|it| table.open(node(it))).collect();
    for number in 3_000..23_000 {
        drop(table.open(node(number)));
    }
    let first = table.report("other", 0, 0);
    let newest = *table.count().borrow();
    assert_eq!((first.since, first.began), (0, newest));
    let second = table.report("other", first.until, first.began);
    assert_eq!((second.since, second.began), (first.until, newest));
    // During a full read, more nodes are removed than the table remembers.
    for number in 23_000..43_000 {
        drop(table.open(node(number)));
    }
    let third = table.report("other", second.until, second.began);
    assert_eq!(third.since, 0);
    assert!(third.began > newest);
}

#[tokio::test(start_paused = true)]
async fn changed_node_ids_keep_one_poller() {
    let table = Arc::new(StreamTable::default());
    for number in 0..10 {
        let node = Node::new(Arc::default(), &number.to_string());
        let changes = table.changes(&node);
        table.record_poll(&node, id("x"), Some(Arc::default()), true);
        // The table keeps no state for a poller that may not be added.
        let other = Node::new(Arc::default(), &format!("other {number}"));
        let waiting = table.changes(&other);
        table.record_poll(&other, id("y"), None, false);
        drop((changes, waiting));
    }
    let sizes = || {
        let nodes = table.lock();
        (nodes.nodes.len(), nodes.pollers, nodes.node_of.len())
    };
    assert_eq!(sizes(), (1, 1, 1));
    seconds(61).await;
    table.names_in_use(&Node::new(Arc::default(), "9"));
    assert_eq!(sizes(), (0, 0, 0));
}
