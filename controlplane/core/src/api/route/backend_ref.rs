//! Reads BackendRef of Gateway API v1: a backend of a rule, with its weight.

use serde_json::{Map, Value};
use weir_split::wire::Filters;

use super::RouteKind;
use super::filters::{self, FilterContext, RouteFilters};
use super::mirror::MirrorRef;
use super::reference::Reference;
use crate::manifest::field_path::{FieldPath, unknown_fields};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::backend;

/// The maximum weight (Gateway API v1, BackendRef.weight).
const MAX_WEIGHT: u64 = 1_000_000;
/// A weight above this limit breaks the whole rule. A weight between [`MAX_WEIGHT`] and this limit breaks only its
/// backend: the requests for this backend get an error response.
const MAX_BROKEN_WEIGHT: u64 = u32::MAX as u64;
/// The maximum number of backends of a rule (Gateway API v1, HTTPRouteRule.backendRefs).
const MAX_BACKENDS: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub struct BackendRef {
    /// Index of the backend in `backendRefs`.
    pub index: usize,
    /// The weight. A valid backend has at most 1,000,000.
    pub weight: u64,
    /// The object that the backendRef names; None if the reference cannot be read.
    pub to: Option<Reference>,
    pub filters: Filters,
    pub mirrors: Vec<MirrorRef>,
    /// True if a part of the backend is invalid or not supported. Requests for a broken backend get an error response.
    pub broken: bool,
}

const FIELDS: [&str; 7] = [
    "group",
    "kind",
    "namespace",
    "name",
    "port",
    "weight",
    "filters",
];

/// The problems of a rule's backends.
#[derive(Debug, Default)]
pub struct BackendProblems {
    /// Problems that affect only one backend or one mirror. Each already has its effect.
    pub of_shares: Vec<Problem>,
    /// Problems that break the rule.
    pub of_rule: Vec<Problem>,
}

/// Parses `backendRefs`. `namespace` is the namespace of the route. `prefix` is the path that a filter of type
/// ReplacePrefixMatch replaces: the path prefix of the rule's match; None if the rule has several matches, or if
/// the match has an exact path or a regular expression.
pub fn parse(
    at: &FieldPath,
    route: RouteKind,
    namespace: &str,
    prefix: Option<&str>,
    value: Option<&Value>,
    problems: &mut BackendProblems,
) -> Vec<BackendRef> {
    let result = at.list(value).and_then(|list| {
        at.at_most(list, MAX_BACKENDS)?;
        Ok(list)
    });
    let list = match result {
        Ok(list) => list,
        Err(problem) => {
            problems.of_rule.push(problem);
            return Vec::new();
        }
    };
    let mut backends = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let target = at.backend_ref(index);
        let at = at.entry(index);
        let mut faults = Vec::new();
        let weight = match read_weight(&at, entry, &mut faults) {
            Ok(weight) => weight,
            Err(problem) => {
                problems.of_rule.push(problem);
                continue;
            }
        };
        let to = match Reference::read(&target, namespace, entry) {
            Ok(to) => Some(to),
            Err(problem) => {
                faults.push(problem);
                None
            }
        };
        let context = FilterContext {
            route,
            namespace,
            prefix,
            backend: Some(index),
        };
        let RouteFilters {
            edits,
            mirrors,
            mirror_problems,
        } = filters::parse(
            &at.field("filters"),
            &context,
            entry.get("filters"),
            &mut faults,
        );
        problems.of_shares.extend(mirror_problems);
        backends.push(BackendRef {
            index,
            weight,
            to,
            filters: edits,
            mirrors,
            broken: !faults.is_empty(),
        });
        let faults = faults.into_iter();
        let faults = faults.map(|problem| problem.with_effect(route.share_fails()));
        problems.of_shares.extend(faults);
    }
    backends
}

/// Returns the weight, and adds problems that break only this backend to `faults`. Returns an error if the weight is
/// unknown, because Weir then cannot divide the requests between the backends of the rule.
fn read_weight(at: &FieldPath, value: &Value, faults: &mut Vec<Problem>) -> Result<u64, Problem> {
    let fields: Map<String, Value> = at.decode(value)?;
    let unknown: Vec<&str> = unknown_fields(&fields, &FIELDS).collect();
    let weight = match (fields.get("weight"), unknown.first()) {
        (None | Some(Value::Null), None) => return Ok(1),
        // An unknown field may be a misspelled weight.
        (None | Some(Value::Null), Some(name)) => {
            return Err(at.field(name).problem(backend::weight_unknown(name)));
        }
        (Some(weight), _) => weight,
    };
    faults.extend(unknown.iter().map(|name| at.unknown_field(name)));
    let at = at.field("weight");
    match weight.as_u64() {
        Some(number) if number <= MAX_WEIGHT => Ok(number),
        Some(number) if number <= MAX_BROKEN_WEIGHT => {
            faults.push(at.problem(backend::weight_too_large(number, MAX_WEIGHT)));
            Ok(number)
        }
        _ => Err(at.problem(backend::bad_weight(weight, MAX_WEIGHT))),
    }
}
