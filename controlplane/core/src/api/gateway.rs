//! Gateway of Gateway API (v1, v1beta1): the listeners, and the routes that each listener accepts.
//!
//! Weir translates the routes of all Gateways in the same way. Weir writes the status of a route only if the
//! GatewayClass of the Gateway names Weir as its controller.

mod broken_listener;

use std::collections::{BTreeMap, BTreeSet};

pub use broken_listener::BrokenListener;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::route::RouteKind;
use crate::manifest::decode::decode_at;
use crate::manifest::hostname::Hostname;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::{Message, gateway as messages, object as object_messages};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use crate::manifest::unknown_fields::{UnknownFields, at_most};

/// The controller name of Weir in GatewayClasses, and in the status of routes.
pub const CONTROLLER: &str = "weir.dev/gateway-controller";

/// The maximum number of listeners (Gateway API v1, GatewaySpec.listeners).
const MAX_LISTENERS: usize = 64;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// Fields of GatewaySpec that have no effect on routes.
const IGNORED_FIELDS: [&str; 6] = [
    "addresses",
    "infrastructure",
    "backendTLS",
    "allowedListeners",
    "tls",
    "defaultScope",
];
const PROTOCOLS: [&str; 5] = ["HTTP", "HTTPS", "TLS", "TCP", "UDP"];
/// The protocol of Istio waypoints.
const HBONE: &str = "HBONE";
/// All kinds of routes of Gateway API.
const ROUTE_KINDS: [&str; 5] = ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"];

#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub object: ObjectRef,
    /// The name of the Gateway's class.
    pub class: String,
    /// The valid listeners.
    pub listeners: Vec<Listener>,
    /// The listeners that Weir cannot use because of a problem.
    pub broken: Vec<BrokenListener>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// None means every host.
    pub hostname: Option<Hostname>,
    pub port: u16,
    /// True if the protocol is HTTP or HTTPS.
    pub is_http: bool,
    /// The kinds of routes that both the protocol and `allowedRoutes.kinds` allow.
    kinds: Vec<&'static str>,
    pub namespaces: AllowedNamespaces,
}

/// The value of `allowedRoutes.namespaces`: the namespaces from which routes may attach to the listener.
#[derive(Clone, Debug, PartialEq)]
pub enum AllowedNamespaces {
    Same,
    All,
    Selector(Vec<Requirement>),
}

/// One condition of a label selector. The selector selects a namespace if the namespace's labels meet all conditions.
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
    /// The listeners. Each listener is decoded separately, so that an invalid listener does not affect the others.
    listeners: Option<Vec<Value>>,
    #[serde(flatten)]
    unknown: UnknownFields,
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
    unknown: UnknownFields,
}

#[derive(Default, Deserialize)]
struct AllowedRoutes {
    namespaces: Option<RouteNamespaces>,
    kinds: Option<Vec<RouteGroupKind>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Default, Deserialize)]
