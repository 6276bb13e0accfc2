//! BackendRef of Gateway API: where a share of a rule's requests goes.

use serde::Deserialize;
use serde_json::{Map, Value};
use weir_split::wire::Filters;

use super::RouteKind;
use super::filters;
use super::reference::{is_core, name_within, own_unless};
use crate::manifest::field_path::{Place, unknown_fields};
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, backend};
use crate::manifest::spelling::is_near;

/// Gateway API: BackendRef.weight.
const MAX_WEIGHT: u64 = 1_000_000;
/// Above it a weight is no number that says how large a share was to be.
const MAX_SHARE: u64 = u32::MAX as u64;
/// Gateway API v1: HTTPRouteRule.backendRefs and its likes.
const MAX_BACKENDS: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub struct BackendRef {
    /// Its place in `backendRefs`.
    pub index: usize,
    pub weight: u64,
    /// None where it cannot be read.
    pub to: Option<Reference>,
    pub filters: Filters,
    /// Something in it cannot be done: its share is answered with an error.
    pub broken: bool,
}

/// The Service that a backendRef names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `KIND.GROUP`, where that is no Service.
    pub no_service: Option<String>,
    pub namespace: String,
    pub name: String,
    pub port: Option<PortRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    Number(u16),
    /// Gateway API has no names of ports here; with the Service the number can be told.
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

/// What is said of a rule's backends.
#[derive(Debug, Default)]
pub struct Found {
    /// Each breaks a share.
    pub of_shares: Vec<Problem>,
    /// Each breaks the rule.
    pub of_rule: Vec<Problem>,
}

/// `prefix` is that of the rule's only match, where it has one of type PathPrefix; `namespace` is the route's.
pub fn parse(
    place: &Place,
    route: RouteKind,
    namespace: &str,
    prefix: Option<&str>,
    written: Option<&Value>,
    found: &mut Found,
) -> Vec<BackendRef> {
    let checked = place.list(written).and_then(|written| {
        place.at_most(written, MAX_BACKENDS)?;
        Ok(written)
    });
    let written = match checked {
        Ok(written) => written,
        Err(problem) => {
            found.of_rule.push(problem);
            return Vec::new();
        }
    };
    let mut backends = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let target = place.backend_ref(index);
        let place = place.entry(index);
        let mut faults = Vec::new();
        let weight = match read_weight(&place, written, &mut faults) {
            Ok(weight) => weight,
            Err(problem) => {
                found.of_rule.push(problem);
                continue;
            }
        };
        let to = match read_reference(&target, namespace, written) {
            Ok(to) => Some(to),
            Err(problem) => {
                faults.push(problem);
                None
            }
        };
        let of_filters = place.field("filters");
        let written = written.get("filters");
        let filters = filters::parse(&of_filters, route, prefix, written, &mut faults);
        backends.push(BackendRef {
            index,
            weight,
            to,
            filters,
            broken: !faults.is_empty(),
        });
        let of_share = |problem: Problem| problem.with_effect(route.share_fails());
        found.of_shares.extend(faults.into_iter().map(of_share));
    }
    backends
}

/// The weight, also of a backend whose share is broken. An error is a weight that is not known, so that nobody knows
/// the shares of the others.
fn read_weight(place: &Place, written: &Value, faults: &mut Vec<Problem>) -> Result<u64, Problem> {
    let fields: Map<String, Value> = place.decode(written)?;
    let unknown: Vec<&str> = unknown_fields(&fields, &FIELDS).collect();
    let weight = match (fields.get("weight"), unknown.first()) {
        (None | Some(Value::Null), None) => return Ok(1),
        // One of them may be the weight, mistyped.
        (None | Some(Value::Null), Some(name)) => {
            return Err(place.field(name).problem(backend::weight_unknown(name)));
        }
        (Some(weight), _) => weight,
    };
    faults.extend(unknown.iter().map(|name| place.unknown_field(name)));
    let place = place.field("weight");
    match weight.as_u64() {
        Some(number) if number <= MAX_WEIGHT => Ok(number),
        Some(number) if number <= MAX_SHARE => {
            faults.push(place.problem(backend::weight_too_large(number, MAX_WEIGHT)));
            Ok(number)
        }
        _ => Err(place.problem(backend::bad_weight(weight, MAX_WEIGHT))),
    }
}

fn read_reference(place: &Place, namespace: &str, written: &Value) -> Result<Reference, Problem> {
    let spec: BackendRefSpec = place.decode(written)?;
    if spec.kind.as_deref() == Some("") {
        return Err(place.field("kind").problem(backend::kind_empty()));
    }
    if let Some((field, message)) = near_miss(&spec) {
        return Err(place.field(field).problem(message));
    }
    refuse_no_name(&place.field("name"), &spec)?;
    let group = spec.group.unwrap_or_default();
    let kind = spec.kind.unwrap_or_else(|| "Service".to_owned());
    let is_service = is_core(&group) && kind == "Service";
    let no_service = match group.as_str() {
        "" => kind,
        group => format!("{kind}.{group}"),
    };
    Ok(Reference {
        no_service: (!is_service).then_some(no_service),
        namespace: own_unless(spec.namespace, namespace),
        name: spec.name,
        port: spec
            .port
            .map(|port| read_port(&place.field("port"), &port))
            .transpose()?,
    })
}

/// The field that is most likely misspelled: the core group has no other kind that is near.
fn near_miss(spec: &BackendRefSpec) -> Option<(&'static str, Message)> {
    let group = spec.group.as_deref().unwrap_or_default();
    let kind = spec.kind.as_deref().unwrap_or("Service");
    match group {
        "v1" | "core/v1" if kind == "Service" || is_near(kind, "Service") => {
            Some(("group", backend::group_near(group)))
        }
        group if is_core(group) && is_near(kind, "Service") => {
            Some(("kind", backend::kind_near(kind)))
        }
        _ => None,
    }
}

/// A name that no object has.
fn refuse_no_name(place: &Place, spec: &BackendRefSpec) -> Result<(), Problem> {
    let name = spec.name.as_str();
    if name.is_empty() {
        return Err(place.problem(backend::name_empty()));
    }
    let is_service = is_core(spec.group.as_deref().unwrap_or_default())
        && spec.kind.as_deref().unwrap_or("Service") == "Service";
    match name_within(name).filter(|_| is_service) {
        None => Ok(()),
        Some(right) => Err(place.problem(backend::name_of_host(name, right))),
    }
}

fn read_port(place: &Place, written: &Value) -> Result<PortRef, Problem> {
    match written {
        Value::String(text) if text.is_empty() => {
            return Err(place.problem(backend::port_empty()));
        }
        Value::String(text) if is_port_name(text) || text.parse::<u16>().is_ok() => {
            return Ok(PortRef::Name(text.clone()));
        }
        _ => {}
    }
    let number = written.as_u64().and_then(|it| u16::try_from(it).ok());
    match number.filter(|number| *number > 0) {
        Some(number) => Ok(PortRef::Number(number)),
        None => Err(place.problem(backend::port_out_of_range(written))),
    }
}

/// Ports of Services have names that a letter begins, nearly always; what a digit begins is a mistyped number.
fn is_port_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}
