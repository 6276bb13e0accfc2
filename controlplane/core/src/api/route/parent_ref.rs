//! ParentReference of Gateway API: what a route wants to be attached to.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::RouteKind;
use super::reference::{is_core, name_within, own_unless};
use crate::manifest::field_path::Place;
use crate::manifest::object::Object;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, parent};
use crate::manifest::spelling::{edits, is_near};
use crate::manifest::unknown_fields::Rest;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const GATEWAY_API_EXPERIMENTAL: &str = "gateway.networking.x-k8s.io";
const GROUP_EDITS: usize = 3;
/// Gateway API v1: CommonRouteSpec.parentRefs.
const MAX_PARENTS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentKind {
    Service,
    Gateway,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentRef {
    /// Its place in `spec.parentRefs`.
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

    /// See [`needs_grant`], for a route in `namespace`.
    pub fn needs_grant(&self, namespace: &str) -> bool {
        needs_grant(self.kind, &self.namespace, namespace)
    }
}

/// Whether a route in `route_namespace` with this parent needs a ReferenceGrant for a backend in another namespace. At a
/// Gateway and at a Service of its own namespace the route decides for clients of other namespaces; at a Service of
/// another namespace it decides for the clients of its own namespace alone (GEP-1294, consumer route).
pub fn needs_grant(parent: ParentKind, parent_namespace: &str, route_namespace: &str) -> bool {
    match parent {
        ParentKind::Gateway => true,
        ParentKind::Service => parent_namespace == route_namespace,
    }
}

/// In words, as far as the reference names it.
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
    rest: Rest,
}

/// Those parents that are Weir's business; `namespace` is the route's. At one that cannot be read the route is not in
/// force: without the field that is wrong it might be attached to more than its author wants.
pub fn parse(
    place: &Place,
    route: RouteKind,
    namespace: &str,
    written: &[Value],
    problems: &mut Vec<Problem>,
) -> Result<Vec<ParentRef>, Problem> {
    place.at_most(written, MAX_PARENTS)?;
    if written.is_empty() {
        problems.push(place.problem(parent::no_parent()));
    }
    let mut parents: Vec<ParentRef> = Vec::new();
    for (index, written) in written.iter().enumerate() {
        let place = place.parent(index);
        match parse_one(&place, route, namespace, index, written) {
            // The first of those that are the same stands for all.
            Ok(Some(parent)) if parents.iter().any(|it| parent.is_same(it)) => {}
            Ok(Some(parent)) => parents.push(parent),
            Ok(None) => problems.extend(not_served_at(&place, route, written)),
            Err(problem) => problems.push(problem.of_parent()),
        }
    }
    Ok(parents)
}

fn parse_one(
    place: &Place,
    route: RouteKind,
    namespace: &str,
    index: usize,
    written: &Value,
) -> Result<Option<ParentRef>, Problem> {
    let spec: ParentRefSpec = place.decode(written)?;
    let (group, kind) = (spec.group.as_deref(), spec.kind.as_deref());
    if let Some((field, message)) = near_miss(route, group, kind) {
        return Err(place.field(field).problem(message));
    }
    if is_unfinished(route, group, kind) {
        let group = group.unwrap_or(route.group());
        let message = parent::parent_without_group(kind.unwrap_or("Gateway"), group);
        return Err(place.field("group").problem(message));
    }
    let Some(kind) = parent_kind(route, group, kind) else {
        return Ok(None);
    };
    place.nothing_but_known(&spec.rest, &[])?;
    refuse_no_name(place, kind, &spec)?;
    Ok(Some(ParentRef {
        index,
        kind,
        namespace: own_unless(spec.namespace, namespace),
        name: spec.name,
        section_name: spec.section_name,
        port: spec.port,
    }))
}

/// Names and ports that nothing has.
fn refuse_no_name(place: &Place, kind: ParentKind, spec: &ParentRefSpec) -> Result<(), Problem> {
    if spec.section_name.as_deref() == Some("") {
        let message = parent::section_name_empty();
        return Err(place.field("sectionName").problem(message));
    }
    if spec.port == Some(0) {
        return Err(place.field("port").problem(parent::port_zero()));
    }
    let name = spec.name.as_str();
    if name.is_empty() {
        return Err(place.field("name").problem(parent::name_empty()));
    }
    // The name of a Gateway may have dots.
    let may_have_dots = kind == ParentKind::Gateway;
    match name_within(name).filter(|_| !may_have_dots || name.contains("://")) {
        None => Ok(()),
        Some(within) => Err(place
            .field("name")
            .problem(parent::name_of_host(name, within))),
    }
}

