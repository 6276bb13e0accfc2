//! Parses the text of a YAML file to documents.

use serde_json::Value;
use serde_saphyr::Error;
use serde_saphyr::options::NonFiniteFloatPolicy;

use crate::manifest::problem::messages::{Message, file as messages};

const MAX_DOCUMENTS: usize = 20_000;
/// The most levels of nested values.
const MAX_DEPTH: usize = 64;

/// A number with two values: kubectl and Helm read it as YAML 1.1, and Weir reads it as YAML 1.2.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TwoReadings {
    pub path: String,
    /// The names of the fields in the path.
    pub fields: Vec<String>,
    /// The number that Weir reads.
    pub written: String,
    /// The number that kubectl reads.
    pub kubectl: String,
}

pub(super) struct Document {
    pub value: Value,
    /// The document as kubectl reads it; None if kubectl reads the same.
    pub to_kubectl: Option<Value>,
}

pub(super) fn documents(text: &str) -> Result<Vec<Document>, Message> {
    let parse = |legacy| {
        serde_saphyr::from_multiple_with_options::<Value>(text, options(legacy))
            .map_err(|error| message(text, &error))
    };
    let values = parse(false)?;
    let to_kubectl: Vec<Value> = match has_leading_zero(text) {
        true => parse(true)?,
        false => Vec::new(),
    };
    let mut to_kubectl = to_kubectl.into_iter();
    let documents = values.into_iter().map(|value| {
        let other = to_kubectl.next().filter(|other| *other != value);
        Document {
            value,
            to_kubectl: other,
        }
    });
    Ok(documents.collect())
}

/// Returns the numbers that kubectl reads differently from Weir.
pub(super) fn two_readings(written: &Value, kubectl: &Value) -> Vec<TwoReadings> {
    let mut found = Vec::new();
    compare(String::new(), &[], written, kubectl, &mut found);
    found
}

fn compare(
    path: String,
    above: &[String],
    written: &Value,
    kubectl: &Value,
    found: &mut Vec<TwoReadings>,
) {
    match (written, kubectl) {
        (Value::Object(fields), Value::Object(others)) => {
            for (name, value) in fields {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                let names = [above, std::slice::from_ref(name)].concat();
                compare(path, &names, value, &others[name], found);
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            for (index, (item, other)) in items.iter().zip(others).enumerate() {
                compare(format!("{path}[{index}]"), above, item, other, found);
            }
        }
        (one, other) => {
            let are_equal = match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => one == other,
                _ => one == other,
            };
            if !are_equal {
                found.push(TwoReadings {
                    path,
                    fields: above.to_vec(),
                    written: plain(one),
                    kubectl: plain(other),
                });
            }
        }
    }
}

/// Returns a number as users write it: `100` for the value `100.0`.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// True if the text may have a number that begins with a zero and another digit. This is only a quick test: it can also
/// be true for a text without such a number.
fn has_leading_zero(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_octal = |(at, two): (usize, &[u8])| {
        let [b'0', next] = two else { return false };
        let before = bytes.get(..at).unwrap_or_default();
        let before = before.strip_suffix(b"-").unwrap_or(before);
        let before = before.strip_suffix(b"+").unwrap_or(before);
        (next.is_ascii_digit() || *next == b'_')
            && match before {
                [] | [.., b'"' | b'\'', b':'] => true,
                [.., last] => last.is_ascii_whitespace() || b"[,{".contains(last),
            }
    };
    bytes.windows(2).enumerate().any(is_octal)
}

fn options(legacy_octal_numbers: bool) -> serde_saphyr::Options {
    serde_saphyr::options! {
        // The budget is enough for a bundle of CRDs in one file. An alias bomb exceeds the budget at once.
        budget: serde_saphyr::budget! {
            max_events: 2_000_000,
            max_nodes: 1_000_000,
            max_recorded_anchor_events: 100_000,
            max_documents: MAX_DOCUMENTS,
            max_depth: MAX_DEPTH,
        },
        // With this policy, a weight `.nan` is a problem of one object, and not of the whole file.
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        legacy_octal_numbers: legacy_octal_numbers,
        with_snippet: false,
    }
}

