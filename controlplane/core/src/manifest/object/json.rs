//! The text of a JSON file -> its documents. A key that stands twice is an error, as in YAML: serde_json would take
//! the last one.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Deserializer, Map, Value};

use crate::manifest::problem::messages::{Message, file as messages};

pub(super) fn documents(text: &str) -> Result<Vec<Value>, Message> {
    let mut documents = Vec::new();
    let twice = RefCell::new(None);
    let mut deserializer = Deserializer::from_str(text);
    loop {
        // At the end of the text there is no further document.
        let rest = deserializer.end();
        if rest.is_ok() {
            return Ok(documents);
        }
        match Unique(&twice).deserialize(&mut deserializer) {
            Ok(document) => documents.push(document),
            Err(error) => {
                return Err(match twice.take() {
                    Some(key) => messages::duplicate_key_again(key, error.line()),
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
        // The only word that there is for it.
        _ if error.to_string().starts_with("recursion limit") => messages::beyond_limits(),
        _ => messages::bad_json(line, column),
    }
}

/// A value whose maps have each key once; the first that does not is put into the cell.
#[derive(Clone, Copy)]
struct Unique<'a>(&'a RefCell<Option<String>>);

impl<'de> DeserializeSeed<'de> for Unique<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique<'_> {
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
        let mut values = Vec::new();
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if map.contains_key(&key) {
                self.0.replace(Some(key));
                return Err(A::Error::custom("a key stands twice"));
            }
            map.insert(key, fields.next_value_seed(self)?);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_and_keys_that_stand_twice() {
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
