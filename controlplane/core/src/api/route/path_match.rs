//! HTTPPathMatch of Gateway API v1, checked as the API server would.

use weir_split::wire::PathMatch;

use crate::manifest::problem::messages::{Message, filter, route};

/// What is wrong with a path match, at `type` or at `value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    Type(String),
    Value(ValueError),
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// Or empty.
    TooLong,
    Relative,
    /// `%2F`.
    EncodedSlash,
    /// `//`, `/./` and the like, which a path has not once it is in order.
    Part(&'static str),
    Query,
    Fragment,
    Character(char),
    /// A `%` without two hexadecimal digits.
    Percent,
}

/// Gateway API v1: HTTPPathMatch.value, HTTPPathModifier.
pub const LONGEST: usize = 1024;
/// Gateway API v1: HTTPPathMatch.type.
pub const TYPES: [&str; 3] = ["Exact", "PathPrefix", "RegularExpression"];

/// Reads `type` (default `PathPrefix`) and `value` (default `/`). `None` fits every path.
///
/// A prefix loses its trailing slash: matching is by path element, `/v2/` and `/v2` are the same. Of a regular
/// expression the length alone is checked here.
pub fn parse(kind: Option<&str>, value: Option<&str>) -> Result<Option<PathMatch>, PathError> {
    let value = value.unwrap_or("/");
    let checked = || check(value).map_err(PathError::Value);
    match kind.unwrap_or("PathPrefix") {
        "Exact" => {
            checked()?;
            Ok(Some(PathMatch::Exact(value.to_owned())))
        }
        "PathPrefix" => {
            checked()?;
            let prefix = value.strip_suffix('/').unwrap_or(value);
            Ok((!prefix.is_empty()).then(|| PathMatch::Prefix(prefix.to_owned())))
        }
        "RegularExpression" => match value.len() {
            1..=LONGEST => Ok(Some(PathMatch::Regex(value.to_owned()))),
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
    let within = ["//", "/./", "/../"];
    let part = within.into_iter().find(|part| value.contains(part));
    let at_the_end = || ["/..", "/."].into_iter().find(|end| value.ends_with(end));
    match part.or_else(at_the_end) {
        Some(part) => Err(ValueError::Part(part)),
        None => Ok(()),
    }
}

/// What a path may be replaced with: absolute, without query and fragment (RFC 3986, 3.3).
pub fn check_target(value: &str) -> Result<(), ValueError> {
    if value.len() > LONGEST {
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
    let escapes = value.split('%').skip(1);
    let is_escape = |rest: &str| {
        rest.as_bytes()
            .first_chunk::<2>()
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    match escapes.into_iter().all(is_escape) {
        true => Ok(()),
        false => Err(ValueError::Percent),
    }
}

impl ValueError {
    /// Of `value`, which has it.
    pub fn message(&self, value: &str) -> Message {
        match self {
            ValueError::TooLong => route::path_too_long(LONGEST),
            ValueError::Relative if value.is_empty() => route::path_empty(),
            ValueError::Relative => route::path_relative(value),
            ValueError::EncodedSlash => route::path_encoded_slash(value),
            ValueError::Part(part) => route::path_part(value, part),
            ValueError::Query | ValueError::Fragment => route::path_query(value, path_alone(value)),
            ValueError::Character(c) => route::path_character(value, format!("{c:?}")),
            ValueError::Percent => route::path_percent(value),
        }
    }

    /// Of `value`, which has it and is to replace a path.
    pub fn message_of_target(&self, value: &str) -> Message {
        match self {
            ValueError::Query => filter::path_with_query(value, path_alone(value)),
            ValueError::Fragment => filter::path_with_fragment(value, path_alone(value)),
            _ => self.message(value),
        }
    }
}

fn path_alone(value: &str) -> &str {
    match value.split(['?', '#']).next() {
        None | Some("") => "/",
        Some(path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_lose_their_slash() {
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
    fn refused() {
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
