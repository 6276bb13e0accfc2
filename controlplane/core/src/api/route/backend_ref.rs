//! Reads BackendRef of Gateway API v1: a backend of a rule, with its weight.

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_split::wire::Filters;

use super::RouteKind;
use super::filters;
use super::reference::{is_core, name_in_host, non_empty_or};
use crate::manifest::field_path::{FieldPath, unknown_fields};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, backend};
use crate::manifest::spelling::is_misspelling_of;

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
    /// True if a part of the backend is invalid or not supported. Requests for a broken backend get an error response.
    pub broken: bool,
}

/// The object that a backendRef names. It is usually a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `KIND.GROUP` of the object; None for a Service.
    pub other_kind: Option<String>,
    pub namespace: String,
    pub name: String,
    pub port: Option<PortRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    Number(u16),
    /// The name of a port. Gateway API allows only a number, so translation reports a problem with the right number.
    Name(String),
}

#[derive(Deserialize)]
struct BackendRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<Value>,
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
    /// Problems that break one backend.
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
        let to = match read_reference(&target, namespace, entry) {
            Ok(to) => Some(to),
            Err(problem) => {
                faults.push(problem);
                None
            }
        };
        let filters = filters::parse(
            &at.field("filters"),
            route,
            prefix,
            entry.get("filters"),
            &mut faults,
        );
        backends.push(BackendRef {
            index,
            weight,
            to,
            filters,
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

fn read_reference(at: &FieldPath, namespace: &str, value: &Value) -> Result<Reference, Problem> {
    let spec: BackendRefSpec = at.decode(value)?;
    if spec.kind.as_deref() == Some("") {
        return Err(at.field("kind").problem(backend::kind_empty()));
    }
    if let Some((field, message)) = find_misspelling(&spec) {
        return Err(at.field(field).problem(message));
    }
    check_name(&at.field("name"), &spec)?;
    let group = spec.group.unwrap_or_default();
    let kind = spec.kind.unwrap_or_else(|| "Service".to_owned());
    let is_service = is_core(&group) && kind == "Service";
    let kind_and_group = match group.as_str() {
        "" => kind,
        group => format!("{kind}.{group}"),
    };
    Ok(Reference {
        other_kind: (!is_service).then_some(kind_and_group),
        namespace: non_empty_or(spec.namespace, namespace),
        name: spec.name,
        port: spec
            .port
            .map(|port| read_port(&at.field("port"), &port))
            .transpose()?,
    })
}

/// Returns the field that is most likely misspelled, and the message. In the core group, a kind that is similar to
/// `Service` is always a misspelling, because no other kind has a similar name.
fn find_misspelling(spec: &BackendRefSpec) -> Option<(&'static str, Message)> {
    let group = spec.group.as_deref().unwrap_or_default();
    let kind = spec.kind.as_deref().unwrap_or("Service");
    match group {
        "v1" | "core/v1" if kind == "Service" || is_misspelling_of(kind, "Service") => {
            Some(("group", backend::group_near(group)))
        }
        group if is_core(group) && is_misspelling_of(kind, "Service") => {
            Some(("kind", backend::kind_near(kind)))
        }
        _ => None,
    }
}

/// Rejects names that no object can have.
fn check_name(at: &FieldPath, spec: &BackendRefSpec) -> Result<(), Problem> {
    let name = spec.name.as_str();
    if name.is_empty() {
        return Err(at.problem(backend::name_empty()));
    }
    let is_service = is_core(spec.group.as_deref().unwrap_or_default())
        && spec.kind.as_deref().unwrap_or("Service") == "Service";
    match name_in_host(name).filter(|_| is_service) {
        None => Ok(()),
        Some(right) => Err(at.problem(backend::name_of_host(name, right))),
    }
}

fn read_port(at: &FieldPath, value: &Value) -> Result<PortRef, Problem> {
    match value {
        Value::String(text) if text.is_empty() => {
            return Err(at.problem(backend::port_empty()));
        }
        Value::String(text) if is_port_name(text) || text.parse::<u16>().is_ok() => {
            return Ok(PortRef::Name(text.clone()));
        }
        _ => {}
    }
    let number = value.as_u64().and_then(|it| u16::try_from(it).ok());
    match number.filter(|number| *number > 0) {
        Some(number) => Ok(PortRef::Number(number)),
        None => Err(at.problem(backend::port_out_of_range(value))),
    }
}

/// True if the text begins with a letter, as the name of a port does. A text that begins with a digit is most likely a
/// mistyped number.
fn is_port_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}
