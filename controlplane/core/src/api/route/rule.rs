//! One rule of a route. What is wrong in it takes down this rule, one of its matches or one share, and nothing else.
//!
//! A rule that is broken keeps its matches: their requests are answered with an error, for to leave them to another
//! rule or route would be to send them where nobody wanted them. A match that cannot be read fits no request: it
//! never becomes a wider one.

use serde_json::{Map, Value};
use weir_split::wire::{Filters, PathMatch, Retry, Timeouts};

use super::backend_ref::{self, BackendRef, Found};
use super::rules::{Keys, Shadowed, Written};
use super::{RouteKind, RouteMatch, RouteRule, filters, timeouts};
use crate::manifest::field_path::{Place, unknown_fields};
use crate::manifest::patterns::{Patterns, Programs};
use crate::manifest::problem::messages::{backend, filter, route};
use crate::manifest::problem::{Effect, Extent, Problem};
use crate::manifest::unknown_fields::says_nothing;

/// Gateway API v1: HTTPRouteRule.matches, GRPCRouteRule.matches.
const MAX_MATCHES: usize = 64;
/// What a match has, of whatever kind of route.
const FIELDS_OF_A_MATCH: [&str; 4] = ["path", "headers", "queryParams", "method"];

/// What the kinds of routes differ in.
pub struct Grammar {
    pub kind: RouteKind,
    /// Those of a rule.
    pub fields: &'static [&'static str],
    /// Reads one entry of `matches`; what does not keep the match from being in force goes to the problems.
    pub read_match:
        fn(&Place, &Value, &mut Patterns, &mut Vec<Problem>) -> Result<RouteMatch, Problem>,
}

/// Reads the rules of one route in their order.
pub struct Reader<'r> {
    grammar: &'r Grammar,
    /// The route's.
    namespace: &'r str,
    patterns: Patterns,
    keys: Keys,
}

/// What a rule does with its requests.
#[derive(Default)]
struct Action {
    filters: Filters,
    backends: Vec<BackendRef>,
    timeouts: Timeouts,
    retry: Option<Retry>,
}

/// What is found in one rule.
#[derive(Default)]
struct Findings {
    /// Each breaks the rule.
    faults: Vec<Problem>,
    /// With effects of their own.
    others: Vec<Problem>,
}

impl Findings {
    fn take<T: Default>(&mut self, read: Result<T, Problem>) -> T {
        read.unwrap_or_else(|problem| {
            self.faults.push(problem);
            T::default()
        })
    }
}

impl<'r> Reader<'r> {
    pub fn new(grammar: &'r Grammar, namespace: &'r str, rules: &[Value]) -> Reader<'r> {
        Reader {
            grammar,
            namespace,
            patterns: Patterns::default(),
            keys: Keys::new(rules),
        }
    }

    /// The programs of all rules that were read.
    pub fn programs(&self) -> Programs {
        self.patterns.programs()
    }

    /// The rule at `index` of the list at `place`. None for one that no request reaches.
    pub fn read(
        &mut self,
        place: &Place,
        index: usize,
        written: &Value,
        problems: &mut Vec<Problem>,
    ) -> Option<RouteRule> {
        let place = place.rule(index);
        let kind = self.grammar.kind;
        let mut findings = Findings::default();
        let fields: Map<String, Value> = place.decode(written).unwrap_or_else(|problem| {
            findings
                .others
                .push(problem.with_effect(fits_nothing(kind)));
            Map::new()
        });
        let unknown = unknown_fields(&fields, self.grammar.fields);
        let unknown = unknown.map(|name| place.unknown_field(name));
        findings.faults.extend(unknown);
        let field = |name: &str| fields.get(name).filter(|value| !value.is_null());

        let name = field("name").map(|name| self.keys.name(&place.field("name"), name));
        let name = name.and_then(|read| findings.take(read.map(Some)));
        let misspelled = self.misspelled_matches(&fields);
        let of_matches = place.field("matches");
        let matches = match (written, field("matches"), &misspelled) {
            (Value::Object(_), None, Some(meant)) => {
                // The name is what is wrong; what is behind it comes next.
                self.read_matches(&of_matches, Some(meant), &mut Findings::default())
            }
            (Value::Object(_), written, _) => {
                self.read_matches(&of_matches, written, &mut findings)
            }
            (other, _, _) => vec![Written::Unread(other)],
        };
        let action = match written {
            Value::Object(fields) => read_action(
                &place,
                kind,
                self.namespace,
                fields,
                &matches,
                &mut findings,
            ),
            _ => Action::default(),
        };
        let key = match self.keys.next(index, name, &matches) {
            Ok(key) => key,
            Err(Shadowed { by }) => {
                problems.push(place.problem(route::rule_shadowed(by)));
                return None;
            }
        };

        let broken = !written.is_object() || !findings.faults.is_empty();
        let of_rule = |problem: Problem| problem.with_effect(kind.rule_fails());
        problems.extend(findings.faults.into_iter().map(of_rule));
        problems.extend(findings.others);
        let Action {
            filters,
            backends,
            timeouts,
            retry,
        } = action;
        let matches = matches.into_iter().enumerate();
        let matches = matches.filter_map(|(index, it)| match it {
            Written::Read(wanted) => Some(RouteMatch { index, ..wanted }),
            Written::Unread(_) => None,
        });
        Some(RouteRule {
            index,
            key,
            matches: matches.collect(),
            broken,
            backends,
            filters,
            timeouts,
            retry,
        })
    }

    /// None written fit every request; but what is no list of matches fits none.
    fn read_matches<'v>(
        &mut self,
        place: &Place,
        written: Option<&'v Value>,
        findings: &mut Findings,
    ) -> Vec<Written<'v>> {
        let list = match (place.list(written), written) {
            (Ok([]), _) | (Err(_), None) => return vec![Written::Read(self.any_request(place))],
            (Ok(list), _) => list,
            (Err(problem), Some(written)) => {
                let effect = fits_nothing(self.grammar.kind);
                findings.others.push(problem.with_effect(effect));
                return vec![Written::Unread(written)];
            }
        };
        findings
            .faults
            .extend(place.at_most(list, MAX_MATCHES).err());
        let mut matches = Vec::with_capacity(list.len());
        for (index, written) in list.iter().enumerate() {
            let place = place.entry(index);
            let read_match = self.grammar.read_match;
            let read = read_match(&place, written, &mut self.patterns, &mut findings.others);
            matches.push(match read {
                Ok(wanted) => Written::Read(wanted),
                Err(problem) => {
                    let effect = Effect::new(Extent::Match, "this match fits no request");
                    findings.others.push(problem.with_effect(effect));
                    Written::Unread(written)
                }
            });
        }
        matches
    }

    /// A match without conditions, with its rank among matches of the kind.
    fn any_request(&mut self, place: &Place) -> RouteMatch {
        let (nothing, mut problems) = (Value::Object(Map::new()), Vec::new());
        let read = (self.grammar.read_match)(place, &nothing, &mut self.patterns, &mut problems);
        read.unwrap_or_default()
    }

    /// The matches of a rule that has none, but a field that is not known and looks like them: they are those that
    /// are to be answered with an error, and not every request.
    fn misspelled_matches(&self, fields: &Map<String, Value>) -> Option<Value> {
        if !self.grammar.fields.contains(&"matches") {
            return None;
        }
        let is_match = |value: &Value| {
            let mut fields = FIELDS_OF_A_MATCH.into_iter();
            fields.any(|name| value.get(name).is_some())
        };
        let own: Map<String, Value> = fields
            .iter()
            .filter(|(name, _)| FIELDS_OF_A_MATCH.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !own.is_empty() {
            return Some(Value::Array(vec![Value::Object(own)]));
        }
        let mut unknown = unknown_fields(fields, self.grammar.fields);
        unknown.find_map(|name| match fields.get(name)? {
            Value::Array(list) if list.iter().any(is_match) => Some(Value::Array(list.clone())),
            one if is_match(one) => Some(Value::Array(vec![one.clone()])),
            _ => None,
        })
    }
}

