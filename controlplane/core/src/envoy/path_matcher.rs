//! Compares which paths fit the path matchers of two routes.

use std::fmt;

use serde_json::Value;
use weir_split::wire::PathMatch;

use super::path_regex::{PathRegex, Simplified};

/// The path matcher of a RouteMatch. The comparison of paths is case-sensitive.
#[derive(Debug)]
pub enum PathMatcher {
    Prefix(String),
    /// Envoy's `path_separated_prefix`: the path itself, or the path with a slash behind it.
    Separated(String),
    Exact(String),
    /// A regular expression that is no simpler matcher. It covers only an equal expression, and paths that fit it.
    Regex(PathRegex),
    /// A URI template or CONNECT. Such a matcher covers only an equal matcher.
    Other(String),
}

impl PathMatcher {
    /// Reads a field of a RouteMatch; None if the field is no condition on the path.
    pub fn read(field: &str, value: &Value) -> Option<PathMatcher> {
        let string = value.as_str().unwrap_or_default().to_owned();
        Some(match field {
            "prefix" => PathMatcher::Prefix(string),
            "path_separated_prefix" => PathMatcher::Separated(string),
            "path" => PathMatcher::Exact(string),
            "safe_regex" => {
                let regex = value.get("regex").and_then(Value::as_str);
                PathMatcher::of_regex(regex.unwrap_or_default())
            }
            "path_match_policy" | "connect_matcher" => {
                PathMatcher::Other(format!("{field} {value}"))
            }
            _ => return None,
        })
    }

    /// Reads the condition of a rule on the path. None means a rule for every path.
    pub fn of_rule(path: Option<&PathMatch>) -> PathMatcher {
        match path {
            None => PathMatcher::Prefix("/".into()),
            Some(PathMatch::Exact(path)) => PathMatcher::Exact(path.clone()),
            Some(PathMatch::Prefix(path)) if path == "/" => PathMatcher::Prefix("/".into()),
            Some(PathMatch::Prefix(path)) => {
                PathMatcher::Separated(path.trim_end_matches('/').to_owned())
            }
            Some(PathMatch::Regex(regex)) => PathMatcher::of_regex(regex),
        }
    }

    fn of_regex(regex: &str) -> PathMatcher {
        match PathRegex::read(regex) {
            Simplified::Exact(path) => PathMatcher::Exact(path),
            Simplified::Prefix(path) => PathMatcher::Prefix(path),
            Simplified::Regex(regex) => PathMatcher::Regex(regex),
        }
    }

    /// Returns the matcher for paths in lower case. It stays the same if Envoy never ignores the case of its paths.
    pub fn lower_case(&self) -> Option<PathMatcher> {
        let lower = |path: &String| path.to_ascii_lowercase();
        Some(match self {
            PathMatcher::Prefix(path) => PathMatcher::Prefix(lower(path)),
            PathMatcher::Separated(path) => PathMatcher::Separated(lower(path)),
            PathMatcher::Exact(path) => PathMatcher::Exact(lower(path)),
            PathMatcher::Regex(_) | PathMatcher::Other(_) => return None,
        })
    }

    /// True if the matcher fits the same paths in upper and in lower case.
    pub fn is_without_letters(&self) -> bool {
        match self {
            PathMatcher::Prefix(path) | PathMatcher::Separated(path) | PathMatcher::Exact(path) => {
                !path.contains(|it: char| it.is_ascii_alphabetic())
            }
            PathMatcher::Regex(_) | PathMatcher::Other(_) => false,
        }
    }

    /// Returns paths that fit; empty if none is known.
    pub fn examples(&self) -> Vec<&str> {
        match self {
            PathMatcher::Prefix(path) if path.is_empty() => vec!["/"],
            PathMatcher::Prefix(path) | PathMatcher::Separated(path) | PathMatcher::Exact(path) => {
                vec![path]
            }
            PathMatcher::Regex(regex) => regex.examples.iter().map(String::as_str).collect(),
            PathMatcher::Other(_) => Vec::new(),
        }
    }