fn message(text: &str, error: &Error) -> Message {
    let mut error = error.without_snippet();
    while let Error::AliasError { error: inner, .. } = error {
        error = inner;
    }
    let line = error.location().map(|location| location.line());
    match error {
        _ if line.is_some_and(|line| is_template_at(text, line)) => messages::template(),
        Error::DuplicateMappingKey {
            key: Some(key),
            location,
        } => {
            let (line, column) = (location.line(), location.column());
            match first_line_of(text, key, line, column) {
                Some(first) => messages::duplicate_key(key, first, line),
                None => messages::duplicate_key_again(key, line),
            }
        }
        error if is_over_documents(error) => messages::too_many_documents(MAX_DOCUMENTS),
        Error::Budget { .. } => messages::beyond_limits(),
        error if depth_before(text, error) > MAX_DEPTH => messages::beyond_limits(),
        error => parse_error(error),
    }
}

/// Returns how many brackets and braces are open at the error. The parser has a limit for them, but its error does not
/// name the limit.
fn depth_before(text: &str, error: &Error) -> usize {
    let Some(location) = error.location() else {
        return 0;
    };
    let line = usize::try_from(location.line()).unwrap_or(usize::MAX);
    let column = usize::try_from(location.column()).unwrap_or(usize::MAX);
    let lines_above = text.lines().take(line.saturating_sub(1));
    let own_line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    lines_above
        .flat_map(str::chars)
        .chain(own_line.chars().take(column))
        .fold(0_usize, |depth, c| match c {
            '[' | '{' => depth + 1,
            ']' | '}' => depth.saturating_sub(1),
            _ => depth,
        })
}

/// Returns the message for an error of the parser. The message contains the text of the error only if this text has no
/// names of Rust types.
fn parse_error(error: &Error) -> Message {
    let location = error.location();
    let (line, column) = location.map_or((1, 1), |it| (it.line(), it.column()));
    match error {
        Error::ExternalMessage { .. } | Error::Eof { .. } => messages::bad_yaml(error),
        Error::UnknownAnchor { .. } => messages::unknown_anchor(line, column),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            messages::recursive_alias(line, column)
        }
        Error::MergeValueNotMapOrSeqOfMaps { .. } => messages::bad_merge(line, column),
        Error::NullIntoString { .. } | Error::Unexpected { .. } => messages::bad_key(line, column),
        _ => messages::bad_tag(line, column),
    }
}

/// True if the braces of a template are in one of two lines: line number `line` (counted from 1), or the nearest line
/// above it that is not empty. Braces on other lines prove nothing, because dashboards and alerts have braces inside
/// texts.
fn is_template_at(text: &str, line: u64) -> bool {
    let line = usize::try_from(line).unwrap_or(usize::MAX);
    let lines: Vec<&str> = text
        .lines()
        .take(line)
        .filter(|line| !line.trim().is_empty())
        .collect();
    let mut last_two = lines.iter().rev().take(2);
    last_two.any(|line| line.contains("{{") && line.contains("}}"))
}

fn is_over_documents(error: &Error) -> bool {
    matches!(
        error,
        Error::Budget {
            breach: serde_saphyr::budget::BudgetBreach::Documents { .. },
            ..
        }
    )
}

/// Returns the line of the first of two equal keys in one map. The second key is at `line` and `column`. Lines and
/// columns count from 1. Returns None if the first key is not found.
fn first_line_of(text: &str, key: &str, line: u64, column: u64) -> Option<u64> {
    let line = usize::try_from(line).ok()?;
    let indent = usize::try_from(column).ok()?.checked_sub(1)?;
    let lines: Vec<&str> = text.lines().collect();
    let own = lines.get(line.checked_sub(1)?)?;
    let is_first_on_line = own.chars().take(indent).all(|c| c == ' ' || c == '-');
    if !is_first_on_line {
        // In a map with braces, both keys may be on one line.
        let before: String = own.chars().take(indent).collect();
        return is_key_in(&before, key).then_some(line as u64);
    }
    let before = lines.iter().enumerate().take(line - 1).rev();
    for (index, text) in before {
        let dashed = text.replacen("- ", "  ", 1);
        let Some(at) = dashed.find(|c| c != ' ') else {
            continue;
        };
        if at == indent && is_key_in(&dashed, key) {
            return Some(index as u64 + 1);
        }
        let is_comment = dashed.trim_start().starts_with('#');
        if (at < indent || text.starts_with("---")) && !is_comment {
            return None;
        }
    }
    None
}

