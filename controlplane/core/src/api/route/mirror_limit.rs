//! Limits the mirrors of one request, because each mirror needs a header of its own.

use weir_split::MIRROR_HEADERS;

use super::backend_ref::BackendRef;
use super::mirror::{MirrorRef, not_copied};
use crate::manifest::field_path::FieldPath;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::filter;

/// Removes mirrors if a request would have too many, and returns a problem for each removed mirror. A request has the
/// mirrors of its rule and of its backend. `at` is the path of the rule.
pub fn remove_excess(
    at: &FieldPath,
    of_rule: &mut Vec<MirrorRef>,
    backends: &mut [BackendRef],
) -> Vec<Problem> {
    let most = MIRROR_HEADERS.len();
    let mut problems = remove_after(&at.field("filters"), of_rule, most);
    let rest = most.saturating_sub(of_rule.len());
    for backend in backends {
        let at = at.field("backendRefs").entry(backend.index);
        problems.extend(remove_after(
            &at.field("filters"),
            &mut backend.mirrors,
            rest,
        ));
    }
    problems
}

fn remove_after(at: &FieldPath, mirrors: &mut Vec<MirrorRef>, rest: usize) -> Vec<Problem> {
    let removed = mirrors.split_off(rest.min(mirrors.len()));
    let problem = |mirror: &MirrorRef| {
        let message = filter::mirrors_too_many(MIRROR_HEADERS.len());
        at.entry(mirror.index)
            .problem(message)
            .with_effect(not_copied())
    };
    removed.iter().map(problem).collect()
}
