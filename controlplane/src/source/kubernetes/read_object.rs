//! Reads one object from the JSON of an API server, and keeps the parts that Weir needs. An object that cannot be read
//! does not affect other objects.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::resource::{ApiResource, Served};
use weir_core::api::route::RouteKind;
use weir_core::manifest::object::{Kind, Object};
use weir_core::manifest::problem::messages::{Message, object as messages};
use weir_core::manifest::problem::{ObjectRef, Problem};
use weir_core::status::subject::{JsonText, Subject};
use weir_core::world::Entry;

/// Namespace and name.
pub type Key = (String, String);

/// The metadata that a watch needs.
#[derive(Clone, Debug)]
pub struct Head {
    pub key: Key,
    pub resource_version: String,
    /// The creation time as the API server writes it.
    pub created: Option<String>,
}

/// The parts of an object that Weir keeps. The translation needs `entry` and `problem`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadObject {
    /// None if the object has nothing that the translation uses, or cannot be read.
    pub entry: Option<Arc<Entry>>,
    /// Why the object could not be read.
    pub problem: Option<Box<Problem>>,
    /// The data for the object's status and Events. Its field `since` is the resource version of the object.
    pub subject: Option<Arc<Subject>>,
}

/// Estimates the memory of a value from its `Debug` text.
#[derive(Default)]
struct Counter {
    bytes: usize,
    is_escaped: bool,
}

impl Counter {
    /// Each string has two quotes in the `Debug` text. A quote counts for half of the memory that a string needs in
    /// addition to its text: pointer, length, capacity and overhead of the allocation. Without this number, an object
    /// of many short strings would need ten times the estimated memory.
    const QUOTE: usize = 16;
}

impl fmt::Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes = self.bytes.saturating_add(text.len());
        self.is_escaped = false;
        Ok(())
    }

    /// `Debug` of a string calls this method for its quotes and for escaped characters.
    fn write_char(&mut self, character: char) -> fmt::Result {
        let more = match character {
            '"' if !self.is_escaped => Counter::QUOTE,
            _ => 0,
        };
        self.bytes = self.bytes.saturating_add(character.len_utf8() + more);
        self.is_escaped = character == '\\' && !self.is_escaped;
        Ok(())
    }
}

#[derive(Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<String>,
}

/// Returns a resource version as a number, or 0 if it is not a number.
pub fn count(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or_default()
}

impl Head {
    pub fn of(text: &RawValue) -> Head {
        let Manifest { metadata } = serde_json::from_str(text.get()).unwrap_or_default();
        Head {
            key: (
                metadata.namespace.unwrap_or_default(),
                metadata.name.unwrap_or_default(),
            ),
            resource_version: metadata.resource_version.unwrap_or_default(),
            created: metadata.creation_timestamp,
        }
    }
}

impl ReadObject {
    /// Reads an object. `id` is the id of the source.
    pub fn of(
        text: &RawValue,
        head: &Head,
        resource: &ApiResource,
        served: Served,
        id: &str,
    ) -> ReadObject {
        let mut body = match serde_json::from_str::<Value>(text.get()) {
            Ok(body) => body,
            // For example, the object is nested too deeply.
            Err(_) => return ReadObject::unreadable(head, resource),
        };
        // Items in a list of a built-in kind have no apiVersion and kind.
        if let Value::Object(fields) = &mut body {
            let api_version = resource.api_version(version_of_shape(fields, resource, served));
            fields.insert("apiVersion".into(), api_version.into());
            fields.insert("kind".into(), resource.name.into());
        }
        let spec = body.get_mut("spec").and_then(Value::as_object_mut);
        if let (Some(unused), Some(spec)) = (resource.unused, spec) {
            spec.remove(unused);
        }
        let subject = has_subject(resource.kind).then(|| subject(&body, resource, served, id));
        let (entry, problem) = match Object::parse(body) {
            Ok(object) => (object.map(|object| Arc::new(Entry::of(&object))), None),
            Err(problem) => (None, Some(Box::new(problem))),
        };
        ReadObject {
            entry,
            problem,
            subject: subject.map(Arc::new),
        }
    }

