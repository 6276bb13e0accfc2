//! ParentReference of Gateway API: what a route wants to be attached to.

use serde::Deserialize;
use serde_json::Value;

use super::RouteKind;
use super::backends::{is_core, own_unless};
use super::place::Place;
use crate::fields::Rest;
use crate::object::Object;
use crate::problem::{Problem, Reason};

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
    port: Option<u16>,
    #[serde(flatten)]
    rest: Rest,
}

/// Those parents that are Weir's business; `namespace` is the route's.
pub fn parse(
    place: &Place,
    route: RouteKind,
    namespace: &str,
    written: Option<Vec<ParentRefSpec>>,
) -> Result<Vec<ParentRef>, Problem> {
    let written = written.unwrap_or_default();
    place.at_most(&written, MAX_PARENTS)?;
    let mut parents = Vec::new();
    for (index, parent) in written.into_iter().enumerate() {
        let place = place.entry(index);
        place.nothing_but_known(&parent.rest, &[])?;
        let (of, kind) = (parent.group.as_deref(), parent.kind.as_deref());
        if is_unfinished(route, of, kind) {
            let of = of.unwrap_or(match route {
                RouteKind::LinkerdHttp => "policy.linkerd.io",
                _ => "gateway.networking.k8s.io",
            });
            let kind = kind.unwrap_or("Gateway");
            return Err(place.field("group").legacy(
                Reason::NoMatchingParent,
                format!("the group {of} has no kind {kind} that could be a parent"),
                "for a Service write group: \"\" and kind: Service",
            ));
        }
        if let Some(kind) = parent_kind(route, of, kind) {
            parents.push(ParentRef {
                index,
                kind,
                namespace: own_unless(parent.namespace, namespace),
                name: parent.name,
                section_name: parent.section_name.filter(|name| !name.is_empty()),
                port: parent.port,
            });
        }
    }
    Ok(parents)
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
    };
    parents.is_some_and(|parents| !parents.is_empty() && parents.iter().all(is_foreign))
}

/// What a written parentRef refers to, as far as it is Weir's to say something about it; also where nobody can mean
/// it as it is written, see [`is_unfinished`].
pub fn kind_of(route: RouteKind, written: &Value) -> Option<ParentKind> {
    let field = |name: &str| written.get(name).and_then(Value::as_str);
    let (of, kind) = (field("group"), field("kind"));
    let unfinished = is_unfinished(route, of, kind).then_some(ParentKind::Service);
    parent_kind(route, of, kind).or(unfinished)
}

fn parent_kind(route: RouteKind, group: Option<&str>, kind: Option<&str>) -> Option<ParentKind> {
    let kind = kind.unwrap_or("Gateway");
    match (route, group) {
        (_, Some(group)) if is_core(group) => (kind == "Service").then_some(ParentKind::Service),
        (RouteKind::LinkerdHttp, _) => None,
        (_, None | Some("gateway.networking.k8s.io")) => {
            (kind == "Gateway").then_some(ParentKind::Gateway)
        }
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
        (_, None | Some("gateway.networking.k8s.io")) => kind == Some("Service"),
        _ => false,
    }
}
