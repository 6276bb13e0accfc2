//! Finds unknown fields of Services, Namespaces, Gateways and ReferenceGrants, and unknown protocols of Service ports.
//!
//! An API server refuses or drops an unknown field. In a manifest file, an unknown field is most likely a mistake. Weir
//! reports the field, and uses the object without this field.

use serde_json::Value;

use crate::manifest::field_path::unknown_fields;
use crate::manifest::object::{Kind, Object};
use crate::manifest::problem::messages::{Message, object as object_messages, service as messages};
use crate::manifest::problem::{Effect, Extent, Problem};

/// The top-level fields of an object.
const TOP: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
/// The fields of meta/v1 ObjectMeta, including fields that only old versions of Kubernetes have.
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
/// The fields of core/v1 ServiceSpec, including fields that only old versions of Kubernetes have.
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
/// The fields of core/v1 ServicePort.
const PORT: [&str; 6] = [
    "appProtocol",
    "name",
    "nodePort",
    "port",
    "protocol",
    "targetPort",
];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Returns the problems of unknown fields. For a Service, also returns the problems of its ports.
pub fn problems(object: &Object) -> Vec<Problem> {
    let mut problems = unknown_field_problems(object, "", Some(&object.body), &TOP);
    let metadata = object.body.get("metadata");
    problems.extend(unknown_field_problems(
        object, "metadata", metadata, &METADATA,
    ));
    if object.kind == Kind::Service {
        let spec = object.body.get("spec");
        problems.extend(unknown_field_problems(object, "spec", spec, &SERVICE));
        problems.extend(port_problems(object));
    }
    problems
}

/// Returns a problem for each field of the map `value` that is not in `known`. `path` is the path of the map.
fn unknown_field_problems(
    object: &Object,
    path: &str,
    value: Option<&Value>,
    known: &[&str],
) -> Vec<Problem> {
    let fields = value.and_then(Value::as_object);
    let unknown = fields.into_iter().flat_map(|it| unknown_fields(it, known));
    unknown
        .map(|name| {
            let message = object_messages::unknown_field(name).with_effect(field_is_ignored());
            problem(object, join(path, name), message)
        })
        .collect()
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

fn problem(object: &Object, path: String, message: Message) -> Problem {
    object.reference().problem(path, message)
}

fn field_is_ignored() -> Effect {
    Effect::new(Extent::Part, "Weir uses the object without this field")
}

fn port_problems(object: &Object) -> Vec<Problem> {
    let spec = &object.body["spec"];
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let is_headless = [&spec["clusterIP"], &spec["clusterIPs"][0]]
        .into_iter()
        .any(|it| it.as_str() == Some("None"));
    let may_have_no_ports = spec["type"].as_str() == Some("ExternalName") || is_headless;
    let mut problems = Vec::new();
    if ports.is_empty() && !may_have_no_ports {
        let message = messages::no_ports();
        problems.push(problem(object, "spec.ports".to_owned(), message));
    }
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        problems.extend(unknown_field_problems(object, &path, Some(port), &PORT));
        let protocol = port.get("protocol").and_then(Value::as_str);
        if let Some(protocol) = protocol.filter(|it| !PROTOCOLS.contains(it)) {
            let message = messages::unknown_protocol(protocol);
            problems.push(problem(object, join(&path, "protocol"), message));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
