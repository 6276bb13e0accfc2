//! Values without places, and their text: YAML with braces, YAML with indentation, or JSON.

use serde_json::json;

use super::yaml_tree::{YamlNode, YamlShape};

/// The longest line of a value with braces. A longer value becomes several lines.
const WIDTH: usize = 118;

/// A value that can be written at another place of the text.
#[derive(Clone, Debug)]
pub enum YamlValue {
    Scalar {
        text: String,
        /// The value as the file has it, with its quotes; None if it is on several lines.
        written: Option<String>,
        is_plain: bool,
    },
    List(Vec<YamlValue>),
    Map(Vec<(String, YamlValue)>),
}

impl YamlValue {
    /// Copies a value of `text`. An alias becomes the value of its anchor.
    pub fn copy(text: &str, node: &YamlNode) -> YamlValue {
        match &node.shape {
            YamlShape::Scalar {
                text: value,
                is_plain,
            } => {
                let written = text.get(node.start..node.end).unwrap_or_default();
                let is_one_line = !written.contains('\n') && !written.starts_with(['|', '>']);
                YamlValue::Scalar {
                    text: value.clone(),
                    written: is_one_line.then(|| written.to_owned()),
                    is_plain: *is_plain,
                }
            }
            YamlShape::List { items, .. } => {
                let items = items.iter();
                YamlValue::List(items.map(|it| YamlValue::copy(text, &it.value)).collect())
            }
            YamlShape::Map { entries, .. } => {
                let entries = entries.iter();
                let copy = |value: &YamlNode| YamlValue::copy(text, value);
                YamlValue::Map(
                    entries
                        .map(|it| (it.key.clone(), copy(&it.value)))
                        .collect(),
                )
            }
        }
    }

    pub fn text(text: &str) -> YamlValue {
        let is_plain = is_plain_key(text);
        YamlValue::Scalar {
            text: text.to_owned(),
            written: None,
            is_plain,
        }
    }

