//! Reads HTTPPathMatch of Gateway API v1, with the same checks as the API server.

use weir_split::wire::PathMatch;

use crate::manifest::problem::messages::{Message, filter, route};

/// The reason why a path match is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// The `type` is unknown.
    Type(String),
    Value(ValueError),
}

/// The reason why a path is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The path is longer than [`MAX_PATH`], or it is an empty regular expression.
    TooLong,
    /// The path does not begin with a slash.
    Relative,
    /// The path has `%2F`.
    EncodedSlash,
    /// The path has `//`, `/./` or `/../`, or ends with `/.` or `/..`. A normalized path has no such part.
    Part(&'static str),
    Query,
    Fragment,
    Character(char),
    /// The path has a `%` without two hexadecimal digits.
    Percent,
}

/// The maximum size of a path, in bytes (Gateway API v1, HTTPPathMatch.value and HTTPPathModifier).
pub const MAX_PATH: usize = 1024;
/// The types that Gateway API allows (Gateway API v1, HTTPPathMatch.type).
pub const TYPES: [&str; 3] = ["Exact", "PathPrefix", "RegularExpression"];

/// Parses `type` (default `PathPrefix`) and `value` (default `/`). Returns None for a match that fits every path.
///
/// Removes the trailing slash of a prefix. Prefixes match whole path elements, so `/v2/` and `/v2` are the same. For a
/// regular expression, checks only the length.
pub fn parse(kind: Option<&str>, value: Option<&str>) -> Result<Option<PathMatch>, PathError> {
    let value = value.unwrap_or("/");
    match kind.unwrap_or("PathPrefix") {
        "Exact" => {
            check(value).map_err(PathError::Value)?;
            Ok(Some(PathMatch::Exact(value.to_owned())))
        }
        "PathPrefix" => {
            check(value).map_err(PathError::Value)?;
            let prefix = value.strip_suffix('/').unwrap_or(value);
            Ok((!prefix.is_empty()).then(|| PathMatch::Prefix(prefix.to_owned())))
        }
        "RegularExpression" => match value.len() {
            1..=MAX_PATH => Ok(Some(PathMatch::Regex(value.to_owned()))),
            _ => Err(PathError::Value(ValueError::TooLong)),
        },
        other => Err(PathError::Type(other.to_owned())),
    }
}

fn check(value: &str) -> Result<(), ValueError> {
    check_target(value)?;
    if value.contains("%2f") || value.contains("%2F") {
        return Err(ValueError::EncodedSlash);
    }
    let inside = ["//", "/./", "/../"]
        .into_iter()
        .find(|part| value.contains(part));
    let at_the_end = ["/..", "/."].into_iter().find(|end| value.ends_with(end));
    match inside.or(at_the_end) {
        Some(part) => Err(ValueError::Part(part)),
        None => Ok(()),
    }
}

/// Checks the new path of a filter. The path must be absolute, without query and fragment (RFC 3986, 3.3).
pub fn check_target(value: &str) -> Result<(), ValueError> {
    if value.len() > MAX_PATH {
        return Err(ValueError::TooLong);
    }
    if !value.starts_with('/') {
        return Err(ValueError::Relative);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(c);
    match value.chars().find(|c| !allowed(*c)) {
        None => {}
        Some('?') => return Err(ValueError::Query),
        Some('#') => return Err(ValueError::Fragment),
        Some(c) => return Err(ValueError::Character(c)),
    }
    let mut after_percent = value.split('%').skip(1);
    let are_escapes = after_percent.all(|text| {
        text.as_bytes()
            .first_chunk::<2>()
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if are_escapes {
        Ok(())
    } else {
        Err(ValueError::Percent)
    }
}

impl ValueError {
    /// Returns the message for a path match with the value `value`.
    pub fn message(&self, value: &str) -> Message {
        match self {
            ValueError::TooLong => route::path_too_long(MAX_PATH),
            ValueError::Relative if value.is_empty() => route::path_empty(),
            ValueError::Relative => route::path_relative(value),
            ValueError::EncodedSlash => route::path_encoded_slash(value),
            ValueError::Part(part) => route::path_part(value, part),
            ValueError::Query | ValueError::Fragment => {
                route::path_query(value, without_query(value))
            }
            ValueError::Character(c) => route::path_character(value, format!("{c:?}")),
            ValueError::Percent => route::path_percent(value),
        }
    }

    /// Returns the message for a filter with the new path `value`.
    pub fn message_of_target(&self, value: &str) -> Message {
        match self {
            ValueError::Query => filter::path_with_query(value, without_query(value)),
            ValueError::Fragment => filter::path_with_fragment(value, without_query(value)),
            _ => self.message(value),
        }
    }
}

fn without_query(value: &str) -> &str {
    match value.split(['?', '#']).next() {
        None | Some("") => "/",
        Some(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_slash_of_prefix_is_removed() {
        let prefix = |text: &str| Ok(Some(PathMatch::Prefix(text.to_owned())));
        assert_eq!(parse(None, None), Ok(None));
        assert_eq!(parse(Some("PathPrefix"), Some("/")), Ok(None));
        assert_eq!(parse(Some("PathPrefix"), Some("/v2/")), prefix("/v2"));
        assert_eq!(parse(None, Some("/a%20b")), prefix("/a%20b"));
        let exact = |text: &str| Ok(Some(PathMatch::Exact(text.to_owned())));
        assert_eq!(parse(Some("Exact"), Some("/v2/")), exact("/v2/"));
        assert_eq!(parse(Some("Exact"), None), exact("/"));
        let regex = parse(Some("RegularExpression"), Some("a?b//"));
        assert_eq!(regex, Ok(Some(PathMatch::Regex("a?b//".to_owned()))));
    }

    #[test]
    fn invalid_paths_are_rejected() {
        let long = format!("/{}", "a".repeat(1024));
        for bad in [
            "", "a", "//", "/a//b", "/./a", "/a/../b", "/a%2fb", "/a%2Fb", "/a#b", "/a/.", "/a/..",
            "/a?b", "/a b", "/ä", "/%", "/%g0", "/%1", &long,
        ] {
            assert!(
                matches!(parse(None, Some(bad)), Err(PathError::Value(_))),
                "{bad}"
            );
        }
        for bad in ["", &long] {
            let parsed = parse(Some("RegularExpression"), Some(bad));
            assert!(matches!(parsed, Err(PathError::Value(_))), "{bad}");
        }
        let encoded = parse(None, Some("/a%2Fb"));
        assert_eq!(encoded, Err(PathError::Value(ValueError::EncodedSlash)));
        assert_eq!(check_target("/new?a=b"), Err(ValueError::Query));
        assert_eq!(check_target("/new#a?b"), Err(ValueError::Fragment));
        for good in ["/a//b", "/a%2fb", "/a/.."] {
            assert_eq!(check_target(good), Ok(()), "{good}");
        }
        for kind in ["Regex", "Prefix", ""] {
            assert!(
                matches!(parse(Some(kind), Some("/")), Err(PathError::Type(_))),
                "{kind}"
            );
        }
    }
}
