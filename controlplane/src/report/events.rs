//! Events on TrafficSplits (events.k8s.io/v1): one Event when a problem appears, and one when the problem is resolved.
//!
//! The name of an Event is a hash of its text. So the API server refuses a second Event with the same text, for example
//! after a restart. If a problem comes back while its Event exists, the Event becomes a series.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::publish::Outcome;
use weir_core::api::gateway::CONTROLLER;
use weir_core::digest::sha256;
use weir_core::manifest::object::Kind;
use weir_core::status::subject::Subject;
use weir_core::status::{ObjectEvent, events_of_change};

/// Time from the beginning of a problem until its Event is written. Kubernetes deletes a split and its Services one
/// after the other. In between the split has a problem, but only for less than this time, so the problem gets no Event.
pub const HOLD: Duration = Duration::from_secs(5);

/// Maximum number of Events that wait to be written. If there are more, the oldest Events are dropped.
const MAX_WAITING: usize = 10_000;

/// The present problems of each TrafficSplit, and the Events that wait to be written.
#[derive(Default)]
pub struct Events {
    /// The present problems, as Events. The key is the uid of the TrafficSplit.
    remarks: HashMap<String, BTreeSet<ObjectEvent>>,
    waiting: VecDeque<Note>,
    /// How often each Event was written. The key is the name of the Event.
    counts: HashMap<String, i32>,
}

/// An Event to be written.
#[derive(Clone, Debug)]
pub struct Note {
    subject: Arc<Subject>,
    remark: ObjectEvent,
    /// The earliest time to write the Event.
    due: Instant,
}

