//! ParentReference of Gateway API v1: the Gateways and Services that a route attaches to.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::RouteKind;
use super::reference::{is_core, name_in_host, non_empty_or};
use crate::manifest::field_path::FieldPath;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, parent};
use crate::manifest::spelling::{edit_distance, is_misspelling_of};
use crate::manifest::unknown_fields::UnknownFields;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_API_EXPERIMENTAL: &str = "gateway.networking.x-k8s.io";
/// A group counts as a misspelled `gateway.networking.k8s.io` if it differs by at most this number of edits.
const GROUP_EDITS: usize = 3;
/// The maximum number of parentRefs of a route (Gateway API v1, CommonRouteSpec.parentRefs).
const MAX_PARENTS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentKind {
    Service,
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// Index of the parentRef in `spec.parentRefs`.
    pub index: usize,
    pub kind: ParentKind,
    pub namespace: String,
    pub name: String,
    pub section_name: Option<String>,
    pub port: Option<u16>,
}

impl ParentRef {
    fn is_same(&self, other: &ParentRef) -> bool {
        let ParentRef {
            index: _,
            kind,
            namespace,
            name,
            section_name,
            port,
        } = self;
        (kind, namespace, name, section_name, port)
            == (
                &other.kind,
                &other.namespace,
                &other.name,
                &other.section_name,
                &other.port,
            )
    }

    /// Calls [`needs_grant`] for a route in `namespace` with this parent.
    pub fn needs_grant(&self, namespace: &str) -> bool {
        needs_grant(self.kind, &self.namespace, namespace)
    }
}

/// True if a route in `route_namespace` with this parent needs a ReferenceGrant for a backend in another namespace.
///
/// If the parent is a Gateway, or a Service in the namespace of the route, the route gets requests of clients in other
/// namespaces. It needs a grant. If the parent is a Service in another namespace (a consumer route, GEP-1294), the
/// route gets only requests of clients in its own namespace. It needs no grant.
pub fn needs_grant(parent: ParentKind, parent_namespace: &str, route_namespace: &str) -> bool {
    match parent {
        ParentKind::Gateway => true,
        ParentKind::Service => parent_namespace == route_namespace,
    }
}

