//! ReferenceGrant: which references into its namespace are permitted.

use serde::Deserialize;

use crate::api::route::RouteKind;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::{Message, gateway as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::spelling::is_near;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// What routes are to a ReferenceGrant.
const ROUTES: [&str; 3] = ["HTTPRoute", "GRPCRoute", "TCPRoute"];
/// Kinds of Gateway API that are no misspelling of one of them.
const OTHERS: [&str; 2] = ["TLSRoute", "UDPRoute"];

/// A ReferenceGrant; it stands in the namespace of what is referred to.
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

// A mistyped `name` would widen a grant, so nothing unknown is let pass in it.
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

    /// What keeps it, or an entry of it, from permitting anything. Kinds and groups of other controllers are theirs.
    pub fn slips(&self) -> Vec<Problem> {
        let problem = |path: &str, message| self.object.problem(path, message);
        let mut slips = Vec::new();
        for (path, is_empty) in [
            ("spec.from", self.from.is_empty()),
            ("spec.to", self.to.is_empty()),
        ] {
            slips.extend(is_empty.then(|| problem(path, messages::grant_without_entries(path))));
        }
        for (index, entry) in self.from.iter().enumerate() {
            let wrong = entry.wrong();
            slips.extend(
                wrong.map(|(field, message)| {
                    problem(&format!("spec.from[{index}].{field}"), message)
                }),
            );
        }
        for (index, entry) in self.to.iter().enumerate() {
            let wrong = entry.wrong();
            slips
                .extend(wrong.map(|(field, message)| {
                    problem(&format!("spec.to[{index}].{field}"), message)
                }));
        }
        slips
    }

    /// Whether this lets a route of that kind of namespace `from` refer to the Service `name` of namespace `to`.
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
    /// The field that is wrong, most likely by mistake.
    fn wrong(&self) -> Option<(&'static str, Message)> {
        let GrantFrom {
            group,
            kind,
            namespace,
        } = self;
        let meant = ROUTES.into_iter().find(|route| is_near(kind, route));
        let is_route = ROUTES.contains(&kind.as_str());
        let is_near_group = group.is_empty() || is_near(group, GATEWAY_API);
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
        match meant {
            Some(meant)
                if group == GATEWAY_API && !is_route && !OTHERS.contains(&kind.as_str()) =>
            {
                Some(("kind", messages::grant_field_near("kind", kind, meant)))
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
    /// As of [`GrantFrom`].
    fn wrong(&self) -> Option<(&'static str, Message)> {
        let GrantTo { group, kind, .. } = self;
        if kind.is_empty() {
            return Some(("kind", messages::grant_field_empty("kind", "Service")));
        }
        if group.is_empty() && is_near(kind, "Service") {
            return Some(("kind", messages::grant_field_near("kind", kind, "Service")));
        }
        let is_core = matches!(group.as_str(), "core" | "v1");
        (is_core && kind == "Service")
            .then(|| ("group", messages::grant_field_near("group", group, "\"\"")))
    }
}
