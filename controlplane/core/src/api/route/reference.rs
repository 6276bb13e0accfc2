//! A reference to a Service, in a backendRef and in the filter RequestMirror: group, kind, namespace, name and port.

use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::Value;

use crate::manifest::field_path::FieldPath;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, backend};
use crate::manifest::spelling::is_misspelling_of;

/// The Service that a backendRef or a mirror names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `KIND.GROUP` if the reference names an object of another kind.
    pub other_kind: Option<String>,
    pub namespace: String,
    pub name: String,
    pub port: Option<PortRef>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRef {
    Number(u16),
    /// The name of a port, which Gateway API does not allow here. Translation looks up the number for the message.
    Name(String),
}

#[derive(Deserialize)]
struct BackendRefSpec {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    port: Option<Value>,
}

/// True for the core group. Gateway API uses the name `""` for it, and Linkerd's guides use `core`.
pub fn is_core(group: &str) -> bool {
    group.is_empty() || group.eq_ignore_ascii_case("core")
}

/// Returns the namespace in a reference. A missing or empty namespace means `own`, the namespace of the object that
/// contains the reference.
pub fn non_empty_or(namespace: Option<String>, own: &str) -> String {
    let namespace = namespace.filter(|namespace| !namespace.is_empty());
    namespace.unwrap_or_else(|| own.to_owned())
}

/// Returns the correct fields if the user wrote a host or a URL instead of the name of a Service. For `http://web.app`,
/// the result is `name: web and namespace: app`. Returns None if `text` is a plain name or an IPv4 address.
pub fn name_in_host(text: &str) -> Option<String> {
    let host = match text.split_once("://") {
        Some((_, host)) => host,
        None => text,
    };
    let host = host.split(['/', ':']).next().unwrap_or_default();
    if host.parse::<Ipv4Addr>().is_ok() {
        return None;
    }
    let mut labels = host.split('.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    match labels.next() {
        Some(namespace) if !namespace.is_empty() => {
            Some(format!("name: {name} and namespace: {namespace}"))
        }
        _ => (host != text).then(|| format!("name: {name}")),
    }
}

impl Reference {
    /// Reads the reference in `value`. Other fields of `value` are ignored. `namespace` is the namespace of the route.
    pub fn read(at: &FieldPath, namespace: &str, value: &Value) -> Result<Reference, Problem> {
        let spec: BackendRefSpec = at.decode(value)?;
        if spec.kind.as_deref() == Some("") {
            return Err(at.field("kind").problem(backend::kind_empty()));
        }
        if let Some((field, message)) = find_misspelling(&spec) {
            return Err(at.field(field).problem(message));
        }
        check_name(&at.field("name"), &spec)?;
        let group = spec.group.unwrap_or_default();
        let kind = spec.kind.unwrap_or_else(|| "Service".to_owned());
        let is_service = is_core(&group) && kind == "Service";
        let kind_and_group = match group.as_str() {
            "" => kind,
            group => format!("{kind}.{group}"),
        };
        Ok(Reference {
            other_kind: (!is_service).then_some(kind_and_group),
            namespace: non_empty_or(spec.namespace, namespace),
            name: spec.name,
            port: spec
                .port
                .map(|port| read_port(&at.field("port"), &port))
                .transpose()?,
        })
    }
}

/// Returns the field that is probably misspelled, and the message. In the core group, a name like `Service` is
/// always a misspelled `Service`, because no other kind has a similar name.
fn find_misspelling(spec: &BackendRefSpec) -> Option<(&'static str, Message)> {
    let group = spec.group.as_deref().unwrap_or_default();
    let kind = spec.kind.as_deref().unwrap_or("Service");
    match group {
        "v1" | "core/v1" if kind == "Service" || is_misspelling_of(kind, "Service") => {
            Some(("group", backend::group_near(group)))
        }
        group if is_core(group) && is_misspelling_of(kind, "Service") => {
            Some(("kind", backend::kind_near(kind)))
        }
        _ => None,
    }
}

/// Rejects names that no object can have.
fn check_name(at: &FieldPath, spec: &BackendRefSpec) -> Result<(), Problem> {
    let name = spec.name.as_str();
    if name.is_empty() {
        return Err(at.problem(backend::name_empty()));
    }
    let is_service = is_core(spec.group.as_deref().unwrap_or_default())
        && spec.kind.as_deref().unwrap_or("Service") == "Service";
    match name_in_host(name).filter(|_| is_service) {
        None => Ok(()),
        Some(right) => Err(at.problem(backend::name_of_host(name, right))),
    }
}

fn read_port(at: &FieldPath, value: &Value) -> Result<PortRef, Problem> {
    match value {
        Value::String(text) if text.is_empty() => {
            return Err(at.problem(backend::port_empty()));
        }
        Value::String(text) if is_port_name(text) || text.parse::<u16>().is_ok() => {
            return Ok(PortRef::Name(text.clone()));
        }
        _ => {}
    }
    let number = value.as_u64().and_then(|it| u16::try_from(it).ok());
    match number.filter(|number| *number > 0) {
        Some(number) => Ok(PortRef::Number(number)),
        None => Err(at.problem(backend::port_out_of_range(value))),
    }
}

/// True if the text begins with a letter, like the name of a port. A text that begins with a digit is probably a
/// mistyped number.
fn is_port_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
}