    /// Returns the approximate number of bytes in memory: the length of the `Debug` text, and [`Counter::QUOTE`] for
    /// each quote of a string. The endpoints of an EndpointSlice have a fixed size.
    pub fn weight(&self) -> usize {
        let entry = self.entry.as_deref();
        if let Some(slice) = entry.and_then(|it| it.endpoint_slice()) {
            return slice.weight();
        }
        let mut counter = Counter::default();
        // An error is impossible, because the counter never fails.
        let _ = write!(counter, "{self:?}");
        counter.bytes
    }

    /// Returns a stub: the name of the object and a problem. A stub replaces an object that is too large, or that does
    /// not fit into the memory limit.
    pub fn stub(
        (namespace, name): Key,
        resource: &ApiResource,
        message: Message,
        subject: Option<Arc<Subject>>,
    ) -> ReadObject {
        let object = ObjectRef {
            source: String::new(),
            kind: resource.kind.to_string(),
            namespace,
            name,
        };
        let entry = Entry::left_out(resource.kind, object.problem("", message));
        ReadObject {
            entry: Some(Arc::new(entry)),
            problem: None,
            subject: subject.filter(|it| it.is_small()),
        }
    }

    fn unreadable(head: &Head, resource: &ApiResource) -> ReadObject {
        let (namespace, name) = head.key.clone();
        let object = ObjectRef {
            source: String::new(),
            kind: resource.kind.to_string(),
            namespace,
            name,
        };
        let problem = object.problem("", messages::nested_too_deeply());
        ReadObject {
            entry: None,
            problem: Some(Box::new(problem)),
            subject: None,
        }
    }

    pub fn is_translated_as(&self, other: &ReadObject) -> bool {
        self.entry == other.entry && self.problem == other.problem
    }
}

/// Returns the version of the API that has the fields of this object. An API server without a conversion webhook
/// changes the version in an object and keeps the fields. So an HTTPRouteGroup or a TrafficTarget without `spec` has
/// the fields of the first version of its kind.
fn version_of_shape(
    fields: &serde_json::Map<String, Value>,
    resource: &ApiResource,
    served: Served,
) -> &'static str {
    let has_first_shape = match resource.kind {
        Kind::HttpRouteGroup => fields.contains_key("matches"),
        Kind::TrafficTarget => fields.contains_key("destination"),
        _ => false,
    };
    if has_first_shape && !fields.contains_key("spec") {
        "v1alpha1"
    } else {
        served.version
    }
}

/// True if Weir writes status or Events for objects of the kind.
fn has_subject(kind: Kind) -> bool {
    kind == Kind::TrafficSplit || RouteKind::of(kind).is_some()
}

fn subject(body: &Value, resource: &ApiResource, served: Served, id: &str) -> Subject {
    let metadata = &body["metadata"];
    let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
    let resource_version = text("resourceVersion");
    Subject {
        kind: resource.kind,
        object: ObjectRef {
            source: String::new(),
            kind: resource.kind.to_string(),
            namespace: text("namespace"),
            name: text("name"),
        },
        api_version: resource.api_version(served.version),
        resource: id.to_owned(),
        uid: text("uid"),
        generation: metadata["generation"].as_i64().unwrap_or_default(),
        since: count(&resource_version),
        resource_version,
        parent_refs: JsonText::from(&body["spec"]["parentRefs"]),
        status: JsonText::from(&body["status"]),
        has_status: served.has_status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_core::api::smi::traffic_target::Policy;

    #[test]
    fn weight_covers_memory_of_strings() {
        let labels: Vec<_> = (0..10_000).map(|it| format!("\"{it}\":\"\"")).collect();
        let text = format!(
            r#"{{"metadata":{{"name":"a","namespace":"shop","labels":{{{}}}}}}}"#,
            labels.join(",")
        );
        let text = RawValue::from_string(text).unwrap();
        let resource = ApiResource::all(Policy::Smi)
            .find(|it| it.name == "Pod")
            .unwrap();
        let served = Served {
            version: "v1",
            has_status: true,
        };
        let kept = ReadObject::of(&text, &Head::of(&text), &resource, served, "pods");
        // Each label needs two pointers, two lengths, and the allocation of the name.
        let least = 10_000 * (4 * 8 + 16);
        assert!(kept.weight() >= least, "{}", kept.weight());
        // A quotation mark inside a string counts as one or two bytes, without `QUOTE`.
        let mut counter = Counter::default();
        write!(counter, "{:?}", r#""\"""#).unwrap();
        assert_eq!(counter.bytes, 2 * (1 + Counter::QUOTE) + 8);
    }
}
