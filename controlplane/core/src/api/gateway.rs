//! Gateway and ReferenceGrant of Gateway API (v1, v1beta1): which routes a listener takes, and which
//! references into another namespace are permitted.
//!
//! A Gateway's class does not matter to its routes: whoever runs it, they are the same. It only tells whether a
//! route's status is Weir's to write.

mod broken;

use std::collections::{BTreeMap, BTreeSet};

pub use broken::Broken;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::api::route::RouteKind;
use crate::manifest::decode::decode_at;
use crate::manifest::hostname::Hostname;
use crate::manifest::object::Object;
use crate::manifest::problem::messages::{Message, gateway as messages, object as object_messages};
use crate::manifest::problem::{Effect, Extent, ObjectRef, Problem};
use crate::manifest::unknown_fields::{Rest, at_most};

/// Weir's name in GatewayClasses, and in the status of routes.
pub const CONTROLLER: &str = "weir.dev/gateway-controller";

/// Gateway API v1: GatewaySpec.listeners.
const MAX_LISTENERS: usize = 64;

const GATEWAY_API: &str = "gateway.networking.k8s.io";
/// Fields of a Gateway's spec that make no difference to its routes.
const OTHER_FIELDS: [&str; 6] = [
    "addresses",
    "infrastructure",
    "backendTLS",
    "allowedListeners",
    "tls",
    "defaultScope",
];
const PROTOCOLS: [&str; 5] = ["HTTP", "HTTPS", "TLS", "TCP", "UDP"];
/// Of Istio, at its waypoints.
const HBONE: &str = "HBONE";
/// The kinds of routes that there are, whether or not a listener of some protocol takes them.
const ROUTES: [&str; 5] = ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute", "UDPRoute"];

#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub object: ObjectRef,
    /// The name of its GatewayClass.
    pub class: String,
    /// Those that are in force.
    pub listeners: Vec<Listener>,
    /// Those that are not, because of a problem of their own.
    pub broken: Vec<Broken>,
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
    #[serde(flatten)]
    rest: Rest,
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

impl RouteGroupKind {
    fn unknown(&self) -> Option<Message> {
        let group = self.group.as_deref().unwrap_or(GATEWAY_API);
        let is_known = group == GATEWAY_API && ROUTES.contains(&self.kind.as_str());
        (!is_known).then(|| messages::unknown_route_kind(&self.kind, group))
    }
}

/// Those of Gateway API, and those that an implementation may add, with a domain in front.
fn known_protocol(written: &str) -> Result<(), Message> {
    if PROTOCOLS.contains(&written) || written == HBONE || written.contains('/') {
        return Ok(());
    }
    let meant = PROTOCOLS.iter();
    let meant = meant.copied().find(|it| it.eq_ignore_ascii_case(written));
    let meant = meant.unwrap_or("HTTP, HTTPS, TLS, TCP or UDP");
    Err(messages::unknown_protocol(written, meant))
}

impl Gateway {
    /// A listener that is not understood is left out with a problem; the others go on.
    pub fn parse(object: &Object) -> Result<(Gateway, Vec<Problem>), Problem> {
        let GatewayManifest { spec } = object.decode()?;
        let reference = object.reference();
        let (mut listeners, mut broken) = (Vec::new(), Vec::new());
        let mut problems = Vec::new();
        for field in spec.rest.unknown(&OTHER_FIELDS) {
            let message = object_messages::unknown_field(field).with_effect(goes_on());
            problems.push(reference.problem(format!("spec.{field}"), message));
        }
        let written = spec.listeners.unwrap_or_default();
        if written.is_empty() {
            problems.push(reference.problem("spec.listeners", messages::no_listeners()));
        }
        at_most(&written, MAX_LISTENERS, &reference, "spec.listeners")?;
        let mut names = BTreeSet::new();
        for (index, value) in written.iter().enumerate() {
            let path = format!("spec.listeners[{index}]");
            let read = Listener::read(value, &reference, &path).and_then(|(listener, of_kinds)| {
                if names.contains(&listener.name) {
                    let message = messages::listener_name_twice(&listener.name);
                    return Err(reference.problem(format!("{path}.name"), message));
                }
                Ok((listener, of_kinds))
            });
            match read {
                Ok((listener, of_kinds)) => {
                    problems.extend(of_kinds);
                    problems.extend(conflict(&reference, &path, &listeners, &listener));
                    names.insert(listener.name.clone());
                    listeners.push(listener);
                }
                Err(problem) => {
                    problems.push(problem.with_effect(no_routes()));
                    broken.push((index, value));
                }
            }
        }
        let broken = broken::read(&broken, &listeners);
        let gateway = Gateway {
            object: reference,
            class: spec.gateway_class_name.unwrap_or_default(),
            listeners,
            broken,
        };
        Ok((gateway, problems))
    }
}

/// Gateway API v1, ListenerConditionReason `HostnameConflict`: nothing tells the requests of two listeners apart.
fn conflict(
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

/// What a field that does not exist means for traffic.
fn goes_on() -> Effect {
    Effect::new(Extent::Part, "the Gateway goes on without this field")
}

/// What a wrong listener means for traffic.
fn no_routes() -> Effect {
    let words = "this listener has no routes, and no other listener gets its hosts";
    Effect::new(Extent::Part, words)
}

impl Listener {
    /// With problems of kinds of routes that do not exist: the listener takes the others.
    fn read(
        value: &Value,
        object: &ObjectRef,
        path: &str,
    ) -> Result<(Listener, Vec<Problem>), Problem> {
        let spec: ListenerSpec = decode_at(object, path, value)?;
        spec.refuse_unknown(object, path)?;
        let kinds = spec.allowed_routes.iter().flat_map(|it| &it.kinds);
        let kinds = kinds.flatten().enumerate();
        let of_kinds = kinds.filter_map(|(index, kind)| {
            let message = kind.unknown()?;
            let path = format!("{path}.allowedRoutes.kinds[{index}]");
            Some(object.problem(path, message))
        });
        let of_kinds = of_kinds.collect();
        let wrong =
            |(field, message): (&str, Message)| object.problem(format!("{path}.{field}"), message);
        Ok((Listener::parse(spec).map_err(wrong)?, of_kinds))
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
        known_protocol(&protocol).map_err(|message| ("protocol", message))?;
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
                group.unwrap_or(GATEWAY_API) == GATEWAY_API && entry.kind == **name
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

#[cfg(test)]
mod tests;
