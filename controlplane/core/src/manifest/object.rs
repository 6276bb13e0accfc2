//! Reads the objects of supported kinds from the text of manifests.
//!
//! This module reads the kind and the metadata of an object; [`crate::world`] reads its other fields. Weir ignores
//! documents of other kinds, so a folder may have all manifests of an application.

mod json;
mod manifests;
mod wrong_kind;
mod yaml;

use std::fmt;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use manifests::{IgnoredDocument, MAX_BYTES, Manifests, read, read_in};

use crate::manifest::decode::decode_at;
use crate::manifest::hostname;
use crate::manifest::problem::messages::{Message, object as messages};
use crate::manifest::problem::{ObjectRef, Problem};
use crate::manifest::unknown_fields::is_empty;

/// The kinds that Weir reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Namespace,
    Service,
    EndpointSlice,
    /// Only certificates for a BackendTLSPolicy are read.
    ConfigMap,
    GatewayClass,
    Gateway,
    ReferenceGrant,
    BackendTlsPolicy,
    TrafficSplit,
    HttpRoute,
    LinkerdHttpRoute,
    GrpcRoute,
    TcpRoute,
    HttpRouteGroup,
    /// TCPRoute of SMI, not TCPRoute of Gateway API.
    SmiTcpRoute,
    TrafficTarget,
    /// A Pod or a controller that makes Pods, with the name of its kind. Only the access policy uses these kinds.
    Workload(&'static str),
}

const DISCOVERY: &str = "discovery.k8s.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const LINKERD: &str = "policy.linkerd.io";
const SMI: &str = "split.smi-spec.io";
/// The group of HTTPRouteGroup and of SMI's TCPRoute.
pub const SMI_SPECS: &str = "specs.smi-spec.io";
const SMI_ACCESS: &str = "access.smi-spec.io";
const APPS: &str = "apps";

/// A kind that Weir reads.
#[derive(Clone, Copy, Debug)]
pub struct SupportedKind {
    /// Empty for the core group.
    pub group: &'static str,
    /// The `kind` of its objects.
    pub name: &'static str,
    /// The versions that Weir reads: first `v1`, if Weir reads it, then the other versions from the oldest to the
    /// newest.
    pub versions: &'static [&'static str],
    pub kind: Kind,
}

const fn supported(
    group: &'static str,
    name: &'static str,
    versions: &'static [&'static str],
    kind: Kind,
) -> SupportedKind {
    SupportedKind {
        group,
        name,
        versions,
        kind,
    }
}

pub const SUPPORTED_KINDS: [SupportedKind; 21] = [
    supported("", "Namespace", &["v1"], Kind::Namespace),
    supported("", "Service", &["v1"], Kind::Service),
    supported(DISCOVERY, "EndpointSlice", &["v1"], Kind::EndpointSlice),
    supported("", "ConfigMap", &["v1"], Kind::ConfigMap),
    supported(
        GATEWAY_API,
        "GatewayClass",
        &["v1", "v1beta1"],
        Kind::GatewayClass,
    ),
    supported(GATEWAY_API, "Gateway", &["v1", "v1beta1"], Kind::Gateway),
    supported(
        GATEWAY_API,
        "ReferenceGrant",
        &["v1", "v1beta1"],
        Kind::ReferenceGrant,
    ),
    supported(
        GATEWAY_API,
        "BackendTLSPolicy",
        &["v1", "v1alpha3"],
        Kind::BackendTlsPolicy,
    ),
    supported(
        SMI,
        "TrafficSplit",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::TrafficSplit,
    ),
    supported(
        GATEWAY_API,
        "HTTPRoute",
        &["v1", "v1beta1"],
        Kind::HttpRoute,
    ),
    supported(
        LINKERD,
        "HTTPRoute",
        &["v1beta2", "v1beta3"],
        Kind::LinkerdHttpRoute,
    ),
    supported(GATEWAY_API, "GRPCRoute", &["v1"], Kind::GrpcRoute),
    supported(GATEWAY_API, "TCPRoute", &["v1", "v1alpha2"], Kind::TcpRoute),
    supported(
        SMI_SPECS,
        "HTTPRouteGroup",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::HttpRouteGroup,
    ),
    supported(
        SMI_SPECS,
        "TCPRoute",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
        Kind::SmiTcpRoute,
    ),
    supported(
        SMI_ACCESS,
        "TrafficTarget",
        &["v1alpha1", "v1alpha2", "v1alpha3"],
        Kind::TrafficTarget,
    ),
    supported("", "Pod", &["v1"], Kind::Workload("Pod")),
    supported(APPS, "Deployment", &["v1"], Kind::Workload("Deployment")),
    supported(APPS, "StatefulSet", &["v1"], Kind::Workload("StatefulSet")),
    supported(APPS, "DaemonSet", &["v1"], Kind::Workload("DaemonSet")),
    supported(APPS, "ReplicaSet", &["v1"], Kind::Workload("ReplicaSet")),
];