/// What is to say of a route whose parents are all foreign.
pub fn not_served(object: &Object, route: RouteKind) -> Vec<Problem> {
    let reference = object.reference();
    let place = Place::new(&reference, "spec.parentRefs");
    let parents = object.body.pointer("/spec/parentRefs");
    let parents = parents.and_then(Value::as_array).into_iter().flatten();
    let parents = parents.enumerate();
    parents
        .filter_map(|(index, written)| not_served_at(&place.parent(index), route, written))
        .collect()
}

/// A parent in a group that Weir knows, of a kind that it does not serve: a ListenerSet, say. One in another group is
/// another controller's.
fn not_served_at(place: &Place, route: RouteKind, written: &Value) -> Option<Problem> {
    let field = |name: &str| written.get(name).and_then(Value::as_str);
    let group = field("group").unwrap_or(route.group());
    let kind = field("kind").unwrap_or("Gateway");
    let is_known = matches!(group, GATEWAY_API | GATEWAY_API_EXPERIMENTAL);
    is_known.then(|| place.problem(parent::parent_not_served(kind, group)))
}

/// Looks at the kinds of the parents alone, before anything else in the route is judged.
pub fn are_all_foreign(object: &Object, route: RouteKind) -> bool {
    let parents = object
        .body
        .pointer("/spec/parentRefs")
        .and_then(Value::as_array);
    let is_foreign = |parent: &Value| {
        let field = |name: &str| parent.get(name).and_then(Value::as_str);
        let (of, kind) = (field("group"), field("kind"));
        parent.is_object()
            && parent_kind(route, of, kind).is_none()
            && !is_unfinished(route, of, kind)
            && near_miss(route, of, kind).is_none()
    };
    parents.is_some_and(|parents| !parents.is_empty() && parents.iter().all(is_foreign))
}

/// What a written parentRef refers to, as far as it is Weir's to say something about it; also where nobody can mean
/// it as it is written.
pub fn kind_of(route: RouteKind, written: &Value) -> Option<ParentKind> {
    let field = |name: &str| written.get(name).and_then(Value::as_str);
    let (of, kind) = (field("group"), field("kind"));
    let is_meant = is_unfinished(route, of, kind) || near_miss(route, of, kind).is_some();
    let unfinished = is_meant.then_some(ParentKind::Service);
    parent_kind(route, of, kind).or(unfinished)
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

/// Parents that nobody can mean and no controller owns: a Service without its group, what Linkerd's defaults
/// make of a parent without group and kind, and kinds that the core group does not have.
fn is_unfinished(route: RouteKind, group: Option<&str>, kind: Option<&str>) -> bool {
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

/// The field that is most likely misspelled, with what to write. Kinds and groups of other controllers are theirs.
fn near_miss(
    route: RouteKind,
    group: Option<&str>,
    kind: Option<&str>,
) -> Option<(&'static str, Message)> {
    if parent_kind(route, group, kind).is_some() {
        return None;
    }
    let is_linkerd = route == RouteKind::LinkerdHttp;
    let (of, written) = (group.unwrap_or(route.group()), kind);
    let kind = kind.unwrap_or("Gateway");
    let is_gateway = kind == "Gateway" || is_near(kind, "Gateway");
    let is_service = kind == "Service" || is_near(kind, "Service");
    let other_kind = |meant: &str| Some(("kind", parent::kind_near(kind, meant)));
    let other_group = |meant: &str| Some(("group", parent::group_near(of, meant)));
    if is_core(of) {
        return match (is_service, is_gateway, written) {
            (true, ..) => other_kind("Service"),
            (_, true, Some(_)) if !is_linkerd => other_group(GATEWAY_API),
            _ => None,
        };
    }
    if matches!(of, "v1" | "core/v1") && is_service {
        return other_group("\"\"");
    }
    if is_linkerd {
        let is_own = of == route.group() && kind != "Service" && is_service;
        return is_own.then(|| ("group", parent::parent_without_group(kind, of)));
    }
    match of {
        GATEWAY_API if kind.is_empty() => other_kind("Gateway"),
        GATEWAY_API if kind != "Service" && is_service => {
            Some(("group", parent::parent_without_group(kind, of)))
        }
        GATEWAY_API if is_gateway => other_kind("Gateway"),
        GATEWAY_API | GATEWAY_API_EXPERIMENTAL => None,
        _ if is_gateway && edits(of, GATEWAY_API) <= GROUP_EDITS => other_group(GATEWAY_API),
        _ => None,
    }
}
