//! Resolves the Service that a backendRef or a filter RequestMirror names.

use weir_split::wire;

use super::super::ServicePort;
use crate::api::route::{PortRef, Reference, Route, RouteKind};
use crate::api::service::{Port, Service};
use crate::manifest::problem::messages::{Message, backend as messages};
use crate::world::World;

/// Why a reference cannot be used.
pub struct BadReference {
    /// The path of the field in the reference. It is empty or begins with a dot.
    pub field: &'static str,
    pub message: Message,
}

impl From<Message> for BadReference {
    fn from(message: Message) -> BadReference {
        BadReference { field: "", message }
    }
}

/// Returns the Service of a reference, or an error if the reference cannot be used. `needs_grant` is true if a Service
/// in another namespace needs a ReferenceGrant.
pub fn resolve(
    world: &World,
    route: &Route,
    to: &Reference,
    needs_grant: bool,
) -> Result<wire::Service, BadReference> {
    let (namespace, name) = (&to.namespace, &to.name);
    if let Some(kind) = &to.other_kind {
        return Err(messages::no_service_kind(name, kind).into());
    }
    let at = format!("{namespace}/{name}");
    // The grant is checked first. Without a grant, the problem must not show whether the Service exists.
    let own = &route.object.namespace;
    if needs_grant && !world.permits_service(route.kind, own, namespace, name) {
        let (group, kind) = (route.kind.group(), route.kind.name());
        return Err(messages::no_grant(at, namespace, group, kind, own).into());
    }
    let Some(service) = world.service(namespace, name) else {
        return Err(messages::no_service(at).into());
    };
    if service.may_name_any_host() {
        return Err(messages::external_name(at).into());
    }
    let port = port_of(service, to.port.as_ref(), &at)?;
    // Other protocols, such as HTTP/2 or TLS, are settings of the cluster in the proxy.
    let number = port.number;
    if let Some(protocol) = &port.non_http_protocol
        && route.kind != RouteKind::Tcp
    {
        return Err(messages::no_http(at, number, protocol).into());
    }
    Ok(ServicePort::of(service, number).backend())
}

/// Returns the port of the Service that `named` refers to, or an error. `at` is the Service in error messages.
fn port_of<'s>(
    service: &'s Service,
    named: Option<&PortRef>,
    at: &str,
) -> Result<&'s Port, BadReference> {
    let ports = || service.possible_ports();
    let wrong_port = |message| BadReference {
        field: ".port",
        message,
    };
    match named {
        None => Err(messages::no_port(at, ports()).into()),
        Some(PortRef::Number(number)) => service
            .port(*number)
            .ok_or_else(|| messages::no_such_port(at, number, ports()).into()),
        Some(PortRef::Name(name)) => {
            let named = service.ports.iter().find(|port| *port.name == **name);
            Err(wrong_port(match named {
                Some(port) => messages::port_name(name, port.number),
                None => messages::unknown_port_name(name, at, ports()),
            }))
        }
    }
}
