//! Where a route is attached: the ports of a Service, or the listeners of a Gateway and their hosts.
//!
//! `Err` is the reason for which a parent does not take the route, in the words of Gateway API's
//! condition `Accepted`.

use std::collections::BTreeSet;

use crate::cluster::{Port, Service};
use crate::gateway::{Gateway, Listener};
use crate::hostname::Hostname;
use crate::problem::messages::{Message, one_of, parent as messages};
use crate::problem::{Problem, Reason};
use crate::route::{ParentRef, Route, RouteKind};
use crate::world::World;

/// A parent Service and those of its TCP ports that are meant, at least one.
///
/// GEP-1294: without a port all of them; `sectionName` is the name of a port; a Service without an
/// address of its own is no parent. A port that carries connections has no requests that a route for
/// requests could decide for: it is not meant where none is named, and refused where it is.
pub fn service_ports<'w>(
    world: &'w World,
    route: &Route,
    parent: &ParentRef,
) -> Result<(&'w Service, Vec<u16>), Problem> {
    let field = match (parent.port, &parent.section_name) {
        (Some(_), _) => ".port",
        (None, Some(_)) => ".sectionName",
        (None, None) => "",
    };
    let problem = |field: &str, reason: Reason, message: String, remedy: &str| {
        let path = format!("spec.parentRefs[{}]{field}", parent.index);
        route.object.legacy(path, reason, message, remedy)
    };
    let refuse = |field: &str, message: String, remedy: &str| {
        problem(field, Reason::NoMatchingParent, message, remedy)
    };
    let (namespace, name) = (&parent.namespace, &parent.name);
    let service = world.service(namespace, name).ok_or_else(|| {
        let message = format!("there is no Service {namespace}/{name}");
        refuse("", message, "create the Service or correct the reference")
    })?;
    if !service.has_cluster_ip {
        return Err(refuse(
            "",
            format!("Service {namespace}/{name} has no ClusterIP"),
            "refer to a Service that is neither headless nor of type ExternalName",
        ));
    }
    let named = parent.section_name.as_deref();
    let meant = |port: &&Port| {
        parent.port.is_none_or(|number| number == port.number)
            && named.is_none_or(|name| *name == *port.name)
    };
    let mut ports: Vec<&Port> = service.ports.iter().filter(meant).collect();
    if ports.is_empty() {
        let path = format!("spec.parentRefs[{}]{field}", parent.index);
        let message = no_such_port(service, parent);
        return Err(route.object.problem(path, message));
    }
    if route.kind != RouteKind::Tcp {
        ports.retain(|port| !port.carries_connections);
    }
    if ports.is_empty() {
        let which = if field.is_empty() {
            "every port"
        } else {
            "this port"
        };
        return Err(problem(
            field,
            Reason::UnsupportedProtocol,
            format!("{which} of Service {namespace}/{name} carries connections, not requests"),
            "use a TCPRoute, or correct appProtocol or the name of the port",
        ));
    }
    Ok((service, ports.iter().map(|port| port.number).collect()))
}

fn no_such_port(service: &Service, parent: &ParentRef) -> Message {
    let at = format!("{}/{}", parent.namespace, parent.name);
    let names = service.ports.iter().filter(|port| !port.name.is_empty());
    let names = one_of(names.map(|port| &port.name));
    let numbers = service.possible_ports();
    let (wanted, field, possible) = match (parent.port, &parent.section_name) {
        (None, None) => return messages::no_service_port(at),
        (Some(port), None) => (port.to_string(), "port", numbers),
        (None, Some(name)) => (format!("named {name}"), "sectionName", names),
        (Some(port), Some(name)) => {
            let pairs = service.ports.iter();
            let pairs = one_of(pairs.map(|port| format!("{} ({})", port.number, port.name)));
            (
                format!("{port} named {name}"),
                "port and sectionName",
                pairs,
            )
        }
    };
    messages::no_such_service_port(at, wanted, field, possible)
}

