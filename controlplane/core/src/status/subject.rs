//! A subject has the parts of an object that Weir needs to write the status of this object.

use serde_json::Value;

use crate::manifest::object::Kind;
use crate::manifest::problem::ObjectRef;

/// A route or a TrafficSplit of the cluster, as Weir last read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub kind: Kind,
    /// The kind, namespace and name of the object. `source` is empty.
    pub object: ObjectRef,
    /// The API version with which Weir reads the object and writes the status, such as `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// The resource as in a [`crate::watermark::Watermark`]: `PLURAL.GROUP`, or `PLURAL.GROUP/NAMESPACE` if Weir
    /// watches each namespace separately.
    pub resource: String,
    pub uid: String,
    pub generation: i64,
    /// The resource version at which Weir first saw this generation of the object. A plan that Weir made from this
    /// version or a later version contains this generation.
    pub since: u64,
    /// The resource version of the object as Weir last read it. A write of the status names this version, so that the
    /// API server refuses the write if the object has changed.
    pub resource_version: String,
    /// The value of `spec.parentRefs`; null for a split.
    pub parent_refs: JsonText,
    /// The value of `status` as Weir last read it; null if the object has no status.
    pub status: JsonText,
    /// True if the kind has a status subresource in this cluster.
    pub has_status: bool,
}

impl Subject {
    /// True if the subject is small. Weir keeps a small subject in memory even if the object is too large to keep.
    pub fn is_small(&self) -> bool {
        const MAX_BYTES: usize = 4 << 10;
        self.parent_refs.len() + self.status.len() <= MAX_BYTES
    }
}

/// A part of an object as JSON text. The text takes a fifth of the memory of a parsed value. Weir keeps thousands of
/// these texts and parses few of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonText(Box<str>);

impl JsonText {
    fn len(&self) -> usize {
        self.0.len()
    }

    pub fn value(&self) -> Value {
        // The text comes from a JSON value, so it parses. The default text is empty, and becomes null.
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
