//! The `matches` of a TrafficSplit -> matches of a host.

use weir_split::wire::{Match, Permission};

use crate::object::SMI_SPECS;
use crate::problem::{Problem, Reason};
use crate::smi::{GroupRef, TrafficSplit};
use crate::specs::HttpRouteGroup;
use crate::world::World;

/// Every port of the root has all of them, and the proxy tries them one after the other.
const MAX_MATCHES: usize = 1_000;

/// The matches of all groups that the split refers to, of which one must fit; each has one method at most.
/// They lead to no rule yet. `Ok(None)` is a split of every request.
///
/// A group that is not there must not make it one, so then there is no split.
pub fn of(world: &World, split: &TrafficSplit) -> Result<Option<Vec<Match>>, Vec<Problem>> {
    if split.groups.is_empty() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut matches: Vec<Match> = Vec::new();
    for (index, reference) in split.groups.iter().enumerate() {
        let path = format!("spec.matches[{index}]");
        match group(world, split, reference, &path) {
            // It has its matches already.
            Ok(_)
                if split
                    .groups
                    .iter()
                    .take(index)
                    .any(|it| it.name == reference.name) => {}
            Ok(group) => {
                let conditions = group.matches.iter().filter_map(|it| it.condition.as_ref());
                matches.extend(conditions.flat_map(expand));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if matches.len() > MAX_MATCHES {
        problems.push(split.object.legacy(
            "spec.matches",
            Reason::InvalidValue,
            format!(
                "{} matches, one for each method, are more than {MAX_MATCHES}: the split is not in force",
                matches.len()
            ),
            "name groups with fewer matches",
        ));
    }
    if problems.is_empty() {
        Ok(Some(matches))
    } else {
        Err(problems)
    }
}

fn group<'w>(
    world: &'w World,
    split: &TrafficSplit,
    reference: &GroupRef,
    path: &str,
) -> Result<&'w HttpRouteGroup, Problem> {
    let refuse = |field: &str, reason: Reason, message: String, remedy: &str| {
        let path = format!("{path}.{field}");
        let message = format!("{message}: the split is not in force");
        split.object.legacy(path, reason, message, remedy)
    };
    let kind = "name an HTTPRouteGroup of specs.smi-spec.io";
    if let Some(other) = &reference.api_group
        && !other.is_empty()
        && other != SMI_SPECS
    {
        let message = format!("{other} has nothing that a split could ask for");
        return Err(refuse("apiGroup", Reason::InvalidKind, message, kind));
    }
    if reference.kind != "HTTPRouteGroup" {
        let message = format!("a split cannot ask for a {}", reference.kind);
        return Err(refuse("kind", Reason::InvalidKind, message, kind));
    }
    let namespace = &split.object.namespace;
    let group = world.group(namespace, &reference.name);
    group.ok_or_else(|| {
        let message = format!("there is no HTTPRouteGroup {namespace}/{}", reference.name);
        let remedy = "create it, or correct the name";
        refuse("name", Reason::ReferenceNotFound, message, remedy)
    })
}

/// One match for each method.
fn expand(condition: &Permission) -> Vec<Match> {
    let one = |method: Option<&String>| Match {
        path: condition.path.clone(),
        method: method.cloned(),
        headers: condition.headers.clone(),
        ..Match::default()
    };
    if condition.methods.is_empty() {
        return vec![one(None)];
    }
    let methods = condition.methods.iter();
    methods.map(|method| one(Some(method))).collect()
}
