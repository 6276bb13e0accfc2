//! Manifests as text -> the objects in them that Weir understands.
//!
//! Here an object is known by its kind and name alone; [`crate::world`] looks into it. Documents that
//! are not Weir's business are passed over, so that a whole guide can be dropped in.

mod json;
mod manifests;
mod near;
mod yaml;

use std::fmt;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use manifests::{MAX_BYTES, Manifests, Passed, read, read_in};

pub use near::edits;

use crate::manifest::decode::decode_at;
use crate::manifest::hostname;
use crate::manifest::problem::messages::{Message, object as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::says_nothing;

/// The kinds that Weir understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    Service,
    GatewayClass,
    Gateway,
    ReferenceGrant,
    TrafficSplit,
    HttpRoute,
    LinkerdHttpRoute,
    GrpcRoute,
    TcpRoute,
    HttpRouteGroup,
    /// That of the SMI; Gateway API has one too.
    SmiTcpRoute,
    TrafficTarget,
    /// A Pod or what makes Pods, by its kind's name. It is of use to the access policy alone.
    Workload(&'static str),
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const LINKERD: &str = "policy.linkerd.io";
const SMI: &str = "split.smi-spec.io";
/// The group of HTTPRouteGroup and of SMI's TCPRoute.
pub const SMI_SPECS: &str = "specs.smi-spec.io";
const SMI_ACCESS: &str = "access.smi-spec.io";
const APPS: &str = "apps";

/// Group and kind of what is understood, and the versions at which it is.
pub const UNDERSTOOD: [(&str, &str, &[&str], Kind); 18] = [
    ("", "Namespace", &["v1"], Kind::Namespace),
    ("", "Service", &["v1"], Kind::Service),
    (
        GATEWAY_API,
        "GatewayClass",
        &["v1", "v1beta1"],
        Kind::GatewayClass,
    ),
    (GATEWAY_API, "Gateway", &["v1", "v1beta1"], Kind::Gateway),
    (
        GATEWAY_API,
        "ReferenceGrant",
        &["v1", "v1beta1"],
        Kind::ReferenceGrant,
    ),
    (
        SMI,
        "TrafficSplit",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::TrafficSplit,
    ),
    (
        GATEWAY_API,
        "HTTPRoute",
        &["v1", "v1beta1"],
        Kind::HttpRoute,
    ),
    (
        LINKERD,
        "HTTPRoute",
        &["v1beta2", "v1beta3"],
        Kind::LinkerdHttpRoute,
    ),
    (GATEWAY_API, "GRPCRoute", &["v1"], Kind::GrpcRoute),
    (GATEWAY_API, "TCPRoute", &["v1", "v1alpha2"], Kind::TcpRoute),
    (
        SMI_SPECS,
        "HTTPRouteGroup",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::HttpRouteGroup,
    ),
    (
        SMI_SPECS,
        "TCPRoute",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::SmiTcpRoute,
    ),
    (
        SMI_ACCESS,
        "TrafficTarget",
        &["v1alpha1", "v1alpha2", "v1alpha3"],
        Kind::TrafficTarget,
    ),
    ("", "Pod", &["v1"], Kind::Workload("Pod")),
    (APPS, "Deployment", &["v1"], Kind::Workload("Deployment")),
    (APPS, "StatefulSet", &["v1"], Kind::Workload("StatefulSet")),
    (APPS, "DaemonSet", &["v1"], Kind::Workload("DaemonSet")),
    (APPS, "ReplicaSet", &["v1"], Kind::Workload("ReplicaSet")),
];

impl Kind {
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Kind::Namespace | Kind::GatewayClass)
    }

    /// Of use to the access policy alone: where that is not asked for, nothing in such an object is a
    /// problem or makes a difference.
    pub fn is_of_policy(self) -> bool {
        matches!(
            self,
            Kind::SmiTcpRoute | Kind::TrafficTarget | Kind::Workload(_)
        )
    }

    /// Whether an object may be nobody's business here, whatever is wrong with it: without the access policy, or
    /// where its parents are another controller's.
    fn may_be_foreign(self) -> bool {
        let is_route = matches!(
            self,
            Kind::HttpRoute | Kind::LinkerdHttpRoute | Kind::GrpcRoute | Kind::TcpRoute
        );
        is_route || self.is_of_policy()
    }
}

