//! HTTPPathMatch of Gateway API v1: `Exact` and `PathPrefix` over the bytes of `:path`.

use crate::wire;

/// The checked form of [`wire::PathMatch`].
#[derive(Debug)]
pub(crate) enum PathMatch {
    Any,
    Exact(Box<[u8]>),
    /// Without a slash at its end.
    Prefix(Box<[u8]>),
}

impl From<&Option<wire::PathMatch>> for PathMatch {
    fn from(path: &Option<wire::PathMatch>) -> PathMatch {
        match path {
            None => PathMatch::Any,
            Some(wire::PathMatch::Exact(path)) => PathMatch::Exact(path.as_bytes().into()),
            Some(wire::PathMatch::Prefix(prefix)) => match prefix.trim_end_matches('/') {
                "" => PathMatch::Any,
                prefix => PathMatch::Prefix(prefix.as_bytes().into()),
            },
            Some(wire::PathMatch::Regex(_)) => PathMatch::Any,
        }
    }
}

impl PathMatch {
    pub(crate) fn is_any(&self) -> bool {
        matches!(self, PathMatch::Any)
    }

    /// `path` is what stands before the query, see [`without_query`].
    pub(crate) fn fits(&self, path: &[u8]) -> bool {
        match self {
            PathMatch::Any => true,
            PathMatch::Exact(exact) => **exact == *path,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
        }
    }
}

/// The path of `:path`: the part before `?` (RFC 9113, 8.3.1), and before `#`, which must not be there.
pub(crate) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(wire: wire::PathMatch, path: &str) -> bool {
        PathMatch::from(&Some(wire)).fits(without_query(path.as_bytes()))
    }

    #[test]
    fn a_prefix_is_of_path_elements() {
        let echo = |path| fits(wire::PathMatch::Prefix("/echo".into()), path);
        assert!(echo("/echo") && echo("/echo/") && echo("/echo/a") && echo("/echo?a=/"));
        assert!(!echo("/echoes") && !echo("/Echo") && !echo("/") && !echo("") && !echo("*"));
        let slash = |path| fits(wire::PathMatch::Prefix("/echo/".into()), path);
        assert!(slash("/echo") && slash("/echo/a") && !slash("/echoes"));
        assert!(fits(wire::PathMatch::Prefix("/".into()), "*"));
    }

    #[test]
    fn exact_is_exact() {
        let two = |path| fits(wire::PathMatch::Exact("/two".into()), path);
        assert!(two("/two") && two("/two?x") && two("/two#x"));
        assert!(!two("/two/") && !two("/Two") && !two("/two/a"));
    }
}
