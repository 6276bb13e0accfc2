//! TrafficSplit (split.smi-spec.io, v1alpha1 to v1alpha4).
//!
//! Weir reads all versions in the same way, except that `matches` exist only in v1alpha3 and v1alpha4.
//! [`crate::translate`] looks up the Services and HTTPRouteGroups that a split names.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::api::smi::service_name::{RootError, RootName, SplitRoot};
use crate::api::smi::weight::{self, Milli, WeightError};
use crate::manifest::object::{Object, SMI_SPECS};
use crate::manifest::problem::messages::{Message, split as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::{UnknownFields, at_most};

/// The maximum number of backends of one split. Each port of the Service gets a rule with all backends.
const MAX_BACKENDS: usize = 1_000;
const MAX_GROUPS: usize = 16;

/// A valid TrafficSplit.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficSplit {
    pub object: ObjectRef,
    pub created: Option<Timestamp>,
    /// The Service or host in `spec.service`.
    pub root: SplitRoot,
    /// The backends in the order of `spec.backends`.
    pub backends: Vec<SplitBackend>,
    /// Names of the HTTPRouteGroups, in the order of `spec.matches`. The split applies to requests that fit a match of
    /// one of these groups. If the list is empty, the split applies to every request.
    pub groups: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitBackend {
    /// Name of a Service in the namespace of the split.
    pub name: String,
    /// The weight, relative to the weights of the other backends. The total weight of a split is below 2^63.
    pub weight: u64,
}

#[derive(Deserialize)]
struct SplitManifest {
    spec: SplitSpec,
}

#[derive(Deserialize)]
struct SplitSpec {
    #[serde(default)]
    service: Value,
    backends: Option<Vec<BackendSpec>>,
    matches: Option<Vec<GroupRef>>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

#[derive(Deserialize)]
struct BackendSpec {
    #[serde(default)]
    service: Value,
    #[serde(default)]
    weight: Value,
    // No version of the API has the next three fields. Some users write them, so each field has its own error message.
    #[serde(default)]
    name: Value,
    #[serde(default)]
    namespace: Value,
    #[serde(default)]
    port: Value,
    #[serde(flatten)]
    unknown: UnknownFields,
}

/// A reference in `spec.matches`. Only references to HTTPRouteGroups are valid.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupRef {
    api_group: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    #[serde(flatten)]
    unknown: UnknownFields,
}

impl TrafficSplit {
    pub fn parse(object: &Object) -> Result<TrafficSplit, Problem> {
        let SplitManifest { spec } = object.decode()?;
        let SplitSpec {
            service,
            backends,
            matches,
            unknown,
        } = spec;
        let reference = object.reference();
        unknown.reject(&reference, "spec")?;
        object.reject_other_fields(&["spec"])?;
        let groups = matches.unwrap_or_default();
        if !groups.is_empty() && matches!(object.version(), "v1alpha1" | "v1alpha2") {
            let message = messages::split_matches_before_their_version(object.version());
            return Err(reference.problem("spec.matches", message));
        }
        at_most(&groups, MAX_GROUPS, &reference, "spec.matches")?;
        let backends = backends.ok_or_else(|| {
            reference.problem("spec.backends", messages::split_without_backends())
        })?;
        at_most(&backends, MAX_BACKENDS, &reference, "spec.backends")?;

        let root = parse_root(&service, &reference.namespace)
            .map_err(|message| reference.problem("spec.service", message))?;
        // This check comes before the weights, so that a misspelled `weight` is reported as an unknown field.
        for (index, backend) in backends.iter().enumerate() {
            let path = format!("spec.backends[{index}]");
            backend.unknown.reject(&reference, &path)?;
        }
        let weights = parse_weights(&backends, &reference)?;
        let mut split_backends = Vec::with_capacity(backends.len());
        for (index, (backend, weight)) in backends.into_iter().zip(weights).enumerate() {
            let name = backend.name(index, &reference, &root)?;
            split_backends.push(SplitBackend { name, weight });
        }
        let mut group_names = Vec::with_capacity(groups.len());
        for (index, group) in groups.into_iter().enumerate() {
            group_names.push(group.name(index, &reference)?);
        }
        Ok(TrafficSplit {
            groups: group_names,
            created: object.created,
            object: reference,
            root,
            backends: split_backends,
        })
    }
}

/// Parses `spec.service` of a split in namespace `own`.
fn parse_root(service: &Value, own: &str) -> Result<SplitRoot, Message> {
    let text = text_of_service(service)?;
    SplitRoot::parse(text, own).map_err(|error| match error {
        RootError::Empty => messages::split_service_missing(),
        RootError::Port(port) => messages::split_service_port(port),
        RootError::NotAName => messages::split_service_no_name(text),
        RootError::Foreign { name, namespace } => {
            messages::split_service_elsewhere(name, namespace, own)
        }
    })
}

fn text_of_service(service: &Value) -> Result<&str, Message> {
    match service {
        Value::String(text) => Ok(text),
        Value::Null => Err(messages::split_service_missing()),
        Value::Object(fields) => {
            let name = ["name", "apex", "service", "host"]
                .into_iter()
                .filter_map(|field| fields.get(field))
                .find_map(Value::as_str);
            Err(messages::split_service_is_object(name.unwrap_or("NAME")))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
            Err(messages::split_service_is_no_text(service))
        }
    }
}

/// Returns the weights of all backends. A missing weight is 0, because Go's JSON encoder omits zeros. If no backend has
/// a weight above 0, a missing weight is an error.
fn parse_weights(backends: &[BackendSpec], object: &ObjectRef) -> Result<Vec<u64>, Problem> {
    let mut weights = Vec::with_capacity(backends.len());
    for (index, BackendSpec { weight, .. }) in backends.iter().enumerate() {
        weights.push(weight::parse(weight).map_err(|error| {
            object.problem(format!("spec.backends[{index}].weight"), message(error))
        })?);
    }
    let is_above_0 = |weight: &Option<Milli>| weight.is_some_and(|it| it > Milli::default());
    if !weights.iter().any(is_above_0)
        && let Some(index) = weights.iter().position(Option::is_none)
    {
        let message = messages::split_weight_missing();
        return Err(object.problem(format!("spec.backends[{index}].weight"), message));
    }
    let weights: Vec<Milli> = weights.into_iter().map(Option::unwrap_or_default).collect();
    weight::unify(&weights).map_err(|error| object.problem("spec.backends", message(error)))
}

fn message(error: WeightError) -> Message {
    match error {
        WeightError::NotANumber(text) => messages::split_weight_no_number(text),
        WeightError::Negative(text) => messages::split_weight_negative(text),
        WeightError::TooFine(text) => messages::split_weight_too_fine(text),
        WeightError::TooLarge(text) => messages::split_weight_too_large(text),
        WeightError::TotalTooLarge => messages::split_weights_too_large(),
    }
}

impl BackendSpec {
    /// Returns the name of the backend's Service, which is in the namespace of the split.
    fn name(self, index: usize, object: &ObjectRef, root: &SplitRoot) -> Result<String, Problem> {
        let own = object.namespace.as_str();
        let parent = match &root.name {
            RootName::Service(name) => format!("Service {name}"),
            RootName::Host(_) => "a Gateway".to_owned(),
        };
        let path = format!("spec.backends[{index}]");
        let reject = |field: &str, message| Err(object.problem(format!("{path}.{field}"), message));
        if let (Value::Null, Some(name)) = (&self.service, self.name.as_str()) {
            return reject("name", messages::split_backend_misnamed(name));
        }
        if !self.port.is_null() {
            return reject("port", messages::split_backend_with_port(&self.port));
        }
        let text = match text_of_service(&self.service) {
            Ok(text) => text,
            Err(_) if self.service.is_null() => {
                return reject("service", messages::split_backend_missing(index));
            }
            Err(message) => return reject("service", message),
        };
        match self.namespace.as_str() {
            Some(namespace) if namespace == own => {
                return reject("namespace", messages::split_backend_of_own_namespace(own));
            }
            Some(namespace) => {
                let message = messages::split_backend_elsewhere(text, namespace, own, &parent);
                return reject("namespace", message);
            }
            None => {}
        }
        let elsewhere = |name: &str, namespace: &str| {
            reject(
                "service",
                messages::split_backend_elsewhere(name, namespace, own, &parent),
            )
        };
        match SplitRoot::parse(text, own) {
            Ok(SplitRoot {
                name: RootName::Service(name),
                port: None,
            }) => Ok(name),
            Ok(SplitRoot {
                name: RootName::Service(_),
                port: Some(port),
            }) => reject("service", messages::split_backend_with_port(port)),
            Ok(SplitRoot {
                name: RootName::Host(_),
                ..
            }) => reject("service", messages::split_backend_host(text, own, &parent)),
            Err(RootError::Foreign { name, namespace }) => elsewhere(&name, &namespace),
            Err(RootError::Empty) => reject("service", messages::split_backend_missing(index)),
            Err(RootError::NotAName | RootError::Port(_)) => {
                reject("service", messages::split_backend_no_name(text, own))
            }
        }
    }
}

impl GroupRef {
    fn name(self, index: usize, object: &ObjectRef) -> Result<String, Problem> {
        let path = format!("spec.matches[{index}]");
        self.unknown.reject(object, &path)?;
        if let Some(other) = self
            .api_group
            .filter(|it| !it.is_empty() && it != SMI_SPECS)
        {
            let message = messages::split_match_of_group(other);
            return Err(object.problem(format!("{path}.apiGroup"), message));
        }
        let message = match self.kind.as_deref() {
            Some("HTTPRouteGroup") => None,
            Some(kind) => Some(messages::split_match_of_kind(kind)),
            None => Some(messages::split_match_without_kind()),
        };
        if let Some(message) = message {
            return Err(object.problem(format!("{path}.kind"), message));
        }
        let name = self.name.filter(|name| !name.is_empty());
        let message = messages::split_match_without_name;
        name.ok_or_else(|| object.problem(format!("{path}.name"), message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::read;
    use crate::manifest::problem::Reason;

    fn parse(spec: &str) -> Result<Vec<u64>, (String, Reason)> {
        parse_at("v1alpha3", spec)
    }

    fn parse_at(version: &str, spec: &str) -> Result<Vec<u64>, (String, Reason)> {
        let text = format!(
            "apiVersion: split.smi-spec.io/{version}\nkind: TrafficSplit\nmetadata: {{name: web, anything: 1}}\nstatus: {{x: 1}}\n{spec}"
        );
        let object = read("a.yaml", &text).unwrap().objects.remove(0);
        match TrafficSplit::parse(&object) {
            Ok(split) => Ok(split
                .backends
                .iter()
                .map(|backend| backend.weight)
                .collect()),
            Err(problem) => Err((problem.path, problem.reason)),
        }
    }

    #[test]
    fn splits_have_weights_or_problems() {
        let ok = parse(
            "spec: {service: a, matches: [], backends: [{service: a, weight: 500m}, {service: b, weight: 1}]}",
        );
        assert_eq!(ok, Ok(vec![500, 1000]));
        let absent = parse(
            "spec: {service: a.default, backends: [{service: a.default.svc}, {service: b, weight: 5}, {service: c, weight: null}]}",
        );
        assert_eq!(absent, Ok(vec![0, 5, 0]));
        let cases = [
            ("spec: {service: a}", "spec.backends", Reason::InvalidValue),
            (
                "spec: {service: 1, backends: []}",
                "spec.service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: 0}, {service: b}]}",
                "spec.backends[1].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: -1}, {service: b}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            ("spec: {backends: []}", "spec.service", Reason::InvalidValue),
            (
                "spec: {service: {name: a, namespace: b}, backends: []}",
                "spec.service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a_b, backends: []}",
                "spec.service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: 'a:0', backends: []}",
                "spec.service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a.b.svc, backends: []}",
                "spec.service",
                Reason::RefNotPermitted,
            ),
            (
                "spec: {service: a, backends: [{name: a, weight: 1}]}",
                "spec.backends[0].name",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, namespace: b, weight: 1}]}",
                "spec.backends[0].namespace",
                Reason::RefNotPermitted,
            ),
            (
                "spec: {service: a, backends: [{service: a, namespace: default, weight: 1}]}",
                "spec.backends[0].namespace",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a.b.svc.cluster.local, weight: 0}]}",
                "spec.backends[0].service",
                Reason::RefNotPermitted,
            ),
            (
                "spec: {service: a, backends: [{service: a.b, weight: 0}]}",
                "spec.backends[0].service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: shop_v1, weight: 1}]}",
                "spec.backends[0].service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: 'a:80', weight: 1}]}",
                "spec.backends[0].service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], matches: [{kind: TCPRoute, name: x}]}",
                "spec.matches[0].kind",
                Reason::InvalidKind,
            ),
            (
                "spec: {service: a, backends: [], matches: [{apiGroup: a.b, kind: HTTPRouteGroup, name: x}]}",
                "spec.matches[0].apiGroup",
                Reason::InvalidKind,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: -1}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: .nan}]}",
                "spec.backends[0].weight",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: 18446744073709551616}]}",
                "spec.backends",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: 2, weight: 1}]}",
                "spec.backends[0].service",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [{service: a, weight: 1, port: 80}]}",
                "spec.backends[0].port",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup}]}",
                "spec.matches[0].name",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup, name: x, match: y}]}",
                "spec.matches[0].match",
                Reason::InvalidValue,
            ),
            (
                "spec: {service: a, backends: [], bakends: [1]}",
                "spec.bakends",
                Reason::InvalidValue,
            ),
        ];
        for (spec, path, reason) in cases {
            assert_eq!(parse(spec), Err((path.to_owned(), reason)), "{spec}");
        }
        let refined =
            "spec: {service: a, backends: [], matches: [{kind: HTTPRouteGroup, name: x}]}";
        for old in ["v1alpha1", "v1alpha2"] {
            let refused = Err(("spec.matches".to_owned(), Reason::UnsupportedValue));
            assert_eq!(parse_at(old, refined), refused, "{old}");
        }
        assert_eq!(parse_at("v1alpha4", refined), Ok(vec![]));
        let many = vec!["{service: a, weight: 1}"; 1001].join(", ");
        assert_eq!(
            parse(&format!("spec: {{service: a, backends: [{many}]}}")),
            Err(("spec.backends".to_owned(), Reason::InvalidValue))
        );
        assert_eq!(parse("x: 1"), Err((String::new(), Reason::InvalidValue)));
    }
}
