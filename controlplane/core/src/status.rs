//! Computes the status of an object from its problems and from the configuration that the proxies run.
//!
//! The functions are pure. Their inputs are the evidence (problems and proxies), the subject (one object) and the
//! current status of the object.
//!
//! ```text
//! problems of the object, by parent --> Accepted, ResolvedRefs, PartiallyInvalid
//! proxies of its scopes, watermarks --> weir.dev/Live
//! ```

pub mod cluster_gaps;
mod condition;
mod event;
mod live;
pub mod liveness;
pub mod proxy;
mod route_parents;
mod split_conditions;
pub mod subject;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

pub use self::condition::LIVE;
use self::condition::{Condition, Status, find, list};
pub use self::event::{ObjectEvent, events_of_change};
use self::live::Fleet;
use crate::api::route::RouteKind;
use crate::manifest::object::Kind;
use crate::manifest::problem::{Extent, ObjectRef, Problem, Reason};
use crate::plan::{Audience, ClusterUsers, EditedShares};
use crate::status::proxy::Proxy;
use crate::status::subject::Subject;
use crate::watermark::Watermark;
use crate::world::Key;

/// The inputs that are the same for the statuses of all objects.
pub struct Evidence<'e> {
    problems: HashMap<&'e ObjectRef, Vec<&'e Problem>>,
    gateways: &'e BTreeMap<Key, bool>,
    splits_of_literals: BTreeMap<Key, Audience>,
    edited: EditedShares,
    cluster_users: ClusterUsers,
    refused: Option<&'e str>,
    in_force: &'e Watermark,
    fleet: Fleet<'e>,
}

/// The inputs that come from plans. A plan is the configuration of all proxies. The plan in force is the plan that
/// proxies get. If the newest plan is refused, an older plan stays in force.
pub struct PlanState<'e> {
    pub problems: &'e [Problem],
    /// Every Gateway. The value is true if the class of the Gateway belongs to Weir.
    pub gateways: &'e BTreeMap<Key, bool>,
    /// The audience (group of proxies) of each split with a plain host as root. Every other split, whose root is a
    /// Service, has [`Audience::Everyone`].
    pub splits_of_literals: BTreeMap<Key, Audience>,
    /// The requests with edited responses in the plan in force. A proxy with `weir-lean.wasm` cannot serve them.
    pub edited: EditedShares,
    /// The objects with clusters that a proxy lacks.
    pub cluster_users: ClusterUsers,
    /// Why the newest plan is refused; None if it is in force.
    pub refused: Option<&'e str>,
    /// The newest resource versions that the plan in force contains.
    pub in_force: &'e Watermark,
}

impl<'e> Evidence<'e> {
    pub fn new(findings: PlanState<'e>, proxies: &'e [Proxy]) -> Evidence<'e> {
        let PlanState {
            problems,
            gateways,
            splits_of_literals,
            edited,
            cluster_users,
            refused,
            in_force,
        } = findings;
        let mut by_object: HashMap<&ObjectRef, Vec<&Problem>> = HashMap::new();
        for problem in problems {
            by_object.entry(&problem.object).or_default().push(problem);
        }
        Evidence {
            problems: by_object,
            gateways,
            splits_of_literals,
            edited,
            cluster_users,
            refused,
            in_force,
            fleet: Fleet::new(proxies),
        }
    }

    /// Returns a merge patch for the status of the object; None if the status is already right. `current` is the
    /// current status of the object, which may be newer than the status in `subject`.
    pub fn status(&self, subject: &Subject, current: &Value, now: Timestamp) -> Option<Value> {
        if !subject.has_status {
            return None;
        }
        let (field, value) = self.new_status(subject, current, now)?;
        let is_empty = value.as_array().is_none_or(Vec::is_empty);
        let current_value = current.get(field);
        let is_right = current_value == Some(&value) || (current_value.is_none() && is_empty);
        (!is_right).then(|| serde_json::json!({ field: value }))
    }

    /// Returns the field of the status that Weir writes, and its new value. Does so even if the value does not change
    /// or this cluster has no status for the kind. Returns None if Weir writes no status for the kind.
    pub fn new_status(
        &self,
        subject: &Subject,
        current: &Value,
        now: Timestamp,
    ) -> Option<(&'static str, Value)> {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        match RouteKind::of(subject.kind) {
            Some(kind) => {
                let parents = route_parents::parents(self, subject, kind, current, &now);
                Some(("parents", parents))
            }
            None if subject.kind == Kind::TrafficSplit => {
                let conditions = split_conditions::conditions(self, subject, current, &now);
                Some(("conditions", conditions))
            }
            None => None,
        }
    }

    /// Returns the problems of the object.
    pub fn problems_of(&self, subject: &Subject) -> &[&'e Problem] {
        let problems = self.problems.get(&subject.object);
        problems.map(Vec::as_slice).unwrap_or_default()
    }

    /// The plan in force may have only an older generation of the object, because Weir refused the newest plan. Returns
    /// the reason of this refusal, or None.
    fn held_back(&self, subject: &Subject) -> Option<&'e str> {
        let version = self.in_force.get(&subject.resource).unwrap_or_default();
        self.refused.filter(|_| version < subject.since)
    }
}