fn fits_nothing(kind: RouteKind) -> Effect {
    match kind {
        RouteKind::Tcp => kind.rule_fails(),
        _ => Effect::new(Extent::Rule, "the rule fits no request"),
    }
}

fn read_action(
    place: &Place,
    kind: RouteKind,
    namespace: &str,
    fields: &Map<String, Value>,
    matches: &[Written],
    findings: &mut Findings,
) -> Action {
    let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let prefix = only_prefix(matches);
    let written = field("filters");
    let faults = &mut findings.faults;
    let filters = filters::parse(&place.field("filters"), kind, prefix, written, faults);
    // `sessionPersistence: {}` asks for a session.
    if field("sessionPersistence").is_some_and(|it| it.is_object() || !says_nothing(it)) {
        let place = place.field("sessionPersistence");
        faults.push(place.problem(route::session_persistence()));
    }
    let mut found = Found::default();
    let of_backends = place.field("backendRefs");
    let written = field("backendRefs");
    let backends = backend_ref::parse(&of_backends, kind, namespace, prefix, written, &mut found);
    if kind == RouteKind::Tcp && backends.is_empty() && found.of_rule.is_empty() {
        faults.push(of_backends.problem(backend::none_named()));
    }
    if filters.redirect.is_some() && !backends.is_empty() {
        faults.push(of_backends.problem(filter::redirect_and_backends()));
    }
    faults.extend(found.of_rule);
    findings.others.extend(found.of_shares);
    let timeouts = timeouts::parse(&place.field("timeouts"), field("timeouts"));
    let of_retry = place.field("retry");
    let retry = match (kind, field("retry")) {
        (RouteKind::LinkerdHttp, Some(_)) => Err(of_retry.problem(route::retry_of_linkerd())),
        (_, written) => timeouts::parse_retry(&of_retry, written, &mut findings.others),
    };
    Action {
        filters,
        backends,
        timeouts: findings.take(timeouts),
        retry: findings.take(retry),
    }
}

/// The prefix of a rule's only match, where that is one of type PathPrefix: what `ReplacePrefixMatch` replaces. Of one
/// that cannot be read it is not asked: no request gets as far.
fn only_prefix<'m>(matches: &'m [Written]) -> Option<&'m str> {
    match matches {
        [Written::Unread(_)] => Some("/"),
        [Written::Read(only)] => match &only.path {
            None => Some("/"),
            Some(PathMatch::Prefix(prefix)) => Some(prefix),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
        },
        _ => None,
    }
}
