//! ReferenceGrant of Gateway API (v1, v1beta1). A grant permits references to objects in the namespace of the grant.

use serde::Deserialize;

use crate::api::route::RouteKind;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::{Message, gateway as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::spelling::is_misspelling_of;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// The kinds of routes that Weir reads.
const ROUTE_KINDS: [&str; 3] = ["HTTPRoute", "GRPCRoute", "TCPRoute"];
/// Other kinds of routes of Gateway API. Their names are similar to [`ROUTE_KINDS`], but are not misspellings.
const OTHER_ROUTE_KINDS: [&str; 2] = ["TLSRoute", "UDPRoute"];

#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceGrant {
    pub object: ObjectRef,
    from: Vec<GrantFrom>,
    to: Vec<GrantTo>,
}

#[derive(Deserialize)]
struct GrantManifest {
    spec: GrantSpec,
}

#[derive(Deserialize)]
struct GrantSpec {
    from: Vec<GrantFrom>,
    to: Vec<GrantTo>,
}

// Unknown fields are errors: if Weir ignored a misspelled `name`, the grant would permit too many references.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantFrom {
    group: String,
    kind: String,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantTo {
    group: String,
    kind: String,
    name: Option<String>,
}

impl ReferenceGrant {
    pub fn parse(object: &Object) -> Result<ReferenceGrant, Problem> {
        let GrantManifest { spec } = object.decode()?;
        let GrantSpec { from, to } = spec;
        let reference = object.reference();
        let names = to.iter().map(|entry| entry.name.as_deref());
        if let Some(index) = names.into_iter().position(|name| name == Some("")) {
            let path = format!("spec.to[{index}].name");
            return Err(reference.problem(path, messages::grant_without_name()));
        }
        Ok(ReferenceGrant {
            object: reference,
            from,
            to,
        })
    }

    /// Returns a problem for each likely mistake: an empty list, or an entry that permits nothing. Entries for kinds
    /// and groups that Weir does not read are allowed.
    pub fn mistakes(&self) -> Vec<Problem> {
        let mut mistakes = Vec::new();
        for (path, is_empty) in [
            ("spec.from", self.from.is_empty()),
            ("spec.to", self.to.is_empty()),
        ] {
            if is_empty {
                let message = messages::grant_without_entries(path);
                mistakes.push(self.object.problem(path, message));
            }
        }
        for (index, entry) in self.from.iter().enumerate() {
            if let Some((field, message)) = entry.mistake() {
                let path = format!("spec.from[{index}].{field}");
                mistakes.push(self.object.problem(path, message));
            }
        }
        for (index, entry) in self.to.iter().enumerate() {
            if let Some((field, message)) = entry.mistake() {
                let path = format!("spec.to[{index}].{field}");
                mistakes.push(self.object.problem(path, message));
            }
        }
        mistakes
    }

    /// True if the grant permits a route of this kind in namespace `from` to refer to the Service `name` in namespace
    /// `to`.
    pub fn permits_service(&self, kind: RouteKind, from: &str, to: &str, name: &str) -> bool {
        self.object.namespace == to
            && self.from.iter().any(|entry| {
                entry.group == kind.group() && entry.kind == kind.name() && entry.namespace == from
            })
            && self.to.iter().any(|entry| {
                entry.group.is_empty()
                    && entry.kind == "Service"
                    && entry.name.as_deref().is_none_or(|n| n == name)
            })
    }
}

impl GrantFrom {
    /// Returns the field that most likely has a mistake, and the message.
    fn mistake(&self) -> Option<(&'static str, Message)> {
        let GrantFrom {
            group,
            kind,
            namespace,
        } = self;
        let is_route = ROUTE_KINDS.contains(&kind.as_str());
        let is_other_route = OTHER_ROUTE_KINDS.contains(&kind.as_str());
        let is_near_group = group.is_empty() || is_misspelling_of(group, GATEWAY_API);
        if kind.is_empty() {
            return Some(("kind", messages::grant_field_empty("kind", "HTTPRoute")));
        }
        if namespace.is_empty() {
            let example = "the namespace of the route";
            return Some((
                "namespace",
                messages::grant_field_empty("namespace", example),
            ));
        }
        let right_kind = ROUTE_KINDS
            .into_iter()
            .find(|route| is_misspelling_of(kind, route));
        match right_kind {
            Some(right) if group == GATEWAY_API && !is_route && !is_other_route => {
                Some(("kind", messages::grant_field_near("kind", kind, right)))
            }
            _ if is_route && is_near_group => {
                let message = messages::grant_field_near("group", group, GATEWAY_API);
                Some(("group", message))
            }
            _ => None,
        }
    }
}

impl GrantTo {
    /// Returns the field that most likely has a mistake, and the message.
    fn mistake(&self) -> Option<(&'static str, Message)> {
        let GrantTo { group, kind, .. } = self;
        if kind.is_empty() {
            return Some(("kind", messages::grant_field_empty("kind", "Service")));
        }
        if group.is_empty() && is_misspelling_of(kind, "Service") {
            return Some(("kind", messages::grant_field_near("kind", kind, "Service")));
        }
        let is_core = matches!(group.as_str(), "core" | "v1");
        (is_core && kind == "Service")
            .then(|| ("group", messages::grant_field_near("group", group, "\"\"")))
    }
}
