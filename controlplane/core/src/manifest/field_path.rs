//! The path of a field in an object. Decodes the value of the field, and makes problems at this path.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::manifest::decode::decode_at;
use crate::manifest::problem::messages::{Message, object};
use crate::manifest::problem::{About, ObjectRef, Problem};
use crate::manifest::unknown_fields::{UnknownFields, at_most, is_empty};

/// An object, and the path of one of its fields, such as `spec.rules[0].matches`.
#[derive(Clone, Debug)]
pub struct FieldPath<'a> {
    pub object: &'a ObjectRef,
    path: String,
    about: About,
}

impl<'a> FieldPath<'a> {
    pub fn new(object: &'a ObjectRef, path: &str) -> FieldPath<'a> {
        let path = path.to_owned();
        let about = About::Object;
        FieldPath {
            object,
            path,
            about,
        }
    }

    pub fn field(&self, name: &str) -> FieldPath<'a> {
        FieldPath {
            object: self.object,
            path: format!("{}.{name}", self.path),
            about: self.about,
        }
    }

    pub fn entry(&self, index: usize) -> FieldPath<'a> {
        FieldPath {
            object: self.object,
            path: format!("{}[{index}]", self.path),
            about: self.about,
        }
    }

    /// Returns the path of an entry of `parentRefs`. `self` must be the path of this list.
    pub fn parent(&self, index: usize) -> FieldPath<'a> {
        self.entry(index).about(About::Parent(index))
    }

    /// Returns the path of an entry of `rules`. `self` must be the path of this list.
    pub fn rule(&self, index: usize) -> FieldPath<'a> {
        self.entry(index).about(About::Rule(index))
    }

    /// Returns the path of an entry of `backendRefs`, for problems of the Service that the entry names. `self` must be
    /// the path of this list.
    pub fn backend_ref(&self, backend: usize) -> FieldPath<'a> {
        let about = match self.about {
            About::Rule(rule) => About::BackendRef { rule, backend },
            other => other,
        };
        self.entry(backend).about(about)
    }

    /// Marks the path as the Service of a filter RequestMirror. `backend` is the index of the backend that has the
    /// filter, and `filter` is the index of the filter.
    pub fn mirror(self, backend: Option<usize>, filter: usize) -> FieldPath<'a> {
        let about = match self.about {
            About::Rule(rule) => About::Mirror {
                rule,
                backend,
                filter,
            },
            other => other,
        };
        self.about(about)
    }

    fn about(self, about: About) -> FieldPath<'a> {
        FieldPath { about, ..self }
    }

    pub fn problem(&self, message: Message) -> Problem {
        self.object
            .problem(self.path.as_str(), message)
            .about(self.about)
    }

    /// Calls [`UnknownFields::reject`] for the map at this path.
    pub fn reject_unknown(&self, unknown: &UnknownFields) -> Result<(), Problem> {
        let result = unknown.reject(self.object, &self.path);
        result.map_err(|problem| problem.about(self.about))
    }

    /// Returns a problem for the unknown field `name` of the map at this path.
    pub fn unknown_field(&self, name: &str) -> Problem {
        self.field(name).problem(object::unknown_field(name))
    }

    /// Calls [`at_most`] for the list at this path.
    pub fn at_most<T>(&self, list: &[T], limit: usize) -> Result<(), Problem> {
        at_most(list, limit, self.object, &self.path)
    }

    /// Decodes `value`, the value at this path.
    pub fn decode<T: DeserializeOwned>(&self, value: &Value) -> Result<T, Problem> {
        decode_at(self.object, &self.path, value).map_err(|problem| problem.about(self.about))
    }

    /// Returns the entries of the list at this path. Null and an absent field count as an empty list.
    pub fn list<'v>(&self, value: Option<&'v Value>) -> Result<&'v [Value], Problem> {
        match value {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => match self.decode::<Vec<Value>>(other) {
                Err(problem) => Err(problem),
                Ok(_) => Ok(&[]),
            },
        }
    }
}

/// Returns the names of the fields that have a value and are not in `known`.
pub fn unknown_fields<'v>(
    fields: &'v Map<String, Value>,
    known: &[&str],
) -> impl Iterator<Item = &'v str> {
    let unknown = fields
        .iter()
        .filter(|(name, value)| !known.contains(&name.as_str()) && !is_empty(value));
    unknown.map(|(name, _)| name.as_str())
}
