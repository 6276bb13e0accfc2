//! Finds the places where a route is attached: the ports of a Service, or the listeners of a Gateway and their hosts.
//!
//! If the parent does not accept the route, the functions return the reason as an error. The status of the route has
//! this reason in its condition `Accepted` (Gateway API v1).

use std::collections::BTreeSet;

use crate::api::gateway::{BrokenListener, Gateway, Listener};
use crate::api::route::reference::name_in_host;
use crate::api::route::{ParentRef, Route, RouteKind};
use crate::api::service::{Port, Service};
use crate::manifest::hostname::Hostname;
use crate::manifest::problem::Problem;
use crate::manifest::problem::messages::{Message, list, one_of, parent as messages};
use crate::world::World;

/// Returns the parent Service, and one or more TCP ports that the parentRef selects.
///
/// GEP-1294 has these rules: a parentRef without a port selects all ports. `sectionName` is the name of a port. A
/// Service without a cluster IP cannot be a parent.
///
/// An HTTPRoute or GRPCRoute can use only ports that carry HTTP. This function leaves out all other ports. It returns
/// an error if the parentRef selects no port that carries HTTP.
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
    let refuse = |field: &str, message: Message| {
        let object = &route.object;
        object.problem_of_parent(parent.index, field, message)
    };
    let (namespace, name) = (&parent.namespace, &parent.name);
    let at = format!("{namespace}/{name}");
    let service = world.service(namespace, name);
    let service = service.ok_or_else(|| refuse("", messages::no_service(&at)))?;
    if !service.has_cluster_ip {
        return Err(refuse("", messages::service_without_address(&at)));
    }
    let ports = service.ports.iter();
    let mut ports: Vec<&Port> = ports.filter(|port| is_selected(port, parent)).collect();
    if ports.is_empty() {
        return Err(refuse(field, no_such_port(service, parent)));
    }
    let first = ports.first().map_or(0, |port| port.number);
    if route.kind != RouteKind::Tcp {
        ports.retain(|port| !port.carries_connections);
    }
    if ports.is_empty() {
        let message = match field {
            "" => messages::every_port_carries_connections(&at),
            _ => messages::port_carries_connections(&at, first),
        };
        return Err(refuse(field, message));
    }
    Ok((service, ports.iter().map(|port| port.number).collect()))
}

fn is_selected(port: &Port, parent: &ParentRef) -> bool {
    let name = parent.section_name.as_deref();
    parent.port.is_none_or(|number| number == port.number)
        && name.is_none_or(|name| *name == *port.name)
}

/// Returns the ports of [`service_ports`], or no ports if [`service_ports`] returns an error.
pub fn selected_ports<'w>(
    service: &'w Service,
    kind: RouteKind,
    parent: &ParentRef,
) -> impl Iterator<Item = &'w Port> {
    let ports = service.ports.iter();
    ports.filter(move |port| {
        is_selected(port, parent) && (kind == RouteKind::Tcp || !port.carries_connections)
    })
}

fn no_such_port(service: &Service, parent: &ParentRef) -> Message {
    let at = format!("{}/{}", parent.namespace, parent.name);
    let names = service.ports.iter().filter(|port| !port.name.is_empty());
    let names = one_of(names.map(|port| &port.name));
    let numbers = service.possible_ports();
    let (text, field, possible) = match (parent.port, &parent.section_name) {
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
    messages::no_such_service_port(at, text, field, possible)
}

fn no_such_listener(gateway: &Gateway, parent: &ParentRef) -> Message {
    let at = format!("{}/{}", parent.namespace, parent.name);
    let listeners = || gateway.listeners.iter();
    let is_selected = |broken: &&BrokenListener| {
        let name = parent.section_name.as_ref();
        name.is_none_or(|name| broken.name.as_ref() == Some(name))
            && parent.port.is_none_or(|port| broken.port == Some(port))
    };
    let is_named = parent.port.is_some() || parent.section_name.is_some();
    let broken = gateway.broken.iter().find(is_selected).filter(|_| is_named);
    if let Some(broken) = broken {
        return match (&broken.name, broken.port) {
            (Some(name), _) => messages::listener_not_in_force(at, name),
            (None, Some(port)) => messages::listener_of_port_not_in_force(at, port),
            (None, None) => messages::no_listener(at),
        };
    }
    let (text, field, possible) = match (parent.port, &parent.section_name) {
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
            let text = format!("named {name} with port {port}");
            (text, "sectionName and port", pairs)
        }
    };
    messages::no_such_listener(at, text, field, possible)
}

/// A listener, and the hostnames of a route that have hosts in common with the listener.
pub type Attached<'w, 'r> = (&'w Listener, Vec<Option<&'r Hostname>>);

/// Returns one or more listeners of a Gateway that accept the route. Each listener has a list of hostnames (see
/// [`Attached`]). For a TCPRoute, and for a route without hostnames, the list contains only None, which means every
/// host.
pub fn gateway_listeners<'w, 'r>(
    world: &'w World,
    route: &'r Route,
    parent: &ParentRef,
) -> Result<Vec<Attached<'w, 'r>>, Problem> {
    let refuse = |message: Message| {
        let object = &route.object;
        object.problem_of_parent(parent.index, "", message)
    };
    let at = format!("{}/{}", parent.namespace, parent.name);
    let gateway = world.gateway(&parent.namespace, &parent.name);
    let gateway = gateway.ok_or_else(|| {
        let elsewhere = world.namespaces_of_gateways(&parent.name);
        refuse(match elsewhere.as_slice() {
            [only] => messages::gateway_elsewhere(&at, only),
            _ => match name_in_host(&parent.name) {
                Some(right) => messages::name_of_host(&parent.name, right),
                None => messages::no_gateway(&at),
            },
        })
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
        return Err(refuse(no_such_listener(gateway, parent)));
    }
    let own = &route.object.namespace;
    let labels = world.namespace_labels(own);
    let names = list(listeners.iter().map(|listener| &listener.name));
    listeners.retain(|listener| {
        listener.takes(route.kind) && listener.admits(&parent.namespace, own, &labels)
    });
    if listeners.is_empty() {
        let kind = match route.kind {
            RouteKind::Http | RouteKind::LinkerdHttp => "an HTTPRoute",
            RouteKind::Grpc => "a GRPCRoute",
            RouteKind::Tcp => "a TCPRoute",
        };
        return Err(refuse(messages::not_admitted(&at, kind, own, names)));
    }
    let hostnames = listeners.iter().filter_map(|it| it.hostname.as_ref());
    let hostnames = list(hostnames);
    let attached = listeners
        .into_iter()
        .map(|listener| (listener, own_hostnames(listener, route)));
    let attached: Vec<_> = attached.filter(|(_, own)| !own.is_empty()).collect();
    if attached.is_empty() {
        return Err(refuse(messages::no_common_hostname(&at, hostnames)));
    }
    Ok(attached)
}

/// Returns the hostnames of the route that have a host in common with the listener. The listener ignores all other
/// hostnames of the route (Gateway API v1, HTTPRouteSpec.hostnames).
fn own_hostnames<'r>(listener: &Listener, route: &'r Route) -> Vec<Option<&'r Hostname>> {
    if route.kind == RouteKind::Tcp || route.hostnames.is_empty() {
        return vec![None];
    }
    let is_common = |own: &&Hostname| {
        let of_listener = listener.hostname.as_ref();
        of_listener.is_none_or(|it| it.overlaps(own))
    };
    let own = route.hostnames.iter().filter(is_common);
    own.map(Some).collect()
}