    /// True if every path that fits `other` also fits this matcher.
    pub fn covers(&self, other: &PathMatcher) -> bool {
        let below = |path: &str, of: &str| {
            let rest = path.strip_prefix(of.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        match (self, other) {
            (
                PathMatcher::Prefix(prefix),
                PathMatcher::Prefix(it) | PathMatcher::Separated(it) | PathMatcher::Exact(it),
            ) => it.starts_with(prefix.as_str()),
            (PathMatcher::Prefix(prefix), PathMatcher::Other(_)) => {
                matches!(prefix.as_str(), "" | "/")
            }
            (PathMatcher::Prefix(prefix), PathMatcher::Regex(it)) => {
                matches!(prefix.as_str(), "" | "/") || it.start.starts_with(prefix.as_str())
            }
            (PathMatcher::Separated(path), PathMatcher::Regex(it)) => below(&it.start, path),
            (PathMatcher::Regex(regex), PathMatcher::Exact(it)) => regex.fits(it) == Some(true),
            (PathMatcher::Regex(regex), PathMatcher::Regex(it)) => it == regex,
            (PathMatcher::Separated(path), PathMatcher::Separated(it) | PathMatcher::Exact(it)) => {
                it == path || below(it, path)
            }
            (PathMatcher::Separated(path), PathMatcher::Prefix(it)) => below(it, path),
            (PathMatcher::Exact(path), PathMatcher::Exact(it)) => it == path,
            (PathMatcher::Other(matcher), PathMatcher::Other(it)) => it == matcher,
            (PathMatcher::Exact(_), _)
            | (PathMatcher::Regex(_), _)
            | (_, PathMatcher::Other(_))
            | (PathMatcher::Other(_), _) => false,
        }
    }

    /// True if a path may fit both matchers. If two matchers overlap, and each has a path as its text, one covers the
    /// other.
    pub fn overlaps(&self, other: &PathMatcher) -> bool {
        let may_start = |path: &str, regex: &PathRegex| {
            regex.start.starts_with(path) || path.starts_with(&regex.start)
        };
        match (self, other) {
            (PathMatcher::Other(_), _) | (_, PathMatcher::Other(_)) => true,
            (PathMatcher::Regex(regex), PathMatcher::Exact(path))
            | (PathMatcher::Exact(path), PathMatcher::Regex(regex)) => {
                regex.fits(path) != Some(false)
            }
            (
                PathMatcher::Regex(regex),
                PathMatcher::Prefix(path) | PathMatcher::Separated(path),
            )
            | (
                PathMatcher::Prefix(path) | PathMatcher::Separated(path),
                PathMatcher::Regex(regex),
            ) => may_start(path, regex),
            (PathMatcher::Regex(one), PathMatcher::Regex(two)) => may_start(&one.start, two),
            _ => self.covers(other) || other.covers(self),
        }
    }
}

/// Writes the matcher as a field of a RouteMatch.
impl fmt::Display for PathMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatcher::Prefix(path) => write!(f, "prefix: {path}"),
            PathMatcher::Separated(path) => write!(f, "path_separated_prefix: {path}"),
            PathMatcher::Exact(path) => write!(f, "path: {path}"),
            PathMatcher::Regex(regex) => write!(f, "safe_regex: {}", regex.text),
            PathMatcher::Other(matcher) => f.write_str(matcher),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex(text: &str) -> PathMatcher {
        PathMatcher::of_regex(text)
    }

    #[test]
    fn expressions_are_compared_with_paths() {
        let prefix = |path: &str| PathMatcher::Prefix(path.into());
        let exact = |path: &str| PathMatcher::Exact(path.into());
        assert!(regex("/.*").covers(&prefix("/")));
        assert!(!regex("/.+").covers(&prefix("/")));
        assert!(regex("/.+").overlaps(&prefix("/")));
        assert!(prefix("/a").covers(&regex("/ab?c")));
        assert!(!prefix("/b").overlaps(&regex("/ab?c")));
        assert!(regex("/(healthz|readyz)").covers(&exact("/readyz")));
        assert!(!regex("/(healthz|readyz)").overlaps(&exact("/ready")));
        assert!(!regex("/a/[0-9]+").overlaps(&regex("/b/[0-9]+")));
        assert!(regex("(/a)").overlaps(&prefix("/a")));
    }

    #[test]
    fn paths_of_rules_are_read() {
        let of = |path| PathMatcher::of_rule(Some(&path)).to_string();
        assert_eq!(PathMatcher::of_rule(None).to_string(), "prefix: /");
        assert_eq!(of(PathMatch::Prefix("/".into())), "prefix: /");
        assert_eq!(
            of(PathMatch::Prefix("/a/".into())),
            "path_separated_prefix: /a"
        );
        assert_eq!(of(PathMatch::Exact("/a".into())), "path: /a");
        assert_eq!(of(PathMatch::Regex("/a+".into())), "safe_regex: /a+");
    }
}
