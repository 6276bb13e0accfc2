//! Fields of a Service, a Namespace, a Gateway or a ReferenceGrant that its API does not have, and values that a field
//! cannot have.
//!
//! The API server of Kubernetes refuses or drops them. Where objects come from files, what was meant by such a field is
//! missing, so that the object is not done as it is written.

use serde_json::{Map, Value};

use crate::manifest::field_path::unknown_fields;
use crate::manifest::object::{Kind, Object};
use crate::manifest::problem::messages::{Message, object as object_messages, service as messages};
use crate::manifest::problem::{Effect, Extent, Problem};

const HEAD: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// meta/v1 ObjectMeta, with fields of old versions.
const METADATA: [&str; 17] = [
    "annotations",
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "initializers",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// core/v1 ServiceSpec, with fields of old versions.
const SERVICE: [&str; 22] = [
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamily",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "topologyKeys",
    "trafficDistribution",
    "type",
];
const PORT: [&str; 6] = [
    "appProtocol",
    "name",
    "nodePort",
    "port",
    "protocol",
    "targetPort",
];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

pub fn problems(object: &Object) -> Vec<Problem> {
    let mut problems = unknown(object, "", &HEAD);
    problems.extend(unknown(object, "metadata", &METADATA));
    if object.kind == Kind::Service {
        problems.extend(unknown(object, "spec", &SERVICE));
        problems.extend(ports(object));
    }
    problems
}

/// The fields at `path`, names with dots between them, that are not known.
fn unknown(object: &Object, path: &str, known: &[&str]) -> Vec<Problem> {
    let found = field(object, path).and_then(Value::as_object);
    let unknown = found.into_iter().flat_map(|it| unknown_fields(it, known));
    let problem = |name: &str| {
        let message = object_messages::unknown_field(name);
        at(object, join(path, name), message.with_effect(goes_on()))
    };
    unknown.map(problem).collect()
}

fn field<'o>(object: &'o Object, path: &str) -> Option<&'o Value> {
    match path {
        "" => Some(&object.body),
        path => object.body.get(path),
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn at(object: &Object, path: String, message: Message) -> Problem {
    object.reference().problem(path, message)
}

fn goes_on() -> Effect {
    Effect::new(Extent::Part, "the object is in force without this field")
}

fn ports(object: &Object) -> Vec<Problem> {
    let nothing = Map::new();
    let spec = object.body.get("spec").and_then(Value::as_object);
    let spec = spec.unwrap_or(&nothing);
    let text = |name: &str| spec.get(name).and_then(Value::as_str);
    let ports = spec.get("ports").and_then(Value::as_array);
    let ports = ports.into_iter().flatten();
    let first_ip = spec.get("clusterIPs").and_then(|it| it.get(0));
    let first_ip = first_ip.and_then(Value::as_str);
    let is_headless = [text("clusterIP"), first_ip].contains(&Some("None"));
    let needs_none = text("type") == Some("ExternalName") || is_headless;
    let mut problems = Vec::new();
    if ports.clone().next().is_none() && !needs_none {
        problems.push(at(object, "spec.ports".to_owned(), messages::no_ports()));
    }
    for (index, port) in ports.enumerate() {
        let path = format!("spec.ports[{index}]");
        let fields = port.as_object().into_iter();
        problems.extend(fields.flat_map(|it| unknown_fields(it, &PORT)).map(|name| {
            let message = object_messages::unknown_field(name);
            at(object, join(&path, name), message.with_effect(goes_on()))
        }));
        let protocol = port.get("protocol").and_then(Value::as_str);
        if let Some(protocol) = protocol.filter(|it| !PROTOCOLS.contains(it)) {
            let message = messages::unknown_protocol(protocol);
            problems.push(at(object, join(&path, "protocol"), message));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
