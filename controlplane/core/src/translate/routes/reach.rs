//! Which matches of routes a request can reach at their parents, and what keeps requests from the others.

use std::collections::{BTreeMap, BTreeSet};

use weir_split::wire::Match;

use crate::api::route::{Route, RouteMatch, RouteRule};
use crate::manifest::problem::messages::{Message, list, matches as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::translate::shadow;

/// A match of a route, and the references to parents by which it stands where it is judged.
pub struct Judged<'w> {
    pub route: &'w Route,
    pub rule: &'w RouteRule,
    pub wanted: &'w RouteMatch,
    pub parents: BTreeSet<usize>,
}

/// A rule that gets requests before another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Winner<'w> {
    route: &'w ObjectRef,
    rule: usize,
}

#[derive(Default)]
struct AtParent<'w> {
    /// By rule and match: all that stand before it, empty where a request reaches it.
    matches: BTreeMap<(usize, usize), BTreeSet<Winner<'w>>>,
}

/// What is known of all matches so far.
#[derive(Default)]
pub struct Reach<'w> {
    /// By route and place of the parentRef.
    parents: BTreeMap<(&'w ObjectRef, usize), (&'w Route, AtParent<'w>)>,
}

impl<'w> Reach<'w> {
    /// Judges matches of one set of hosts and one listener, in order of precedence.
    pub fn judge(&mut self, ordered: &[(&Judged<'w>, &Match)]) {
        let matches: Vec<&Match> = ordered.iter().map(|(_, wanted)| *wanted).collect();
        let shadows = shadow::shadows(&matches);
        for ((judged, _), shadow) in ordered.iter().zip(shadows) {
            let earlier = shadow.and_then(|at| ordered.get(at));
            // A match that its own rule has already is only said twice.
            let winner = earlier.filter(|(it, _)| it.place() != judged.place());
            let winner = winner.map(|(it, _)| it.place());
            for parent in &judged.parents {
                self.note(judged, *parent, winner);
            }
        }
    }

    fn note(&mut self, judged: &Judged<'w>, parent: usize, winner: Option<Winner<'w>>) {
        let key = (&judged.route.object, parent);
        let entry = self.parents.entry(key);
        let (_, at_parent) = entry.or_insert_with(|| (judged.route, AtParent::default()));
        let place = (judged.rule.index, judged.wanted.index);
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

    /// What no request reaches.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        // By path and winners, so that several parents are one problem.
        let mut parts: BTreeMap<(&ObjectRef, Part, Vec<Winner>), Vec<String>> = BTreeMap::new();
        for ((object, index), (route, at_parent)) in &self.parents {
            let parent = route.parents.iter().find(|it| it.index == *index);
            let Some(parent) = parent else {
                continue;
            };
            if let Some(winners) = all_taken(at_parent.matches.values()) {
                let winners = names(object, &winners);
                let message = messages::route_unreachable(parent, winners);
                problems.push(object.problem_of_parent(*index, "", message));
                continue;
            }
            for (part, winners) in at_parent.parts() {
                let of_part = parts.entry((object, part, winners)).or_default();
                of_part.push(parent.to_string());
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

impl<'w> Judged<'w> {
    pub fn new(route: &'w Route, rule: &'w RouteRule, wanted: &'w RouteMatch) -> Judged<'w> {
        Judged {
            route,
            rule,
            wanted,
            parents: BTreeSet::new(),
        }
    }

    fn place(&self) -> Winner<'w> {
        Winner {
            route: &self.route.object,
            rule: self.rule.index,
        }
    }
}

/// A part of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Rule(usize),
    Match(usize, usize),
}

impl Part {
    fn problem(self, object: &ObjectRef, message: Message) -> Problem {
        match self {
            Part::Rule(rule) => object.problem_of_rule(rule, "", message),
            Part::Match(rule, index) => {
                object.problem_of_rule(rule, &format!(".matches[{index}]"), message)
            }
        }
    }

    fn message(self, at: String, winners: String) -> Message {
        match self {
            Part::Rule(_) => messages::rule_unreachable(at, winners),
            Part::Match(..) => messages::match_unreachable(at, winners),
        }
    }
}

impl<'w> AtParent<'w> {
    /// The rules without requests, and of the other rules the matches without requests.
    fn parts(&self) -> Vec<(Part, Vec<Winner<'w>>)> {
        let mut parts = Vec::new();
        let rules: BTreeSet<usize> = self.matches.keys().map(|(rule, _)| *rule).collect();
        for rule in rules {
            let of_rule = || self.matches.range((rule, 0)..=(rule, usize::MAX));
            if let Some(winners) = all_taken(of_rule().map(|(_, winners)| winners)) {
                parts.push((Part::Rule(rule), winners));
                continue;
            }
            let taken = of_rule().filter(|(_, winners)| !winners.is_empty());
            parts.extend(taken.map(|((rule, index), winners)| {
                let winners = winners.iter().copied().collect();
                (Part::Match(*rule, *index), winners)
            }));
        }
        parts
    }
}

/// What stands before these matches, if no request reaches any of them.
fn all_taken<'a, 'w: 'a>(
    mut matches: impl Iterator<Item = &'a BTreeSet<Winner<'w>>>,
) -> Option<Vec<Winner<'w>>> {
    let all = matches.try_fold(BTreeSet::new(), |mut all, winners| {
        all.extend(winners.iter().copied());
        (!winners.is_empty()).then_some(all)
    })?;
    Some(all.into_iter().collect())
}

/// `spec.rules[0] of HTTPRoute shop/web, spec.rules[1] of this route`.
fn names(own: &ObjectRef, winners: &[Winner]) -> String {
    list(winners.iter().map(|winner| {
        let rule = winner.rule;
        match winner.route == own {
            true => format!("spec.rules[{rule}] of this route"),
            false => format!("spec.rules[{rule}] of {}", winner.route),
        }
    }))
}
