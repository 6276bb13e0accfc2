//! Gateway and ReferenceGrant of Gateway API (v1, v1beta1): which routes a listener takes, and which
//! references into another namespace are permitted.
//!
//! A Gateway's class does not matter to its routes: whoever runs it, they are the same. It only tells whether a
//! route's status is Weir's to write.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::decode::decode_at;
use crate::fields::{Rest, at_most};
use crate::hostname::Hostname;
use crate::object::Object;
use crate::problem::messages::{Message, gateway as messages};
use crate::problem::{Effect, Extent, ObjectRef, Problem};
use crate::route::RouteKind;

/// Weir's name in GatewayClasses, and in the status of routes.
pub const CONTROLLER: &str = "weir.dev/gateway-controller";

/// Gateway API v1: GatewaySpec.listeners.
const MAX_LISTENERS: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub object: ObjectRef,
    /// The name of its GatewayClass.
    pub class: String,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// None takes every host.
    pub hostname: Option<Hostname>,
    pub port: u16,
    /// True where it carries requests; false also where nothing is known of its protocol.
    pub is_http: bool,
    /// Names of the kinds of routes that its protocol and `allowedRoutes.kinds` let in.
    kinds: Vec<&'static str>,
    pub namespaces: Admission,
}

/// `allowedRoutes.namespaces`: where a route may stand.
#[derive(Clone, Debug, PartialEq)]
pub enum Admission {
    Same,
    All,
    Selector(Vec<Requirement>),
}

/// One condition of a label selector; all have to hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

#[derive(Deserialize)]
struct GatewayManifest {
    spec: GatewaySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: Option<String>,
    /// Each is read by itself, so that a wrong one leaves the others alone.
    listeners: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListenerSpec {
    name: String,
    hostname: Option<String>,
    port: u16,
    protocol: String,
    allowed_routes: Option<AllowedRoutes>,
    #[serde(rename = "tls")]
    _tls: Option<IgnoredAny>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
struct AllowedRoutes {
    namespaces: Option<RouteNamespaces>,
    kinds: Option<Vec<RouteGroupKind>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Default, Deserialize)]
struct RouteNamespaces {
    from: Option<String>,
    selector: Option<LabelSelector>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Deserialize)]
struct RouteGroupKind {
    group: Option<String>,
    kind: String,
    #[serde(flatten)]
    rest: Rest,
}

impl ListenerSpec {
    /// A mistyped field would widen what is admitted, so nothing unknown is let pass.
    fn refuse_unknown(&self, object: &ObjectRef, path: &str) -> Result<(), Problem> {
        self.rest.refuse(object, path, &[])?;
        let Some(allowed) = &self.allowed_routes else {
            return Ok(());
        };
        let path = format!("{path}.allowedRoutes");
        allowed.rest.refuse(object, &path, &[])?;
        for (index, kind) in allowed.kinds.iter().flatten().enumerate() {
            kind.rest
                .refuse(object, &format!("{path}.kinds[{index}]"), &[])?;
        }
        let Some(namespaces) = &allowed.namespaces else {
            return Ok(());
        };
        let path = format!("{path}.namespaces");
        namespaces.rest.refuse(object, &path, &[])?;
        let Some(selector) = &namespaces.selector else {
            return Ok(());
        };
        let path = format!("{path}.selector");
        selector.rest.refuse(object, &path, &[])?;
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let path = format!("{path}.matchExpressions[{index}]");
            expression.rest.refuse(object, &path, &[])?;
            let has_values = expression.values.as_ref().is_some_and(|v| !v.is_empty());
            let needs_values = match expression.operator.as_str() {
                "In" | "NotIn" => true,
                "Exists" | "DoesNotExist" => false,
                _ => continue,
            };
            let operator = &expression.operator;
            let message = match (has_values, needs_values) {
                (true, false) => messages::operator_with_values(operator),
                (false, true) => messages::operator_without_values(operator),
                _ => continue,
            };
            return Err(object.problem(format!("{path}.values"), message));
        }
        Ok(())
    }
}

impl Gateway {
    /// A listener that is not understood is left out with a problem; the others go on.
    pub fn parse(object: &Object) -> Result<(Gateway, Vec<Problem>), Problem> {
        let GatewayManifest { spec } = object.decode()?;
        let reference = object.reference();
        let (mut listeners, mut problems) = (Vec::new(), Vec::new());
        let written = spec.listeners.unwrap_or_default();
        let remedy = "split it into several Gateways";
        at_most(
            &written,
            MAX_LISTENERS,
            &reference,
            "spec.listeners",
            remedy,
        )?;
        let mut names = BTreeSet::new();
        for (index, listener) in written.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            match Listener::read(listener, &reference, &path) {
                Ok(listener) if names.contains(&listener.name) => {
                    let message = messages::listener_name_twice(&listener.name);
                    problems.push(reference.problem(format!("{path}.name"), message));
                }
                Ok(listener) => {
                    names.insert(listener.name.clone());
                    listeners.push(listener);
                }
                Err(problem) => problems.push(problem.with_effect(no_routes())),
            }
        }
        let gateway = Gateway {
            object: reference,
            class: spec.gateway_class_name.unwrap_or_default(),
            listeners,
        };
        Ok((gateway, problems))
    }
}

