//! Where one is in an object while it is read, and what is wrong there.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::manifest::decode::decode_at;
use crate::manifest::problem::messages::{Message, object};
use crate::manifest::problem::{About, ObjectRef, Problem};
use crate::manifest::unknown_fields::{Rest, says_nothing};

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub object: &'a ObjectRef,
    path: String,
    about: About,
}

impl<'a> Place<'a> {
    pub fn new(object: &'a ObjectRef, path: &str) -> Place<'a> {
        let path = path.to_owned();
        let about = About::Object;
        Place {
            object,
            path,
            about,
        }
    }

    pub fn field(&self, name: &str) -> Place<'a> {
        Place {
            object: self.object,
            path: format!("{}.{name}", self.path),
            about: self.about,
        }
    }

    pub fn entry(&self, index: usize) -> Place<'a> {
        Place {
            object: self.object,
            path: format!("{}[{index}]", self.path),
            about: self.about,
        }
    }

    /// The entry of the list of parents that stands here.
    pub fn parent(&self, index: usize) -> Place<'a> {
        self.entry(index).about(About::Parent(index))
    }

    /// The entry of the list of rules that stands here.
    pub fn rule(&self, index: usize) -> Place<'a> {
        self.entry(index).about(About::Rule(index))
    }

    /// The Service that an entry of the list of backends names; the list is a field of a rule.
    pub fn backend_ref(&self, backend: usize) -> Place<'a> {
        let about = match self.about {
            About::Rule(rule) => About::BackendRef { rule, backend },
            other => other,
        };
        self.entry(backend).about(about)
    }

    fn about(self, about: About) -> Place<'a> {
        Place { about, ..self }
    }

    pub fn problem(&self, message: Message) -> Problem {
        self.object
            .problem(self.path.as_str(), message)
            .about(self.about)
    }

    /// See [`Rest::refuse`].
    pub fn nothing_but_known(&self, rest: &Rest, unsupported: &[&str]) -> Result<(), Problem> {
        let refused = rest.refuse(self.object, &self.path, unsupported);
        refused.map_err(|problem| problem.about(self.about))
    }

    /// The field `name` of what stands here is not known.
    pub fn unknown_field(&self, name: &str) -> Problem {
        self.field(name).problem(object::unknown_field(name))
    }

    pub fn at_most<T>(&self, list: &[T], limit: usize) -> Result<(), Problem> {
        match list.len() {
            count if count > limit => Err(self.problem(object::too_many_entries(count, limit))),
            _ => Ok(()),
        }
    }

    /// What stands here, in the form `T`.
    pub fn decode<T: DeserializeOwned>(&self, value: &Value) -> Result<T, Problem> {
        decode_at(self.object, &self.path, value).map_err(|problem| problem.about(self.about))
    }

    /// The entries of the list that stands here; null, like nothing written, has none.
    pub fn list<'v>(&self, written: Option<&'v Value>) -> Result<&'v [Value], Problem> {
        match written {
            None | Some(Value::Null) => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(other) => match self.decode::<Vec<Value>>(other) {
                Err(problem) => Err(problem),
                Ok(_) => Ok(&[]),
            },
        }
    }
}

/// The fields that say something and are not `known`.
pub fn unknown_fields<'v>(
    fields: &'v Map<String, Value>,
    known: &[&str],
) -> impl Iterator<Item = &'v str> {
    let unknown = fields
        .iter()
        .filter(|(name, value)| !known.contains(&name.as_str()) && !says_nothing(value));
    unknown.map(|(name, _)| name.as_str())
}
