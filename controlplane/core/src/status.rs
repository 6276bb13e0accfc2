//! What became of an object: its status, from its problems and from what the proxies run.
//!
//! Pure: (evidence, subject, status as it is) -> the status that it should have.
//!
//! ```text
//! problems of the object, by parent --> Accepted, ResolvedRefs, PartiallyInvalid
//! proxies of its scopes, watermarks --> weir.dev/Live
//! ```

mod condition;
mod event;
mod live;
pub mod proxy;
mod route;
mod split;
pub mod subject;

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

pub use self::condition::LIVE;
use self::condition::{Condition, Status, find, list};
pub use self::event::{Remark, remarks};
use self::live::Fleet;
use crate::api::route::RouteKind;
use crate::manifest::object::Kind;
use crate::manifest::problem::{Extent, ObjectRef, Problem, Reason};
use crate::plan::{Audience, EditedShares};
use crate::status::proxy::Proxy;
use crate::status::subject::Subject;
use crate::watermark::Watermark;
use crate::world::Key;

/// All that a status is made of, beside its object.
pub struct Evidence<'e> {
    problems: HashMap<&'e ObjectRef, Vec<&'e Problem>>,
    gateways: &'e BTreeMap<Key, bool>,
    splits_of_literals: BTreeMap<Key, Audience>,
    edited: EditedShares,
    refused: Option<&'e str>,
    in_force: &'e Watermark,
    fleet: Fleet<'e>,
}

/// What of it comes from translation.
pub struct Findings<'e> {
    pub problems: &'e [Problem],
    /// Every Gateway, and whether its class is Weir's.
    pub gateways: &'e BTreeMap<Key, bool>,
    /// Whom the splits of literal hosts are for. The others are for everyone.
    pub splits_of_literals: BTreeMap<Key, Audience>,
    /// What a proxy with `weir-lean.wasm` cannot serve of the plan that is in force.
    pub edited: EditedShares,
    /// Why the newest plan is not in force.
    pub refused: Option<&'e str>,
    /// How far the cluster had been read for the plan that is.
    pub in_force: &'e Watermark,
}

impl<'e> Evidence<'e> {
    pub fn new(findings: Findings<'e>, proxies: &'e [Proxy]) -> Evidence<'e> {
        let Findings {
            problems,
            gateways,
            splits_of_literals,
            edited,
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
            refused,
            in_force,
            fleet: Fleet::new(proxies),
        }
    }

    /// What to write into the object's status, as a merge patch of it; None where it says all that already.
    /// `current` is the status as it is, which may be newer than what the subject was read with.
    pub fn status(&self, subject: &Subject, current: &Value, now: Timestamp) -> Option<Value> {
        if !subject.has_status {
            return None;
        }
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (field, wanted) = match RouteKind::of(subject.kind) {
            Some(kind) => (
                "parents",
                route::parents(self, subject, kind, current, &now),
            ),
            None if subject.kind == Kind::TrafficSplit => (
                "conditions",
                split::conditions(self, subject, current, &now),
            ),
            None => return None,
        };
        let is_empty = wanted.as_array().is_none_or(Vec::is_empty);
        let is = current.get(field);
        let is_known = is == Some(&wanted) || (is.is_none() && is_empty);
        (!is_known).then(|| serde_json::json!({ field: wanted }))
    }

    pub fn problems_of(&self, subject: &Subject) -> &[&'e Problem] {
        let known = self.problems.get(&subject.object);
        known.map(Vec::as_slice).unwrap_or_default()
    }

    /// Why a plan with the present generation is not in force, where it is not.
    fn held_back(&self, subject: &Subject) -> Option<&'e str> {
        let known = self.in_force.get(&subject.resource).unwrap_or_default();
        self.refused.filter(|_| known < subject.since)
    }
}

/// Whether a status waits for proxies: what they have read since may change it.
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
            live::ELSEWHERE,
        ];
        reasons.iter().any(|reason| it["reason"] == *reason)
    })
}

/// Of some problems, those that keep the object from being in force, and the others.
fn apart<'p>(problems: &[&'p Problem]) -> (Vec<&'p Problem>, Vec<&'p Problem>) {
    problems
        .iter()
        .partition(|problem| problem.effect.extent >= Extent::Parent)
}

/// Whether it is in force, or why not; with what there is to note where it is.
fn accepted(barring: &[&Problem], held_back: Option<&str>, notes: &[&Problem]) -> Condition {
    match (barring.first(), held_back) {
        (Some(first), _) => Condition::new("Accepted", Status::False, first.reason, words(barring)),
        (None, Some(why)) => {
            let message = format!("the configuration with it is not in force: {why}");
            Condition::new("Accepted", Status::False, "Pending", message)
        }
        (None, None) => Condition::new("Accepted", Status::True, "Accepted", words(notes)),
    }
}

fn resolved(references: &[&Problem], is_unread: bool) -> Condition {
    const KIND: &str = "ResolvedRefs";
    match references.first() {
        Some(first) => Condition::new(KIND, Status::False, first.reason, words(references)),
        None if is_unread => {
            let message = "not looked at while the object is not in force";
            Condition::new(KIND, Status::Unknown, "Pending", message)
        }
        None => Condition::new(KIND, Status::True, KIND, ""),
    }
}

/// Whether it is said of a reference of the object to another one.
fn is_of_reference(problem: &Problem) -> bool {
    match problem.reason {
        Reason::InvalidKind
        | Reason::BackendNotFound
        | Reason::RefNotPermitted
        | Reason::UnsupportedProtocol
        | Reason::PortNotFound
        | Reason::RootNotFound
        | Reason::ReferenceNotFound => true,
        // A Service of type ExternalName, and the name of a backend that is none.
        Reason::UnsupportedValue | Reason::InvalidValue => {
            problem.path.ends_with(']') || problem.path.ends_with("].service")
        }
        _ => false,
    }
}

/// Several problems in words.
fn words(problems: &[&Problem]) -> String {
    joined(problems.iter().map(|problem| {
        let path = problem.path.as_str();
        let place = if path.is_empty() { "" } else { ": " };
        format!("{path}{place}{}", problem.message())
    }))
}

/// As many as a person would read.
fn joined(mut words: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let shown = words.by_ref().take(SHOWN).map(|said| short(&said));
    let mut joined = shown.collect::<Vec<_>>().join(" | ");
    let more = words.count();
    if more > 0 {
        joined.push_str(&format!(" | and {more} more"));
    }
    joined
}

/// One line of what somebody else wrote.
fn short(text: &str) -> String {
    const LONGEST: usize = 1_000;
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(LONGEST).collect();
    if short.len() < text.len() && short.chars().count() == LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
