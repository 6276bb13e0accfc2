//! Computes the status of a TrafficSplit.

use serde_json::Value;

use super::condition::{Condition, LIVE, find, list};
use super::{Evidence, accepted, is_of_reference, resolved, split_barring};
use crate::manifest::problem::Reason;
use crate::plan::Audience;
use crate::status::subject::Subject;

/// Types of the conditions that Weir writes.
const OWN: [&str; 3] = ["Accepted", "ResolvedRefs", LIVE];

/// Returns the new value of `status.conditions`. Conditions of other controllers keep their content and place.
pub fn conditions(evidence: &Evidence, subject: &Subject, current: &Value, now: &str) -> Value {
    let before = list(current, "conditions");
    let own = own_conditions(evidence, subject);
    let write = |condition: &Condition| {
        let old = find(before, condition.kind);
        condition.write(old, subject.generation, now)
    };
    let mut entries: Vec<Value> = before
        .iter()
        .filter_map(|entry| {
            let kind = entry["type"].as_str().unwrap_or_default();
            match own.iter().find(|it| it.kind == kind) {
                Some(condition) => Some(write(condition)),
                None => (!OWN.contains(&kind)).then(|| entry.clone()),
            }
        })
        .collect();
    let missing = own.iter().filter(|it| find(before, it.kind).is_none());
    entries.extend(missing.map(write));
    Value::from(entries)
}

fn own_conditions(evidence: &Evidence, subject: &Subject) -> Vec<Condition> {
    let problems = evidence.problems_of(subject);
    let (barring, parts) = split_barring(problems);
    let references = problems.iter().copied().filter(|it| is_of_reference(it));
    let references: Vec<_> = references.collect();
    let notes: Vec<_> = parts
        .into_iter()
        .filter(|it| !is_of_reference(it))
        .collect();

    let accepted = accepted(&barring, evidence.held_back(subject), &notes);
    let is_unread = barring
        .iter()
        .any(|it| matches!(it.reason, Reason::InvalidValue | Reason::UnknownVersion));
    let resolved = resolved(&references, is_unread);
    let key = (
        subject.object.namespace.clone(),
        subject.object.name.clone(),
    );
    let audience = evidence.splits_of_literals.get(&key);
    let audience = audience.unwrap_or(&Audience::Everyone);
    let live = if barring.is_empty() {
        evidence.live(subject, audience)
    } else {
        super::live::not_in_force()
    };
    vec![accepted, resolved, live]
}