/// True if the next poll of a proxy may change the status.
pub fn waits(status: &Value) -> bool {
    let of_parents = list(status, "parents").iter();
    let own = of_parents.map(|entry| list(entry, "conditions"));
    let mut live = own
        .chain([list(status, "conditions")])
        .filter_map(|conditions| find(conditions, LIVE));
    live.any(|it| {
        let reasons = [
            live::PENDING,
            live::REFUSED,
            live::UNSUPPORTED,
            live::NO_CLUSTER,
            live::ELSEWHERE,
        ];
        reasons.iter().any(|reason| it["reason"] == *reason)
    })
}

/// Returns two lists of problems. A problem in the first list affects the whole object, or the whole object at one
/// parent. The second list has all other problems.
fn split_barring<'p>(problems: &[&'p Problem]) -> (Vec<&'p Problem>, Vec<&'p Problem>) {
    problems
        .iter()
        .partition(|problem| problem.effect.extent >= Extent::Parent)
}

/// Returns the condition `Accepted`. The condition is false if there are problems in `barring` or if the object is
/// `held_back`. If the condition is true, its message contains the problems in `notes`.
fn accepted(barring: &[&Problem], held_back: Option<&str>, notes: &[&Problem]) -> Condition {
    match (barring.first(), held_back) {
        (Some(first), _) => Condition::new("Accepted", Status::False, first.reason, words(barring)),
        (None, Some(why)) => {
            let message = format!("the configuration with this object is not in force: {why}");
            Condition::new("Accepted", Status::False, "Pending", message)
        }
        (None, None) => Condition::new("Accepted", Status::True, "Accepted", words(notes)),
    }
}

/// Returns the condition `ResolvedRefs`. `is_unread` is true if Weir has not checked the references of the object.
fn resolved(references: &[&Problem], is_unread: bool) -> Condition {
    const KIND: &str = "ResolvedRefs";
    match references.first() {
        Some(first) => Condition::new(KIND, Status::False, first.reason, words(references)),
        None if is_unread => {
            let message = "the references are not checked while the object is not in force";
            Condition::new(KIND, Status::Unknown, "Pending", message)
        }
        None => Condition::new(KIND, Status::True, KIND, ""),
    }
}

/// True if the problem is about a reference to another object.
fn is_of_reference(problem: &Problem) -> bool {
    match problem.reason {
        Reason::InvalidKind
        | Reason::BackendNotFound
        | Reason::RefNotPermitted
        | Reason::UnsupportedProtocol
        | Reason::PortNotFound
        | Reason::RootNotFound
        | Reason::ReferenceNotFound => true,
        // The backend is a Service of type ExternalName, or the name of the backend is invalid.
        Reason::UnsupportedValue | Reason::InvalidValue => {
            problem.path.ends_with(']') || problem.path.ends_with("].service")
        }
        _ => false,
    }
}

/// Returns the message of a condition with these problems.
fn words(problems: &[&Problem]) -> String {
    join_some(problems.iter().map(|problem| {
        let path = problem.path.as_str();
        let place = if path.is_empty() { "" } else { ": " };
        format!("{path}{place}{}", problem.message())
    }))
}

/// Joins the first few texts, and adds the number of the other texts.
fn join_some(mut texts: impl Iterator<Item = String>) -> String {
    const MAX_SHOWN: usize = 4;
    let shown = texts.by_ref().take(MAX_SHOWN).map(|text| short(&text));
    let mut joined = shown.collect::<Vec<_>>().join(" | ");
    let more = texts.count();
    if more > 0 {
        joined.push_str(&format!(" | and {more} more"));
    }
    joined
}

/// Returns the text as one line. Cuts the line after 1,000 characters, and ends a cut line with `…`.
fn short(text: &str) -> String {
    const MAX_CHARS: usize = 1_000;
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(MAX_CHARS).collect();
    if short.len() < text.len() && short.chars().count() == MAX_CHARS {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
