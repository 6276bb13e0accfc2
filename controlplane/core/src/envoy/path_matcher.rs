//! Compares which paths fit the path matchers of two routes.

use serde_json::Value;

/// The path matcher of a RouteMatch. The comparison of paths is case-sensitive.
#[derive(Debug)]
pub enum PathMatcher {
    Prefix(String),
    /// Envoy's `path_separated_prefix`: the path itself, or the path with a slash behind it.
    Separated(String),
    Exact(String),
    /// A regular expression, a URI template or CONNECT. Such a matcher covers only an equal matcher.
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
            "safe_regex" | "path_match_policy" | "connect_matcher" => {
                PathMatcher::Other(format!("{field} {value}"))
            }
            _ => return None,
        })
    }

    /// Returns a path that fits; None if the matcher is [`PathMatcher::Other`].
    pub fn example(&self) -> Option<&str> {
        match self {
            PathMatcher::Prefix(path) if path.is_empty() => Some("/"),
            PathMatcher::Prefix(path) | PathMatcher::Separated(path) | PathMatcher::Exact(path) => {
                Some(path)
            }
            PathMatcher::Other(_) => None,
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
            (PathMatcher::Separated(path), PathMatcher::Separated(it) | PathMatcher::Exact(it)) => {
                it == path || below(it, path)
            }
            (PathMatcher::Separated(path), PathMatcher::Prefix(it)) => below(it, path),
            (PathMatcher::Exact(path), PathMatcher::Exact(it)) => it == path,
            (PathMatcher::Other(matcher), PathMatcher::Other(it)) => it == matcher,
            (PathMatcher::Exact(_), _)
            | (_, PathMatcher::Other(_))
            | (PathMatcher::Other(_), _) => false,
        }
    }

    /// True if a path may fit both matchers. If two matchers overlap and neither is `Other`, one covers the other.
    pub fn overlaps(&self, other: &PathMatcher) -> bool {
        let is_unknown = |path: &PathMatcher| matches!(path, PathMatcher::Other(_));
        is_unknown(self) || is_unknown(other) || self.covers(other) || other.covers(self)
    }
}
