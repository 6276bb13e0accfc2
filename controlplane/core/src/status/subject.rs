//! An object of the cluster that is told what became of it: the parts that a status is made of.

use serde_json::Value;

use crate::manifest::object::Kind;
use crate::manifest::problem::ObjectRef;

/// A route or a TrafficSplit, as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub kind: Kind,
    /// Without a source; what problems of it are about.
    pub object: ObjectRef,
    /// At which it was read, and its status is written: `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// As in a watermark: `PLURAL.GROUP`, and `/NAMESPACE` behind it where that is watched by itself.
    pub resource: String,
    pub uid: String,
    pub generation: i64,
    /// The resource version at which this generation was first seen: who has read as far knows it.
    pub since: u64,
    /// That of the object as it was last read, for a write that must not be lost.
    pub resource_version: String,
    /// `spec.parentRefs` as written; null for a split.
    pub parent_refs: Written,
    /// `status` as read; null where there is none.
    pub status: Written,
    /// Whether the kind has a status subresource here.
    pub has_status: bool,
}

impl Subject {
    /// Whether it is small enough to be kept for an object that is a stub.
    pub fn is_small(&self) -> bool {
        const MOST: usize = 4 << 10;
        self.parent_refs.len() + self.status.len() <= MOST
    }
}

/// A part of an object as it was read. Kept as text, which takes a fifth of the memory: thousands of them are held,
/// and few are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(Box<str>);

impl Written {
    fn len(&self) -> usize {
        self.0.len()
    }

    pub fn value(&self) -> Value {
        // Text that was a value parses; the default is no text.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Value> for Written {
    fn from(value: &Value) -> Written {
        match value {
            Value::Null => Written::default(),
            value => Written(value.to_string().into()),
        }
    }
}
