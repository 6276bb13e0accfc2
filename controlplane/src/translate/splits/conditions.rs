//! The `matches` of a TrafficSplit -> matches of a host.

use weir_split::wire::{Match, Permission};

use crate::problem::Problem;
use crate::problem::messages::split as messages;
use crate::smi::TrafficSplit;
use crate::specs::NamedMatch;
use crate::world::World;

/// Every port of the root has all of them, and the proxy tries them one after the other.
const MAX_MATCHES: usize = 1_000;

/// One match of a group that a split refers to, for one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition<'w> {
    /// The place of the group in `spec.matches`.
    pub group: usize,
    /// The place of the match among all of the split's.
    pub position: usize,
    /// Of the match in the group.
    pub name: &'w str,
    /// It leads to no rule yet.
    pub wanted: Match,
}

/// The matches of all groups that the split refers to, of which one must fit; each has one method at most.
/// `Ok(None)` is a split of every request.
///
/// A group that is not there must not make it one, so then there is no split.
pub fn of<'w>(
    world: &'w World,
    split: &'w TrafficSplit,
) -> Result<Option<Vec<Condition<'w>>>, Vec<Problem>> {
    if split.groups.is_empty() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut named: Vec<(usize, &NamedMatch)> = Vec::new();
    for (index, name) in split.groups.iter().enumerate() {
        let namespace = &split.object.namespace;
        let path = || format!("spec.matches[{index}].name");
        match world.group(namespace, name) {
            // It has its matches already.
            Some(_) if split.groups.iter().take(index).any(|it| it == name) => {}
            Some(group) => named.extend(group.matches.iter().map(|it| (index, it))),
            None => {
                let message = match world.has_broken_group(namespace, name) {
                    true => messages::split_group_broken(namespace, name),
                    false => messages::split_group_missing(namespace, name),
                };
                problems.push(split.object.problem(path(), message));
            }
        }
    }
    let of_all = named.iter().filter_map(|(_, it)| it.condition.as_ref());
    let count: usize = of_all.map(|it| it.methods.len().max(1)).sum();
    if count > MAX_MATCHES {
        let message = messages::split_too_many_matches(count, MAX_MATCHES);
        problems.push(split.object.problem("spec.matches", message));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut conditions = Vec::new();
    for (position, (group, it)) in named.into_iter().enumerate() {
        let matches = it.condition.iter().flat_map(expand);
        conditions.extend(matches.map(|wanted| Condition {
            group,
            position,
            name: &it.name,
            wanted,
        }));
    }
    Ok(Some(conditions))
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
