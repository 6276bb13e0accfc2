//! Reads the rules of a route. An invalid part breaks only its rule, its match or its backend.
//!
//! A broken rule keeps its matches, and requests that fit a match get an error response. Without its matches, these
//! requests would go to another rule or route. A match that Weir cannot read matches no request.

use serde_json::{Map, Value};
use weir_split::wire::{Filters, PathMatch, Retry, Timeouts};

use super::backend_ref::{self, BackendProblems, BackendRef};
use super::filters::{self, FilterContext, RouteFilters};
use super::mirror::MirrorRef;
use super::mirror_limit::remove_excess;
use super::rule_keys::{MatchEntry, RuleKeys, Shadowed};
use super::{RouteKind, RouteMatch, RouteRule, timeouts};
use crate::manifest::field_path::{FieldPath, unknown_fields};
use crate::manifest::patterns::{Patterns, Programs};
use crate::manifest::problem::messages::{backend, filter, route};
use crate::manifest::problem::{Effect, Extent, Problem};
use crate::manifest::unknown_fields::is_empty;

/// The maximum number of matches of a rule (Gateway API v1, HTTPRouteRule.matches and GRPCRouteRule.matches).
const MAX_MATCHES: usize = 64;
/// All fields that a match of a route can have.
const MATCH_FIELDS: [&str; 4] = ["path", "headers", "queryParams", "method"];

/// The differences between the kinds of routes.
pub struct Grammar {
    pub kind: RouteKind,
    /// The fields that a rule may have.
    pub rule_fields: &'static [&'static str],
    /// Reads one entry of `matches`. Adds the problems of a usable match to the list. Returns an error if the match is
    /// not usable.
    pub read_match:
        fn(&FieldPath, &Value, &mut Patterns, &mut Vec<Problem>) -> Result<RouteMatch, Problem>,
}

/// Reads the rules of one route, in the order of `spec.rules`.
pub struct RuleReader<'r> {
    grammar: &'r Grammar,
    /// The namespace of the route.
    namespace: &'r str,
    patterns: Patterns,
    keys: RuleKeys,
}

/// The parts of a rule other than its name and its matches.
#[derive(Default)]
struct Action {
    filters: Filters,
    mirrors: Vec<MirrorRef>,
    backends: Vec<BackendRef>,
    timeouts: Timeouts,
    retry: Option<Retry>,
}

/// The problems of one rule.
#[derive(Default)]
struct RuleProblems {
    /// Problems that break the whole rule.
    faults: Vec<Problem>,
    /// All other problems. Each already has its effect on traffic.
    others: Vec<Problem>,
}

impl RuleProblems {
    /// Returns the value. If the result is an error, adds it to the faults and returns the default value.
    fn unwrap<T: Default>(&mut self, result: Result<T, Problem>) -> T {
        result.unwrap_or_else(|problem| {
            self.faults.push(problem);
            T::default()
        })
    }
}