    pub fn entries_mut(&mut self) -> Option<&mut Vec<(String, YamlValue)>> {
        match self {
            YamlValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the value at this key of a map.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut YamlValue> {
        let mut entries = self.entries_mut()?.iter_mut();
        entries.find_map(|(name, value)| (name == key).then_some(value))
    }

    /// Returns the list at this key of a map, and adds an empty list if the key is absent.
    pub fn list_mut(&mut self, key: &str) -> Option<&mut Vec<YamlValue>> {
        let entries = self.entries_mut()?;
        let index = match entries.iter().position(|(name, _)| name == key) {
            Some(index) => index,
            None => {
                entries.push((key.to_owned(), YamlValue::List(Vec::new())));
                entries.len() - 1
            }
        };
        match entries.get_mut(index) {
            Some((_, YamlValue::List(items))) => Some(items),
            _ => None,
        }
    }

    /// Returns the value on one line: JSON, or YAML with braces.
    pub fn on_one_line(&self, is_json: bool) -> String {
        match self {
            YamlValue::Scalar { .. } => self.scalar(is_json, true),
            YamlValue::List(items) => {
                let items = items.iter().map(|it| it.on_one_line(is_json));
                format!("[{}]", items.collect::<Vec<_>>().join(", "))
            }
            YamlValue::Map(entries) if entries.is_empty() => "{}".to_owned(),
            YamlValue::Map(_) => format!("{{ {} }}", self.entries_on_one_line(is_json)),
        }
    }

    /// Returns the entries of a map on one line, without braces.
    pub fn entries_on_one_line(&self, is_json: bool) -> String {
        let YamlValue::Map(entries) = self else {
            return self.on_one_line(is_json);
        };
        let entries = entries.iter().map(|(key, value)| {
            let key = match is_json || !is_plain_key(key) {
                true => json!(key).to_string(),
                false => key.clone(),
            };
            format!("{key}: {}", value.on_one_line(is_json))
        });
        entries.collect::<Vec<_>>().join(", ")
    }

    /// Returns the lines of the value for the column. Each line ends with a newline, and has no indentation itself. A
    /// value inside becomes one line with braces if the line is not too long.
    pub fn lines(&self, column: usize) -> String {
        match self {
            YamlValue::Scalar { .. } => format!("{}\n", self.scalar(false, false)),
            YamlValue::List(items) => {
                let items = items.iter().map(|item| match item.short_line(column, 2) {
                    Some(line) => format!("- {line}\n"),
                    None => item.lines_of_item(column),
                });
                items.collect()
            }
            YamlValue::Map(entries) => {
                let entries = entries.iter();
                let entries = entries.map(|(key, value)| entry_lines(key, value, column));
                entries.collect()
            }
        }
    }

    /// Returns the lines of this value as an item of a list. Each entry of a map has its own line.
    pub fn lines_of_item(&self, column: usize) -> String {
        let lines = self.lines(column + 2);
        let lines = lines.lines().enumerate().map(|(index, line)| match index {
            0 => format!("- {line}\n"),
            _ => format!("  {line}\n"),
        });
        lines.collect()
    }

    /// Returns the value on one line, if the line with `before` bytes before the value is not too long.
    fn short_line(&self, column: usize, before: usize) -> Option<String> {
        if matches!(self, YamlValue::Scalar { .. }) {
            return Some(self.scalar(false, false));
        }
        let line = self.on_one_line(false);
        (column + before + line.len() <= WIDTH).then_some(line)
    }

    fn scalar(&self, is_json: bool, is_in_braces: bool) -> String {
        let YamlValue::Scalar {
            text,
            written,
            is_plain,
        } = self
        else {
            return String::new();
        };
        if is_json {
            let is_bare = *is_plain
                && (["true", "false", "null"].contains(&text.as_str())
                    || text.parse::<f64>().is_ok_and(f64::is_finite));
            return if is_bare {
                text.clone()
            } else {
                json!(text).to_string()
            };
        }
        let needs_quotes = |it: &str| it.contains(['{', '}', '[', ']', ',']);
        match written {
            Some(written) if !(is_in_braces && *is_plain && needs_quotes(written)) => {
                written.clone()
            }
            None if *is_plain && !needs_quotes(text) => text.clone(),
            _ => json!(text).to_string(),
        }
    }
}

fn entry_lines(key: &str, value: &YamlValue, column: usize) -> String {
    let key = match is_plain_key(key) {
        true => key.to_owned(),
        false => json!(key).to_string(),
    };
    if let Some(line) = value.short_line(column, key.len() + 2) {
        return format!("{key}: {line}\n");
    }
    let lines = match value {
        YamlValue::List(_) => value.lines(column),
        _ => indented(&value.lines(column + 2), 2),
    };
    format!("{key}:\n{lines}")
}

/// Returns the text with `by` spaces before each line that is not empty.
pub fn indented(text: &str, by: usize) -> String {
    let indent = " ".repeat(by);
    let lines = text.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{indent}{line}\n"),
    });
    lines.collect()
}

/// Returns the text as a scalar of YAML, with quotes if another type, such as a number, is possible.
pub fn scalar_of(text: &str) -> String {
    match is_plain_key(text) {
        true => text.to_owned(),
        false => json!(text).to_string(),
    }
}

/// True if the text needs no quotes as a key or as a value.
fn is_plain_key(text: &str) -> bool {
    const OTHER_TYPES: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"_-./".contains(&it);
    let begins_with_letter = text.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    let is_other_type = OTHER_TYPES.iter().any(|it| text.eq_ignore_ascii_case(it));
    text.bytes().all(is_plain)
        && !is_other_type
        && (begins_with_letter || text.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_quotes_if_needed() {
        for name in ["bookbuyer", "a-1.b", "no-split", "127.0.0.1", "north"] {
            assert_eq!(scalar_of(name), name);
        }
        for name in [
            "no",
            "On",
            "true",
            "123",
            "1e3",
            "0x1f",
            "2026-01-01",
            "y",
            "",
        ] {
            assert_eq!(scalar_of(name), format!("\"{name}\""));
        }
    }
}
