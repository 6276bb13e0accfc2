//! Events on a TrafficSplit: one when a problem appears, and one when it is resolved.

use std::collections::BTreeSet;

use crate::manifest::problem::{Extent, Problem};

/// The content of one Event, without its time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectEvent {
    pub is_warning: bool,
    pub reason: String,
    pub note: String,
    /// The path of the field and the cause of the problem, without effect and remedy.
    pub cause: String,
}

/// Maximum bytes of Event.note (events.k8s.io/v1).
const MAX_NOTE: usize = 1_024;

/// Returns the new Events of an object: an Event for each new problem, and an Event for each resolved problem. `before`
/// and `now` have one Event for each problem.
pub fn events_of_change(
    before: &BTreeSet<ObjectEvent>,
    now: &BTreeSet<ObjectEvent>,
) -> Vec<ObjectEvent> {
    let is_unresolved = |it: &ObjectEvent| {
        let mut causes = now.iter().map(|it| (&it.reason, &it.cause));
        causes.any(|cause| cause == (&it.reason, &it.cause))
    };
    let resolved = before
        .iter()
        .filter(|it| !is_unresolved(it))
        .map(|it| ObjectEvent {
            is_warning: false,
            reason: "Resolved".to_owned(),
            // The note has no remedy, because the problem is resolved.
            note: cut(format!("no longer: {}: {}", it.reason, it.cause)),
            cause: it.cause.clone(),
        });
    now.difference(before).cloned().chain(resolved).collect()
}

impl ObjectEvent {
    pub fn of(problem: &Problem) -> ObjectEvent {
        ObjectEvent {
            is_warning: problem.effect.extent > Extent::Nothing,
            reason: problem.reason.to_string(),
            note: cut(super::words(&[problem])),
            cause: super::short(&match problem.path.as_str() {
                "" => problem.cause.clone(),
                path => format!("{path}: {}", problem.cause),
            }),
        }
    }
}

/// Cuts a note to at most [`MAX_NOTE`] bytes, between two characters. A cut note ends with `…`.
fn cut(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - '…'.len_utf8()).rev();
        let end = end.into_iter().find(|at| note.is_char_boundary(*at));
        note.truncate(end.unwrap_or_default());
        note.push('…');
    }
    note
}