impl Events {
    /// Adds an Event for each new problem, and one for each resolved problem. A problem that is resolved before its
    /// Event is written gets no Event.
    pub fn update(&mut self, outcome: &Outcome, now: Instant) {
        self.retain(outcome);
        let mut problems: HashMap<_, BTreeSet<ObjectEvent>> = HashMap::new();
        for problem in outcome.problems.iter() {
            let of_object = problems.entry(&problem.object).or_default();
            of_object.insert(ObjectEvent::of(problem));
        }
        let splits = outcome.subjects.iter();
        let splits = splits.filter(|subject| subject.kind == Kind::TrafficSplit);
        let mut present = HashMap::new();
        for subject in splits {
            let current = problems.remove(&subject.object).unwrap_or_default();
            let mut before = self.remarks.remove(&subject.uid).unwrap_or_default();
            if before != current {
                // If the Event about a problem was not written, no Event is needed when the problem is resolved.
                self.waiting.retain(|note| {
                    let is_resolved = note.subject.uid == subject.uid
                        && note.remark.is_warning
                        && !current.contains(&note.remark);
                    if is_resolved {
                        before.remove(&note.remark);
                    }
                    !is_resolved
                });
            }
            let changes = events_of_change(&before, &current);
            let notes = changes.into_iter().map(|remark| Note {
                subject: subject.clone(),
                due: if remark.is_warning { now + HOLD } else { now },
                remark,
            });
            self.waiting.extend(notes);
            if !current.is_empty() {
                present.insert(subject.uid.clone(), current);
            }
        }
        self.remarks = present;
        let excess = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..excess);
    }

    /// Removes the Events of objects that no longer exist.
    pub fn retain(&mut self, outcome: &Outcome) {
        if !self.waiting.is_empty() {
            let subjects = outcome.subjects.iter();
            let uids: HashSet<&str> = subjects.map(|it| it.uid.as_str()).collect();
            self.waiting
                .retain(|note| uids.contains(note.subject.uid.as_str()));
        }
    }

    /// True if an Event may be written now.
    pub fn has_due(&self, now: Instant) -> bool {
        self.waiting.iter().any(|note| note.due <= now)
    }

    /// Removes and returns the first Event that may be written now.
    pub fn take(&mut self, now: Instant) -> Option<Note> {
        let index = self.waiting.iter().position(|note| note.due <= now)?;
        self.waiting.remove(index)
    }

    /// Puts an Event back at the front of the queue after its write has failed, and lowers its count by one.
    pub fn put_back(&mut self, note: Note) {
        if let Some(count) = self.counts.get_mut(&note.name()) {
            *count = count.saturating_sub(1);
        }
        self.waiting.push_front(note);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds one to the count of this Event, and returns the count.
    pub fn count(&mut self, note: &Note) -> i32 {
        if self.counts.len() > MAX_WAITING {
            self.counts.clear();
        }
        let count = self.counts.entry(note.name()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

impl Note {
    fn name(&self) -> String {
        let ObjectEvent {
            is_warning,
            reason,
            note,
            cause: _,
        } = &self.remark;
        let text = format!("{}\0{is_warning}\0{reason}\0{note}", self.subject.uid);
        let hex = sha256(text.as_bytes());
        let digits = hex.get(..16).unwrap_or(&hex);
        // Kubernetes accepts a name of at most 253 characters.
        let name = &self.subject.object.name;
        let name = name.get(..name.len().min(230)).unwrap_or_default();
        format!("{}.{digits}", name.trim_end_matches(['.', '-']))
    }

    /// Creates the Event. If the Event exists and `count` is above 1, updates its series instead. Returns true if the
    /// Event was created or updated.
    pub async fn write(
        &self,
        client: kube::Client,
        identity: &str,
        count: i32,
    ) -> Result<bool, kube::Error> {
        let object = &self.subject.object;
        let api: Api<Event> = Api::namespaced(client, &object.namespace);
        let now = MicroTime(Timestamp::now());
        let name = self.name();
        let event = Event {
            action: Some("Translate".to_owned()),
            event_time: Some(now.clone()),
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(object.namespace.clone()),
                ..ObjectMeta::default()
            },
            note: Some(self.remark.note.clone()),
            reason: Some(self.remark.reason.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(self.subject.api_version.clone()),
                kind: Some("TrafficSplit".to_owned()),
                name: Some(object.name.clone()),
                namespace: Some(object.namespace.clone()),
                resource_version: Some(self.subject.resource_version.clone()),
                uid: Some(self.subject.uid.clone()),
                field_path: None,
            }),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(identity.to_owned()),
            type_: Some(
                if self.remark.is_warning {
                    "Warning"
                } else {
                    "Normal"
                }
                .to_owned(),
            ),
            ..Event::default()
        };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && count > 1 => {
                let series = json!({"series": {"count": count, "lastObservedTime": now}});
                let patch = Patch::Merge(series);
                api.patch(&name, &PatchParams::default(), &patch).await?;
                Ok(true)
            }
            // Another replica has written this Event, or this replica has written it before a restart.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A rate limit. All writes of one second may come at once.
pub struct Allowance {
    each_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    pub fn new(each_second: f64, now: Instant) -> Allowance {
        Allowance {
            each_second,
            left: each_second,
            at: now,
        }
    }

    /// Counts one write and returns true. Returns false if the limit is reached.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * self.each_second).min(self.each_second);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::split_subject;
    use weir_core::manifest::problem::messages::backend as messages;

    #[test]
    fn failed_event_counts_once() {
        let subject = split_subject(false);
        let object = subject.object.clone();
        let problem = |at: u32| {
            let path = format!("spec.backends[{at}]");
            object.problem(path, messages::no_service("shop/v2"))
        };
        // This TrafficSplit has no status subresource.
        let outcome = Outcome {
            subjects: vec![Arc::new(subject)],
            problems: [problem(0), problem(1)].into(),
            ..Outcome::default()
        };
        let mut events = Events::default();
        let start = Instant::now();
        events.update(&outcome, start);
        let later = start + HOLD;
        assert!(!events.has_due(start) && events.has_due(later));
        let first = events.take(later).unwrap();
        assert_eq!(events.count(&first), 1);
        let name = first.name();
        events.put_back(first);
        let again = events.take(later).unwrap();
        assert_eq!((again.name(), events.count(&again)), (name, 1));
        assert!(events.take(later).is_some() && events.is_empty());
    }

    #[test]
    fn deleted_object_gets_no_event() {
        let subject = split_subject(true);
        let problem = subject
            .object
            .problem("spec", messages::no_service("shop/v2"));
        let broken = Outcome {
            subjects: vec![Arc::new(subject)],
            problems: [problem].into(),
            ..Outcome::default()
        };
        let start = Instant::now();
        let mut events = Events::default();
        events.update(&broken, start);
        // Kubernetes deletes the Service first, and then the split.
        events.update(&Outcome::default(), start + HOLD / 2);
        assert!(events.is_empty());
        // The Service is back before the Event is written.
        events.update(&broken, start);
        let repaired = Outcome {
            problems: [].into(),
            ..broken
        };
        events.update(&repaired, start + HOLD / 2);
        assert!(events.is_empty());
    }
}
