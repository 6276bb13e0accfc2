use std::collections::BTreeSet;

use super::*;
use crate::manifest::problem::Effect;
use crate::manifest::problem::messages::Message;
use crate::status::subject::JsonText;

/// Returns TrafficSplit `shop/web`, at its first generation.
fn split_subject(has_status: bool) -> Subject {
    Subject {
        kind: Kind::TrafficSplit,
        object: ObjectRef {
            source: String::new(),
            kind: Kind::TrafficSplit.to_string(),
            namespace: "shop".into(),
            name: "web".into(),
        },
        api_version: "split.smi-spec.io/v1alpha4".into(),
        resource: "trafficsplits.split.smi-spec.io".into(),
        uid: "1".into(),
        generation: 1,
        since: 1,
        resource_version: "1".into(),
        parent_refs: JsonText::default(),
        status: JsonText::default(),
        has_status,
    }
}

#[test]
fn kind_without_status_gets_no_patch() {
    let problems = [problem(0, "is not there")];
    let findings = PlanState {
        problems: &problems,
        gateways: &BTreeMap::new(),
        splits_of_literals: BTreeMap::new(),
        edited: EditedShares::default(),
        cluster_users: ClusterUsers::default(),
        refused: None,
        in_force: &Watermark::default(),
    };
    let evidence = Evidence::new(findings, &[]);
    let is_written = |has_status: bool| {
        let status = evidence.status(
            &split_subject(has_status),
            &Value::Null,
            Timestamp::UNIX_EPOCH,
        );
        status.is_some()
    };
    assert!(is_written(true) && !is_written(false));
    // The problem still has an Event.
    let event = ObjectEvent::of(&problems[0]);
    let events = events_of_change(&BTreeSet::new(), &BTreeSet::from([event.clone()]));
    assert_eq!(events, [event]);
}

fn problem(number: usize, message: &str) -> Problem {
    let Subject { object, .. } = split_subject(true);
    let path = format!("spec.backends[{number}]");
    let message = Message {
        code: "test",
        reason: Reason::BackendNotFound,
        cause: message.to_owned(),
        effect: Effect::new(Extent::Part, "it is left out"),
        remedy: "create it".to_owned(),
    };
    object.problem(path, message)
}

#[test]
fn messages_stay_short() {
    let problems: Vec<Problem> = (0..6).map(|at| problem(at, "is not there")).collect();
    let all: Vec<&Problem> = problems.iter().collect();
    assert_eq!(
        words(&all),
        "spec.backends[0]: is not there: it is left out; create it | \
         spec.backends[1]: is not there: it is left out; create it | \
         spec.backends[2]: is not there: it is left out; create it | \
         spec.backends[3]: is not there: it is left out; create it | and 2 more"
    );
    let long = problem(0, &"\u{fc}\n".repeat(5_000));
    let words = words(&[&long]);
    assert!(!words.contains('\n') && words.ends_with('…') && words.chars().count() <= 1_001);
    // Kubernetes accepts at most 1,024 bytes in the note of an Event, and 32,768 bytes in the message of a condition.
    let event = ObjectEvent::of(&long);
    assert!(
        event.note.len() <= 1_024 && event.note.ends_with('…'),
        "{event:?}"
    );
}

#[test]
fn problems_and_resolutions_have_events() {
    let [one, two] = [0, 1].map(|at| ObjectEvent::of(&problem(at, "is not there")));
    let set_of = |events_of_change: &[&ObjectEvent]| -> BTreeSet<ObjectEvent> {
        events_of_change.iter().map(|it| (*it).clone()).collect()
    };
    let none = set_of(&[]);
    assert_eq!(
        events_of_change(&none, &set_of(&[&one])),
        set_of(&[&one]).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(events_of_change(&set_of(&[&one]), &set_of(&[&one])), []);
    let resolved_event = ObjectEvent {
        is_warning: false,
        reason: "Resolved".into(),
        note: "no longer: BackendNotFound: spec.backends[0]: is not there".into(),
        cause: "spec.backends[0]: is not there".into(),
    };
    assert_eq!(
        events_of_change(&set_of(&[&one]), &set_of(&[&two])),
        [two, resolved_event]
    );
    // If only the effect of a problem changes, the problem is not resolved.
    let elsewhere = ObjectEvent::of(&problem(0, "is not there").of_whole());
    let news = events_of_change(&set_of(&[&one]), &set_of(&[&elsewhere]));
    assert_eq!(news, [elsewhere]);
}

#[test]
fn waiting_status_is_recognized() {
    let live = |reason: &str| serde_json::json!([{"type": "weir.dev/Live", "reason": reason}]);
    for (reason, does) in [
        ("Pending", true),
        ("Refused", true),
        ("Unsupported", true),
        ("Live", false),
        ("NotInForce", false),
    ] {
        let split = serde_json::json!({"conditions": live(reason)});
        let route =
            serde_json::json!({"parents": [{"conditions": []}, {"conditions": live(reason)}]});
        assert_eq!((waits(&split), waits(&route)), (does, does), "{reason}");
    }
}
