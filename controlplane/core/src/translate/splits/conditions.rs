//! The `matches` of a TrafficSplit -> matches of a host.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_split::wire::{Match, Permission};

use crate::api::smi::route_group::NamedMatch;
use crate::api::smi::traffic_split::TrafficSplit;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::split as messages;
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
    /// It leads to no rule yet. Splits that refer to the same group share it.
    pub wanted: Arc<Match>,
}

/// The matches of groups, each with one method at most, by namespace and name of the group and place of the match.
pub type Expanded<'w> = BTreeMap<(&'w str, &'w str, usize), Vec<Arc<Match>>>;

/// The matches of all groups that the split refers to, of which one must fit; each has one method at most.
/// `Ok(None)` is a split of every request.
///
/// A group that is not there must not make it one, so then there is no split.
pub fn of<'w>(
    world: &'w World,
    split: &'w TrafficSplit,
    expanded: &mut Expanded<'w>,
) -> Result<Option<Vec<Condition<'w>>>, Vec<Problem>> {
    if split.groups.is_empty() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut named: Vec<(usize, usize, &NamedMatch)> = Vec::new();
    for (index, name) in split.groups.iter().enumerate() {
        let namespace = &split.object.namespace;
        let path = || format!("spec.matches[{index}].name");
        match world.group(namespace, name) {
            // It has its matches already.
            Some(_) if split.groups.iter().take(index).any(|it| it == name) => {}
            Some(group) => {
                let matches = group.matches.iter().enumerate();
                named.extend(matches.map(|(place, it)| (index, place, it)));
            }
            None => {
                let message = match world.has_broken_group(namespace, name) {
                    true => messages::split_group_broken(namespace, name),
                    false => messages::split_group_missing(namespace, name),
                };
                problems.push(split.object.problem(path(), message));
            }
        }
    }
    let of_all = named.iter().filter_map(|(.., it)| it.condition.as_ref());
    let count: usize = of_all.map(|it| it.methods.len().max(1)).sum();
    if count > MAX_MATCHES {
        let message = messages::split_too_many_matches(count, MAX_MATCHES);
        problems.push(split.object.problem("spec.matches", message));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut conditions = Vec::new();
    for (position, (group, place, it)) in named.into_iter().enumerate() {
        let name = split.groups.get(group).map_or("", String::as_str);
        let key = (split.object.namespace.as_str(), name, place);
        let matches = expanded.entry(key);
        let matches = matches.or_insert_with(|| it.condition.iter().flat_map(expand).collect());
        conditions.extend(matches.iter().map(|wanted| Condition {
            group,
            position,
            name: &it.name,
            wanted: wanted.clone(),
        }));
    }
    Ok(Some(conditions))
}

/// One match for each method.
fn expand(condition: &Permission) -> Vec<Arc<Match>> {
    let one = |method: Option<&String>| {
        Arc::new(Match {
            path: condition.path.clone(),
            method: method.cloned(),
            headers: condition.headers.clone(),
            ..Match::default()
        })
    };
    if condition.methods.is_empty() {
        return vec![one(None)];
    }
    let methods = condition.methods.iter();
    methods.map(|method| one(Some(method))).collect()
}