impl Kind {
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Kind::Namespace | Kind::GatewayClass)
    }

    /// True if only the access policy uses this kind. Without the policy such an object has no effect and no problems.
    pub fn is_of_policy(self) -> bool {
        matches!(
            self,
            Kind::SmiTcpRoute | Kind::TrafficTarget | Kind::Workload(_)
        )
    }

    /// True if Weir ignores some objects of this kind, even invalid ones. Weir ignores a route if its parents belong to
    /// another controller, and an object of the access policy if there is no policy.
    fn may_be_foreign(self) -> bool {
        let is_route = matches!(
            self,
            Kind::HttpRoute | Kind::LinkerdHttpRoute | Kind::GrpcRoute | Kind::TcpRoute
        );
        is_route || self.is_of_policy()
    }
}

/// Writes the name of the kind. `HTTPRoute.policy.linkerd.io` and `TCPRoute.specs.smi-spec.io` contain the group,
/// because Gateway API has kinds with the same names.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Namespace => "Namespace",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::ConfigMap => "ConfigMap",
            Kind::BackendTlsPolicy => "BackendTLSPolicy",
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

/// One manifest of a supported kind. Only its kind and metadata are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The path of the file; empty for an object of a cluster.
    pub source: String,
    /// The index of the object among the objects of the file, from 0.
    pub position: usize,
    /// The place of the object in the file: `documents[2]`, or `documents[0].items[1]`.
    pub place: String,
    pub kind: Kind,
    /// The default namespace if a namespaced object names no namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    pub name: String,
    /// `metadata.creationTimestamp`.
    pub created: Option<Timestamp>,
    /// Weir does not use an object with this problem: its metadata is invalid, or kubectl would read one of its numbers
    /// differently.
    ///
    /// A document with invalid metadata becomes an object only if `Kind::may_be_foreign` is true for its kind, because
    /// [`crate::world`] may ignore the object. Otherwise the document becomes a [`BrokenDocument`].
    pub refused: Option<Problem>,
    /// The whole document.
    pub body: Value,
}

impl Object {
    /// Parses one object of a cluster. Returns None if Weir does not read its kind.
    pub fn parse(body: Value) -> Result<Option<Object>, Problem> {
        let origin = Origin {
            source: "",
            default_namespace: "default",
        };
        match Object::parse_in(origin, 0, body) {
            Parsed::Object(object) => Ok(Some(object)),
            Parsed::Foreign(..) => Ok(None),
            Parsed::Broken(broken) => Err(broken.problem),
        }
    }

