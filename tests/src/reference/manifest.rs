//! The manifests of a world, as a user would apply them.

use serde_json::{Value as Json, json};

use super::{
    Field, GATEWAY_NAMESPACE, GroupMatch, Kind, Match, Parent, Path, Route, Split, Value, World,
};

impl World {
    /// Returns every object as JSON.
    pub fn manifests(&self) -> Vec<Json> {
        let mut objects = vec![self.gateway()];
        for service in &self.services {
            objects.push(object_of_service(
                &service.namespace,
                &service.name,
                &service.ports,
            ));
        }
        for route in &self.routes {
            let backends = route.rules.iter();
            let backends =
                backends.map(|rule| object_of_service(&route.namespace, &rule.backend, &[80]));
            objects.extend(backends);
            objects.push(object_of_route(route));
        }
        for split in &self.splits {
            let ports = [80, 81, 82];
            objects.push(object_of_service(GATEWAY_NAMESPACE, &split.backend, &ports));
            objects.extend(objects_of_split(split));
        }
        objects
    }

    fn gateway(&self) -> Json {
        let listeners = self.listeners.iter().map(|listener| {
            let mut json = json!({
                "name": listener.name,
                "port": listener.port,
                "protocol": "HTTP",
                "allowedRoutes": { "namespaces": { "from": if listener.from_all { "All" } else { "Same" } } },
            });
            if let Some(hostname) = &listener.hostname {
                json["hostname"] = hostname.as_str().into();
            }
            json
        });
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": { "name": "edge", "namespace": GATEWAY_NAMESPACE },
            "spec": { "gatewayClassName": "weir", "listeners": listeners.collect::<Vec<_>>() },
        })
    }
}

pub fn object_of_service(namespace: &str, name: &str, ports: &[u16]) -> Json {
    let ports = ports
        .iter()
        .map(|port| json!({ "name": format!("p{port}"), "port": port }));
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": { "ports": ports.collect::<Vec<_>>() },
    })
}

fn object_of_route(route: &Route) -> Json {
    let (version, kind) = match route.kind {
        Kind::Linkerd => ("policy.linkerd.io/v1beta3", "HTTPRoute"),
        Kind::Http => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        Kind::Grpc => ("gateway.networking.k8s.io/v1", "GRPCRoute"),
    };
    let metadata = metadata(&route.name, &route.namespace, route.created);
    let rules = route.rules.iter().map(|rule| {
        let mut json = json!({ "backendRefs": [{ "name": rule.backend, "port": 80 }] });
        if !rule.matches.is_empty() {
            json["matches"] = rule.matches.iter().map(json_of_match).collect();
        }
        json
    });
    let mut spec = json!({
        "parentRefs": route.parents.iter().map(json_of_parent).collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
    });
    if !route.hostnames.is_empty() {
        spec["hostnames"] = json!(route.hostnames);
    }
    json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec })
}

fn json_of_parent(parent: &Parent) -> Json {
    let (mut json, port) = match parent {
        Parent::Gateway { section, port } => {
            let mut json = json!({ "name": "edge", "namespace": GATEWAY_NAMESPACE });
            if let Some(section) = section {
                json["sectionName"] = section.as_str().into();
            }
            (json, port)
        }
        Parent::Service {
            namespace,
            name,
            port,
        } => (
            json!({ "group": "", "kind": "Service", "name": name, "namespace": namespace }),
            port,
        ),
    };
    if let Some(port) = port {
        json["port"] = (*port).into();
    }
    json
}

fn json_of_match(one_match: &Match) -> Json {
    let mut json = json!({});
    if let Some(path) = &one_match.path {
        let (kind, value) = match path {
            Path::Exact(path) => ("Exact", path.clone()),
            Path::Prefix(path) => ("PathPrefix", path.clone()),
            Path::Regex(pattern) => ("RegularExpression", pattern.to_string()),
        };
        json["path"] = json!({ "type": kind, "value": value });
    }
    if let Some(method) = &one_match.method {
        json["method"] = method.as_str().into();
    }
    if let Some(call) = &one_match.call {
        json["method"] = json!({});
        for (key, part) in [("service", &call.service), ("method", &call.method)] {
            match part {
                None => {}
                Some(Value::Exact(name)) => json["method"][key] = name.as_str().into(),
                Some(Value::Regex(pattern)) => {
                    json["method"]["type"] = "RegularExpression".into();
                    json["method"][key] = pattern.to_string().into();
                }
            }
        }
    }
    for (key, fields) in [
        ("headers", &one_match.headers),
        ("queryParams", &one_match.query),
    ] {
        if !fields.is_empty() {
            json[key] = fields.iter().map(json_of_field).collect();
        }
    }
    json
}

fn json_of_field(field: &Field) -> Json {
    let name = &field.name;
    match &field.value {
        Value::Exact(value) => json!({ "name": name, "value": value }),
        Value::Regex(pattern) => {
            json!({ "type": "RegularExpression", "name": name, "value": pattern.to_string() })
        }
    }
}

fn metadata(name: &str, namespace: &str, created: Option<u8>) -> Json {
    let mut metadata = json!({ "name": name, "namespace": namespace });
    if let Some(day) = created {
        metadata["creationTimestamp"] = format!("2026-01-{:02}T00:00:00Z", day + 1).into();
    }
    metadata
}

/// Returns the split and its groups.
fn objects_of_split(split: &Split) -> Vec<Json> {
    let group_name = |index: usize| format!("{}-{index}", split.name);
    let groups = split.groups.iter().enumerate();
    let references = groups
        .clone()
        .map(|(index, _)| json!({ "kind": "HTTPRouteGroup", "name": group_name(index) }));
    let port = split.port.map(|port| format!(":{port}"));
    let service = format!("{}{}", split.service, port.unwrap_or_default());
    let mut spec = json!({
        "service": service,
        "backends": [{ "service": split.backend, "weight": 1 }],
    });
    if !split.groups.is_empty() {
        spec["matches"] = references.collect();
    }
    let mut objects = vec![json!({
        "apiVersion": "split.smi-spec.io/v1alpha4",
        "kind": "TrafficSplit",
        "metadata": metadata(&split.name, GATEWAY_NAMESPACE, split.created),
        "spec": spec,
    })];
    objects.extend(groups.map(|(index, matches)| {
        json!({
            "apiVersion": "specs.smi-spec.io/v1alpha4",
            "kind": "HTTPRouteGroup",
            "metadata": metadata(&group_name(index), GATEWAY_NAMESPACE, None),
            "spec": { "matches": matches.iter().map(json_of_group_match).collect::<Vec<_>>() },
        })
    }));
    objects
}

pub fn json_of_group_match(one_match: &GroupMatch) -> Json {
    let mut json = json!({ "name": "any" });
    if let Some(path) = &one_match.path {
        json["pathRegex"] = path.to_string().into();
    }
    if !one_match.methods.is_empty() {
        json["methods"] = json!(one_match.methods);
    }
    if !one_match.headers.is_empty() {
        let headers = one_match.headers.iter();
        let headers = headers.map(|(name, pattern)| (name.clone(), pattern.to_string().into()));
        json["headers"] = Json::Object(headers.collect());
    }
    json
}