/// The kind's own name, with its group where two kinds share one.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Namespace => "Namespace",
            Kind::Service => "Service",
            Kind::GatewayClass => "GatewayClass",
            Kind::Gateway => "Gateway",
            Kind::ReferenceGrant => "ReferenceGrant",
            Kind::TrafficSplit => "TrafficSplit",
            Kind::HttpRoute => "HTTPRoute",
            Kind::LinkerdHttpRoute => "HTTPRoute.policy.linkerd.io",
            Kind::GrpcRoute => "GRPCRoute",
            Kind::TcpRoute => "TCPRoute",
            Kind::HttpRouteGroup => "HTTPRouteGroup",
            Kind::SmiTcpRoute => "TCPRoute.specs.smi-spec.io",
            Kind::TrafficTarget => "TrafficTarget",
            Kind::Workload(name) => name,
        })
    }
}

/// One manifest of a kind that is understood; its body is not looked at yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The file that it stands in.
    pub source: String,
    /// Its place among the objects of that file.
    pub position: usize,
    /// Its place in that file, in words: `documents[2]`, or `documents[0].items[1]`.
    pub place: String,
    pub kind: Kind,
    /// `default` where a namespaced object names none; empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Why it is not understood, where only [`crate::world`] can tell whether that matters to anybody.
    pub refused: Option<Problem>,
    /// The whole document.
    pub body: Value,
}

impl Object {
    /// One document of a cluster. `None` is a kind that is passed over.
    pub fn parse(body: Value) -> Result<Option<Object>, Problem> {
        let nowhere = Origin {
            source: "",
            default_namespace: "default",
        };
        match Object::parse_in(nowhere, 0, body) {
            Parsed::Object(object) => Ok(Some(object)),
            Parsed::Foreign(..) => Ok(None),
            Parsed::Broken(broken) => Err(broken.problem),
        }
    }

    /// One document.
    ///
    /// A document that is no object, lacks `apiVersion`, `kind` or a name, or is at an unknown
    /// version of a known kind is broken, but see [`Object::refused`].
    fn parse_in(origin: Origin<'_>, position: usize, body: Value) -> Parsed {
        let head = match Head::of(&body) {
            Ok(head) => head,
            Err(message) => {
                let file = ObjectRef {
                    source: origin.source.to_owned(),
                    ..ObjectRef::default()
                };
                let (path, message) = *message;
                return Parsed::Broken(Broken::of(
                    None,
                    origin,
                    &body,
                    file.problem(path, message),
                ));
            }
        };
        let Some((_, _, versions, kind)) = UNDERSTOOD
            .iter()
            .find(|(group, kind, _, _)| *group == head.group && *kind == head.kind)
        else {
            let file = origin.file();
            if let Some((meant, message)) = near::miss(head.group, head.kind) {
                let object = ObjectRef {
                    kind: head.kind.to_owned(),
                    ..origin.reference(meant, &body)
                };
                let problem = object.problem("", message);
                return Parsed::Broken(Broken::of(Some(meant), origin, &body, problem));
            }
            if let Some(message) = near::list(head.kind).filter(|_| body["items"].is_array()) {
                let problem = file.problem("", message);
                return Parsed::Broken(Broken::of(None, origin, &body, problem));
            }
            let stranger = near::stranger(head.group, head.kind).map(|(meant, message)| {
                let problem = file.problem("", message);
                Box::new(Broken::of(meant, origin, &body, problem))
            });
            return Parsed::Foreign(format!("{} is not read", head.named()), stranger);
        };
        let reference = origin.reference(*kind, &body);
        let mut object = Object {
            source: reference.source.clone(),
            position,
            place: String::new(),
            kind: *kind,
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            created: None,
            refused: None,
            body,
        };
        if let Kind::Workload(_) = kind {
            // Another controller's business: a Pod with `generateName`, or an old version, is no problem.
            let (_, version) = api_version_of(&object.body);
            let is_readable = versions.contains(&version) && hostname::is_label(&object.namespace);
            return match is_readable {
                true => Parsed::Object(object),
                false => Parsed::Foreign(format!("a {kind} is not read at this version"), None),
            };
        }
        match head_of(&reference, *kind, versions, &object.body) {
            Ok(created) => object.created = created,
            Err(problem) if kind.may_be_foreign() => object.refused = Some(problem),
            Err(problem) => {
                let broken = Broken::of(Some(*kind), origin, &object.body, problem);
                return Parsed::Broken(broken);
            }
        }
        Parsed::Object(object)
    }