fn is_key_in(text: &str, key: &str) -> bool {
    let text = text.trim_start_matches([' ', '{', ',']);
    text.split(['{', ','])
        .map(|part| part.trim().trim_start_matches(['"', '\'']))
        .any(|part| {
            part.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> String {
        documents(text).err().unwrap().cause
    }

    #[test]
    fn duplicate_key_names_both_lines() {
        for (text, expected) in [
            (
                "metadata:\n  name: web\n  labels: {a: b}\n  # again\n  labels: {a: c}\n",
                "the key labels is there twice, at line 3 and at line 5",
            ),
            (
                "a: 1\na: 2\n",
                "the key a is there twice, at line 1 and at line 2",
            ),
            (
                "list:\n- a: 1\n  b:\n    a: 2\n  a: 3\n",
                "the key a is there twice, at line 2 and at line 5",
            ),
            (
                "x: {a: 1, a: 2}\n",
                "the key a is there twice, at line 1 and at line 1",
            ),
            (
                "x: {a: 1,\n  a: 2}\n",
                "the key a is there twice, the second time at line 2",
            ),
        ] {
            assert_eq!(cause(text), expected, "{text}");
        }
    }

    #[test]
    fn braces_at_the_error_mean_template() {
        for template in [
            "a: 1\n{{- if .Values.on }}\nb: 2\n{{- end }}\n",
            "name: {{ .Release.Name }}\n",
            "a:\n  {{- toYaml .Values.a | nindent 2 }}\n",
        ] {
            let expected = "the file is a template, not a manifest";
            assert_eq!(cause(template), expected, "{template}");
        }
        let dashboard = "legend: '{{ instance }}'\n---\na: 1\nb: [\n";
        assert!(
            cause(dashboard).contains("not YAML"),
            "{}",
            cause(dashboard)
        );
    }

    #[test]
    fn causes_name_line_and_column() {
        for (text, expected) in [
            ("~: 2\n", "a key is not a text, at line 1, column 1"),
            (
                "a: 1\n? [b]\n: 1\n",
                "a key is not a text, at line 2, column 3",
            ),
            (
                "a: &a [*a]\n",
                "an alias (*NAME) is inside the value of its own anchor (&NAME), at line 1, column 8",
            ),
            (
                "a: *b\n",
                "an alias (*NAME) has no anchor (&NAME) before it, at line 1, column 4",
            ),
            (
                "<<: 1\n",
                "the value of << is neither a map nor a list of maps, at line 1, column 5",
            ),
            (
                "a: !!int x\n",
                "a value does not fit its tag, at line 1, column 10",
            ),
            (
                "a: !!binary /w==\n",
                "a value does not fit its tag, at line 1, column 13",
            ),
            (
                "a: b: c\n",
                "the file is not YAML: mapping values are not allowed in this context at line 1, column 5",
            ),
        ] {
            assert_eq!(cause(text), expected, "{text}");
        }
    }

    #[test]
    fn times_have_no_leading_zero() {
        for (text, expected) in [
            ("t: 2026-01-31T00:00:00Z", false),
            ("a: 10, b: 0, c: 0.5, d: x00", false),
            ("a: 0100", true),
            ("a: -010", true),
            ("{\"a\":010}", true),
            ("[010]", true),
        ] {
            assert_eq!(has_leading_zero(text), expected, "{text}");
        }
    }

    #[test]
    fn messages_name_the_limits() {
        let many = "a: 1\n---\n".repeat(MAX_DOCUMENTS + 1);
        assert_eq!(cause(&many), "the file has more than 20000 documents");
        for levels in [100, 10_000] {
            let deep = "[".repeat(levels) + &"]".repeat(levels);
            let cause = cause(&deep);
            assert!(cause.contains("nested too deeply"), "{levels}: {cause}");
        }
    }

    #[test]
    fn octal_numbers_have_two_readings() {
        let readings = |text: &str| {
            let document = documents(text).unwrap().remove(0);
            let other = document
                .to_kubectl
                .unwrap_or_else(|| document.value.clone());
            let found = two_readings(&document.value, &other);
            let line = |it: TwoReadings| format!("{} {} {}", it.path, it.written, it.kubectl);
            found.into_iter().map(line).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(
            readings("a: [{w: 0100}, {w: -010}]\n"),
            ["a[0].w 100 64", "a[1].w -10 -8"]
        );
        assert_eq!(readings("a: 0_1"), ["a 0_1 1"]);
        for same in [
            "1_000", "+50", "0x10", "0o17", "0b1", "1:30", ".inf", "09", "00", "'0100'", "010.5",
        ] {
            assert_eq!(readings(&format!("a: {same}\n")), none, "{same}");
        }
    }
}
