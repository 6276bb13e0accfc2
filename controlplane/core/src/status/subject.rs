//! An object of the cluster that gets a status: the parts of it that the status depends on.

use serde_json::Value;

use crate::manifest::object::Kind;
use crate::manifest::problem::ObjectRef;

/// A route or a TrafficSplit, as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub kind: Kind,
    /// The object as problems name it, without a source.
    pub object: ObjectRef,
    /// The version at which the object is read and its status is written: `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// As in a watermark: `PLURAL.GROUP`, or `PLURAL.GROUP/NAMESPACE` if each namespace is watched separately.
    pub resource: String,
    pub uid: String,
    pub generation: i64,
    /// The resource version at which this generation was first seen. A plan from this version or a later one has it.
    pub since: u64,
    /// The resource version of the object, as it was last read. A write of the status names it, so that the API server
    /// refuses the write if the object has changed.
    pub resource_version: String,
    /// `spec.parentRefs`; null for a split.
    pub parent_refs: JsonText,
    /// `status` as it was last read; null if the object has no status.
    pub status: JsonText,
    /// Whether the kind has a status subresource in this cluster.
    pub has_status: bool,
}

impl Subject {
    /// Whether the subject is small enough to be kept for an object that is itself not kept.
    pub fn is_small(&self) -> bool {
        const MAX_BYTES: usize = 4 << 10;
        self.parent_refs.len() + self.status.len() <= MAX_BYTES
    }
}

/// A part of an object as JSON text, which takes a fifth of the memory of a value. Thousands are kept, and few are
/// parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonText(Box<str>);

impl JsonText {
    fn len(&self) -> usize {
        self.0.len()
    }

    pub fn value(&self) -> Value {
        // The text comes from a value, so it parses. The default is empty and becomes null.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Value> for JsonText {
    fn from(value: &Value) -> JsonText {
        match value {
            Value::Null => JsonText::default(),
            value => JsonText(value.to_string().into()),
        }
    }
}
