//! Events on TrafficSplits (events.k8s.io/v1): a problem when it comes, and when it is mended.
//!
//! The name of an Event is made of what it says, so that two replicas, or one that began anew, never say the same
//! twice: the API server refuses the second. What comes back within the life of an Event makes a series of it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

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
use weir_core::status::{Remark, remarks};

/// Remarks that wait; of more the oldest are not made.
const MAX_WAITING: usize = 10_000;

/// What was said of each split, and what is to be said.
#[derive(Default)]
pub struct Events {
    /// By uid.
    said: HashMap<String, BTreeSet<Remark>>,
    waiting: VecDeque<Note>,
    /// How often each Event was made, by its name.
    made: HashMap<String, i32>,
}

/// An Event to be written.
#[derive(Clone, Debug)]
pub struct Note {
    subject: Arc<Subject>,
    remark: Remark,
}

impl Events {
    /// Takes in what there is to say now; what has passed in the meantime is not said any more.
    pub fn hear(&mut self, outcome: &Outcome) {
        let mut problems: HashMap<_, BTreeSet<Remark>> = HashMap::new();
        for problem in outcome.problems.iter() {
            let of_object = problems.entry(&problem.object).or_default();
            of_object.insert(Remark::of(problem));
        }
        let splits = outcome.subjects.iter();
        let splits = splits.filter(|subject| subject.kind == Kind::TrafficSplit);
        let mut there = HashMap::new();
        for subject in splits {
            let now = problems.remove(&subject.object).unwrap_or_default();
            let mut before = self.said.remove(&subject.uid).unwrap_or_default();
            if before != now {
                // What passed before it was said needs no mending either.
                self.waiting.retain(|note| {
                    let has_passed = note.subject.uid == subject.uid
                        && note.remark.is_warning
                        && !now.contains(&note.remark);
                    if has_passed {
                        before.remove(&note.remark);
                    }
                    !has_passed
                });
            }
            let news = remarks(&before, &now);
            let notes = news.into_iter().map(|remark| Note {
                subject: subject.clone(),
                remark,
            });
            self.waiting.extend(notes);
            if !now.is_empty() {
                there.insert(subject.uid.clone(), now);
            }
        }
        self.said = there;
        let excess = self.waiting.len().saturating_sub(MAX_WAITING);
        self.waiting.drain(..excess);
    }

    pub fn take(&mut self) -> Option<Note> {
        self.waiting.pop_front()
    }

    /// One that could not be made is the next again, as often as it was wanted before.
    pub fn put_back(&mut self, note: Note) {
        if let Some(count) = self.made.get_mut(&note.name()) {
            *count = count.saturating_sub(1);
        }
        self.waiting.push_front(note);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How often this Event has been made, this time included.
    pub fn count(&mut self, note: &Note) -> i32 {
        if self.made.len() > MAX_WAITING {
            self.made.clear();
        }
        let count = self.made.entry(note.name()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

impl Note {
    fn name(&self) -> String {
        let Remark {
            is_warning,
            reason,
            note,
            cause: _,
        } = &self.remark;
        let said = format!("{}\0{is_warning}\0{reason}\0{note}", self.subject.uid);
        let hex = sha256(said.as_bytes());
        let digits = hex.get(..16).unwrap_or(&hex);
        // A name of at most 253 characters.
        let name = &self.subject.object.name;
        let name = name.get(..name.len().min(230)).unwrap_or_default();
        format!("{}.{digits}", name.trim_end_matches(['.', '-']))
    }

    /// Whether an Event was made, or counted, by this call; `count` is how often this process wanted it.
    pub async fn make(
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
            // Said before, by this replica in another life or by another one.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes in one second, of which a moment may use several at once.
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

    /// Whether one more may be made now.
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
    fn an_event_that_could_not_be_made_is_the_next_and_counts_once() {
        let subject = split_subject(false);
        let object = subject.object.clone();
        let problem = |at: u32| {
            let path = format!("spec.backends[{at}]");
            object.problem(path, messages::no_service("shop/v2"))
        };
        // Also of a split whose definition has no status.
        let outcome = Outcome {
            subjects: vec![Arc::new(subject)],
            problems: [problem(0), problem(1)].into(),
            ..Outcome::default()
        };
        let mut events = Events::default();
        events.hear(&outcome);
        let first = events.take().unwrap();
        assert_eq!(events.count(&first), 1);
        let name = first.name();
        events.put_back(first);
        let again = events.take().unwrap();
        assert_eq!((again.name(), events.count(&again)), (name, 1));
        assert!(events.take().is_some() && events.is_empty());
    }
}