    /// Parses one document.
    ///
    /// The document is broken if it is not a map, if it has no `apiVersion`, `kind` or name, or if Weir does not read
    /// this version of its kind. For the kinds of `Kind::may_be_foreign` see [`Object::refused`].
    fn parse_in(origin: Origin<'_>, position: usize, body: Value) -> Parsed {
        let type_meta = match TypeMeta::read(&body) {
            Ok(type_meta) => type_meta,
            Err(error) => {
                let (path, message) = *error;
                let problem = origin.file().problem(path, message);
                return Parsed::Broken(BrokenDocument::new(None, origin, &body, problem));
            }
        };
        let Some(supported) = SUPPORTED_KINDS
            .iter()
            .find(|it| it.group == type_meta.group && it.name == type_meta.kind)
        else {
            return Object::parse_unsupported(origin, &type_meta, &body);
        };
        let (kind, versions) = (supported.kind, supported.versions);
        let reference = origin.reference(kind, &body);
        let mut object = Object {
            source: reference.source.clone(),
            position,
            place: String::new(),
            kind,
            namespace: reference.namespace.clone(),
            name: reference.name.clone(),
            created: None,
            refused: None,
            body,
        };
        if let Kind::Workload(_) | Kind::ConfigMap = kind {
            // Kubernetes can run workloads that the checks below would refuse, such as a Pod with `generateName`. Most
            // ConfigMaps are not for Weir.
            let (_, version) = api_version_of(&object.body);
            if kind == Kind::ConfigMap && !object.body["data"]["ca.crt"].is_string() {
                let why = "a ConfigMap without the key ca.crt is not read";
                return Parsed::Foreign(why.to_owned(), None);
            }
            if versions.contains(&version) && hostname::is_label(&object.namespace) {
                return Parsed::Object(object);
            }
            return Parsed::Foreign(format!("a {kind} is not read at this version"), None);
        }
        match read_metadata(&reference, kind, versions, &object.body) {
            Ok(created) => object.created = created,
            Err(problem) if kind.may_be_foreign() => object.refused = Some(problem),
            Err(problem) => {
                let broken = BrokenDocument::new(Some(kind), origin, &object.body, problem);
                return Parsed::Broken(broken);
            }
        }
        Parsed::Object(object)
    }

    fn parse_unsupported(origin: Origin<'_>, type_meta: &TypeMeta, body: &Value) -> Parsed {
        let TypeMeta { group, kind, .. } = *type_meta;
        if let Some((right, message)) = wrong_kind::mistaken(group, kind) {
            let object = ObjectRef {
                kind: kind.to_owned(),
                ..origin.reference(right, body)
            };
            let problem = object.problem("", message);
            return Parsed::Broken(BrokenDocument::new(Some(right), origin, body, problem));
        }
        let file = origin.file();
        let has_items = body["items"].is_array();
        if let Some(message) = wrong_kind::misspelled_list(kind).filter(|_| has_items) {
            let problem = file.problem("", message);
            return Parsed::Broken(BrokenDocument::new(None, origin, body, problem));
        }
        let broken = wrong_kind::edited_object(group, kind).map(|(right, message)| {
            let problem = file.problem("", message);
            Box::new(BrokenDocument::new(right, origin, body, problem))
        });
        Parsed::Foreign(format!("{} is not read", type_meta.describe()), broken)
    }

    /// Refuses the object if kubectl would read one of its numbers differently, and routing depends on this number.
    fn refuse_two_readings(&mut self, readings: &[yaml::TwoReadings]) {
        let counts = |reading: &&yaml::TwoReadings| {
            let fields: Vec<&str> = reading.fields.iter().map(String::as_str).collect();
            match (self.kind, fields.as_slice()) {
                (Kind::Workload(_) | Kind::ConfigMap, _) => false,
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

    /// Returns the version in `apiVersion`, without the group.
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

    /// Returns an error for the first field at the top of the document that is not `apiVersion`, `kind`, `metadata`,
    /// `status` or one of `known`. Such a field is in the wrong place. If Weir ignored a condition in the wrong place,
    /// the object could match every request.
    pub fn reject_other_fields(&self, known: &[&str]) -> Result<(), Problem> {
        let mut fields = self.body.as_object().into_iter().flatten();
        let misplaced = fields.find(|(field, value)| {
            let field = field.as_str();
            let is_known = matches!(field, "apiVersion" | "kind" | "metadata" | "status")
                || known.contains(&field);
            !is_known && !is_empty(value)
        });
        match misplaced {
            None => Ok(()),
            Some((field, _)) => {
                let message = messages::misplaced_field(field, known.join(", "));
                Err(self.reference().problem(field.as_str(), message))
            }
        }
    }

    /// Decodes the whole document. The error for a value of the wrong type has the path of this value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        decode_at(&self.reference(), "", &self.body)
    }
}

/// The file of a document, and the namespace for objects without a namespace.
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

/// The result of parsing one document.
enum Parsed {
    Object(Object),
    Broken(BrokenDocument),
    /// The description of a document that Weir does not read. The second field is set if the document may be a
    /// supported object with a mistake.
    Foreign(String, Option<Box<BrokenDocument>>),
}

/// A document that cannot be read as an object. Its kind, namespace and name tell which object it was before an edit.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokenDocument {
    /// The kind of the document, or the kind that the author most likely means.
    pub kind: Option<Kind>,
    /// None if `metadata.namespace` is not a text.
    pub namespace: Option<String>,
    /// None if `metadata.name` is absent, empty or not a text.
    pub name: Option<String>,
    /// The place of the document in the file, as in [`Object::place`].
    pub place: String,
    /// True if the document most likely has a kind that Weir does not read. Weir reports the problem of such a document
    /// only if the document replaced a supported object.
    pub is_foreign: bool,
    pub problem: Problem,
}

impl BrokenDocument {
    fn new(
        kind: Option<Kind>,
        origin: Origin<'_>,
        body: &Value,
        problem: Problem,
    ) -> BrokenDocument {
        let metadata = &body["metadata"];
        let name = metadata["name"].as_str().filter(|name| !name.is_empty());
        let namespace = match &metadata["namespace"] {
            Value::Null => Some(origin.default_namespace),
            value => value.as_str(),
        };
        BrokenDocument {
            kind,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            place: String::new(),
            is_foreign: false,
            problem,
        }
    }
}

/// `apiVersion` and `kind` of a document (meta/v1 TypeMeta).
struct TypeMeta<'a> {
    group: &'a str,
    version: &'a str,
    kind: &'a str,
}