fn no_such_listener(gateway: &Gateway, parent: &ParentRef) -> Message {
    let at = format!("{}/{}", parent.namespace, parent.name);
    let listeners = || gateway.listeners.iter();
    let (wanted, field, possible) = match (parent.port, &parent.section_name) {
        (None, None) => return messages::no_listener(at),
        (Some(port), None) => {
            let ports: BTreeSet<u16> = listeners().map(|it| it.port).collect();
            (format!("with port {port}"), "port", one_of(ports))
        }
        (None, Some(name)) => {
            let names = one_of(listeners().map(|it| &it.name));
            (format!("named {name}"), "sectionName", names)
        }
        (Some(port), Some(name)) => {
            let pairs = one_of(listeners().map(|it| format!("{} ({})", it.name, it.port)));
            let wanted = format!("named {name} with port {port}");
            (wanted, "sectionName and port", pairs)
        }
    };
    messages::no_such_listener(at, wanted, field, possible)
}

/// A listener, and hostnames of a route.
pub type Attached<'w> = (&'w Listener, Vec<Option<Hostname>>);

/// The listeners of a Gateway that take the route, at least one, each with the hostnames of the route that have hosts
/// in common with it. None is every host, of a route without hostnames; a TCPRoute has no others.
pub fn gateway_listeners<'w>(
    world: &'w World,
    route: &Route,
    parent: &ParentRef,
) -> Result<Vec<Attached<'w>>, Problem> {
    let refuse = |reason: Reason, message: &str, remedy: &str| {
        let path = format!("spec.parentRefs[{}]", parent.index);
        let gateway = format!("Gateway {}/{}", parent.namespace, parent.name);
        let message = message.replace("{}", &gateway);
        route.object.legacy(path, reason, message, remedy)
    };
    let gateway = world
        .gateway(&parent.namespace, &parent.name)
        .ok_or_else(|| {
            refuse(
                Reason::NoMatchingParent,
                "there is no {}",
                "create the Gateway or correct the reference",
            )
        })?;
    let mut listeners: Vec<_> = gateway
        .listeners
        .iter()
        .filter(|listener| {
            parent
                .section_name
                .as_ref()
                .is_none_or(|name| *name == listener.name)
                && parent.port.is_none_or(|port| port == listener.port)
        })
        .collect();
    if listeners.is_empty() {
        let path = format!("spec.parentRefs[{}]", parent.index);
        let message = no_such_listener(gateway, parent);
        return Err(route.object.problem(path, message));
    }
    let own = &route.object.namespace;
    let labels = world.namespace_labels(own);
    listeners.retain(|listener| {
        listener.takes(route.kind) && listener.admits(&parent.namespace, own, &labels)
    });
    if listeners.is_empty() {
        let kind = match route.kind {
            RouteKind::Http | RouteKind::LinkerdHttp => "an HTTPRoute",
            RouteKind::Grpc => "a GRPCRoute",
            RouteKind::Tcp => "a TCPRoute",
        };
        return Err(refuse(
            Reason::NotAllowedByListeners,
            &format!("no listener of {{}} takes {kind} from namespace {own}"),
            "see allowedRoutes and protocol of its listeners",
        ));
    }
    let with_hosts = |listener: &'w Listener| (listener, own_hostnames(listener, route));
    let attached = listeners.into_iter().map(with_hosts);
    let attached: Vec<_> = attached.filter(|(_, own)| !own.is_empty()).collect();
    if attached.is_empty() {
        return Err(refuse(
            Reason::NoMatchingListenerHostname,
            "no hostname of the route is one of {}",
            "use a hostname that a listener has, or leave hostnames out",
        ));
    }
    Ok(attached)
}

/// Gateway API v1, HTTPRouteSpec.hostnames: a hostname of the route that has no host in common with the listener is
/// ignored for it.
fn own_hostnames(listener: &Listener, route: &Route) -> Vec<Option<Hostname>> {
    if route.kind == RouteKind::Tcp || route.hostnames.is_empty() {
        return vec![None];
    }
    let is_common = |own: &&Hostname| {
        let of_listener = listener.hostname.as_ref();
        of_listener.is_none_or(|it| it.intersect(own).is_some())
    };
    let own = route.hostnames.iter().filter(is_common);
    own.cloned().map(Some).collect()
}
