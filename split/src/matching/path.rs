//! HTTPPathMatch of Gateway API v1 over the bytes of `:path` before the query.

mod dots;

use std::sync::Arc;

pub(crate) use self::dots::has_dot_segment;
use crate::matching::pattern::{Effort, Pattern, Patterns};
use crate::refusal::Refusal;
use crate::wire;

/// The checked form of [`wire::PathMatch`].
#[derive(Debug)]
pub(crate) enum PathMatch {
    Any,
    Exact(Box<[u8]>),
    /// Does not end with a slash.
    Prefix(Box<[u8]>),
    Regex(Arc<Pattern>),
}

impl PathMatch {
    pub(crate) fn compile(
        path: &Option<wire::PathMatch>,
        patterns: &mut Patterns,
    ) -> Result<PathMatch, Refusal> {
        Ok(match path {
            None => PathMatch::Any,
            Some(wire::PathMatch::Exact(path)) => PathMatch::Exact(path.as_bytes().into()),
            Some(wire::PathMatch::Prefix(prefix)) => match prefix.trim_end_matches('/') {
                "" => PathMatch::Any,
                prefix => PathMatch::Prefix(prefix.as_bytes().into()),
            },
            Some(wire::PathMatch::Regex(text)) => {
                let pattern = patterns.get(text);
                PathMatch::Regex(pattern.map_err(|refusal| refusal.within("path"))?)
            }
        })
    }

    pub(crate) fn is_any(&self) -> bool {
        matches!(self, PathMatch::Any)
    }

    /// True if the path fits. `path` must have no query.
    pub(crate) fn fits(&self, path: &[u8], effort: &Effort) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => rest_of(path, prefix).is_some(),
            PathMatch::Regex(pattern) => pattern.fits_within(path, effort),
        }
    }
}

/// Returns the rest of the path after the prefix. Returns None if the path does not begin with the prefix, or if the
/// prefix does not end at the end of a path element. The rest is empty or begins with a slash.
pub(crate) fn rest_of<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(prefix)
        .filter(|rest| matches!(rest.first(), None | Some(b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(wire: wire::PathMatch, path: &str) -> bool {
        let compiled = PathMatch::compile(&Some(wire), &mut Patterns::default());
        compiled.unwrap().fits(path.as_bytes(), &Effort::default())
    }

    #[test]
    fn prefix_matches_path_elements() {
        let echo = |path| fits(wire::PathMatch::Prefix("/echo".into()), path);
        assert!(echo("/echo") && echo("/echo/") && echo("/echo/a"));
        assert!(!echo("/echoes") && !echo("/Echo") && !echo("/") && !echo("") && !echo("*"));
        let slash = |path| fits(wire::PathMatch::Prefix("/echo/".into()), path);
        assert!(slash("/echo") && slash("/echo/a") && !slash("/echoes"));
        assert!(fits(wire::PathMatch::Prefix("/".into()), "*"));
    }

    #[test]
    fn exact_path_has_no_variants() {
        let two = |path| fits(wire::PathMatch::Exact("/two".into()), path);
        assert!(two("/two"));
        assert!(!two("/two/") && !two("/Two") && !two("/two/a"));
    }
}
