//! What is said of a TrafficSplit in Events: each problem when it comes, and when it is mended.

use std::collections::BTreeSet;

use crate::manifest::problem::{Extent, Problem};

/// One Event, without the time at which it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remark {
    pub is_warning: bool,
    pub reason: String,
    pub note: String,
    /// The field and what is wrong with it, without what follows from it.
    pub cause: String,
}

/// events.k8s.io/v1: Event.note.
const MAX_NOTE: usize = 1_024;

/// What there is to say when the problems were `before` and are `now`, each as one line.
pub fn remarks(before: &BTreeSet<Remark>, now: &BTreeSet<Remark>) -> Vec<Remark> {
    let is_wrong = |it: &Remark| {
        let mut still = now.iter().map(|it| (&it.reason, &it.cause));
        still.any(|known| known == (&it.reason, &it.cause))
    };
    let mended = before.iter().filter(|it| !is_wrong(it)).map(|it| Remark {
        is_warning: false,
        reason: "Resolved".to_owned(),
        // What there was to write holds no more.
        note: cut(format!("no longer: {}: {}", it.reason, it.cause)),
        cause: it.cause.clone(),
    });
    now.difference(before).cloned().chain(mended).collect()
}

impl Remark {
    pub fn of(problem: &Problem) -> Remark {
        Remark {
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

/// Within the bytes that the API takes, at a whole character.
fn cut(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE - '…'.len_utf8()).rev();
        let end = end.into_iter().find(|at| note.is_char_boundary(*at));
        note.truncate(end.unwrap_or_default());
        note.push('…');
    }
    note
}