struct RouteNamespaces {
    from: Option<String>,
    selector: Option<LabelSelector>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Expression>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct Expression {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct RouteGroupKind {
    group: Option<String>,
    kind: String,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl ListenerSpec {
    /// Rejects unknown fields at every level. If Weir ignored a misspelled field, the listener could accept too many
    /// routes.
    fn reject_unknown(&self, object: &ObjectRef, path: &str) -> Result<(), Problem> {
        self.unknown.reject(object, path)?;
        let Some(allowed) = &self.allowed_routes else {
            return Ok(());
        };
        let path = format!("{path}.allowedRoutes");
        allowed.unknown.reject(object, &path)?;
        for (index, kind) in allowed.kinds.iter().flatten().enumerate() {
            kind.unknown
                .reject(object, &format!("{path}.kinds[{index}]"))?;
        }
        let Some(namespaces) = &allowed.namespaces else {
            return Ok(());
        };
        let path = format!("{path}.namespaces");
        namespaces.unknown.reject(object, &path)?;
        let Some(selector) = &namespaces.selector else {
            return Ok(());
        };
        let path = format!("{path}.selector");
        selector.unknown.reject(object, &path)?;
        for (index, expression) in selector.match_expressions.iter().flatten().enumerate() {
            let path = format!("{path}.matchExpressions[{index}]");
            expression.unknown.reject(object, &path)?;
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

impl RouteGroupKind {
    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or(GATEWAY_API)
    }

    /// Returns an error message if this is not a kind of route in Gateway API.
    fn check(&self) -> Option<Message> {
        let exists = self.group() == GATEWAY_API && ROUTE_KINDS.contains(&self.kind.as_str());
        (!exists).then(|| messages::unknown_route_kind(&self.kind, self.group()))
    }
}

/// Accepts the protocols of Gateway API, HBONE, and vendor protocols with a domain prefix, such as `example.com/own`
/// (Gateway API v1, ProtocolType).
fn check_protocol(protocol: &str) -> Result<(), Message> {
    if PROTOCOLS.contains(&protocol) || protocol == HBONE || protocol.contains('/') {
        return Ok(());
    }
    let in_another_case = PROTOCOLS
        .into_iter()
        .find(|it| it.eq_ignore_ascii_case(protocol));
    let right = in_another_case.unwrap_or("HTTP, HTTPS, TLS, TCP or UDP");
    Err(messages::unknown_protocol(protocol, right))
}

impl Gateway {
    /// Parses a Gateway, and returns the problems of its invalid parts. Invalid listeners are in [`Gateway::broken`];
    /// the other listeners stay valid.
    pub fn parse(object: &Object) -> Result<(Gateway, Vec<Problem>), Problem> {
        let GatewayManifest { spec } = object.decode()?;
        let reference = object.reference();
        let (mut listeners, mut broken) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for field in spec.unknown.except(&IGNORED_FIELDS) {
            let message = object_messages::unknown_field(field).with_effect(field_is_ignored());
            problems.push(reference.problem(format!("spec.{field}"), message));
        }
        let values = spec.listeners.unwrap_or_default();
        if values.is_empty() {
            problems.push(reference.problem("spec.listeners", messages::no_listeners()));
        }
        at_most(&values, MAX_LISTENERS, &reference, "spec.listeners")?;
        let mut names = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            let result = Listener::read(value, &reference, &path);
            let result = result.and_then(|(listener, kind_problems)| {
                if names.contains(&listener.name) {
                    let message = messages::listener_name_twice(&listener.name);
                    return Err(reference.problem(format!("{path}.name"), message));
                }
                Ok((listener, kind_problems))
            });
            match result {
                Ok((listener, kind_problems)) => {
                    problems.extend(kind_problems);
                    problems.extend(find_conflict(&reference, &path, &listeners, &listener));
                    names.insert(listener.name.clone());
                    listeners.push(listener);
                }
                Err(problem) => {
                    problems.push(problem.with_effect(no_routes()));
                    broken.push((index, value));
                }
            }
        }
        let broken = broken_listener::read(&broken, &listeners);
        let gateway = Gateway {
            object: reference,
            class: spec.gateway_class_name.unwrap_or_default(),
            listeners,
            broken,
        };
        Ok((gateway, problems))
    }
}

/// Returns a problem if an HTTP listener in `before` has the same port and hostname as `listener` (Gateway API v1,
/// ListenerConditionReason `HostnameConflict`).
fn find_conflict(
    object: &ObjectRef,
    path: &str,
    before: &[Listener],
    listener: &Listener,
) -> Option<Problem> {
    let is_same = |other: &&Listener| {
        (other.is_http && listener.is_http)
            && (other.port, &other.hostname) == (listener.port, &listener.hostname)
    };
    let other = before.iter().find(is_same)?;
    let message = messages::listener_conflict(&listener.name, &other.name, listener.port);
    Some(object.problem(path, message))
}

/// Returns the effect of a field that GatewaySpec does not have.
fn field_is_ignored() -> Effect {
    Effect::new(Extent::Part, "Weir ignores this field")
}

/// Returns the effect of an invalid listener.
fn no_routes() -> Effect {
    let words = "no route is in force for the hosts of this listener";
    Effect::new(Extent::Part, words)
}

impl Listener {
    /// Returns the listener, and a problem for each entry of `allowedRoutes.kinds` that is not a kind of route.
    fn read(
        value: &Value,
        object: &ObjectRef,
        path: &str,
    ) -> Result<(Listener, Vec<Problem>), Problem> {
        let spec: ListenerSpec = decode_at(object, path, value)?;
        spec.reject_unknown(object, path)?;
        let mut kind_problems = Vec::new();
        let kinds = spec.allowed_routes.iter().flat_map(|it| &it.kinds);
        for (index, kind) in kinds.flatten().enumerate() {
            if let Some(message) = kind.check() {
                let path = format!("{path}.allowedRoutes.kinds[{index}]");
                kind_problems.push(object.problem(path, message));
            }
        }
        let listener = Listener::parse(spec)
            .map_err(|(field, message)| object.problem(format!("{path}.{field}"), message))?;
        Ok((listener, kind_problems))
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
        if !crate::manifest::hostname::is_dns_name(&name) {
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
        check_protocol(&protocol).map_err(|message| ("protocol", message))?;
        let AllowedRoutes {
            namespaces,
            kinds: allowed_kinds,
            ..
        } = allowed_routes.unwrap_or_default();
        let allowed_kinds = allowed_kinds.unwrap_or_default();
        let mut kinds: Vec<&'static str> = match protocol.as_str() {
            "HTTP" | "HTTPS" => vec!["HTTPRoute", "GRPCRoute"],
            "TCP" => vec!["TCPRoute"],
            _ => Vec::new(),
        };
        kinds.retain(|kind| {
            let mut allowed = allowed_kinds.iter();
            allowed_kinds.is_empty()
                || allowed.any(|it| it.group() == GATEWAY_API && it.kind == *kind)
        });
        Ok(Listener {
            name,
            hostname,
            port,
            is_http: matches!(protocol.as_str(), "HTTP" | "HTTPS"),
            kinds,
            namespaces: AllowedNamespaces::parse(namespaces.unwrap_or_default())?,
        })
    }

    /// True if the protocol of the listener and `allowedRoutes.kinds` allow routes of this kind.
    pub fn takes(&self, route: RouteKind) -> bool {
        self.kinds.contains(&route.name())
    }

    /// True if a route may attach to the listener. `gateway` is the namespace of the Gateway. `route` is the namespace
    /// of the route, and `labels` are the labels of this namespace.
    pub fn admits(&self, gateway: &str, route: &str, labels: &BTreeMap<String, String>) -> bool {
        match &self.namespaces {
            AllowedNamespaces::Same => gateway == route,
            AllowedNamespaces::All => true,
            AllowedNamespaces::Selector(requirements) => {
                requirements.iter().all(|it| it.holds(labels))
            }
        }
    }
}

impl AllowedNamespaces {
    fn parse(spec: RouteNamespaces) -> Result<AllowedNamespaces, (&'static str, Message)> {
        match (spec.from.as_deref().unwrap_or("Same"), spec.selector) {
            ("Same", _) => Ok(AllowedNamespaces::Same),
            ("All", _) => Ok(AllowedNamespaces::All),
            ("Selector", Some(selector)) => Ok(AllowedNamespaces::Selector(selector.parse()?)),
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

#[cfg(test)]
mod tests;
