//! Manifests as text -> the objects in them that Weir understands.
//!
//! Here an object is known by its kind and name alone; [`crate::world`] looks into it. Kinds that
//! are not Weir's business are passed over in silence, so that a whole guide can be dropped in.

use std::fmt;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::options::NonFiniteFloatPolicy;

use crate::decode::decode_at;
use crate::fields::says_nothing;
use crate::hostname;
use crate::problem::{ObjectRef, Problem, Reason};

/// Larger texts are refused before they are parsed.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

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
    /// Its place among the documents of that file.
    pub position: usize,
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
    /// One document. `None` is a kind that is passed over.
    ///
    /// A document that is no object, lacks `apiVersion`, `kind` or a name, or is at an unknown
    /// version of a known kind is a problem of its own, but see [`Object::refused`].
    pub fn parse(source: &str, position: usize, body: Value) -> Result<Option<Object>, Problem> {
        let file = ObjectRef {
            source: source.to_owned(),
            ..ObjectRef::default()
        };
        let Value::Object(fields) = &body else {
            return Err(file.legacy(
                "",
                Reason::InvalidValue,
                "this document is not an object",
                "write apiVersion, kind and metadata, or take the document out",
            ));
        };
        let text = |field: &str| {
            let value = fields.get(field).and_then(Value::as_str);
            value.filter(|text| !text.is_empty()).ok_or_else(|| {
                file.legacy(
                    field,
                    Reason::InvalidValue,
                    format!("this document has no {field}"),
                    "every Kubernetes object names its apiVersion and kind",
                )
            })
        };
        let (api_version, kind) = (text("apiVersion")?, text("kind")?);
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some((_, _, versions, kind)) = UNDERSTOOD
            .iter()
            .find(|(known_group, known_kind, _, _)| *known_group == group && *known_kind == kind)
        else {
            return Ok(None);
        };

        let metadata = &body["metadata"];
        let field = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let mut object = ObjectRef {
            source: source.to_owned(),
            kind: kind.to_string(),
            namespace: field("namespace"),
            name: field("name"),
        };
        if kind.is_cluster_scoped() {
            object.namespace.clear();
        } else if object.namespace.is_empty() {
            object.namespace = "default".to_owned();
        }
        if let Kind::Workload(_) = kind {
            // Another controller's business: a Pod with `generateName`, or an old version, is no problem.
            let is_readable = versions.contains(&version) && hostname::is_label(&object.namespace);
            return Ok(is_readable.then_some(Object {
                source: object.source,
                position,
                kind: *kind,
                namespace: object.namespace,
                name: object.name,
                created: None,
                refused: None,
                body,
            }));
        }
        let (created, refused) = match head(&object, *kind, api_version, versions, metadata) {
            Ok(created) => (created, None),
            Err(problem) if kind.may_be_foreign() => (None, Some(problem)),
            Err(problem) => return Err(problem),
        };
        Ok(Some(Object {
            source: object.source,
            position,
            kind: *kind,
            namespace: object.namespace,
            name: object.name,
            created,
            refused,
            body,
        }))
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
            Some((field, _)) => Err(self.reference().legacy(
                field.as_str(),
                Reason::InvalidValue,
                format!("unknown field {field} beside {}", known.join(", ")),
                "put it where it belongs, or take it out",
            )),
        }
    }

    /// The body in the form `T`; a value of the wrong type is a problem at its exact path.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        decode_at(&self.reference(), "", &self.body)
    }
}

/// What of an object is judged before its body: names, version, and when it was created, which is the outcome.
fn head(
    object: &ObjectRef,
    kind: Kind,
    api_version: &str,
    versions: &[&str],
    metadata: &Value,
) -> Result<Option<Timestamp>, Problem> {
    let (_, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let invalid = |path: &str, message: String, remedy: &str| {
        object.legacy(path, Reason::InvalidValue, message, remedy)
    };
    // Names of Services and Namespaces are single labels of host names.
    let is_name = match kind {
        Kind::Service | Kind::Namespace => hostname::is_label(&object.name),
        _ => hostname::is_dns_name(&object.name),
    };
    if !is_name {
        return Err(invalid(
            "metadata.name",
            format!("{} is not a name for a {kind}", metadata["name"]),
            "use lower-case letters and digits, with '-' between them",
        ));
    }
    let is_text = matches!(&metadata["namespace"], Value::Null | Value::String(_));
    let is_namespace = is_text && hostname::is_label(&object.namespace);
    if !kind.is_cluster_scoped() && !is_namespace {
        return Err(invalid(
            "metadata.namespace",
            format!("{} is not a namespace", metadata["namespace"]),
            "a namespace has lower-case letters, digits and '-'",
        ));
    }
    if !versions.contains(&version) {
        return Err(object.legacy(
            "apiVersion",
            Reason::UnknownVersion,
            format!("{api_version} is not known"),
            format!("use {}", versions.join(", ")),
        ));
    }
    match &metadata["creationTimestamp"] {
        Value::Null => Ok(None),
        written => Ok(Some(
            written
                .as_str()
                .and_then(|text| text.parse::<Timestamp>().ok())
                .ok_or_else(|| {
                    invalid(
                        "metadata.creationTimestamp",
                        format!("{written} is not a time"),
                        "write it like 2026-01-31T12:00:00Z, or leave it out",
                    )
                })?,
        )),
    }
}

/// What one text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifests {
    /// In the order in which they stand.
    pub objects: Vec<Object>,
    /// Documents that are no object that could be understood; the others go on without them.
    pub problems: Vec<Problem>,
}

