//! Where one is in an object while it is read, and what is wrong there.

use crate::fields::{Rest, at_most};
use crate::problem::messages::Message;
use crate::problem::{ObjectRef, Problem, Reason};

/// A field of an object.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub object: &'a ObjectRef,
    path: String,
}

impl<'a> Place<'a> {
    pub fn new(object: &'a ObjectRef, path: &str) -> Place<'a> {
        let path = path.to_owned();
        Place { object, path }
    }

    pub fn field(&self, name: &str) -> Place<'a> {
        Place {
            object: self.object,
            path: format!("{}.{name}", self.path),
        }
    }

    pub fn entry(&self, index: usize) -> Place<'a> {
        Place {
            object: self.object,
            path: format!("{}[{index}]", self.path),
        }
    }

    pub fn problem(&self, message: Message) -> Problem {
        self.object.problem(self.path.as_str(), message)
    }

    pub fn legacy(
        &self,
        reason: Reason,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        self.object
            .legacy(self.path.as_str(), reason, message, remedy)
    }

    /// The value is wrong.
    pub fn invalid(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        self.legacy(Reason::InvalidValue, message, remedy)
    }

    /// The value means something that Weir does not do.
    pub fn unsupported(&self, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
        self.legacy(Reason::UnsupportedValue, message, remedy)
    }

    /// See [`Rest::refuse`].
    pub fn nothing_but_known(&self, rest: &Rest, unsupported: &[&str]) -> Result<(), Problem> {
        rest.refuse(self.object, &self.path, unsupported)
    }

    pub fn at_most<T>(&self, list: &[T], limit: usize) -> Result<(), Problem> {
        at_most(
            list,
            limit,
            self.object,
            &self.path,
            "split it into several routes",
        )
    }
}