    /// Refuses a number that routing looks at and that kubectl would read otherwise.
    fn refuse_two_readings(&mut self, readings: &[yaml::TwoReadings]) {
        let counts = |reading: &&yaml::TwoReadings| {
            let fields: Vec<&str> = reading.fields.iter().map(String::as_str).collect();
            match (self.kind, fields.as_slice()) {
                (Kind::Workload(_), _) => false,
                (Kind::Service, fields) => fields == ["spec", "ports", "port"],
                (_, ["metadata" | "status", ..]) => false,
                _ => true,
            }
        };
        let first = readings.iter().find(counts);
        if let (Some(reading), None) = (first, &self.refused) {
            let message = messages::two_readings(&reading.written, &reading.kubectl);
            let problem = self.reference().problem(reading.path.as_str(), message);
            self.refused = Some(problem);
        }
    }

    /// The version in `apiVersion`, without the group.
    pub fn version(&self) -> &str {
        let api_version = self.body["apiVersion"].as_str().unwrap_or_default();
        api_version.rsplit('/').next().unwrap_or(api_version)
    }

    pub fn reference(&self) -> ObjectRef {
        ObjectRef {
            source: self.source.clone(),
            kind: self.kind.to_string(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// A problem for a field beside `apiVersion`, `kind`, `metadata` and `status` that is none of `known`: what
    /// stands there by mistake is missing where it belongs, and its absence may mean everything.
    pub fn nothing_beside(&self, known: &[&str]) -> Result<(), Problem> {
        let is_known = |field: &str| {
            matches!(field, "apiVersion" | "kind" | "metadata" | "status") || known.contains(&field)
        };
        let mut fields = self.body.as_object().into_iter().flatten();
        let misplaced = fields.find(|(field, value)| !is_known(field) && !says_nothing(value));
        match misplaced {
            None => Ok(()),
            Some((field, _)) => {
                let message = messages::misplaced_field(field, known.join(", "));
                Err(self.reference().problem(field.as_str(), message))
            }
        }
    }

    /// The body in the form `T`; a value of the wrong type is a problem at its exact path.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        decode_at(&self.reference(), "", &self.body)
    }
}

/// The file that a document stands in, and what is not written in it.
#[derive(Clone, Copy)]
struct Origin<'a> {
    source: &'a str,
    default_namespace: &'a str,
}

impl Origin<'_> {
    fn file(self) -> ObjectRef {
        ObjectRef {
            source: self.source.to_owned(),
            ..ObjectRef::default()
        }
    }

    fn reference(self, kind: Kind, body: &Value) -> ObjectRef {
        let metadata = &body["metadata"];
        let field = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let namespace = match field("namespace") {
            _ if kind.is_cluster_scoped() => String::new(),
            empty if empty.is_empty() => self.default_namespace.to_owned(),
            namespace => namespace,
        };
        ObjectRef {
            source: self.source.to_owned(),
            kind: kind.to_string(),
            namespace,
            name: field("name"),
        }
    }
}

/// What a document is.
enum Parsed {
    Object(Object),
    Broken(Broken),
    /// Not Weir's business, and what it is; and what it would be after an edit that broke an object.
    Foreign(String, Option<Box<Broken>>),
}

