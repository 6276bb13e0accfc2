use std::collections::BTreeSet;

use super::*;
use crate::manifest::problem::Effect;
use crate::manifest::problem::messages::Message;
use crate::status::subject::Written;

/// TrafficSplit `shop/web`, at its first generation.
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
        parent_refs: Written::default(),
        status: Written::default(),
        has_status,
    }
}

#[test]
fn of_a_kind_without_a_status_nothing_is_written() {
    let problems = [problem(0, "is not there")];
    let findings = Findings {
        problems: &problems,
        gateways: &BTreeMap::new(),
        splits_of_literals: BTreeMap::new(),
        edited: EditedShares::default(),
        refused: None,
        in_force: &Watermark::default(),
    };
    let evidence = Evidence::new(findings, &[]);
    let written = |has_status: bool| {
        let status = evidence.status(
            &split_subject(has_status),
            &Value::Null,
            Timestamp::UNIX_EPOCH,
        );
        status.is_some()
    };
    assert!(written(true) && !written(false));
    // It is told in Events alone.
    let remark = Remark::of(&problems[0]);
    let told = remarks(&BTreeSet::new(), &BTreeSet::from([remark.clone()]));
    assert_eq!(told, [remark]);
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
fn what_is_said_stays_short() {
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
    // events.k8s.io/v1 takes 1,024 bytes of a note, and a condition 32,768 of a message.
    let remark = Remark::of(&long);
    assert!(
        remark.note.len() <= 1_024 && remark.note.ends_with('…'),
        "{remark:?}"
    );
}

#[test]
fn a_problem_is_remarked_when_it_comes_and_when_it_goes() {
    let [one, two] = [0, 1].map(|at| Remark::of(&problem(at, "is not there")));
    let known = |remarks: &[&Remark]| -> BTreeSet<Remark> {
        remarks.iter().map(|it| (*it).clone()).collect()
    };
    let none = known(&[]);
    assert_eq!(
        remarks(&none, &known(&[&one])),
        known(&[&one]).into_iter().collect::<Vec<_>>()
    );
    assert_eq!(remarks(&known(&[&one]), &known(&[&one])), []);
    let mended = Remark {
        is_warning: false,
        reason: "Resolved".into(),
        note: "no longer: BackendNotFound: spec.backends[0]: is not there".into(),
        cause: "spec.backends[0]: is not there".into(),
    };
    assert_eq!(remarks(&known(&[&one]), &known(&[&two])), [two, mended]);
    // With another effect it is still wrong.
    let elsewhere = Remark::of(&problem(0, "is not there").of_whole());
    let news = remarks(&known(&[&one]), &known(&[&elsewhere]));
    assert_eq!(news, [elsewhere]);
}

#[test]
fn a_status_that_waits_for_proxies_is_known() {
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
