//! Parses the text of a JSON file to documents. A map with the same key twice is an error, as in YAML;
//! `serde_json::Value` would use the last value.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};

use crate::manifest::problem::messages::{Message, file as messages};

pub(super) fn documents(text: &str) -> Result<Vec<Value>, Message> {
    let mut documents = Vec::new();
    let stop = RefCell::new(None);
    let mut deserializer = Deserializer::from_str(text);
    loop {
        if deserializer.end().is_ok() {
            return Ok(documents);
        }
        let reader = JsonReader {
            stop: &stop,
            depth: 0,
        };
        match reader.deserialize(&mut deserializer) {
            Ok(document) => documents.push(document),
            Err(error) => {
                return Err(match stop.take() {
                    Some(Stop::Twice(key)) => messages::duplicate_key_again(key, error.line()),
                    Some(Stop::TooDeep) => messages::beyond_limits(),
                    None => message(&error),
                });
            }
        }
    }
}

fn message(error: &serde_json::Error) -> Message {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => messages::json_ends(line),
        _ => messages::bad_json(line, column),
    }
}

/// The most levels of nested values. The limit of serde_json is one level higher, but the type of its error does not
/// show that the text exceeds this limit. So this module stops first.
const MAX_DEPTH: usize = 126;

/// Why the reader stops although the text is valid JSON.
enum Stop {
    /// A map has this key twice.
    Twice(String),
    TooDeep,
}

/// Reads a value. If the reader stops, it writes the reason into `stop`.
#[derive(Clone, Copy)]
struct JsonReader<'a> {
    stop: &'a RefCell<Option<Stop>>,
    depth: usize,
}

impl<'a> JsonReader<'a> {
    /// Returns a reader for the values inside a map or a list.
    fn inside<E: serde::de::Error>(self) -> Result<JsonReader<'a>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.stop(Stop::TooDeep));
        }
        let depth = self.depth + 1;
        Ok(JsonReader { depth, ..self })
    }

    fn stop<E: serde::de::Error>(self, why: Stop) -> E {
        self.stop.replace(Some(why));
        E::custom("stopped")
    }
}

impl<'de> DeserializeSeed<'de> for JsonReader<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let reader = self.inside()?;
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(reader)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let reader = self.inside()?;
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(self.stop(Stop::Twice(key)));
            }
            map.insert(key, fields.next_value_seed(reader)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicate_keys_are_errors() {
        let text = r#" {"a": [1, -1, 1.5, null, true, "x"]} {"b": {}} "#;
        assert_eq!(
            documents(text).unwrap(),
            [
                json!({"a": [1, -1, 1.5, null, true, "x"]}),
                json!({"b": {}})
            ]
        );
        assert_eq!(documents(" ").unwrap(), Vec::<Value>::new());
        let twice = documents("{\"a\": [{\n\"b\": 1,\n\"b\": 2}]}").unwrap_err();
        assert_eq!(
            twice.cause,
            "the key b is there twice, the second time at line 3"
        );
        assert_eq!(
            documents("{\n\"a\": 1").unwrap_err(),
            messages::json_ends(2)
        );
        assert_eq!(documents("{a}").unwrap_err(), messages::bad_json(1, 2));
        let deep = "[".repeat(200);
        assert_eq!(documents(&deep).unwrap_err(), messages::beyond_limits());
    }
}
