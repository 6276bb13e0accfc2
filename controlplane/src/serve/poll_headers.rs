//! The request headers of a poll: If-None-Match (RFC 9110, 13.1.2), Prefer: wait (RFC 7240, 4.3), `weir-version` and
//! `weir-watermark`.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::IF_NONE_MATCH;
use weir_split::wire::VERSION;
use weir_split::wire::headers::{self, MAX_WAIT, MAX_WATERMARK, WATERMARK};

use weir_core::manifest::problem::messages::{Message, answer as messages};
use weir_core::watermark::Watermark;

/// The revisions that the client lists in `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum KnownRevisions {
    Any,
    Tags(Vec<Vec<u8>>),
}

impl KnownRevisions {
    pub(super) fn of(headers: &HeaderMap) -> KnownRevisions {
        let elements: Vec<&[u8]> = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .collect();
        if elements.contains(&b"*".as_slice()) {
            return KnownRevisions::Any;
        }
        let tags = elements.into_iter().filter_map(|element| {
            // Weak comparison (RFC 9110, 8.8.3.2) ignores the prefix W/.
            let tag = element.strip_prefix(b"W/").unwrap_or(element);
            let tag = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            Some(tag.to_vec())
        });
        KnownRevisions::Tags(tags.collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, KnownRevisions::Tags(tags) if tags.is_empty())
    }

    /// Returns the listed revisions, without the revision that the client has refused.
    pub(super) fn running(&self, refused: &str) -> impl Iterator<Item = &str> + Clone {
        let tags = match self {
            KnownRevisions::Any => [].iter(),
            KnownRevisions::Tags(tags) => tags.iter(),
        };
        let tags = tags.filter_map(|tag| std::str::from_utf8(tag).ok());
        tags.filter(move |tag| *tag != refused)
    }

    pub(super) fn contains(&self, revision: &str) -> bool {
        match self {
            KnownRevisions::Any => true,
            KnownRevisions::Tags(tags) => tags.iter().any(|tag| tag == revision.as_bytes()),
        }
    }
}

/// Returns the document version of the answer: the number in `weir-version`, but at most our newest version. Without
/// the header, returns our newest version. Returns Err if the header is not a number of at least 1.
pub(super) fn version(headers: &HeaderMap) -> Result<u32, Message> {
    let Some(value) = headers.get(headers::VERSION) else {
        return Ok(VERSION);
    };
    let read = value.to_str().ok().and_then(|value| value.parse().ok());
    match read {
        Some(version @ 1..) => Ok(VERSION.min(version)),
        _ => Err(messages::version_unclear()),
    }
}

/// Returns the watermark that the client got with its previous answer. The result has the resources of `watched`, and
/// only a few other resources, because a client can invent names. Returns None if the header is absent, too long or
/// invalid.
pub(super) fn watermark(headers: &HeaderMap, watched: &Watermark) -> Option<Watermark> {
    let value = headers.get(WATERMARK)?.to_str().ok()?;
    (value.len() <= MAX_WATERMARK).then(|| Watermark::of_client(value, watched).ok())?
}

/// Returns the seconds of `Prefer: wait=SECONDS`, at most 25. Returns None if the header is absent or has no number.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    // Only the first `wait` counts.
    for preference in preferences {
        let preference = preference.split(';').next().unwrap_or_default();
        if let Some((name, value)) = preference.split_once('=')
            && name.trim().eq_ignore_ascii_case("wait")
        {
            let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
            return Some(Duration::from_secs(seconds.min(MAX_WAIT)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn etags_match_in_all_forms() {
        let held = |values: &[&'static str]| KnownRevisions::of(&headers("if-none-match", values));
        for values in [
            &["\"abc\""] as &[&str],
            &["W/\"abc\""],
            &["\"x\", \"abc\""],
            &["\"x\",W/\"abc\" , \"y\""],
            &["\"x\"", "\"abc\""],
            &["*"],
        ] {
            assert!(held(values).contains("abc"), "{values:?}");
        }
        for values in [
            &[] as &[&str],
            &[""],
            &["abc"],
            &["\"ab\""],
            &["\"abc"],
            &["\""],
        ] {
            assert!(!held(values).contains("abc"), "{values:?}");
        }
    }

    #[test]
    fn version_is_number_and_capped() {
        let version = |values: &[&'static str]| version(&headers("weir-version", values)).ok();
        assert_eq!(version(&[]), Some(VERSION));
        assert_eq!(version(&["1"]), Some(1));
        assert_eq!(version(&["4000000000"]), Some(VERSION));
        for bad in ["0", "-1", "", "one", "99999999999"] {
            assert_eq!(version(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn first_wait_counts_and_is_capped() {
        let wait = |values: &[&'static str]| wait(&headers("prefer", values)).map(|w| w.as_secs());
        assert_eq!(wait(&["wait=10"]), Some(10));
        assert_eq!(wait(&["wait=1000"]), Some(25));
        assert_eq!(wait(&["respond-async, Wait = \"7\"; x=1"]), Some(7));
        assert_eq!(wait(&["wait=3, wait=9"]), Some(3));
        assert_eq!(wait(&["respond-async", "wait=4"]), Some(4));
        for bad in ["wait", "wait=", "wait=-1", "wait=soon", "waits=3"] {
            assert_eq!(wait(&[bad]), None, "{bad}");
        }
    }
}
