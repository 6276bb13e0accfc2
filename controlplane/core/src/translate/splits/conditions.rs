//! Translates the `matches` of a TrafficSplit to matches of a host set.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_split::wire::{Match, Permission};

use crate::api::smi::route_group::NamedMatch;
use crate::api::smi::traffic_split::TrafficSplit;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::split as messages;
use crate::world::World;

/// Maximum number of matches of one split. A proxy has all matches for each port, and tries them one by one.
const MAX_MATCHES: usize = 1_000;

/// One match of an HTTPRouteGroup that a split refers to. It has at most one method.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitCondition<'w> {
    /// Index of the group in `spec.matches`.
    pub group: usize,
    /// Position of the match among all matches of the split.
    pub position: usize,
    /// Name of the match in the group.
    pub name: &'w str,
    /// The match without the identity of a rule. Splits that refer to the same group share this value.
    pub wire: Arc<Match>,
}

/// A cache of matches of HTTPRouteGroups. The key has the namespace and name of the group, and the index of the match
/// in the group. The value has one match for each method.
pub type Expanded<'w> = BTreeMap<(&'w str, &'w str, usize), Vec<Arc<Match>>>;

/// Returns the matches of all HTTPRouteGroups that the split refers to, each with at most one method. The split applies
/// to requests that fit one of these matches. Returns `Ok(None)` if the split applies to every request.
///
/// A missing group is an error. If Weir ignored the missing group, the split could apply to every request.
pub fn of<'w>(
    world: &'w World,
    split: &'w TrafficSplit,
    expanded: &mut Expanded<'w>,
) -> Result<Option<Vec<SplitCondition<'w>>>, Vec<Problem>> {
    if split.groups.is_empty() {
        return Ok(None);
    }
    let mut problems = Vec::new();
    let mut named: Vec<(usize, usize, &NamedMatch)> = Vec::new();
    for (index, name) in split.groups.iter().enumerate() {
        let namespace = &split.object.namespace;
        let path = || format!("spec.matches[{index}].name");
        match world.group(namespace, name) {
            // The matches of this group are already in the list.
            Some(_) if split.groups.iter().take(index).any(|it| it == name) => {}
            Some(group) => {
                let matches = group.matches.iter().enumerate();
                named.extend(matches.map(|(place, it)| (index, place, it)));
            }
            None => {
                let message = if world.has_broken_group(namespace, name) {
                    messages::split_group_broken(namespace, name)
                } else {
                    messages::split_group_missing(namespace, name)
                };
                problems.push(split.object.problem(path(), message));
            }
        }
    }
    let permissions = named.iter().filter_map(|(.., it)| it.condition.as_ref());
    let count: usize = permissions.map(|it| it.methods.len().max(1)).sum();
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
        conditions.extend(matches.iter().map(|wire| SplitCondition {
            group,
            position,
            name: &it.name,
            wire: wire.clone(),
        }));
    }
    Ok(Some(conditions))
}

/// Returns one match for each method, or one match without a method if the condition has none.
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
