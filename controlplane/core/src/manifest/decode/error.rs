//! What keeps a value from being decoded, and how that is said.

use std::fmt;

use serde_json::Value;

use crate::manifest::problem::messages::{Message, field as messages, object as object_messages};
use crate::manifest::problem::{ObjectRef, Problem};

/// What a field has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Boolean,
    Number,
    Whole { least: i128, most: i128 },
    List,
    Map,
}

impl Shape {
    pub(super) fn holds(self, number: i128) -> bool {
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
pub(super) struct Error {
    /// From the wrong value up to the top.
    path: Vec<Step>,
    wrong: Wrong,
}

#[derive(Debug)]
enum Wrong {
    Shape {
        wanted: Shape,
        found: Value,
    },
    Missing(&'static str),
    Unknown(String),
    Twice(&'static str),
    /// A word that is none of those possible.
    Word(String, &'static [&'static str]),
    /// What a type says that reads itself. Its words are serde's.
    Other,
}

impl Error {
    pub(super) fn shape(wanted: Shape, found: &Value) -> Error {
        let found = found.clone();
        Error::of(Wrong::Shape { wanted, found })
    }

    fn of(wrong: Wrong) -> Error {
        Error {
            path: Vec::new(),
            wrong,
        }
    }

    pub(super) fn below(mut self, step: Step) -> Error {
        self.path.push(step);
        self
    }

    pub(super) fn problem(self, object: &ObjectRef, above: &str) -> Problem {
        let mut path = above.to_owned();
        for step in self.path.iter().rev() {
            push(&mut path, step);
        }
        if let Wrong::Unknown(field) = &self.wrong {
            push(&mut path, &Step::Field(field.clone()));
        }
        let message = message(&self.wrong, &path, object);
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

/// The last part of a path, for a sentence about it: `service`, or `backends[0]`.
fn last(path: &str) -> &str {
    match path.rsplit('.').next() {
        None | Some("") => "this document",
        Some(name) => name,
    }
}

fn message(wrong: &Wrong, path: &str, object: &ObjectRef) -> Message {
    let name = last(path);
    match wrong {
        Wrong::Missing(field) => messages::missing(field),
        Wrong::Unknown(field) => object_messages::unknown_field(field),
        Wrong::Twice(field) => messages::twice(field),
        Wrong::Word(word, possible) => messages::not_a_word(word, possible.join(", ")),
        Wrong::Other => messages::unreadable(name),
        Wrong::Shape {
            found: Value::Null, ..
        } => messages::no_value(name),
        Wrong::Shape { wanted, found } => match wanted {
            Shape::Text => not_text(name, found),
            Shape::Boolean => messages::not_boolean(name, kind_of(found)),
            Shape::Number | Shape::Whole { .. } => not_a_number(*wanted, name, path, found, object),
            Shape::List => not_a_list(name, found),
            Shape::Map => messages::not_a_map(name, kind_of(found)),
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
        other => messages::not_a_list(name, kind_of(other)),
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
    // A field of 16 bits that is a port cannot be 0.
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
            let is_own = object.kind == "Service" || path.contains("listeners[");
            match is_own {
                true => messages::port_name(name, short(text)),
                false => messages::service_port_name(name, short(text)),
            }
        }
        other => messages::not_a_number(name, kind_of(other)),
    }
}

/// The kind of a value, with the value where it is short.
fn kind_of(found: &Value) -> String {
    match found {
        Value::Null => "empty".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {:?}", short(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a map".to_owned(),
    }
}

/// No more of a text than a sentence can hold.
fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.wrong, f)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(_: T) -> Error {
        Error::of(Wrong::Other)
    }

    fn missing_field(field: &'static str) -> Error {
        Error::of(Wrong::Missing(field))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Error {
        Error::of(Wrong::Unknown(field.to_owned()))
    }

    fn duplicate_field(field: &'static str) -> Error {
        Error::of(Wrong::Twice(field))
    }

    fn unknown_variant(word: &str, possible: &'static [&'static str]) -> Error {
        Error::of(Wrong::Word(word.to_owned(), possible))
    }
}