impl<'r> RuleReader<'r> {
    /// Returns a reader for a route with these rules.
    pub fn new(grammar: &'r Grammar, namespace: &'r str, rules: &[Value]) -> RuleReader<'r> {
        RuleReader {
            grammar,
            namespace,
            patterns: Patterns::default(),
            keys: RuleKeys::new(rules),
        }
    }

    /// Returns the regular expressions of all rules that were read so far.
    pub fn programs(&self) -> Programs {
        self.patterns.programs()
    }

    /// Reads a rule. `at` is the path of the list of rules, and `index` is the index of the rule. Returns None if an
    /// earlier rule gets all requests of this rule.
    pub fn read(
        &mut self,
        at: &FieldPath,
        index: usize,
        value: &Value,
        problems: &mut Vec<Problem>,
    ) -> Option<RouteRule> {
        let at = at.rule(index);
        let kind = self.grammar.kind;
        let mut found = RuleProblems::default();
        let fields: Map<String, Value> = at.decode(value).unwrap_or_else(|problem| {
            found
                .others
                .push(problem.with_effect(matches_no_request(kind)));
            Map::new()
        });
        let unknown = unknown_fields(&fields, self.grammar.rule_fields);
        let unknown = unknown.map(|name| at.unknown_field(name));
        found.faults.extend(unknown);

        let name = match non_null(&fields, "name") {
            Some(name) => {
                let name = self.keys.add_name(&at.field("name"), name);
                found.unwrap(name.map(Some))
            }
            None => None,
        };
        let misspelled = self.misspelled_matches(&fields);
        let at_matches = at.field("matches");
        let matches = match (value, non_null(&fields, "matches"), &misspelled) {
            (Value::Object(_), None, Some(matches)) => {
                // The misspelled field already has a problem. More problems inside this field would confuse the user.
                self.read_matches(&at_matches, Some(matches), &mut RuleProblems::default())
            }
            (Value::Object(_), matches, _) => self.read_matches(&at_matches, matches, &mut found),
            (other, _, _) => vec![MatchEntry::Unreadable(other)],
        };
        let action = match value {
            Value::Object(fields) => {
                read_action(&at, kind, self.namespace, fields, &matches, &mut found)
            }
            _ => Action::default(),
        };
        let key = match self.keys.add_rule(index, name, &matches) {
            Ok(key) => key,
            Err(Shadowed { by }) => {
                problems.push(at.problem(route::rule_shadowed(by)));
                return None;
            }
        };

        let broken = !value.is_object() || !found.faults.is_empty();
        let faults = found.faults.into_iter();
        problems.extend(faults.map(|problem| problem.with_effect(kind.rule_fails())));
        problems.extend(found.others);
        let Action {
            filters,
            mirrors,
            backends,
            timeouts,
            retry,
        } = action;
        let matches = matches
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| match entry {
                MatchEntry::Parsed(it) => Some(RouteMatch { index, ..it }),
                MatchEntry::Unreadable(_) => None,
            })
            .collect();
        Some(RouteRule {
            index,
            key,
            matches,
            broken,
            backends,
            filters,
            mirrors,
            timeouts,
            retry,
        })
    }

    /// Reads the matches of a rule. If `matches` is absent or an empty list, the rule matches every request. If
    /// `matches` is not a list, the rule matches no request.
    fn read_matches<'v>(
        &mut self,
        at: &FieldPath,
        value: Option<&'v Value>,
        found: &mut RuleProblems,
    ) -> Vec<MatchEntry<'v>> {
        let list = match (at.list(value), value) {
            (Ok([]), _) | (Err(_), None) => {
                return vec![MatchEntry::Parsed(self.match_every_request(at))];
            }
            (Ok(list), _) => list,
            (Err(problem), Some(value)) => {
                let effect = matches_no_request(self.grammar.kind);
                found.others.push(problem.with_effect(effect));
                return vec![MatchEntry::Unreadable(value)];
            }
        };
        found.faults.extend(at.at_most(list, MAX_MATCHES).err());
        let mut matches = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let at = at.entry(index);
            let read_match = self.grammar.read_match;
            let result = read_match(&at, value, &mut self.patterns, &mut found.others);
            matches.push(match result {
                Ok(route_match) => MatchEntry::Parsed(route_match),
                Err(problem) => {
                    let effect = Effect::new(Extent::Match, "this match fits no request");
                    found.others.push(problem.with_effect(effect));
                    MatchEntry::Unreadable(value)
                }
            });
        }
        matches
    }

    /// Returns a match without conditions. Its rank depends on the kind of route.
    fn match_every_request(&mut self, at: &FieldPath) -> RouteMatch {
        let (empty, mut problems) = (Value::Object(Map::new()), Vec::new());
        let result = (self.grammar.read_match)(at, &empty, &mut self.patterns, &mut problems);
        result.unwrap_or_default()
    }

    /// Returns the matches in an unknown field that may be a misspelled `matches`. The unknown field breaks the rule.
    /// If the rule has no `matches`, the reader uses the returned matches, so that only requests that fit them get an
    /// error response.
    fn misspelled_matches(&self, fields: &Map<String, Value>) -> Option<Value> {
        if !self.grammar.rule_fields.contains(&"matches") {
            return None;
        }
        let match_in_rule: Map<String, Value> = fields
            .iter()
            .filter(|(name, _)| MATCH_FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !match_in_rule.is_empty() {
            return Some(Value::Array(vec![Value::Object(match_in_rule)]));
        }
        let mut unknown = unknown_fields(fields, self.grammar.rule_fields);
        unknown.find_map(|name| match fields.get(name)? {
            Value::Array(list) if list.iter().any(is_match) => Some(Value::Array(list.clone())),
            one if is_match(one) => Some(Value::Array(vec![one.clone()])),
            _ => None,
        })
    }
}

