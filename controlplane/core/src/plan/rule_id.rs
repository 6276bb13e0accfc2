//! The identity of a rule. The identity does not depend on weights or on the order of rules. So a proxy continues the
//! rule's sequence of picks after a change of weights or order.

use std::fmt;

use crate::manifest::problem::ObjectRef;

/// The object of a rule, and the place of the rule in this object. The text of an identity has one of these forms:
///
/// - `KIND/NAMESPACE/NAME@SERVICE.NAMESPACE:PORT#KEY`: a rule of a route at a Service
/// - `KIND/NAMESPACE/NAME@gateway/NAMESPACE/NAME#KEY`: a rule of a route at a Gateway
/// - `TrafficSplit/NAMESPACE/NAME:PORT/PROTOCOL`: one port of a split
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleId {
    /// The kind of the object, as in [`ObjectRef::kind`].
    pub kind: String,
    pub namespace: String,
    pub name: String,
    /// The place of the rule, with `@` or `:` in front.
    place: String,
}

impl RuleId {
    /// Returns the identity of a rule of a route. `parent` is `SERVICE.NAMESPACE:PORT` or `gateway/NAMESPACE/NAME`.
    pub fn of_route(route: &ObjectRef, parent: &str, key: &str) -> RuleId {
        RuleId::of(route, format!("@{parent}#{key}"))
    }

    /// Returns the identity of the rule for one port of a split. `protocol` is `http` or `tcp`.
    pub fn of_split(split: &ObjectRef, port: u16, protocol: &str) -> RuleId {
        RuleId::of(split, format!(":{port}/{protocol}"))
    }

    /// Returns a value that sorts before the identities of all rules of an object.
    pub fn first_of(object: &ObjectRef) -> RuleId {
        RuleId::of(object, String::new())
    }

    fn of(object: &ObjectRef, place: String) -> RuleId {
        RuleId {
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            place,
        }
    }

    /// Parses the text of an identity in a configuration. Returns None for any other text.
    pub fn parse(text: &str) -> Option<RuleId> {
        let (kind, rest) = text.split_once('/')?;
        let (namespace, rest) = rest.split_once('/')?;
        let end = rest.find(['@', ':'])?;
        let (name, place) = rest.split_at(end);
        Some(RuleId {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            place: place.to_owned(),
        })
    }

    pub fn is_of(&self, object: &ObjectRef) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&object.kind, &object.namespace, &object.name)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RuleId {
            kind,
            namespace,
            name,
            place,
        } = self;
        write!(f, "{kind}/{namespace}/{name}{place}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_text_parses_to_same_identity() {
        let object = |kind: &str, name: &str| ObjectRef {
            source: "a.yaml".into(),
            kind: kind.into(),
            namespace: "shop".into(),
            name: name.into(),
        };
        let route = object("HTTPRoute.policy.linkerd.io", "web.v1");
        let split = object("TrafficSplit", "web");
        for (id, text) in [
            (
                RuleId::of_route(&route, "web.shop:80", "1f2e"),
                "HTTPRoute.policy.linkerd.io/shop/web.v1@web.shop:80#1f2e",
            ),
            (
                RuleId::of_route(&route, "gateway/shop/edge", "canary"),
                "HTTPRoute.policy.linkerd.io/shop/web.v1@gateway/shop/edge#canary",
            ),
            (
                RuleId::of_split(&split, 80, "http"),
                "TrafficSplit/shop/web:80/http",
            ),
        ] {
            assert_eq!(id.to_string(), text);
            assert_eq!(RuleId::parse(text), Some(id));
        }
        let id = RuleId::of_split(&split, 80, "http");
        assert!(id.is_of(&split) && !id.is_of(&object("TrafficSplit", "web2")));
        for other in ["", "web", "a/b/c", "a/b"] {
            assert_eq!(RuleId::parse(other), None, "{other}");
        }
    }
}
