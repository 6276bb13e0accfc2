//! Finds the matches of routes that no request can reach, and the rules that get the requests of these matches.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::Match;

use crate::api::route::{Route, RouteMatch, RouteRule};
use crate::manifest::problem::messages::{Message, list, matches as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::shadow;

/// A match of a route at one port or listener, and the indexes of the parentRefs that select this port or listener.
pub struct CheckedMatch<'w> {
    pub route: &'w Route,
    pub rule: &'w RouteRule,
    pub route_match: &'w RouteMatch,
    pub parents: BTreeSet<usize>,
}

/// A rule that gets the requests of another rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Winner<'w> {
    route: &'w ObjectRef,
    rule: usize,
}

/// The results for one route at one parent.
#[derive(Default)]
struct AtParent<'w> {
    /// For each match, the rules that get its requests. Empty if a request can reach the match. The key has the index
    /// of the rule and the index of the match.
    matches: BTreeMap<(usize, usize), BTreeSet<Winner<'w>>>,
}

/// The results of all checks.
#[derive(Default)]
pub struct Reach<'w> {
    /// The results by route and index of the parentRef.
    parents: BTreeMap<(&'w ObjectRef, usize), (&'w Route, AtParent<'w>)>,
}

impl<'w> Reach<'w> {
    /// Checks the matches of one host set and one listener, in order of precedence.
    pub fn check(&mut self, ordered: &[(&CheckedMatch<'w>, &Match)]) {
        let matches: Vec<&Match> = ordered
            .iter()
            .map(|(_, route_match)| *route_match)
            .collect();
        let shadows = shadow::shadows(&matches);
        for ((checked, _), shadow) in ordered.iter().zip(shadows) {
            let earlier = shadow.and_then(|at| ordered.get(at));
            // If the earlier match is in the same rule, the requests still go to the right backends.
            let winner = earlier.filter(|(it, _)| it.as_winner() != checked.as_winner());
            let winner = winner.map(|(it, _)| it.as_winner());
            for parent in &checked.parents {
                self.record(checked, *parent, winner);
            }
        }
    }

    fn record(&mut self, checked: &CheckedMatch<'w>, parent: usize, winner: Option<Winner<'w>>) {
        let key = (&checked.route.object, parent);
        let entry = self.parents.entry(key);
        let (_, at_parent) = entry.or_insert_with(|| (checked.route, AtParent::default()));
        let place = (checked.rule.index, checked.route_match.index);
        match at_parent.matches.get_mut(&place) {
            None => drop(
                at_parent
                    .matches
                    .insert(place, winner.into_iter().collect()),
            ),
            Some(winners) => match winner {
                Some(winner) if !winners.is_empty() => drop(winners.insert(winner)),
                Some(_) => {}
                None => winners.clear(),
            },
        }
    }

    /// Returns a problem for each part of a route that no request reaches.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        // The key has no parent, so that several parents with the same result make one problem.
        let mut parts: BTreeMap<(&ObjectRef, RoutePart, Vec<Winner>), Vec<String>> =
            BTreeMap::new();
        for ((object, index), (route, at_parent)) in &self.parents {
            let parent = route.parents.iter().find(|it| it.index == *index);
            let Some(parent) = parent else {
                continue;
            };
            if let Some(winners) = all_winners(at_parent.matches.values()) {
                let winners = names(object, &winners);
                let message = messages::route_unreachable(parent, winners);
                problems.push(object.problem_of_parent(*index, "", message));
                continue;
            }
            for (part, winners) in at_parent.parts() {
                let part_parents = parts.entry((object, part, winners)).or_default();
                part_parents.push(parent.to_string());
            }
        }
        for ((object, part, winners), mut parents) in parts {
            parents.dedup();
            let message = part.message(list(parents), names(object, &winners));
            problems.push(part.problem(object, message));
        }
        problems
    }
}

impl<'w> CheckedMatch<'w> {
    pub fn new(
        route: &'w Route,
        rule: &'w RouteRule,
        route_match: &'w RouteMatch,
    ) -> CheckedMatch<'w> {
        CheckedMatch {
            route,
            rule,
            route_match,
            parents: BTreeSet::new(),
        }
    }

    fn as_winner(&self) -> Winner<'w> {
        Winner {
            route: &self.route.object,
            rule: self.rule.index,
        }
    }
}

/// A part of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RoutePart {
    Rule(usize),
    Match(usize, usize),
}

impl RoutePart {
    fn problem(self, object: &ObjectRef, message: Message) -> Problem {
        match self {
            RoutePart::Rule(rule) => object.problem_of_rule(rule, "", message),
            RoutePart::Match(rule, index) => {
                object.problem_of_rule(rule, &format!(".matches[{index}]"), message)
            }
        }
    }

    fn message(self, at: String, winners: String) -> Message {
        match self {
            RoutePart::Rule(_) => messages::rule_unreachable(at, winners),
            RoutePart::Match(..) => messages::match_unreachable(at, winners),
        }
    }
}

impl<'w> AtParent<'w> {
    /// Returns the rules that get no requests. For each other rule, returns the matches that get no requests.
    fn parts(&self) -> Vec<(RoutePart, Vec<Winner<'w>>)> {
        let mut parts = Vec::new();
        let rules: BTreeSet<usize> = self.matches.keys().map(|(rule, _)| *rule).collect();
        for rule in rules {
            let of_rule = || self.matches.range((rule, 0)..=(rule, usize::MAX));
            if let Some(winners) = all_winners(of_rule().map(|(_, winners)| winners)) {
                parts.push((RoutePart::Rule(rule), winners));
                continue;
            }
            let unreachable = of_rule().filter(|(_, winners)| !winners.is_empty());
            parts.extend(unreachable.map(|((rule, index), winners)| {
                let winners = winners.iter().copied().collect();
                (RoutePart::Match(*rule, *index), winners)
            }));
        }
        parts
    }
}

/// Returns the rules that get the requests of all these matches; None if a request can reach one of the matches.
fn all_winners<'a, 'w: 'a>(
    mut matches: impl Iterator<Item = &'a BTreeSet<Winner<'w>>>,
) -> Option<Vec<Winner<'w>>> {
    let all = matches.try_fold(BTreeSet::new(), |mut all, winners| {
        all.extend(winners.iter().copied());
        (!winners.is_empty()).then_some(all)
    })?;
    Some(all.into_iter().collect())
}

/// Returns a text such as `spec.rules[0] of HTTPRoute shop/web, spec.rules[1] of this route`.
fn names(own: &ObjectRef, winners: &[Winner]) -> String {
    list(winners.iter().map(|winner| {
        let rule = winner.rule;
        if winner.route == own {
            format!("spec.rules[{rule}] of this route")
        } else {
            format!("spec.rules[{rule}] of {}", winner.route)
        }
    }))
}