/// A document that no object could be made of. What can be recognized of it tells which object it was before an edit.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// The kind that it has, or was most likely meant to have.
    pub kind: Option<Kind>,
    /// None where it cannot be read.
    pub namespace: Option<String>,
    /// None where it cannot be read.
    pub name: Option<String>,
    /// As [`Object::place`].
    pub place: String,
    /// Whether it most likely is not Weir's business, and is told of only where it stands for an object.
    pub is_foreign: bool,
    pub problem: Problem,
}

impl Broken {
    fn of(kind: Option<Kind>, origin: Origin<'_>, body: &Value, problem: Problem) -> Broken {
        let metadata = &body["metadata"];
        let name = metadata["name"].as_str().filter(|name| !name.is_empty());
        let namespace = match &metadata["namespace"] {
            Value::Null => Some(origin.default_namespace),
            written => written.as_str(),
        };
        Broken {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            place: String::new(),
            is_foreign: false,
            problem,
        }
    }
}

/// `apiVersion` and `kind` of a document.
struct Head<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> Head<'a> {
    /// The error has a path.
    fn of(body: &'a Value) -> Result<Head<'a>, Box<(&'static str, Message)>> {
        let Value::Object(fields) = body else {
            return Err(Box::new(("", messages::no_object())));
        };
        let text = |field: &'static str| {
            let value = fields.get(field).and_then(Value::as_str);
            let value = value.filter(|text| !text.is_empty());
            value.ok_or_else(|| Box::new((field, messages::no_head(field))))
        };
        text("apiVersion")?;
        let kind = text("kind")?;
        let (group, version) = match api_version_of(body) {
            // No version has a dot: it is missing behind the group.
            ("", group) if group.contains('.') => (group, ""),
            both => both,
        };
        Ok(Head {
            group,
            version,
            kind,
        })
    }

    fn named(&self) -> String {
        match self.group {
            "" => format!("{} of {}", self.kind, self.version),
            group if self.version.is_empty() => format!("{} of {group}", self.kind),
            group => format!("{} of {group}/{}", self.kind, self.version),
        }
    }
}

/// Group and version.
fn api_version_of(body: &Value) -> (&str, &str) {
    let api_version = body["apiVersion"].as_str().unwrap_or_default();
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn kind_has_no_group(kind: Kind) -> bool {
    let mut understood = UNDERSTOOD.iter();
    understood.any(|(group, _, _, known)| group.is_empty() && *known == kind)
}

/// What of an object is judged before its body: names, version, and when it was created, which is the outcome.
fn head_of(
    object: &ObjectRef,
    kind: Kind,
    versions: &[&'static str],
    body: &Value,
) -> Result<Option<Timestamp>, Problem> {
    let metadata = &body["metadata"];
    // Names of Services and Namespaces are single labels of host names.
    let is_name = match kind {
        Kind::Service | Kind::Namespace => hostname::is_label(&object.name),
        _ => hostname::is_dns_name(&object.name),
    };
    if !is_name {
        let message = match &metadata["name"] {
            Value::Null => messages::no_name(kind),
            written => messages::bad_name(written, kind),
        };
        return Err(object.problem("metadata.name", message));
    }
    let is_text = matches!(&metadata["namespace"], Value::Null | Value::String(_));
    let is_namespace = is_text && hostname::is_label(&object.namespace);
    if !kind.is_cluster_scoped() && !is_namespace {
        let message = messages::bad_namespace(&metadata["namespace"]);
        return Err(object.problem("metadata.namespace", message));
    }
    let (_, version) = api_version_of(body);
    if !versions.contains(&version) {
        let api_version = body["apiVersion"].as_str().unwrap_or_default();
        let message = match api_version.contains('/') || kind_has_no_group(kind) {
            true => messages::unknown_version(api_version, versions.join(", ")),
            false => messages::no_version(
                api_version,
                format!("{api_version}/{}", near::newest(versions)),
            ),
        };
        return Err(object.problem("apiVersion", message));
    }
    match &metadata["creationTimestamp"] {
        Value::Null => Ok(None),
        written => {
            let time = written.as_str().and_then(|text| text.parse().ok());
            let wrong =
                || object.problem("metadata.creationTimestamp", messages::bad_time(written));
            time.map(Some).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests;
