//! HTTPPathMatch of Gateway API v1, checked as the API server would.

use weir_split::wire::PathMatch;

/// What is wrong with a path match; the field is relative to the `path` object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// At `type`.
    #[error("path type {0} is not supported")]
    Type(String),
    /// At `value`.
    #[error("{0}")]
    Value(String),
}

/// Gateway API v1: HTTPPathMatch.value, HTTPPathModifier.
const LONGEST: usize = 1024;

/// Reads `type` (default `PathPrefix`) and `value` (default `/`). `None` fits every path.
///
/// A prefix loses its trailing slash: matching is by path element, `/v2/` and `/v2` are the same. Of a regular
/// expression the length alone is checked here.
pub fn parse(kind: Option<&str>, value: Option<&str>) -> Result<Option<PathMatch>, PathError> {
    let value = value.unwrap_or("/");
    match kind.unwrap_or("PathPrefix") {
        "Exact" => {
            check(value)?;
            Ok(Some(PathMatch::Exact(value.to_owned())))
        }
        "PathPrefix" => {
            check(value)?;
            let prefix = value.strip_suffix('/').unwrap_or(value);
            Ok((!prefix.is_empty()).then(|| PathMatch::Prefix(prefix.to_owned())))
        }
        "RegularExpression" => match value.len() {
            1..=LONGEST => Ok(Some(PathMatch::Regex(value.to_owned()))),
            _ => Err(PathError::Value(format!(
                "the path has not 1 to {LONGEST} bytes"
            ))),
        },
        other => Err(PathError::Type(other.to_owned())),
    }
}

fn check(value: &str) -> Result<(), PathError> {
    check_target(value)?;
    let wrong = |what: String| Err(PathError::Value(format!("path {value:?} {what}")));
    for part in ["//", "/./", "/../", "%2f", "%2F"] {
        if value.contains(part) {
            return wrong(format!("contains {part}"));
        }
    }
    for end in ["/.", "/.."] {
        if value.ends_with(end) {
            return wrong(format!("ends with {end}"));
        }
    }
    Ok(())
}

/// What a path may be replaced with: absolute, without query and fragment (RFC 3986, 3.3).
pub fn check_target(value: &str) -> Result<(), PathError> {
    let wrong = |what: String| Err(PathError::Value(format!("path {value:?} {what}")));
    if value.len() > LONGEST {
        return Err(PathError::Value(format!(
            "the path is longer than {LONGEST}"
        )));
    }
    if !value.starts_with('/') {
        return wrong("does not start with /".to_owned());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/._~!$&'()*+,;=:@%".contains(c);
    if let Some(c) = value.chars().find(|c| !allowed(*c)) {
        return wrong(format!("contains {c:?}"));
    }
    let escapes = value.split('%').skip(1);
    let is_escape = |rest: &str| {
        rest.as_bytes()
            .first_chunk::<2>()
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.into_iter().all(is_escape) {
        return wrong("has a % without two hexadecimal digits".to_owned());
    }
    Ok(())
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
