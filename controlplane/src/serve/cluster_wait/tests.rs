use super::*;
use weir_core::plan::Scope;

const UNKNOWN: Present = Present::Unknown { may_revoke: false };
const MAY_REVOKE: Present = Present::Unknown { may_revoke: true };

fn progress(sent: &[&str], refused: &[&str]) -> Progress {
    let sent = sent.iter().map(|it| ((*it).into(), ClusterState::Sent));
    let refuse = |it: &&str| ((*it).into(), ClusterState::Refused("no".into()));
    Progress {
        has_stream: true,
        missing: sent.chain(refused.iter().map(refuse)).collect(),
    }
}

fn lacking(progress: &Progress) -> ClusterNames {
    progress.missing.keys().cloned().collect()
}

/// Writes a decision with its times in milliseconds after `start`.
fn text(release: &Release, start: Instant) -> String {
    let at = |until: &Option<Instant>| match until {
        None => "for ever".to_owned(),
        Some(until) => format!("until {}", (*until - start).as_millis()),
    };
    match release {
        Release::Whole => "whole".to_owned(),
        Release::Hold { until } => format!("hold {}", at(until)),
        Release::Partial { missing, until } => {
            let names = |names: &std::collections::BTreeSet<Arc<str>>| {
                let names: Vec<&str> = names.iter().map(|it| &**it).collect();
                names.join(" ")
            };
            let (awaited, given_up) = (names(&missing.awaited), names(&missing.given_up));
            format!("[{awaited}] without [{given_up}] {}", at(until))
        }
    }
}

/// Runs a wait. A step has a time in milliseconds, the clusters without an answer, the refused clusters and the
/// expected decision.
fn check(present: Present, steps: &[(u64, &[&str], &[&str], &str)]) {
    let start = Instant::now();
    let mut wait = ClusterWait::default();
    for (at, sent, refused, expected) in steps {
        let now = start + Duration::from_millis(*at);
        let progress = progress(sent, refused);
        let release = wait.decide(present, &lacking(&progress), &progress, now);
        assert_eq!(text(&release, start), *expected, "{present:?} at {at}");
        if matches!(release, Release::Partial { .. } | Release::Whole) {
            wait.end_hold();
        }
    }
}

#[test]
fn document_waits_one_second() {
    for present in [Present::Known, Present::Nothing] {
        check(
            present,
            &[
                (0, &["a", "b"], &[], "hold until 1000"),
                (8, &["b"], &[], "hold until 1000"),
                (9, &[], &[], "whole"),
                (10_000, &["c"], &[], "hold until 11000"),
                (11_000, &["c"], &[], "[c] without [] until 25000"),
                (24_999, &["c"], &[], "[c] without [] until 25000"),
                (25_000, &["c"], &[], "[] without [c] for ever"),
                (90_000, &["c"], &[], "[] without [c] for ever"),
                (90_001, &[], &[], "whole"),
                (90_002, &["c"], &[], "hold until 91002"),
            ],
        );
    }
}

#[test]
fn refused_cluster_waits_no_longer() {
    check(
        Present::Known,
        &[
            (0, &["a"], &[], "hold until 1000"),
            (50, &[], &["a"], "[] without [a] for ever"),
            // A second cluster waits, and the refused one stays broken.
            (60, &["b"], &["a"], "hold until 1060"),
            (1_060, &["b"], &["a"], "[b] without [a] until 15060"),
        ],
    );
}

#[test]
fn later_clusters_never_extend_hold() {
    check(
        Present::Known,
        &[
            (0, &["a"], &[], "hold until 1000"),
            (900, &["a", "b"], &[], "hold until 1000"),
            (1_000, &["a", "b"], &[], "[a b] without [] until 15000"),
            // The document with `b` is out. A new document with `c` may wait again.
            (1_100, &["a", "b"], &[], "hold until 1900"),
            (1_900, &["a", "b", "c"], &[], "hold until 2100"),
            (
                2_100,
                &["a", "b", "c"],
                &[],
                "[a b c] without [] until 15000",
            ),
        ],
    );
}

#[test]
fn unknown_document_waits_until_given_up() {
    check(
        UNKNOWN,
        &[
            (0, &["a"], &[], "hold until 15000"),
            (10_000, &["a", "b"], &[], "hold until 15000"),
            (15_000, &["a", "b"], &[], "[] without [a b] for ever"),
        ],
    );
    check(UNKNOWN, &[(0, &[], &["a"], "[] without [a] for ever")]);
}

