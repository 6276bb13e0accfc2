//! The error of a value that cannot be decoded, and the message of this error.

use std::fmt;

use serde_json::Value;

use crate::manifest::problem::messages::{Message, field as messages, object as object_messages};
use crate::manifest::problem::{ObjectRef, Problem};

/// The type of value that a field requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Boolean,
    Number,
    /// A whole number from `least` to `most`, both included.
    Whole {
        least: i128,
        most: i128,
    },
    List,
    Map,
}

impl Shape {
    pub(super) fn contains(self, number: i128) -> bool {
        match self {
            Shape::Whole { least, most } => (least..=most).contains(&number),
            _ => false,
        }
    }
}

/// One step of a path.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Field(String),
    Entry(usize),
}

#[derive(Debug)]
pub(super) struct DecodeError {
    /// The path of the wrong value, with the innermost step first.
    path: Vec<Step>,
    cause: DecodeFault,
}

#[derive(Debug)]
enum DecodeFault {
    Shape {
        expected: Shape,
        found: Value,
    },
    MissingField(&'static str),
    UnknownField(String),
    DuplicateField(&'static str),
    /// A word that is not a variant of the enum, and the names of all variants.
    UnknownVariant(String, &'static [&'static str]),
    /// An error of a type with its own `Deserialize`. The text of the error is for Rust programmers, so it is not kept.
    Other,
}

impl DecodeError {
    pub(super) fn shape(expected: Shape, found: &Value) -> DecodeError {
        let found = found.clone();
        DecodeError::new(DecodeFault::Shape { expected, found })
    }

    fn new(cause: DecodeFault) -> DecodeError {
        DecodeError {
            path: Vec::new(),
            cause,
        }
    }

    /// Adds a step to the path: the field or the list entry that contains the wrong value.
    pub(super) fn below(mut self, step: Step) -> DecodeError {
        self.path.push(step);
        self
    }

    pub(super) fn problem(self, object: &ObjectRef, above: &str) -> Problem {
        let mut path = above.to_owned();
        for step in self.path.iter().rev() {
            push(&mut path, step);
        }
        if let DecodeFault::UnknownField(field) = &self.cause {
            push(&mut path, &Step::Field(field.clone()));
        }
        let message = message(&self.cause, &path, object);
        object.problem(path, message)
    }
}

fn push(path: &mut String, step: &Step) {
    match step {
        Step::Entry(index) => path.push_str(&format!("[{index}]")),
        Step::Field(name) if path.is_empty() => path.push_str(name),
        Step::Field(name) => path.push_str(&format!(".{name}")),
    }
}

/// Returns the last part of a path: `service`, or `backends[0]`.
fn last_part(path: &str) -> &str {
    match path.rsplit('.').next() {
        None | Some("") => "this document",
        Some(name) => name,
    }
}

fn message(cause: &DecodeFault, path: &str, object: &ObjectRef) -> Message {
    let name = last_part(path);
    match cause {
        DecodeFault::MissingField(field) => messages::missing(field),
        DecodeFault::UnknownField(field) => object_messages::unknown_field(field),
        DecodeFault::DuplicateField(field) => messages::twice(field),
        DecodeFault::UnknownVariant(word, possible) => {
            messages::not_a_word(word, possible.join(", "))
        }
        DecodeFault::Other => messages::unreadable(name),
        DecodeFault::Shape {
            found: Value::Null, ..
        } => messages::no_value(name),
        DecodeFault::Shape { expected, found } => match expected {
            Shape::Text => not_text(name, found),
            Shape::Boolean => messages::not_boolean(name, describe(found)),
            Shape::Number | Shape::Whole { .. } => {
                not_a_number(*expected, name, path, found, object)
            }
            Shape::List => not_a_list(name, found),
            Shape::Map => messages::not_a_map(name, describe(found)),
        },
    }
}

fn not_text(name: &str, found: &Value) -> Message {
    match found {
        Value::Object(fields) => match fields.get("name").and_then(Value::as_str) {
            Some(inner) => messages::map_with_name(name, short(inner)),
            None => messages::map_for_text(name),
        },
        Value::Array(items) => match items.as_slice() {
            [Value::String(only)] => messages::list_of_one_text(name, short(only)),
            _ => messages::list_for_text(name),
        },
        Value::Bool(flag) => messages::boolean_for_text(name, flag),
        other => messages::number_for_text(name, other),
    }
}

fn not_a_list(name: &str, found: &Value) -> Message {
    match found {
        Value::Object(_) => messages::map_for_list(name),
        other => messages::not_a_list(name, describe(other)),
    }
}

fn not_a_number(
    shape: Shape,
    name: &str,
    path: &str,
    found: &Value,
    object: &ObjectRef,
) -> Message {
    let is_port = name.eq_ignore_ascii_case("port") || name.ends_with("Port");
    // The Rust type of a port (u16) allows 0, but 0 is not a port.
    let (least, most) = match shape {
        Shape::Whole { most, .. } if is_port => (1, most),
        Shape::Whole { least, most } => (least, most),
        _ => (i128::MIN, i128::MAX),
    };
    match found {
        Value::Number(number) => match (shape, number.is_f64()) {
            (Shape::Whole { .. }, true) => messages::not_whole(name, number, least, most),
            _ => messages::out_of_range(name, number, least, most),
        },
        Value::String(text)
            if text
                .parse::<i128>()
                .is_ok_and(|it| it >= least && it <= most) =>
        {
            messages::quoted_number(name, text)
        }
        Value::String(text) if is_port => {
            let is_of_this_object = object.kind == "Service" || path.contains("listeners[");
            if is_of_this_object {
                messages::port_name(name, short(text))
            } else {
                messages::service_port_name(name, short(text))
            }
        }
        other => messages::not_a_number(name, describe(other)),
    }
}

/// Describes a value by its type. The description of a boolean, a number or a text also has the value.
fn describe(found: &Value) -> String {
    match found {
        Value::Null => "empty".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", short(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// Returns at most the first 60 characters of a text. `…` follows if the text is longer.
fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.cause, f)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(_: T) -> DecodeError {
        DecodeError::new(DecodeFault::Other)
    }

    fn missing_field(field: &'static str) -> DecodeError {
        DecodeError::new(DecodeFault::MissingField(field))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> DecodeError {
        DecodeError::new(DecodeFault::UnknownField(field.to_owned()))
    }

    fn duplicate_field(field: &'static str) -> DecodeError {
        DecodeError::new(DecodeFault::DuplicateField(field))
    }

    fn unknown_variant(word: &str, possible: &'static [&'static str]) -> DecodeError {
        DecodeError::new(DecodeFault::UnknownVariant(word.to_owned(), possible))
    }
}