/// All objects of one file that Weir understands: YAML with any number of documents, or JSON where
/// `source` ends in `.json`. Lists (`kind: List`, `kind: TrafficSplitList`) are taken apart.
///
/// `Err` is the whole file: it does not parse, is larger than [`MAX_BYTES`], or would expand into
/// more than it is worth (the problem's reason is [`Reason::Unreadable`]).
pub fn read(source: &str, text: &str) -> Result<Manifests, Problem> {
    let unreadable = |message: String, remedy: &str| {
        let file = ObjectRef {
            source: source.to_owned(),
            ..ObjectRef::default()
        };
        file.legacy("", Reason::Unreadable, message, remedy)
    };
    if text.len() > MAX_BYTES {
        return Err(unreadable(
            format!("{} bytes are more than {MAX_BYTES}", text.len()),
            "split the file",
        ));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let documents = if source.ends_with(".json") {
        serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .collect::<Result<Vec<Value>, _>>()
            .map_err(|error| unreadable(error.to_string(), "mend the JSON"))?
    } else {
        serde_saphyr::from_multiple_with_options::<Value>(text, yaml_options())
            .map_err(|error| unreadable(error.without_snippet().to_string(), "mend the YAML"))?
    };
    let mut manifests = Manifests::default();
    for (index, document) in documents.into_iter().enumerate() {
        manifests.add(source, format!("documents[{index}]"), document);
    }
    Ok(manifests)
}

fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // Generous for manifests (a bundle of CRDs in one file), small for a bomb.
        budget: serde_saphyr::budget! {
            max_events: 2_000_000,
            max_nodes: 1_000_000,
            max_recorded_anchor_events: 100_000,
            max_documents: 20_000,
            max_depth: 64,
        },
        // A weight of .nan is a problem of its object, not of the whole file.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

impl Manifests {
    fn add(&mut self, source: &str, place: String, mut document: Value) {
        if document.is_null() {
            return;
        }
        if let Some(kind) = list_of(&document) {
            let mut take = |field: &str| document.get_mut(field).map(Value::take);
            let api_version = take("apiVersion").unwrap_or_default();
            let Some(Value::Array(items)) = take("items") else {
                return;
            };
            for (index, mut item) in items.into_iter().enumerate() {
                // The items of a typed list come from an API server without their own type.
                if let (Value::Object(fields), Some(kind)) = (&mut item, &kind)
                    && !fields.contains_key("kind")
                {
                    fields.insert("kind".to_owned(), Value::from(kind.as_str()));
                    fields.insert("apiVersion".to_owned(), api_version.clone());
                }
                self.add(source, format!("{place}.items[{index}]"), item);
            }
            return;
        }
        match Object::parse(source, self.objects.len(), document) {
            Ok(None) => {}
            Ok(Some(mut object)) => {
                object.refused = object.refused.map(|problem| within(place, problem));
                self.objects.push(object);
            }
            Err(problem) => self.problems.push(within(place, problem)),
        }
    }
}

/// Without a name only the place can say which document is meant.
fn within(place: String, mut problem: Problem) -> Problem {
    if problem.object.name.is_empty() {
        problem.path = match problem.path.as_str() {
            "" => place,
            path => format!("{place}.{path}"),
        };
    }
    problem
}

/// The kind of the items where a document is a list: `Some(None)` for the untyped `List`.
fn list_of(document: &Value) -> Option<Option<String>> {
    let kind = document["kind"].as_str()?.strip_suffix("List")?;
    document["items"].as_array()?;
    Some((!kind.is_empty()).then(|| kind.to_owned()))
}

#[cfg(test)]
mod tests;