#[test]
fn revocation_waits_two_seconds() {
    check(
        MAY_REVOKE,
        &[
            (0, &["a", "b"], &[], "hold until 1000"),
            (900, &["b", "c"], &[], "hold until 1900"),
            (1_800, &["b", "c", "d"], &[], "hold until 2000"),
            (2_000, &["b", "c", "d"], &[], "[] without [b c d] for ever"),
        ],
    );
    let start = Instant::now();
    let mut wait = ClusterWait::default();
    let mut decide = |at: u64, progress: &Progress| {
        let now = start + Duration::from_millis(at);
        let lacking = ClusterNames::from(["a".into()]);
        text(&wait.decide(MAY_REVOKE, &lacking, progress, now), start)
    };
    // A stream that opens and ends again and again does not begin another wait.
    for (at, progress, expected) in [
        (0, Progress::default(), "hold until 2000"),
        (500, progress(&["a"], &[]), "hold until 1500"),
        (600, Progress::default(), "hold until 2000"),
        (1_400, progress(&["a"], &[]), "hold until 2000"),
        (2_000, progress(&["a"], &[]), "[] without [a] for ever"),
    ] {
        assert_eq!(decide(at, &progress), expected, "at {at}");
    }
    assert_eq!(decide(2_000, &Progress::default()), "whole");
}

/// The proxy uses the older version of a cluster, so its requests do not fail.
#[test]
fn changed_cluster_holds_only_known_documents() {
    let mut progress = progress(&[], &[]);
    let changed = ClusterState::Changed;
    progress.missing.insert("a".into(), changed);
    let lacking = lacking(&progress);
    for (present, expected) in [
        (Present::Known, "hold until 1000"),
        (Present::Nothing, "hold until 1000"),
        (UNKNOWN, "whole"),
        (MAY_REVOKE, "whole"),
    ] {
        let start = Instant::now();
        let release = ClusterWait::default().decide(present, &lacking, &progress, start);
        assert_eq!(text(&release, start), expected, "{present:?}");
    }
}

#[test]
fn proxy_without_stream_gets_no_cluster() {
    let start = Instant::now();
    let lacking = ClusterNames::from(["a".into()]);
    for (present, steps) in [
        (Present::Nothing, ["hold for ever"; 4]),
        (UNKNOWN, ["hold for ever"; 4]),
        (
            Present::Known,
            [
                "hold until 1000",
                "[a] without [] for ever",
                "hold until 61000",
                "[a] without [] for ever",
            ],
        ),
    ] {
        let mut wait = ClusterWait::default();
        for (seconds, expected) in [0, 1, 60, 3_600].into_iter().zip(steps) {
            let now = start + Duration::from_secs(seconds);
            let release = wait.decide(present, &lacking, &Progress::default(), now);
            assert_eq!(text(&release, start), expected, "{present:?} at {seconds}");
            if matches!(release, Release::Partial { .. }) {
                wait.end_hold();
            }
        }
        // The time without a stream does not count for the cluster.
        let now = start + Duration::from_secs(4_000);
        let release = wait.decide(present, &lacking, &progress(&["a"], &[]), now);
        assert!(matches!(release, Release::Hold { .. }), "{release:?}");
    }
}

#[test]
fn newer_poll_continues_wait() {
    let waits = ClusterWaits::default();
    let poller = |instance: &str| Poller {
        owner: Arc::default(),
        instance: instance.as_bytes().to_vec(),
        scope: Scope::Producers,
    };
    let start = Instant::now();
    let first = waits.of(&poller("a"), start);
    let progress = progress(&["a"], &[]);
    let mut held = first.lock();
    held.decide(Present::Known, &lacking(&progress), &progress, start);
    drop(held);
    let is_held = |instance: &str, seconds: u64| {
        let wait = waits.of(&poller(instance), start + Duration::from_secs(seconds));
        wait.lock().held_since.is_some()
    };
    assert!(is_held("a", 30));
    assert!(!is_held("b", 30));
    assert!(is_held("a", 61));
    assert!(!is_held("a", 200));
    assert_eq!(waits.0.lock().unwrap().by_poller.len(), 1);
}