/// What a wrong listener means for traffic.
fn no_routes() -> Effect {
    let words = "this listener has no routes, the others go on";
    Effect::new(Extent::Part, words)
}

impl Listener {
    fn read(value: &Value, object: &ObjectRef, path: &str) -> Result<Listener, Problem> {
        let spec: ListenerSpec = decode_at(object, path, value)?;
        spec.refuse_unknown(object, path)?;
        let wrong =
            |(field, message): (&str, Message)| object.problem(format!("{path}.{field}"), message);
        Listener::parse(spec).map_err(wrong)
    }

    fn parse(spec: ListenerSpec) -> Result<Listener, (&'static str, Message)> {
        let ListenerSpec {
            name,
            hostname,
            port,
            protocol,
            allowed_routes,
            ..
        } = spec;
        if !crate::hostname::is_dns_name(&name) {
            return Err(("name", messages::bad_listener_name(&name)));
        }
        if port == 0 {
            return Err(("port", messages::port_zero()));
        }
        let hostname = match hostname.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(
                Hostname::parse(&text)
                    .ok_or_else(|| ("hostname", messages::bad_hostname(&text)))?,
            ),
        };
        let AllowedRoutes {
            namespaces, kinds, ..
        } = allowed_routes.unwrap_or_default();
        let of_protocol: &[&'static str] = match protocol.as_str() {
            "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
            "TCP" => &["TCPRoute"],
            _ => &[],
        };
        let allowed = kinds.unwrap_or_default();
        let is_allowed = |name: &&&str| {
            let is_it = |entry: &RouteGroupKind| {
                let group = entry.group.as_deref();
                group.unwrap_or("gateway.networking.k8s.io") == "gateway.networking.k8s.io"
                    && entry.kind == **name
            };
            allowed.is_empty() || allowed.iter().any(is_it)
        };
        Ok(Listener {
            name,
            hostname,
            port,
            is_http: matches!(protocol.as_str(), "HTTP" | "HTTPS"),
            kinds: of_protocol.iter().filter(is_allowed).copied().collect(),
            namespaces: Admission::parse(namespaces.unwrap_or_default())?,
        })
    }

    pub fn takes(&self, route: RouteKind) -> bool {
        self.kinds.contains(&route.name())
    }

    /// Whether a route in `route` may attach; `labels` are those of its namespace.
    pub fn admits(&self, gateway: &str, route: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.namespaces {
            Admission::Same => gateway == route,
            Admission::All => true,
            Admission::Selector(requirements) => requirements.iter().all(|r| r.holds(labels)),
        }
    }
}

impl Admission {
    fn parse(spec: RouteNamespaces) -> Result<Admission, (&'static str, Message)> {
        match (spec.from.as_deref().unwrap_or("Same"), spec.selector) {
            ("Same", _) => Ok(Admission::Same),
            ("All", _) => Ok(Admission::All),
            ("Selector", Some(selector)) => Ok(Admission::Selector(selector.parse()?)),
            ("Selector", None) => {
                Err(("allowedRoutes.namespaces.selector", messages::no_selector()))
            }
            (other, _) => Err(("allowedRoutes.namespaces.from", messages::bad_from(other))),
        }
    }
}

impl LabelSelector {
    fn parse(self) -> Result<Vec<Requirement>, (&'static str, Message)> {
        let labels = self.match_labels.unwrap_or_default().into_iter();
        let mut requirements: Vec<Requirement> = labels
            .map(|(key, value)| Requirement::In(key, vec![value]))
            .collect();
        for expression in self.match_expressions.unwrap_or_default() {
            let values = expression.values.unwrap_or_default();
            requirements.push(match expression.operator.as_str() {
                "In" => Requirement::In(expression.key, values),
                "NotIn" => Requirement::NotIn(expression.key, values),
                "Exists" => Requirement::Exists(expression.key),
                "DoesNotExist" => Requirement::DoesNotExist(expression.key),
                other => {
                    return Err((
                        "allowedRoutes.namespaces.selector",
                        messages::bad_operator(other),
                    ));
                }
            });
        }
        Ok(requirements)
    }
}

impl Requirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Requirement::In(key, values) => labels.get(key).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::DoesNotExist(key) => !labels.contains_key(key),
        }
    }
}

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

    /// Whether this lets a route of that kind (gateway.networking.k8s.io) of namespace `from` refer to the
    /// Service `name` of namespace `to`.
    pub fn permits_service(&self, kind: RouteKind, from: &str, to: &str, name: &str) -> bool {
        self.object.namespace == to
            && self.from.iter().any(|entry| {
                entry.group == "gateway.networking.k8s.io"
                    && entry.kind == kind.name()
                    && entry.namespace == from
            })
            && self.to.iter().any(|entry| {
                entry.group.is_empty()
                    && entry.kind == "Service"
                    && entry.name.as_deref().is_none_or(|n| n == name)
            })
    }
}

#[cfg(test)]
mod tests;