/// Writes a text such as `Gateway infra/edge`, `listener http of Gateway infra/edge`, or `port 80 of Service shop/web`.
impl fmt::Display for ParentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParentRef {
            kind,
            namespace,
            name,
            section_name,
            port,
            ..
        } = self;
        match (kind, section_name, port) {
            (ParentKind::Gateway, Some(listener), _) => write!(f, "listener {listener} of ")?,
            (ParentKind::Service, Some(port), _) => write!(f, "port {port} of ")?,
            (_, None, Some(port)) => write!(f, "port {port} of ")?,
            (_, None, None) => {}
        }
        match kind {
            ParentKind::Gateway => write!(f, "Gateway {namespace}/{name}"),
            ParentKind::Service => write!(f, "Service {namespace}/{name}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParentRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u16>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// Parses `spec.parentRefs` and returns the parents that Weir serves, without duplicates. `namespace` is the namespace
/// of the route.
///
/// If a parentRef is invalid, its problem goes to `problems`, and the route does not attach to this parent. If Weir
/// ignored only the invalid field, the route could attach to more listeners or ports than the user intends.
pub fn parse(
    at: &FieldPath,
    route: RouteKind,
    namespace: &str,
    list: &[Value],
    problems: &mut Vec<Problem>,
) -> Result<Vec<ParentRef>, Problem> {
    at.at_most(list, MAX_PARENTS)?;
    if list.is_empty() {
        problems.push(at.problem(parent::no_parent()));
    }
    let mut parents: Vec<ParentRef> = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let at = at.parent(index);
        match parse_one(&at, route, namespace, index, value) {
            Ok(Some(parent)) if parents.iter().any(|it| parent.is_same(it)) => {}
            Ok(Some(parent)) => parents.push(parent),
            Ok(None) => problems.extend(not_served_at(&at, route, value)),
            Err(problem) => problems.push(problem.of_parent()),
        }
    }
    Ok(parents)
}

fn parse_one(
    at: &FieldPath,
    route: RouteKind,
    namespace: &str,
    index: usize,
    value: &Value,
) -> Result<Option<ParentRef>, Problem> {
    let spec: ParentRefSpec = at.decode(value)?;
    let (group, kind) = (spec.group.as_deref(), spec.kind.as_deref());
    if let Some((field, message)) = find_misspelling(route, group, kind) {
        return Err(at.field(field).problem(message));
    }
    if is_incomplete(route, group, kind) {
        let group = group.unwrap_or(route.group());
        let message = parent::parent_without_group(kind.unwrap_or("Gateway"), group);
        return Err(at.field("group").problem(message));
    }
    let Some(kind) = parent_kind(route, group, kind) else {
        return Ok(None);
    };
    at.reject_unknown(&spec.unknown)?;
    check_names(at, kind, &spec)?;
    Ok(Some(ParentRef {
        index,
        kind,
        namespace: non_empty_or(spec.namespace, namespace),
        name: spec.name,
        section_name: spec.section_name,
        port: spec.port,
    }))
}

/// Rejects names and ports that no object can have.
fn check_names(at: &FieldPath, kind: ParentKind, spec: &ParentRefSpec) -> Result<(), Problem> {
    if spec.section_name.as_deref() == Some("") {
        let message = parent::section_name_empty();
        return Err(at.field("sectionName").problem(message));
    }
    if spec.port == Some(0) {
        return Err(at.field("port").problem(parent::port_zero()));
    }
    let name = spec.name.as_str();
    if name.is_empty() {
        return Err(at.field("name").problem(parent::name_empty()));
    }
    // The name of a Gateway may have dots, but not a scheme.
    let may_have_dots = kind == ParentKind::Gateway;
    match name_in_host(name).filter(|_| !may_have_dots || name.contains("://")) {
        None => Ok(()),
        Some(right) => Err(at.field("name").problem(parent::name_of_host(name, right))),
    }
}

/// Returns a warning for each parent with a resource kind of Gateway API that Weir does not serve. Call this function
/// for a route if all its parents belong to other controllers.
pub fn not_served(object: &Object, route: RouteKind) -> Vec<Problem> {
    let reference = object.reference();
    let at = FieldPath::new(&reference, "spec.parentRefs");
    parent_values(object)
        .iter()
        .enumerate()
        .filter_map(|(index, value)| not_served_at(&at.parent(index), route, value))
        .collect()
}

fn parent_values(object: &Object) -> &[Value] {
    let parents = object
        .body
        .pointer("/spec/parentRefs")
        .and_then(Value::as_array);
    parents.map_or(&[], Vec::as_slice)
}

/// Returns a warning if the parent has a resource kind of Gateway API that Weir does not serve, such as ListenerSet.
/// Returns None for parents of other API groups, because they belong to other controllers.
fn not_served_at(at: &FieldPath, route: RouteKind, value: &Value) -> Option<Problem> {
    let (group, kind) = group_and_kind(value);
    let (group, kind) = (group.unwrap_or(route.group()), kind.unwrap_or("Gateway"));
    let is_gateway_api = matches!(group, GATEWAY_API | GATEWAY_API_EXPERIMENTAL);
    is_gateway_api.then(|| at.problem(parent::parent_not_served(kind, group)))
}

fn group_and_kind(parent: &Value) -> (Option<&str>, Option<&str>) {
    let field = |name: &str| parent.get(name).and_then(Value::as_str);
    (field("group"), field("kind"))
}

/// True if the route has parents, and all of them belong to other controllers. The function reads only the groups and
/// kinds of the parents, so other invalid fields of the route cause no problems.
pub fn are_all_foreign(object: &Object, route: RouteKind) -> bool {
    let parents = parent_values(object);
    !parents.is_empty()
        && parents.iter().all(|parent| {
            let (group, kind) = group_and_kind(parent);
            parent.is_object()
                && parent_kind(route, group, kind).is_none()
                && !is_incomplete(route, group, kind)
                && find_misspelling(route, group, kind).is_none()
        })
}

/// Returns the kind of a parentRef. Returns None if Weir writes no status for this parent. A misspelled or incomplete
/// parentRef counts as a Service.
pub fn kind_of(route: RouteKind, value: &Value) -> Option<ParentKind> {
    let (group, kind) = group_and_kind(value);
    let is_mistake =
        is_incomplete(route, group, kind) || find_misspelling(route, group, kind).is_some();
    parent_kind(route, group, kind).or(is_mistake.then_some(ParentKind::Service))
}

fn parent_kind(route: RouteKind, group: Option<&str>, kind: Option<&str>) -> Option<ParentKind> {
    let kind = kind.unwrap_or("Gateway");
    match (route, group) {
        (_, Some(group)) if is_core(group) => (kind == "Service").then_some(ParentKind::Service),
        (RouteKind::LinkerdHttp, _) => None,
        (_, None | Some(GATEWAY_API)) => (kind == "Gateway").then_some(ParentKind::Gateway),
        _ => None,
    }
}

/// True if no controller can serve this group and kind. There are three cases: a Service without its group, a parent of
/// a Linkerd route without group and kind, and a kind other than Service in the core group.
fn is_incomplete(route: RouteKind, group: Option<&str>, kind: Option<&str>) -> bool {
    match (route, group) {
        (_, Some(group)) if is_core(group) => kind != Some("Service"),
        (RouteKind::LinkerdHttp, None | Some("policy.linkerd.io")) => {
            matches!(kind, None | Some("Gateway" | "Service"))
        }
        (RouteKind::LinkerdHttp, _) => false,
        (_, None | Some(GATEWAY_API)) => kind == Some("Service"),
        _ => false,
    }
}

/// Returns the field that is most likely misspelled, and the message. Returns None if the group and the kind belong to
/// another controller.
fn find_misspelling(
    route: RouteKind,
    group: Option<&str>,
    kind: Option<&str>,
) -> Option<(&'static str, Message)> {
    if parent_kind(route, group, kind).is_some() {
        return None;
    }
    let is_linkerd = route == RouteKind::LinkerdHttp;
    let has_kind = kind.is_some();
    let (group, kind) = (group.unwrap_or(route.group()), kind.unwrap_or("Gateway"));
    let is_gateway = kind == "Gateway" || is_misspelling_of(kind, "Gateway");
    let is_service = kind == "Service" || is_misspelling_of(kind, "Service");
    let wrong_kind = |right: &str| Some(("kind", parent::kind_near(kind, right)));
    let wrong_group = |right: &str| Some(("group", parent::group_near(group, right)));
    if is_core(group) {
        return if is_service {
            wrong_kind("Service")
        } else if is_gateway && has_kind && !is_linkerd {
            wrong_group(GATEWAY_API)
        } else {
            None
        };
    }
    if matches!(group, "v1" | "core/v1") && is_service {
        return wrong_group("\"\"");
    }
    if is_linkerd {
        let is_mistake = group == route.group() && kind != "Service" && is_service;
        return is_mistake.then(|| ("group", parent::parent_without_group(kind, group)));
    }
    match group {
        GATEWAY_API if kind.is_empty() => wrong_kind("Gateway"),
        GATEWAY_API if kind != "Service" && is_service => {
            Some(("group", parent::parent_without_group(kind, group)))
        }
        GATEWAY_API if is_gateway => wrong_kind("Gateway"),
        GATEWAY_API | GATEWAY_API_EXPERIMENTAL => None,
        _ if is_gateway && edit_distance(group, GATEWAY_API) <= GROUP_EDITS => {
            wrong_group(GATEWAY_API)
        }
        _ => None,
    }
}