fn is_match(value: &Value) -> bool {
    MATCH_FIELDS.iter().any(|name| value.get(name).is_some())
}

fn non_null<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn matches_no_request(kind: RouteKind) -> Effect {
    match kind {
        RouteKind::Tcp => kind.rule_fails(),
        _ => Effect::new(Extent::Rule, "the rule fits no request"),
    }
}

fn read_action(
    at: &FieldPath,
    kind: RouteKind,
    namespace: &str,
    fields: &Map<String, Value>,
    matches: &[MatchEntry],
    found: &mut RuleProblems,
) -> Action {
    let field = |name: &str| non_null(fields, name);
    let prefix = only_prefix(matches);
    let faults = &mut found.faults;
    let at_filters = at.field("filters");
    let context = FilterContext {
        route: kind,
        namespace,
        prefix,
        backend: None,
    };
    let RouteFilters {
        edits: filters,
        mut mirrors,
        mirror_problems,
    } = filters::parse(&at_filters, &context, field("filters"), faults);
    // An empty map is not an absent field, because `sessionPersistence: {}` turns sessions on.
    if field("sessionPersistence").is_some_and(|it| it.is_object() || !is_empty(it)) {
        let at = at.field("sessionPersistence");
        faults.push(at.problem(route::session_persistence()));
    }
    let mut of_backends = BackendProblems::default();
    let at_backends = at.field("backendRefs");
    let mut backends = backend_ref::parse(
        &at_backends,
        kind,
        namespace,
        prefix,
        field("backendRefs"),
        &mut of_backends,
    );
    if kind == RouteKind::Tcp && backends.is_empty() && of_backends.of_rule.is_empty() {
        faults.push(at_backends.problem(backend::none_named()));
    }
    if filters.redirect.is_some() && !backends.is_empty() {
        faults.push(at_backends.problem(filter::redirect_and_backends()));
    }
    faults.extend(of_backends.of_rule);
    found.others.extend(mirror_problems);
    found.others.extend(of_backends.of_shares);
    let too_many = remove_excess(at, &mut mirrors, &mut backends);
    found.others.extend(too_many);
    let timeouts = timeouts::parse(&at.field("timeouts"), field("timeouts"));
    let at_retry = at.field("retry");
    let retry = match (kind, field("retry")) {
        (RouteKind::LinkerdHttp, Some(_)) => Err(at_retry.problem(route::retry_of_linkerd())),
        (_, value) => timeouts::parse_retry(&at_retry, value, &mut found.others),
    };
    Action {
        filters,
        mirrors,
        backends,
        timeouts: found.unwrap(timeouts),
        retry: found.unwrap(retry),
    }
}

/// Returns the path prefix that `ReplacePrefixMatch` replaces. Returns None if the rule has several matches, or if its
/// match has an exact path or a regular expression. Returns `/` for a match that Weir cannot read, so that the filter
/// adds no second problem.
fn only_prefix<'m>(matches: &'m [MatchEntry]) -> Option<&'m str> {
    match matches {
        [MatchEntry::Unreadable(_)] => Some("/"),
        [MatchEntry::Parsed(only)] => match &only.path {
            None => Some("/"),
            Some(PathMatch::Prefix(prefix)) => Some(prefix),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
        },
        _ => None,
    }
}
