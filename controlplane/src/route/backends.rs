//! BackendRef of Gateway API: where a share of a rule's requests goes.

use serde::Deserialize;
use serde_json::Value;
use weir_split::wire::Filters;

use super::RouteKind;
use super::filters::{self, FilterSpec};
use super::place::Place;
use crate::fields::Rest;
use crate::problem::Problem;

/// Gateway API: BackendRef.weight.
const MAX_WEIGHT: u64 = 1_000_000;
/// Gateway API v1: HTTPRouteRule.backendRefs and its likes.
const MAX_BACKENDS: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub struct BackendRef {
    /// Group and kind are those of a Service.
    pub is_service: bool,
    pub namespace: String,
    pub name: String,
    pub port: Option<u16>,
    pub weight: u64,
    pub filters: Filters,
    /// It has a filter that Weir does not do: its share is answered as that of a broken backend.
    pub dropped: bool,
}

#[derive(Deserialize)]
pub struct BackendRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<u16>,
    #[serde(default)]
    weight: Value,
    filters: Option<Vec<FilterSpec>>,
    #[serde(flatten)]
    rest: Rest,
}

/// `prefix` is that of the rule's only match, where it has one of type PathPrefix; `namespace` is the route's.
pub fn parse(
    place: &Place,
    route: RouteKind,
    namespace: &str,
    prefix: Option<&str>,
    written: Option<Vec<BackendRefSpec>>,
    problems: &mut Vec<Problem>,
) -> Result<Vec<BackendRef>, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_BACKENDS)?;
    let mut backends = Vec::with_capacity(written.len());
    for (index, backend) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&backend.rest, &[])?;
        let weight = match &backend.weight {
            Value::Null => Some(1),
            written => written.as_u64().filter(|weight| *weight <= MAX_WEIGHT),
        };
        let weight = weight.ok_or_else(|| {
            place.field("weight").invalid(
                format!("{} is not a weight", backend.weight),
                format!("write a whole number from 0 to {MAX_WEIGHT}"),
            )
        })?;
        let at = place.field("filters");
        let parsed = filters::parse(&at, route, prefix, backend.filters)?;
        for (index, kind) in &parsed.unsupported {
            problems.push(at.entry(*index).field("type").unsupported(
                format!("filter {kind} is not supported: {}", route.fate()),
                "take the filter out",
            ));
        }
        backends.push(BackendRef {
            is_service: is_core(backend.group.as_deref().unwrap_or_default())
                && backend.kind.as_deref().unwrap_or("Service") == "Service",
            namespace: own_unless(backend.namespace, namespace),
            name: backend.name,
            port: backend.port,
            weight,
            dropped: !parsed.unsupported.is_empty(),
            filters: parsed.filters,
        });
    }
    Ok(backends)
}

/// Gateway API writes the core group as "", Linkerd's guides as "core".
pub fn is_core(group: &str) -> bool {
    group.is_empty() || group.eq_ignore_ascii_case("core")
}

pub fn own_unless(written: Option<String>, own: &str) -> String {
    let written = written.filter(|namespace| !namespace.is_empty());
    written.unwrap_or_else(|| own.to_owned())
}