impl<'a> TypeMeta<'a> {
    /// Reads both fields. The error has the path of the wrong field, and the message.
    fn read(body: &'a Value) -> Result<TypeMeta<'a>, Box<(&'static str, Message)>> {
        let Value::Object(fields) = body else {
            return Err(Box::new(("", messages::no_object())));
        };
        let text = |field: &'static str| {
            fields
                .get(field)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .ok_or_else(|| Box::new((field, messages::no_head(field))))
        };
        text("apiVersion")?;
        let kind = text("kind")?;
        let (group, version) = match api_version_of(body) {
            // A version has no dot, so this text is a group without a version.
            ("", group) if group.contains('.') => (group, ""),
            both => both,
        };
        Ok(TypeMeta {
            group,
            version,
            kind,
        })
    }

    /// Returns the text `KIND of GROUP/VERSION`, without empty parts.
    fn describe(&self) -> String {
        match self.group {
            "" => format!("{} of {}", self.kind, self.version),
            group if self.version.is_empty() => format!("{} of {group}", self.kind),
            group => format!("{} of {group}/{}", self.kind, self.version),
        }
    }
}

/// Returns the group and the version in `apiVersion`.
fn api_version_of(body: &Value) -> (&str, &str) {
    let api_version = body["apiVersion"].as_str().unwrap_or_default();
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn is_of_core_group(kind: Kind) -> bool {
    let mut supported = SUPPORTED_KINDS.iter();
    supported.any(|it| it.group.is_empty() && it.kind == kind)
}

/// Checks the names and the version of an object. Returns its `metadata.creationTimestamp`.
fn read_metadata(
    object: &ObjectRef,
    kind: Kind,
    versions: &[&'static str],
    body: &Value,
) -> Result<Option<Timestamp>, Problem> {
    let metadata = &body["metadata"];
    // The name of a Service or a Namespace is one label of a host name, so it has no dots.
    let is_name = match kind {
        Kind::Service | Kind::Namespace => hostname::is_label(&object.name),
        _ => hostname::is_dns_name(&object.name),
    };
    if !is_name {
        let message = match &metadata["name"] {
            Value::Null => messages::no_name(kind),
            name => messages::bad_name(name, kind),
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
        let message = if api_version.contains('/') || is_of_core_group(kind) {
            messages::unknown_version(api_version, versions.join(", "))
        } else {
            let right = format!("{api_version}/{}", wrong_kind::newest(versions));
            messages::no_version(api_version, right)
        };
        return Err(object.problem("apiVersion", message));
    }
    match &metadata["creationTimestamp"] {
        Value::Null => Ok(None),
        value => match value.as_str().and_then(|text| text.parse().ok()) {
            Some(time) => Ok(Some(time)),
            None => {
                let message = messages::bad_time(value);
                Err(object.problem("metadata.creationTimestamp", message))
            }
        },
    }
}

#[cfg(test)]
mod tests;
